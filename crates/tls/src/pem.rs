//! What a PEM file holds: certificates, revocation lists, and at most one private key.

use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer,
    PrivateSec1KeyDer,
    pem::{self, SectionKind},
};

/// The sections of a PEM file that matter here, in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// The certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The first private key.
    pub key: Option<PrivateKeyDer<'static>>,
    /// The certificate revocation lists.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// Whether there is a private key that needs a passphrase.
    pub encrypted: bool,
}

/// Reads the sections of `text`; the error is the rest of a sentence that begins with the file.
pub(crate) fn read(text: &[u8]) -> Result<Sections, String> {
    let mut found = Sections { encrypted: is_encrypted(text), ..Sections::default() };
    if found.encrypted {
        return Ok(found);
    }
    let mut rest = text;
    while let Some((kind, der)) = pem::from_buf(&mut rest).map_err(|error| explain(&error))? {
        match kind {
            SectionKind::Certificate => found.certificates.push(CertificateDer::from(der)),
            SectionKind::PrivateKey => found.key = found.key.or(Some(PrivatePkcs8KeyDer::from(der).into())),
            SectionKind::RsaPrivateKey => found.key = found.key.or(Some(PrivatePkcs1KeyDer::from(der).into())),
            SectionKind::EcPrivateKey => found.key = found.key.or(Some(PrivateSec1KeyDer::from(der).into())),
            SectionKind::Crl => found.revocations.push(CertificateRevocationListDer::from(der)),
            _ => {}
        }
    }
    Ok(found)
}

/// PKCS #8 (RFC 5958 section 3) and the older OpenSSL form (RFC 1421 section 4.6.1.1) of an encrypted key.
fn is_encrypted(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "breaks off inside a PEM section".into(),
        pem::Error::IllegalSectionStart { .. } => "has a damaged `-----BEGIN …-----` line".into(),
        pem::Error::Base64Decode(_) => "has a PEM section that is not base64".into(),
        other => format!("is not PEM: {other}"),
    }
}
