//! Certificates read from their files, with every mistake reported.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use document::{At, Code, Diagnostic, Report};
use rustls::{Error, InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    Certificate, CertificateConfig, Certificates,
    certificate::{self, Validity},
    files::Files,
    pem::{self, Sections},
    server,
};

/// How long before its end a certificate is warned about: 14 days, in seconds.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;

/// Reads and checks a listener's certificates at the time `now`, in seconds since the Unix epoch; `at` is the path of
/// the `tls` key. `None` when one of them is unusable, or when there is none.
pub(crate) fn certificates(
    written: &[CertificateConfig],
    at: &At,
    now: i64,
    files: &mut Files,
    report: &mut Report,
) -> Option<Certificates> {
    if written.is_empty() {
        let problem = Diagnostic::new(Code::E0106, "a TLS listener needs a certificate");
        report
            .push(problem.label(at, "this list is empty").help("write `{ cert = \"site.pem\", key = \"site.key\" }`"));
        return None;
    }
    let provider = server::provider();
    let loaded: Vec<_> = (written.iter().enumerate())
        .map(|(index, one)| Loader { at: at.index(index), now, provider: &provider, files, report }.load(one))
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
struct Loader<'a> {
    at: At,
    now: i64,
    provider: &'a CryptoProvider,
    files: &'a mut Files,
    report: &'a mut Report,
}

impl Loader<'_> {
    fn load(&mut self, written: &CertificateConfig) -> Option<Certificate> {
        let Some(file) = written.cert.as_deref() else {
            self.report.push(
                Diagnostic::new(Code::E0106, "a certificate needs `cert`, the file that holds it")
                    .label(&self.at, "`cert` is missing here"),
            );
            return None;
        };
        let at_cert = self.at.key("cert");
        let chain = self.read(file, &at_cert);
        let key = match written.key.as_deref() {
            Some(path) => self.key(path),
            None => chain.as_ref().and_then(|sections| self.key_beside(file, sections)),
        };
        let chain = self.chain(file, chain?.certificates)?;
        let facts = self.inspect(file, &chain)?;
        let key = Arc::new(self.pair(file, written, chain, key?)?);
        facts.usable.then(|| Certificate { file: file.into(), names: facts.names, validity: facts.validity, key })
    }

    /// The PEM sections of a file.
    fn read(&mut self, file: &str, at: &At) -> Option<Sections> {
        let text = match self.files.read(file) {
            Ok(text) => text,
            Err(error) => {
                let problem = Diagnostic::new(Code::E0601, format!("`{file}` cannot be read"));
                self.report.push(problem.label(at, reason(&error)));
                return None;
            }
        };
        match pem::read(&text) {
            Ok(sections) if sections.encrypted => {
                self.report.push(
                    Diagnostic::new(Code::E0401, format!("the private key in `{file}` is encrypted"))
                        .label(at, "nobody is there to type its passphrase")
                        .help(format!("decrypt it once: `openssl pkey -in {file} -out {file}.plain`")),
                );
                None
            }
            Ok(sections) => Some(sections),
            Err(problem) => {
                self.unusable(format!("`{file}` {problem}"), at, "not a PEM file that can be read");
                None
            }
        }
    }

    fn key(&mut self, file: &str) -> Option<PrivateKeyDer<'static>> {
        let at = self.at.key("key");
        let sections = self.read(file, &at)?;
        let Some(key) = sections.key else {
            let problem = Diagnostic::new(Code::E0401, format!("`{file}` holds no private key"))
                .label(&at, "no `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY` section");
            self.report.push(match sections.certificates.is_empty() {
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
            self.report.push(
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
            self.report.push(
                Diagnostic::new(Code::W0602, format!("the private key in `{file}` can be read by every user"))
                    .label(at, format!("its mode is {:04o}", mode & 0o7777))
                    .help(format!("run `chmod o-rwx {file}`")),
            );
        }
    }

    fn chain(
        &mut self,
        file: &str,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Option<Vec<CertificateDer<'static>>> {
        if certificates.is_empty() {
            self.unusable(
                format!("`{file}` holds no certificate"),
                &self.at.key("cert"),
                "no `CERTIFICATE` section in this file",
            );
            return None;
        }
        Some(certificates)
    }

    /// Checks each certificate of the chain; `None` when one cannot even be parsed.
    fn inspect(&mut self, file: &str, chain: &[CertificateDer<'static>]) -> Option<Facts> {
        let at = self.at.key("cert");
        let mut parsed = Vec::with_capacity(chain.len());
        for (index, der) in chain.iter().enumerate() {
            match X509Certificate::from_der(der) {
                Ok((_, certificate)) => parsed.push(certificate),
                Err(_) => {
                    self.unusable(format!("{} cannot be read", nth(index, file)), &at, "not an X.509 certificate");
                    return None;
                }
            }
        }
        let ordered = self.check_order(file, &parsed);
        let valid = parsed.iter().enumerate().fold(true, |all, (index, one)| self.check_dates(file, index, one) && all);
        let first = parsed.first()?;
        let names = certificate::names(first);
        if names.is_empty() {
            self.report.push(
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
        self.report.push(
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

    fn check_dates(&mut self, file: &str, index: usize, certificate: &X509Certificate<'_>) -> bool {
        let at = self.at.key("cert");
        let validity = certificate.validity();
        let (begins, ends) = (validity.not_before, validity.not_after);
        let left = ends.timestamp() - self.now;
        if left < 0 {
            let label = format!("it ended on {}, {} ago", date(ends), days(-left));
            self.unusable(format!("{} has expired", nth(index, file)), &at, label);
            return false;
        }
        if begins.timestamp() > self.now {
            let label = format!("it begins on {}, in {}", date(begins), days(begins.timestamp() - self.now));
            self.unusable(format!("{} is not valid yet", nth(index, file)), &at, label);
            return false;
        }
        if left < SOON {
            let label = format!("it ends on {}, in {}", date(ends), days(left));
            self.report.add(Code::W0401, &at, format!("{} expires soon", nth(index, file)), label);
        }
        true
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
                self.unusable(format!("the private key in `{key_file}` cannot be used"), &at, error.to_string());
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
                self.unusable(
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
        self.report.push(problem);
    }

    fn unusable(&mut self, message: impl Into<String>, at: &At, label: impl Into<String>) {
        self.report.add(Code::E0401, at, message, label);
    }
}

/// Why a file could not be read, without the number that `io::Error` appends.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        io::ErrorKind::IsADirectory => "this is a directory".into(),
        _ => error.to_string(),
    }
}

/// `the certificate in …` for the first of a file, `certificate 2 in …` for those after it.
fn nth(index: usize, file: &str) -> String {
    let file = Path::new(file).display();
    if index == 0 { format!("the certificate in `{file}`") } else { format!("certificate {} in `{file}`", index + 1) }
}

fn date(time: x509_parser::time::ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests;
