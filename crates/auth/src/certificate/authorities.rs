//! The authorities that a policy asks for. The listener may trust more of them than a route is to let in.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::Guard;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::Followed;
use filter::ClientCertificate;
use rustls::{
    CertificateError, Error, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::X509Version};

use crate::{policy::Doubt, verdicts::Verdicts};

/// How many certificates are remembered that are from none of them: in a memory of their own, so that they drive no good
/// ones out.
const REFUSED: usize = 1024;

/// For how many seconds: one that is not valid yet may be later.
const REFUSAL: i64 = 30;

/// The authorities of a file, as it is now, and who was found not to be from any.
pub(crate) struct Trusted {
    file: Arc<Followed<Authorities>>,
    refused: Verdicts<Refusal>,
}

/// Why a certificate was refused, until when that is believed, and by which authorities.
#[derive(Debug, Clone)]
struct Refusal {
    doubt: Doubt,
    until: i64,
    id: u64,
}

/// Authorities. No two sets have the same `id`, so that what was found with one is not believed with another.
pub(crate) struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    pub(crate) id: u64,
}

impl Trusted {
    pub(crate) fn new(file: Arc<Followed<Authorities>>) -> Self {
        Self { file, refused: Verdicts::new(REFUSED) }
    }

    /// Those of the file now.
    pub(crate) fn get(&self) -> Guard<Arc<Authorities>> {
        self.file.get()
    }

    /// Until when the certificate is one of theirs, with what came along, in seconds since 1970.
    pub(crate) fn verify(&self, authorities: &Authorities, shown: &ClientCertificate, now: i64) -> Result<i64, Doubt> {
        if let Some(Refusal { doubt, until, id }) = self.refused.get(&shown.shown)
            && id == authorities.id
            && until > now
        {
            return Err(doubt);
        }
        let verdict = authorities.verify(shown, now);
        if let Err(doubt) = verdict {
            self.refused.put(shown.shown, Refusal { doubt, until: now + REFUSAL, id: authorities.id });
        }
        verdict
    }
}

impl Authorities {
    /// Reads a file in PEM, at a time in seconds since 1970. The error is a sentence.
    pub(crate) fn read(pem: &[u8], now: i64) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|error| format!("this is not PEM: {error}"))?;
        if found.is_empty() {
            return Err("there is no certificate in it".into());
        }
        let mut roots = RootCertStore::empty();
        for (index, der) in found.iter().enumerate() {
            let wrong = |what: String| format!("certificate {} {what}", index + 1);
            let (_, read) = X509Certificate::from_der(der).map_err(|_| wrong("cannot be read".into()))?;
            // RFC 5280 section 4.2.1.9. Version 1 could not say so yet.
            if !read.is_ca() && read.version() != X509Version::V1 {
                return Err(wrong(format!("is not that of an authority: `{}` may not issue any", read.subject())));
            }
            if read.validity().not_after.timestamp() < now {
                return Err(wrong("has expired".into()));
            }
            roots.add(der.clone()).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), default_provider().into());
        let verifier = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { verifier, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Whether it is from one of them, valid, and meant for clients (RFC 5280 section 6), as in a handshake.
    fn verify(&self, shown: &ClientCertificate, now: i64) -> Result<i64, Doubt> {
        let der = leaf(shown).ok_or(Doubt::Invalid)?;
        let der = CertificateDer::from(der);
        let above: Vec<CertificateDer<'_>> =
            shown.intermediates.iter().map(|der| CertificateDer::from(&**der)).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        match self.verifier.verify_client_cert(&der, &above, time) {
            Ok(_) => {
                Ok(std::iter::once(&der).chain(&above).filter_map(end).filter(|end| *end >= now).min().unwrap_or(now))
            }
            Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
                Err(Doubt::Expired)
            }
            Err(_) => Err(Doubt::Invalid),
        }
    }
}

/// The certificate itself, which is kept as `Client-Cert` carries it (RFC 8941 section 3.3.5).
fn leaf(shown: &ClientCertificate) -> Option<Vec<u8>> {
    let text = shown.field.to_str().ok()?.strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(text).ok()
}

/// When it ends. What has ended already is on no path that was found good.
fn end(der: &CertificateDer<'_>) -> Option<i64> {
    Some(X509Certificate::from_der(der).ok()?.1.validity().not_after.timestamp())
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trusted({})", self.file.path().display())
    }
}

#[cfg(test)]
mod tests;
