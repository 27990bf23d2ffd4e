//! One certificate with its key, ready to be served.

use std::{net::IpAddr, sync::Arc};

use rustls::{SignatureScheme, sign::CertifiedKey};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// A certificate that has passed every check, with its chain and key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(crate) file: Box<str>,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) validity: Validity,
    pub(crate) key: Arc<CertifiedKey>,
}

/// From when to when something is valid, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    pub(crate) fn of(validity: &x509_parser::certificate::Validity) -> Self {
        Self { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() }
    }
}

impl Certificate {
    /// The file that it was read from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The hosts that it is valid for (subjectAltName, RFC 5280 section 4.2.1.6), in lower case: names, wildcards such
    /// as `*.example.com`, and addresses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// When it ends, in seconds since the Unix epoch: the earliest end in its chain.
    pub fn not_after(&self) -> i64 {
        self.validity.not_after
    }

    /// From when to when it is valid: that of the certificate in its chain that ends first.
    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether its key can sign in one of the ways that a client verifies.
    pub(crate) fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }
}

/// The names that a certificate is valid for. The common name is not one of them (RFC 9525 section 6.3): no browser
/// has looked at it for years.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<Box<str>> {
    match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase().into()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(address.to_string().into())
        }
        _ => None,
    }
}
