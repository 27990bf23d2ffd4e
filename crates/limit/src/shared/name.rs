//! What keys are called in the store: the same by all processes, and no secrets.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    key::{Key, Value, address},
    limit::Limit,
    rule::Rule,
    shared::Shared,
};

/// The longest name that is a key as it is.
const LONGEST_NAME: usize = 64;

/// How many bytes of a hash a key has.
const HASH: usize = 16;

/// What stands for a client whose address nobody knows.
const NOBODY: &str = "unknown";

/// What a key is called. What may be a secret, or is not plain text, is told by its SHA-256.
pub(crate) fn name(value: Value<'_>) -> String {
    match value {
        Value::Network(address) => address.to_string(),
        Value::Nobody => NOBODY.to_owned(),
        Value::Name(name) if is_plain(name) => name.to_owned(),
        Value::Name(name) => hashed(name.as_bytes()),
        Value::Bytes(bytes) => hashed(bytes),
    }
}

/// Whether it can stand there as it is. One that looks like what another kind of value is called would count with that one:
/// a user called like the address of somebody else.
fn is_plain(name: &str) -> bool {
    let is_short_text = name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_short_text && !name.starts_with('#') && name != NOBODY && name.parse::<IpAddr>().is_err()
}

fn hashed(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let letters = digest.as_ref()[..HASH].iter().map(|byte| format!("{byte:02x}"));
    format!("#{}", letters.collect::<String>())
}

/// Whether a text is what a list shows in the place of what may be a secret.
fn is_hash(text: &str) -> bool {
    let letters = text.strip_prefix('#').unwrap_or("");
    letters.len() == 2 * HASH && letters.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What somebody may mean who writes a key of this kind by hand. Who does not have the key may count by its address.
fn meant(key: &Key, text: &str) -> Vec<String> {
    let mut names = vec![name(key.meant(text))];
    if let Ok(network) = text.strip_suffix("/64").unwrap_or(text).parse() {
        names.push(name(address(Some(network))));
    }
    if is_hash(text) || text == NOBODY {
        names.push(text.to_owned());
    }
    names.sort_unstable();
    names.dedup();
    names
}

impl Shared {
    /// The key of the store for a value under a rule.
    pub(crate) fn called(&self, limit: &str, rule: &Rule, value: Value<'_>) -> Box<str> {
        self.place(limit, rule, &name(value)).into()
    }

    fn place(&self, limit: &str, rule: &Rule, name: &str) -> String {
        format!("{}:limit:{limit}:{}:{name}", self.store.prefix(), rule.kind())
    }

    /// Every key of the store that a key written by hand may have under the rules that are counted there.
    pub(crate) fn places(&self, limit: &Limit, text: &str) -> Vec<String> {
        let names = meant(&limit.key, text);
        let every = limit.every_rule();
        let rules = every.iter().map(|salted| &salted.rule).filter(|rule| limit.is_shared(rule));
        rules.flat_map(|rule| names.iter().map(|name| self.place(&limit.name, rule, name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_counts_with_another_kind_of_value() {
        let address = "192.0.2.1".parse::<IpAddr>().unwrap();
        let long = "x".repeat(100);
        let hash = name(Value::Name(&long));
        let others = [name(Value::Network(address)), name(Value::Nobody), hash.clone()];
        for text in ["192.0.2.1", "unknown", hash.as_str()] {
            assert!(!others.contains(&name(Value::Name(text))), "{text}");
        }
        assert_eq!(name(Value::Name("ada")), "ada");
    }

    #[test]
    fn a_key_that_is_written_by_hand_finds_what_a_request_is_counted_by() {
        let secret = name(Value::Bytes(b"open-sesame"));
        let header = Key::parse("header:X-Key").unwrap();
        let user = Key::parse("user").unwrap();
        for (key, text, value) in [
            (&header, "open-sesame", Value::Bytes(b"open-sesame")),
            // As a list shows it, in whichever process.
            (&header, secret.as_str(), Value::Bytes(b"open-sesame")),
            (&Key::Ip, "2001:db8:1:2::/64", address(Some("2001:db8:1:2:3::4".parse().unwrap()))),
            (&Key::Ip, "2001:db8:1:2:5::6", address(Some("2001:db8:1:2:3::4".parse().unwrap()))),
            (&user, "ada", Value::Name("ada")),
            (&user, "ada lovelace", Value::Name("ada lovelace")),
            (&user, "192.0.2.1", address(Some("192.0.2.1".parse().unwrap()))),
            (&user, "unknown", Value::Nobody),
        ] {
            assert!(meant(key, text).contains(&name(value)), "{text}");
        }
    }
}
