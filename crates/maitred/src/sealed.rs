//! Whether two processes know the same secrets, without either of them telling the other.

use std::collections::BTreeMap;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::{Engine, prelude::BASE64_STANDARD};
use config::Loaded;

/// The secrets that stand in the files of a configuration, each as a digest that says nothing without the salt, and with
/// it no more than whether a guess is right.
pub fn sealed(loaded: &Loaded, salt: &[u8]) -> BTreeMap<String, String> {
    let key = Key::new(HMAC_SHA256, salt);
    let seal = |at: &str, secret: &str| {
        // The place is part of it, so that a secret that is used twice does not show as one.
        let tag = sign(&key, format!("{at}\0{secret}").as_bytes());
        BASE64_STANDARD.encode(tag.as_ref())
    };
    let secrets = config::secrets(loaded).into_iter().map(|(at, secret)| (at.to_string(), secret));
    secrets.map(|(at, secret)| (seal(&at, secret), at)).map(|(seal, at)| (at, seal)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_same_secret_looks_different_at_each_place_and_with_each_salt() {
        let text = "listen = ':80'\n[admin]\ntoken = 'sixteen-letters-or-more'\n\
                    [routes.a]\nupstream = 'http://a'\nrequest = { set = { Authorization = 'sixteen-letters-or-more' } }\n";
        let loaded = config::load_text("maitred.toml", text, Path::new("/nowhere"));
        let (one, two) = (sealed(&loaded, b"one"), sealed(&loaded, b"two"));
        assert_eq!(one.keys().collect::<Vec<_>>(), ["admin.token", "routes.a.request.set.Authorization"]);
        assert_eq!(one, sealed(&loaded, b"one"));
        let mut all: Vec<&String> = one.values().chain(two.values()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
