//! Whom to trust in a TLS handshake with a backend, and as whom to appear: the files, read and checked.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use document::{At, Code, Diagnostic, Report};
use pingora_core::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use rustls::{RootCertStore, crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::config::Tls;

/// A certificate that ends sooner than this is warned of.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// TLS towards the backends of one upstream.
#[derive(Debug)]
pub(crate) struct Trust {
    /// The authorities to trust instead of the system's.
    pub(crate) ca: Option<Arc<CaType>>,
    /// What to show of ourselves.
    pub(crate) client: Option<Arc<CertKey>>,
    /// The name to ask for and to verify, where it is not the backend's host.
    pub(crate) server_name: Option<String>,
    pub(crate) verify: bool,
    /// Differs wherever any of the certificates differ. Pingora's own key for reusing a connection knows neither the
    /// authorities nor more of a client certificate than its serial number.
    pub(crate) identity: u64,
}

impl Default for Trust {
    fn default() -> Self {
        Self { ca: None, client: None, server_name: None, verify: true, identity: 0 }
    }
}

/// Reads what `tls` names. The system's own authorities are Pingora's to load.
pub(crate) fn compile(tls: &Tls, at: &At, report: &mut Report) -> Option<Trust> {
    let errors = report.errors();
    let verify = tls.verify.unwrap_or(true);
    let ca = tls.ca.as_deref().and_then(|path| authorities(path, &at.key("ca"), report));
    let client = client(tls, at, report);
    let server_name = tls.sni.as_deref().and_then(|name| server_name(name, &at.key("sni"), report));
    if !verify {
        warn_unverified(tls, at, report);
    }
    if report.errors() > errors {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    ca.hash(&mut hasher);
    client.as_ref().map(|(chain, _)| chain).hash(&mut hasher);
    Some(Trust {
        ca: ca.map(|certificates| wrap(&certificates).into()),
        client: client.map(|(chain, key)| Arc::new(CertKey::new(chain, key))),
        server_name,
        verify,
        identity: hasher.finish(),
    })
}

fn wrap(certificates: &[Vec<u8>]) -> Vec<WrappedX509> {
    certificates.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect()
}

fn warn_unverified(tls: &Tls, at: &At, report: &mut Report) {
    let verify = at.key("verify");
    if tls.ca.is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "`ca` has no effect with `verify = false`")
                .label(at.key("ca"), "no certificate is checked against it")
                .label(&verify, "because of this")
                .help("delete `verify = false`"),
        );
    } else {
        report.push(
            Diagnostic::new(Code::W0402, "the backends' certificates are not verified")
                .label(&verify, "anyone who can redirect the traffic can read and change it")
                .help("name the authority that signs them with `ca`"),
        );
    }
}

fn server_name(name: &str, at: &At, report: &mut Report) -> Option<String> {
    // An empty name would make Pingora's connector verify nothing; `ServerName` refuses it.
    if ServerName::try_from(name).is_err() {
        report.add(Code::E0108, at, format!("`{name}` is not a server name"), "expected a host name or an IP address");
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// The certificates of a bundle, each as DER.
fn authorities(path: &str, at: &At, report: &mut Report) -> Option<Vec<Vec<u8>>> {
    let certificates = certificates(path, at, report)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        if let Err(error) = store.add(certificate.clone()) {
            unusable(path, at, &format!("holds a certificate that cannot be an authority: {error}"), report);
            return None;
        }
    }
    Some(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

/// The client's chain and its key, as DER.
fn client(tls: &Tls, at: &At, report: &mut Report) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let (cert, key) = match (&tls.cert, &tls.key) {
        (None, None) => return None,
        (Some(cert), Some(key)) => (cert, key),
        (cert, _) => {
            let (present, absent) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
            report.push(
                Diagnostic::new(Code::E0106, format!("`{present}` needs `{absent}`"))
                    .label(at.key(present), format!("there is no `{absent}` beside it"))
                    .help(format!("add `{absent} = \"/path/to/{absent}.pem\"`")),
            );
            return None;
        }
    };
    let (cert_at, key_at) = (at.key("cert"), at.key("key"));
    let chain = certificates(cert, &cert_at, report);
    let private = private_key(key, &key_at, report);
    let (chain, private) = (chain?, private?);
    let in_time = check_dates(cert, &chain[0], &cert_at, report);
    let signing = match aws_lc_rs::default_provider().key_provider.load_private_key(private.clone_key()) {
        Ok(signing) => signing,
        Err(error) => {
            unusable(key, &key_at, &format!("holds a key that cannot be used: {error}"), report);
            return None;
        }
    };
    if let Err(error) = CertifiedKey::new(chain.clone(), signing).keys_match() {
        report.push(
            Diagnostic::new(Code::E0401, format!("the key in `{key}` is not that of the certificate in `{cert}`"))
                .label(&key_at, error.to_string())
                .label(&cert_at, "the certificate"),
        );
        return None;
    }
    in_time.then(|| (chain.iter().map(|certificate| certificate.to_vec()).collect(), private.secret_der().to_vec()))
}

fn check_dates(path: &str, certificate: &CertificateDer<'_>, at: &At, report: &mut Report) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let validity = parsed.validity();
    if !validity.is_valid() {
        let text = format!("is valid from {} to {}", validity.not_before, validity.not_after);
        unusable(path, at, &text, report);
        return false;
    }
    let left = validity.time_to_expiration().map_or(Duration::ZERO, |left| left.unsigned_abs());
    if left < ENDS_SOON {
        let days = left.as_secs() / 86_400;
        report.add(Code::W0401, at, format!("the certificate in `{path}` expires in {days} days"), "renew it");
    }
    true
}

/// The certificates in a file, at least one, each of which Pingora can parse as well.
fn certificates(path: &str, at: &At, report: &mut Report) -> Option<Vec<CertificateDer<'static>>> {
    let text = read(path, at, report)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let problem = match found {
        Err(error) => format!("is not PEM: {error}"),
        Ok(found) if found.is_empty() => "holds no certificate".to_string(),
        Ok(found) => match found.iter().find_map(|der| X509Certificate::from_der(der).err()) {
            Some(error) => format!("holds a damaged certificate: {error}"),
            None => return Some(found),
        },
    };
    unusable(path, at, &problem, report);
    None
}

fn private_key(path: &str, at: &At, report: &mut Report) -> Option<PrivateKeyDer<'static>> {
    let text = read(path, at, report)?;
    let problem = match PrivateKeyDer::from_pem_slice(&text) {
        // Pingora hands the key on without its kind, which is then told from its bytes.
        Ok(key) if PrivateKeyDer::try_from(key.secret_der()).is_ok() => {
            warn_readable(path, at, report);
            return Some(key);
        }
        Ok(_) => "holds a key of an unknown kind".to_string(),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => "holds no private key without a passphrase".to_string(),
        Err(error) => format!("is not PEM: {error}"),
    };
    unusable(path, at, &problem, report);
    None
}

fn warn_readable(path: &str, at: &At, report: &mut Report) {
    let Ok(facts) = fs::metadata(path) else { return };
    if facts.permissions().mode() & 0o007 != 0 {
        report.push(
            Diagnostic::new(Code::W0602, format!("the private key `{path}` can be read by others"))
                .label(at, "every user of this machine can take it")
                .help(format!("chmod o= {path}")),
        );
    }
}

fn read(path: &str, at: &At, report: &mut Report) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(text) => Some(text),
        Err(error) => {
            report.add(Code::E0601, at, format!("cannot read `{path}`"), error.to_string());
            None
        }
    }
}

fn unusable(path: &str, at: &At, problem: &str, report: &mut Report) {
    report.add(Code::E0401, at, format!("`{path}` cannot be used for TLS"), format!("the file {problem}"));
}
