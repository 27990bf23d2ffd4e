//! Which certificates clients may show: the authorities that issue them and the lists of those that were taken back.

use std::sync::Arc;

use document::{At, Code, Diagnostic};
use rustls::{
    RootCertStore,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList, x509::X509Version,
};

use crate::{
    ClientAuth,
    certificate::Validity,
    reader::{Reader, nth},
    server,
    watch::{Ending, Subject},
};

/// Which certificates clients may show, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The file with the authorities that issue them: `client_ca`.
    pub ca: String,
    /// Whether a client must show one: `client_auth`.
    pub auth: ClientAuth,
    /// The file with the revocation lists, if there is one: `client_crl`.
    pub crl: Option<String>,
}

/// What verifies them.
pub(crate) struct Trust {
    pub verifier: Arc<dyn ClientCertVerifier>,
    pub ends: Vec<Ending>,
}

/// Reads and checks the files; `at` is the path of the listener's table.
pub(crate) fn compile(written: &Clients, at: &At, reader: &mut Reader<'_>) -> Option<Trust> {
    let mut ends = Vec::new();
    let roots = authorities(&written.ca, &at.key("client_ca"), reader, &mut ends);
    let revoked = match &written.crl {
        Some(file) => revocations(file, &at.key("client_crl"), reader, &mut ends),
        None => Some(Vec::new()),
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots?), server::provider())
        .with_crls(revoked?)
        .enforce_revocation_expiration();
    if written.auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    match builder.build() {
        Ok(verifier) => Some(Trust { verifier, ends }),
        // The authorities were added one by one, so that only a list can be at fault.
        Err(error) => {
            let file = written.crl.as_deref().unwrap_or(&written.ca);
            let message = format!("the revocation lists in `{file}` cannot be used");
            reader.unusable(message, &at.key("client_crl"), error.to_string());
            None
        }
    }
}

fn authorities(file: &str, at: &At, reader: &mut Reader<'_>, ends: &mut Vec<Ending>) -> Option<RootCertStore> {
    let certificates = reader.sections(file, at)?.certificates;
    let parsed = reader.parsed(file, at, &certificates)?;
    let (mut roots, mut good) = (RootCertStore::empty(), true);
    for (index, (der, certificate)) in certificates.iter().zip(&parsed).enumerate() {
        let what = nth(index, file);
        let validity = Validity::of(certificate.validity());
        good &= is_authority(&what, at, certificate, reader);
        good &= reader.check_dates(&what, at, validity);
        good &= trusted(&mut roots, &what, at, der, reader);
        ends.push(Ending { subject: Subject::ClientAuthority, file: file.into(), validity });
    }
    good.then_some(roots)
}

/// Whether it may issue others (RFC 5280 section 4.2.1.9). Version 1 could not say so yet.
fn is_authority(what: &str, at: &At, certificate: &X509Certificate<'_>, reader: &mut Reader<'_>) -> bool {
    let good = certificate.version() == X509Version::V1 || certificate.is_ca();
    if !good {
        reader.report.push(
            Diagnostic::new(Code::E0401, format!("{what} is not that of an authority"))
                .label(at, format!("`{}` may not issue certificates", certificate.subject()))
                .help("name the file with the authority that issues the clients' certificates"),
        );
    }
    good
}

fn trusted(
    roots: &mut RootCertStore,
    what: &str,
    at: &At,
    der: &CertificateDer<'static>,
    reader: &mut Reader<'_>,
) -> bool {
    roots
        .add(der.clone())
        .map_err(|error| reader.unusable(format!("{what} cannot be used"), at, error.to_string()))
        .is_ok()
}

fn revocations(
    file: &str,
    at: &At,
    reader: &mut Reader<'_>,
    ends: &mut Vec<Ending>,
) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let lists = reader.sections(file, at)?.revocations;
    if lists.is_empty() {
        reader.unusable(format!("`{file}` holds no revocation list"), at, "no `X509 CRL` section in this file");
        return None;
    }
    let mut good = true;
    for (index, der) in lists.iter().enumerate() {
        let what = format!("revocation list {} in `{file}`", index + 1);
        let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
            reader.unusable(format!("{what} cannot be read"), at, "not a list of revoked certificates");
            return None;
        };
        let Some(next) = list.next_update() else {
            reader.unusable(format!("{what} does not say until when it is good"), at, "it has no `nextUpdate`");
            return None;
        };
        let validity = Validity { not_before: list.last_update().timestamp(), not_after: next.timestamp() };
        good &= in_force(&what, at, validity, reader);
        ends.push(Ending { subject: Subject::RevocationList, file: file.into(), validity });
    }
    good.then_some(lists)
}

/// A list that has ended would make us refuse every client. Lists live for days only: that one ends soon is no news.
fn in_force(what: &str, at: &At, validity: Validity, reader: &mut Reader<'_>) -> bool {
    let warnings = Validity { not_after: i64::MAX, ..validity };
    let over = validity.not_after < reader.now;
    reader.check_dates(what, at, if over { validity } else { warnings })
}

#[cfg(test)]
mod tests;
