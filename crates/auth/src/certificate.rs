//! Client certificates, which the listener has verified: whose names are let in.

use std::{net::IpAddr, sync::Arc};

use filter::{AlternativeName, Claim, ClientCertificate, Credential, Identity, View};

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
    /// SHA-256 of certificates, of which it has to be any one.
    pub fingerprints: Box<[Box<str>]>,
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
        let hash = crate::keys::hash_of(&shown.fingerprint).ok_or(Doubt::Invalid)?;
        if let Some(known) = self.verdicts.get(&hash) {
            return Ok(known.identity);
        }
        let printed = self.fingerprints.is_empty() || self.fingerprints.contains(&shown.fingerprint);
        let named = shown.names.iter().find(|name| self.names.iter().any(|own| own.takes(name)));
        if !printed || (named.is_none() && !self.names.is_empty()) {
            return Err(Doubt::Invalid);
        }
        let mut identity = self.identity(shown, named);
        self.forward.fill(&mut identity);
        let identity = Arc::new(identity);
        self.verdicts.put(hash, Known { identity: identity.clone(), until: None, keys: 0 });
        Ok(identity)
    }

    fn identity(&self, shown: &ClientCertificate, named: Option<&AlternativeName>) -> Identity {
        let user: Box<str> = named.map_or_else(|| shown.subject.clone(), text);
        let claims = [
            ("sub", Claim::one(user.clone())),
            ("subject", Claim::one(shown.subject.clone())),
            ("serial", Claim::one(shown.serial.clone())),
            ("fingerprint", Claim::one(shown.fingerprint.clone())),
            ("san", Claim::list(shown.names.iter().map(text))),
        ];
        Identity {
            user: Some(user),
            claims: claims.into_iter().map(|(name, claim)| (name.into(), claim)).collect(),
            ..Identity::new(self.policy.clone(), Credential::Certificate)
        }
    }
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
