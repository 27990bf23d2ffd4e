//! Certificates, and whether clients must show one, as written in the configuration.

use schemars::JsonSchema;
use serde::Deserialize;

/// A certificate and its private key, both in PEM files.
///
/// A listener may have several; a client is given the one that covers the name it asks for: an exact name before a
/// wildcard, and the first of the list when none covers it. Two certificates for one name, such as one with an ECDSA
/// and one with an RSA key, are offered in the order written, to each client the first that it can verify.
///
/// Everything is checked when the configuration is loaded: that the files can be read, that the key belongs to the
/// certificate, that the chain is in order, and that every certificate of it is valid today. A certificate that ends
/// within 14 days, and a key file that every user of the machine can read, are warned about. One that has ended is an
/// error: no client would accept it. Files that change while maitred runs are checked and served without a reload;
/// what cannot be used is told of in the log, and the certificate from before is served on. A relative path starts at the directory that maitred runs in.
///
/// Example: `{ cert = "/etc/maitred/tls/api.pem", key = "/etc/maitred/tls/api.key" }`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CertificateConfig {
    /// The file with the certificate, followed by the intermediate certificates that lead to its root, each issued by
    /// the next. The root itself may be left out. Required.
    ///
    /// Example: `"/etc/letsencrypt/live/example.com/fullchain.pem"`
    pub cert: Option<String>,

    /// The file with the private key: PKCS #8 (`PRIVATE KEY`), PKCS #1 (`RSA PRIVATE KEY`) or SEC 1
    /// (`EC PRIVATE KEY`), not encrypted. May be left out when `cert` holds the key as well.
    ///
    /// Example: `"/etc/letsencrypt/live/example.com/privkey.pem"`
    pub key: Option<String>,
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// It may; one that it shows must be good.
    Optional,
    /// It must.
    Required,
}
