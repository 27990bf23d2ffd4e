//! A certificate authority for one test, the certificates it issues, and TLS from both sides.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::{Address, Stream, within};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate authority that exists for one test, with a folder for the files that a configuration names.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// What goes along with what it issues: its own certificate, where another authority has issued that.
    above: Vec<CertificateDer<'static>>,
    folder: tempfile::TempDir,
}

/// A certificate with its key, in memory and as files.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    serial: SerialNumber,
    /// The PEM file of the certificate.
    pub cert_file: PathBuf,
    /// The PEM file of the key.
    pub key_file: PathBuf,
}

/// No two certificates of a test have the same serial number.
static SERIAL: AtomicU64 = AtomicU64::new(1000);

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            serial: self.serial.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

/// Whom a TLS server asks for a certificate.
#[derive(Debug, Default)]
pub(crate) struct ServerTrust {
    pub(crate) client_ca: Option<CertificateDer<'static>>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority.
    pub fn new() -> Self {
        let (params, key) = (Self::own("maitred test authority"), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Self::with(Issuer::new(params, key), &certificate, Vec::new())
    }

    /// An authority below this one.
    pub fn intermediate(&self) -> Self {
        let (params, key) = (Self::own("maitred test intermediate"), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let above = std::iter::once(certificate.der()).chain(&self.above).cloned().collect();
        Self::with(Issuer::new(params, key), &certificate, above)
    }

    fn own(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn with(
        issuer: Issuer<'static, KeyPair>,
        certificate: &rcgen::Certificate,
        above: Vec<CertificateDer<'static>>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer, root: certificate.der().clone(), above, folder }
    }

    /// The PEM file of the authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The authority's own certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    /// Issues a certificate for these names (DNS names or IP addresses).
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.sign(names, Self::params(names))
    }

    /// Issues a certificate for these names that began a year ago and ends in so many days and an hour.
    pub fn issue_for(&self, names: &[&str], days: u64) -> Certificate {
        let mut params = Self::params(names);
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(365 * 86_400)).into();
        params.not_after = (now + Duration::from_secs(days * 86_400 + 3_600)).into();
        self.sign(names, params)
    }

    /// Issues a certificate for these names that ends so much from now.
    pub fn issue_lasting(&self, names: &[&str], lasts: Duration) -> Certificate {
        let mut params = Self::params(names);
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + lasts).into();
        self.sign(names, params)
    }

    fn params(names: &[&str]) -> CertificateParams {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params
    }

    /// The list of those of its certificates that it has taken back, in PEM.
    pub fn revoke(&self, certificates: &[&Certificate]) -> String {
        let now = SystemTime::now();
        let revoked = |certificate: &&Certificate| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: (now - Duration::from_secs(60)).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(60)).into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn sign(&self, names: &[&str], mut params: CertificateParams) -> Certificate {
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = names[0].replace('*', "wildcard");
        let (cert_file, key_file) =
            (self.folder.path().join(format!("{stem}.pem")), self.folder.path().join(format!("{stem}.key")));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let der = key.serialize_der();
        Certificate {
            chain: std::iter::once(certificate.der()).chain(&self.above).cloned().collect(),
            key: PrivateKeyDer::try_from(der).unwrap(),
            serial,
            cert_file,
            key_file,
        }
    }

    /// A TLS client that trusts this authority.
    pub fn client(&self) -> TlsClient {
        TlsClient {
            root: self.root(),
            name: "localhost".into(),
            alpn: Vec::new(),
            version: None,
            identity: None,
            expected: None,
        }
    }
}

impl Certificate {
    /// The certificate itself, as it is sent.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The two files' text: certificate and key.
    pub fn pem(&self) -> (String, String) {
        let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
        (read(&self.cert_file), read(&self.key_file))
    }

    pub(crate) fn server_config(self, alpn: &[&str], trust: &ServerTrust) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = match &trust.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(roots(ca.clone()));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(self.chain, self.key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn roots(root: CertificateDer<'static>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    roots
}

pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Stream> {
    let tls = TlsAcceptor::from(config).accept(tcp).await?;
    Ok(Stream::Tls(Box::new(TlsStream::Server(tls))))
}

/// A TLS client that is about to connect.
#[derive(Debug)]
pub struct TlsClient {
    root: CertificateDer<'static>,
    name: String,
    alpn: Vec<Vec<u8>>,
    version: Option<&'static SupportedProtocolVersion>,
    identity: Option<Certificate>,
    expected: Option<String>,
}

/// Checks the certificate against another name than the one asked for.
#[derive(Debug)]
struct Expecting {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Expecting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl TlsClient {
    /// Asks for this name (SNI) and expects a certificate for it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Expects a certificate for this name, whatever name it asks for.
    pub fn expecting(mut self, name: &str) -> Self {
        self.expected = Some(name.to_owned());
        self
    }

    /// Offers these protocols (ALPN).
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Speaks TLS 1.2 only.
    pub fn tls12(mut self) -> Self {
        self.version = Some(&rustls::version::TLS12);
        self
    }

    /// Speaks TLS 1.3 only.
    pub fn tls13(mut self) -> Self {
        self.version = Some(&rustls::version::TLS13);
        self
    }

    /// Shows this certificate when asked for one.
    pub fn identity(mut self, certificate: Certificate) -> Self {
        self.identity = Some(certificate);
        self
    }

    /// Connects; fails the test when the handshake does.
    pub async fn connect(self, address: &Address) -> Stream {
        let name = self.name.clone();
        match self.try_connect(address).await {
            Ok(stream) => stream,
            Err(error) => panic!("TLS handshake with {address} as {name} failed: {error}"),
        }
    }

    /// Connects.
    pub async fn try_connect(self, address: &Address) -> io::Result<Stream> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = match self.version {
            None => builder.with_safe_default_protocol_versions().unwrap(),
            Some(version) => builder.with_protocol_versions(&[version]).unwrap(),
        };
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots(self.root)), provider()).build().unwrap();
        let name = self.expected.unwrap_or_else(|| self.name.clone());
        let expecting = Expecting { name: ServerName::try_from(name).unwrap(), inner };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(expecting));
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key).unwrap(),
        };
        config.alpn_protocols = self.alpn;
        let name = ServerName::try_from(self.name).unwrap();
        let tcp = TcpStream::connect(address.socket()).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(config));
        let tls = within(format!("the TLS handshake with {address}"), connector.connect(name, tcp)).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
    }
}
