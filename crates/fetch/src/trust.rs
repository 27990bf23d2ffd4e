//! Which authorities a service's certificate may be from.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use document::{At, Code, Report};
use pingora_core::{
    protocols::tls::CaType,
    utils::tls::{WrappedX509, parse_x509},
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// The authorities of a file, or else the system's.
#[derive(Clone, Default)]
pub struct Trust {
    pub(crate) ca: Option<Arc<CaType>>,
    /// Differs wherever the authorities differ: Pingora's own key for reusing a connection does not know them.
    pub(crate) identity: u64,
}

impl Trust {
    /// Reads a bundle in PEM. The error says what the file does wrong.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|error| format!("is not PEM: {error}"))?;
        if found.is_empty() {
            return Err("holds no certificate".into());
        }
        let (mut store, mut hasher) = (RootCertStore::empty(), DefaultHasher::new());
        let mut wrapped = Vec::new();
        for certificate in &found {
            X509Certificate::from_der(certificate).map_err(|error| format!("holds a damaged certificate: {error}"))?;
            let unfit = |error| format!("holds a certificate that cannot be an authority: {error}");
            store.add(certificate.clone()).map_err(unfit)?;
            certificate.hash(&mut hasher);
            wrapped.push(WrappedX509::new(certificate.to_vec(), parse_x509));
        }
        Ok(Self { ca: Some(Arc::from(wrapped)), identity: hasher.finish() })
    }

    /// The authorities of the file that the key at `at` names; the system's where it names none.
    pub fn compile(path: Option<&str>, at: &At, report: &mut Report) -> Option<Self> {
        let Some(path) = path else { return Some(Self::default()) };
        document::guard(path.as_ref(), at, report);
        match std::fs::read(path) {
            Err(error) => report.add(Code::E0601, at, format!("cannot read `{path}`"), error.to_string()),
            Ok(pem) => match Self::read(&pem) {
                Ok(trust) => return Some(trust),
                Err(why) => report.add(Code::E0401, at, format!("`{path}` cannot be used"), format!("the file {why}")),
            },
        }
        None
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.identity.hash(hasher);
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ca.is_some() { "Trust(ca)" } else { "Trust(system)" })
    }
}
