//! Certificates read from their files, with every mistake reported.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use document::{At, Code, Diagnostic};
use rustls::{Error, InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;

use crate::{
    Certificate, CertificateConfig, Certificates,
    certificate::{self, Validity},
    pem::Sections,
    reader::{Reader, nth},
    server,
};

/// Reads and checks a listener's certificates; `at` is the path of the `tls` key. `None` when one of them is unusable, or
/// when there is none.
pub(crate) fn certificates(written: &[CertificateConfig], at: &At, reader: &mut Reader<'_>) -> Option<Certificates> {
    if written.is_empty() {
        let problem =
            Diagnostic::new(Code::E0106, "a TLS listener needs a certificate").label(at, "this list is empty");
        reader.report.push(problem.help("write `{ cert = \"site.pem\", key = \"site.key\" }`"));
        return None;
    }
    let provider = server::provider();
    let loaded: Vec<_> = (written.iter().enumerate())
        .map(|(index, one)| Loader { at: at.index(index), provider: &provider, reader }.load(one))
        .collect();
    loaded.into_iter().collect::<Option<Vec<_>>>().map(Certificates::new)
}

/// What a chain says about itself.
struct Facts {
    names: Vec<Box<str>>,
    validity: Validity,
    /// Whether it is in order and valid today.
    usable: bool,
}

/// The loading of one certificate.
struct Loader<'a, 'r> {
    at: At,
    provider: &'a CryptoProvider,
    reader: &'a mut Reader<'r>,
}

impl Loader<'_, '_> {
    fn load(&mut self, written: &CertificateConfig) -> Option<Certificate> {
        let Some(file) = written.cert.as_deref() else {
            self.reader.report.push(
                Diagnostic::new(Code::E0106, "a certificate needs `cert`, the file that holds it")
                    .label(&self.at, "`cert` is missing here"),
            );
            return None;
        };
        let at_cert = self.at.key("cert");
        let chain = self.reader.sections(file, &at_cert);
        let key = match written.key.as_deref() {
            Some(path) => self.key(path),
            None => chain.as_ref().and_then(|sections| self.key_beside(file, sections)),
        };
        let chain = chain?.certificates;
        let facts = self.inspect(file, &chain)?;
        let key = Arc::new(self.pair(file, written, chain, key?)?);
        facts.usable.then(|| Certificate { file: file.into(), names: facts.names, validity: facts.validity, key })
    }

    fn key(&mut self, file: &str) -> Option<PrivateKeyDer<'static>> {
        let at = self.at.key("key");
        let sections = self.reader.sections(file, &at)?;
        let Some(key) = sections.key else {
            let problem = Diagnostic::new(Code::E0401, format!("`{file}` holds no private key"))
                .label(&at, "no `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY` section");
            self.reader.report.push(match sections.certificates.is_empty() {
                true => problem,
                false => problem.help("it holds a certificate: perhaps `cert` and `key` are the wrong way round"),
            });
            return None;
        };
        self.warn_when_open(file, &at);
        Some(key)
    }

    /// The key in the file of the certificate itself.
    fn key_beside(&mut self, file: &str, sections: &Sections) -> Option<PrivateKeyDer<'static>> {
        let Some(key) = &sections.key else {
            self.reader.report.push(
                Diagnostic::new(Code::E0106, "a certificate needs `key`, the file with its private key")
                    .label(&self.at, "`key` is missing here, and `cert` holds no private key either"),
            );
            return None;
        };
        self.warn_when_open(file, &self.at.key("cert"));
        Some(key.clone_key())
    }

    fn warn_when_open(&mut self, file: &str, at: &At) {
        let Ok(facts) = fs::metadata(file) else { return };
        let mode = facts.permissions().mode();
        if mode & 0o004 != 0 {
            self.reader.report.push(
                Diagnostic::new(Code::W0602, format!("the private key in `{file}` can be read by every user"))
                    .label(at, format!("its mode is {:04o}", mode & 0o7777))
                    .help(format!("run `chmod o-rwx {file}`")),
            );
        }
    }

    /// Checks each certificate of the chain; `None` when one cannot even be parsed.
    fn inspect(&mut self, file: &str, chain: &[CertificateDer<'static>]) -> Option<Facts> {
        let at = self.at.key("cert");
        let parsed = self.reader.parsed(file, &at, chain)?;
        let ordered = self.check_order(file, &parsed);
        let valid = parsed.iter().enumerate().fold(true, |all, (index, one)| {
            self.reader.check_dates(&nth(index, file), &at, Validity::of(one.validity())) && all
        });
        let first = parsed.first()?;
        let names = certificate::names(first);
        if names.is_empty() {
            self.reader.report.push(
                Diagnostic::new(Code::W0401, format!("the certificate in `{file}` names no host"))
                    .label(&at, "it has no subjectAltName, so clients will refuse it"),
            );
        }
        let validity = parsed.iter().map(|one| Validity::of(one.validity())).min_by_key(|one| one.not_after)?;
        Some(Facts { names, validity, usable: ordered && valid })
    }

    /// RFC 8446 section 4.4.2: the server's certificate comes first; each of the others should certify the one before.
    fn check_order(&mut self, file: &str, chain: &[X509Certificate<'_>]) -> bool {
        let issued = |pair: &[X509Certificate<'_>]| pair[0].issuer().as_raw() == pair[1].subject().as_raw();
        let Some(index) = chain.windows(2).position(|pair| !issued(pair)) else { return true };
        self.reader.report.push(
            Diagnostic::new(Code::E0401, format!("the chain in `{file}` is not in order"))
                .label(
                    self.at.key("cert"),
                    format!("certificate {} was not issued by certificate {}", index + 1, index + 2),
                )
                .note(format!(
                    "certificate {} is of `{}`, issued by `{}`",
                    index + 1,
                    chain[index].subject(),
                    chain[index].issuer()
                ))
                .note(format!("certificate {} is of `{}`", index + 2, chain[index + 1].subject()))
                .help("put the server's certificate first, then the one that issued it, and so on"),
        );
        false
    }

    /// Joins chain and key, when the key is that of the first certificate.
    fn pair(
        &mut self,
        file: &str,
        written: &CertificateConfig,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Option<CertifiedKey> {
        let (at, key_file) = match written.key.as_deref() {
            Some(path) => (self.at.key("key"), path),
            None => (self.at.key("cert"), file),
        };
        let key = match self.provider.key_provider.load_private_key(key) {
            Ok(key) => key,
            Err(error) => {
                self.reader.unusable(format!("the private key in `{key_file}` cannot be used"), &at, error.to_string());
                return None;
            }
        };
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(certified),
            Err(Error::InconsistentKeys(_)) => {
                self.mismatch(file, key_file, &at, &certified);
                None
            }
            Err(error) => {
                self.reader.unusable(
                    format!("the certificate in `{file}` cannot be used"),
                    &self.at.key("cert"),
                    error.to_string(),
                );
                None
            }
        }
    }

    /// The key is not that of the first certificate; perhaps it is that of a later one.
    fn mismatch(&mut self, file: &str, key_file: &str, at: &At, certified: &CertifiedKey) {
        let mut problem =
            Diagnostic::new(Code::E0401, format!("`{key_file}` is not the key of the certificate in `{file}`"))
                .label(at, "this key belongs to another certificate");
        if *at != self.at.key("cert") {
            problem = problem.label(self.at.key("cert"), "the certificate");
        }
        let belongs = |der: &CertificateDer<'static>| {
            CertifiedKey::new(vec![der.clone()], Arc::clone(&certified.key)).keys_match().is_ok()
        };
        if let Some(index) = certified.cert.iter().position(belongs) {
            problem = problem
                .note(format!("it is the key of certificate {} of the file", index + 1))
                .help("put the server's certificate first, then the one that issued it, and so on");
        }
        self.reader.report.push(problem);
    }
}

#[cfg(test)]
mod tests;
