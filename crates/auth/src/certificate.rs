//! Client certificates, which the listener has verified: whose names are let in, and by which of its authorities.

mod authorities;

use std::{net::IpAddr, sync::Arc};

use filter::{AlternativeName, Claim, ClientCertificate, Credential, Identity, View};

pub(crate) use authorities::{Authorities, Trusted};

use crate::{
    policy::{Doubt, Forward},
    verdicts::{Known, Verdicts},
};

/// How many certificates are remembered.
pub(crate) const REMEMBERED: usize = 4096;

/// Which certificates are let in.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub policy: Arc<str>,
    /// Names, of which a certificate has to have any one; none: every certificate of the listener's authorities.
    pub names: Box<[Pattern]>,
    /// Common names, of which any one will do in the place of those.
    pub commons: Box<[Box<str>]>,
    /// SHA-256 of certificates, of which it has to be any one.
    pub fingerprints: Box<[Box<str>]>,
    /// The authorities that it has to be from; `None`: any that the listener trusts.
    pub trusted: Option<Trusted>,
    pub forward: Forward,
    pub verdicts: Verdicts<Known>,
}

/// A name, or all names of one label below a domain (RFC 6125 section 6.4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exact(Box<str>),
    Below(Box<str>),
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        match text.strip_prefix("*.") {
            Some(domain) => Self::Below(domain.to_ascii_lowercase().into()),
            None if text.contains("://") => Self::Exact(text.into()),
            None => Self::Exact(text.to_ascii_lowercase().into()),
        }
    }

    fn takes(&self, name: &AlternativeName) -> bool {
        match (self, name) {
            (Self::Exact(own), AlternativeName::Dns(name)) => own == name,
            (Self::Exact(own), AlternativeName::Email(name)) => own.eq_ignore_ascii_case(name),
            (Self::Exact(own), AlternativeName::Uri(name)) => own == name,
            (Self::Exact(own), AlternativeName::Address(name)) => own.parse::<IpAddr>().is_ok_and(|own| own == *name),
            (Self::Below(domain), AlternativeName::Dns(name)) => {
                name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && label != "*" && *rest == **domain)
            }
            (Self::Below(_), _) => false,
        }
    }
}

impl Certificates {
    pub(crate) fn verify(&self, request: &View<'_>) -> Result<Arc<Identity>, Doubt> {
        let shown = request.client.tls.as_ref().and_then(|tls| tls.client.as_deref()).ok_or(Doubt::Missing)?;
        let Some(trusted) = &self.trusted else {
            return match self.verdicts.get(&shown.shown) {
                Some(known) => Ok(known.identity),
                None => self.find_out(shown, 0, || Ok(None)),
            };
        };
        // What other authorities have vouched for, before their file changed, is found out anew; so is what has ended.
        let (authorities, now) = (trusted.get(), jiff::Timestamp::now().as_second());
        match self.verdicts.get(&shown.shown) {
            Some(Known { identity, until: Some(until), keys }) if keys == authorities.id && until > now => Ok(identity),
            _ => self.find_out(shown, authorities.id, || trusted.verify(&authorities, shown, now).map(Some)),
        }
    }

    /// Whether what it says is what is asked for; `vouch` says whether authorities vouch for that, and until when.
    fn find_out(
        &self,
        shown: &ClientCertificate,
        keys: u64,
        vouch: impl FnOnce() -> Result<Option<i64>, Doubt>,
    ) -> Result<Arc<Identity>, Doubt> {
        let printed = self.fingerprints.is_empty() || self.fingerprints.contains(&shown.fingerprint);
        let named = shown.names.iter().find(|name| self.names.iter().any(|own| own.takes(name)));
        let common = common_name(&shown.subject);
        let called = common.as_deref().filter(|name| self.commons.iter().any(|own| **own == **name));
        let any = self.names.is_empty() && self.commons.is_empty();
        if !printed || (named.is_none() && called.is_none() && !any) {
            return Err(Doubt::Invalid);
        }
        let until = vouch()?;
        let user = named.map(text).or_else(|| called.map(Into::into)).unwrap_or_else(|| shown.subject.clone());
        let mut identity = self.identity(shown, user, common.as_deref());
        self.forward.fill(&mut identity);
        let identity = Arc::new(identity);
        self.verdicts.put(shown.shown, Known { identity: identity.clone(), until, keys });
        Ok(identity)
    }

    fn identity(&self, shown: &ClientCertificate, user: Box<str>, common: Option<&str>) -> Identity {
        let claims = [
            ("sub", Claim::one(user.clone())),
            ("subject", Claim::one(shown.subject.clone())),
            ("serial", Claim::one(shown.serial.clone())),
            ("fingerprint", Claim::one(shown.fingerprint.clone())),
            ("san", Claim::list(shown.names.iter().map(text))),
        ];
        let common = common.map(|name| ("cn", Claim::one(name)));
        Identity {
            user: Some(user),
            claims: claims.into_iter().chain(common).map(|(name, claim)| (name.into(), claim)).collect(),
            ..Identity::new(self.policy.clone(), Credential::Certificate)
        }
    }
}

/// The one common name of a subject as RFC 4514 writes it. Of two each reader might take the other.
fn common_name(subject: &str) -> Option<String> {
    let mut names = Vec::new();
    let (mut part, mut escaped) = (String::new(), false);
    // A comma more ends the last part as well.
    for letter in subject.chars().chain([',']) {
        match letter {
            ',' | '+' if !escaped => names.extend(std::mem::take(&mut part).strip_prefix("CN=").map(plain)),
            _ => part.push(letter),
        }
        escaped = letter == '\\' && !escaped;
    }
    if names.len() == 1 { names.pop().flatten() } else { None }
}

/// A value without its escapes (RFC 4514 section 3); `None` for one that is no text.
fn plain(value: &str) -> Option<String> {
    if value.starts_with('#') {
        return None;
    }
    let (mut bytes, mut letters) = (Vec::new(), value.bytes());
    while let Some(letter) = letters.next() {
        let hex = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        match letter {
            b'\\' => match letters.next()? {
                first if first.is_ascii_hexdigit() => bytes.push(hex(first)? << 4 | hex(letters.next()?)?),
                other => bytes.push(other),
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn text(name: &AlternativeName) -> Box<str> {
    match name {
        AlternativeName::Dns(name) | AlternativeName::Email(name) | AlternativeName::Uri(name) => name.clone(),
        AlternativeName::Address(address) => address.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_common_name_or_none() {
        for (subject, name) in [
            ("CN=orders", Some("orders")),
            ("CN=orders,O=Partner\\, Inc.,C=DE", Some("orders")),
            ("O=Partner,CN=a\\,CN=b", Some("a,CN=b")),
            ("OU=x+CN=a\\+b\\\\", Some("a+b\\")),
            ("CN=\\0aa", Some("\na")),
            ("CN=a,CN=b", None),
            ("CN=a+CN=a", None),
            ("CN=#0c01", None),
            ("O=CN\\=a", None),
            ("O=x\\,CN=a", None),
            ("", None),
        ] {
            assert_eq!(common_name(subject).as_deref(), name, "{subject}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let takes = |pattern: &str, name: &str| Pattern::new(pattern).takes(&AlternativeName::Dns(name.into()));
        assert!(takes("*.Partner.example", "orders.partner.example"));
        assert!(takes("orders.partner.example", "orders.partner.example"));
        for name in
            ["partner.example", "a.b.partner.example", ".partner.example", "*.partner.example", "xpartner.example"]
        {
            assert!(!takes("*.partner.example", name), "{name}");
        }
        let uri = AlternativeName::Uri("spiffe://a/Orders".into());
        assert!(Pattern::new("spiffe://a/Orders").takes(&uri) && !Pattern::new("spiffe://a/orders").takes(&uri));
        assert!(Pattern::new("10.0.0.1").takes(&AlternativeName::Address("10.0.0.1".parse().unwrap())));
    }
}
