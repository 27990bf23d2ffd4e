//! Certificates found by the name that a client asks for.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::Certificate;

/// A listener's certificates, by name; never empty.
#[derive(Debug)]
pub struct Certificates {
    all: Vec<Certificate>,
    /// Exact names → the certificates that have them, in the order written.
    exact: HashMap<Box<str>, Vec<usize>>,
    /// What follows the `*.` of a wildcard → likewise.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl Certificates {
    pub(crate) fn new(all: Vec<Certificate>) -> Self {
        let mut exact: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, certificate) in all.iter().enumerate() {
            for name in certificate.names() {
                let entry = match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.into()),
                    None => exact.entry(name.into()),
                };
                entry.or_default().push(index);
            }
        }
        Self { all, exact, wildcard }
    }

    /// Every certificate, in the order written; the first is the default.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        self.all.iter()
    }

    /// Whether a certificate is valid for `host`, which is a name, an address, or a wildcard such as `*.example.com`.
    pub fn covers(&self, host: &str) -> bool {
        self.named(&canonical(host)).is_some()
    }

    /// Those for a canonical name: its own before those of the wildcard, which stands for exactly one label
    /// (RFC 9525 section 6.3).
    fn named(&self, name: &str) -> Option<&[usize]> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent).map(Vec::as_slice)
    }

    /// The certificate to serve: among those for the name the first that the client can verify, and the default when
    /// no name was asked for or none fits.
    fn select(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Certificate> {
        let named = name.and_then(|name| self.named(&canonical(name)));
        match named {
            Some(indexes) => {
                let mut candidates = indexes.iter().filter_map(|index| self.all.get(*index));
                let first = candidates.clone().next();
                candidates.find(|one| one.suits(schemes)).or(first)
            }
            None => self.all.iter().find(|one| one.suits(schemes)).or(self.all.first()),
        }
    }
}

/// In lower case, without the root's dot; nearly always as it came.
fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.select(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(&chosen.key))
    }
}

#[cfg(test)]
mod tests;
