//! What the self-test writes: a folder of its own, certificates, and one configuration after the other.

use std::{
    fs::{self, DirBuilder},
    io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use tokio_rustls::TlsConnector;

/// A folder that nobody else gets into, removed when this is dropped, and an authority that exists for this run.
pub struct Folder {
    path: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

/// What a configuration of the run says.
pub struct Wording {
    /// Where the service is.
    pub service: SocketAddr,
    /// How long streams under way are let end.
    pub grace: Duration,
}

impl Folder {
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("maitred-selftest-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "maitred selftest");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let root = params.self_signed(&key).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).map_err(io::Error::other)?;
        Ok(Self { path, issuer: Issuer::new(params, key), roots: Arc::new(roots) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a file in the place of another in one step.
    pub fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let beside = self.file(&format!("{name}.new"));
        fs::write(&beside, text)?;
        fs::rename(beside, self.file(name))
    }

    /// Puts another certificate in the place of the one that there is.
    pub fn renew_certificate(&self) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        self.put("site.pem", &format!("{}{}", certificate.pem(), key.serialize_pem()))
    }

    /// A client that trusts the certificates of the run alone, and resumes sessions where it is told to.
    pub fn client(&self, resumes: bool) -> TlsConnector {
        let mut config = ClientConfig::builder().with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        TlsConnector::from(Arc::new(config))
    }

    /// Writes the configuration number `number`. Something differs each time; every third time the listener differs, so
    /// that its connections are told to end, and every second one has a listener, a route and an upstream more.
    pub fn configure(&self, number: usize, wording: &Wording) -> io::Result<()> {
        let Wording { service, grace } = wording;
        let certificate = self.file("site.pem");
        let mut text = format!(
            "[server]\ngrace_period = \"{}s\"\n[logging]\naccess = false\n[admin]\naddress = []\n\
             [listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\nmax_connections = {}\n\
             [listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {certificate:?}, key = {certificate:?} }}\n\
             [upstreams.service]\nbackends = \"http://{service}\"\n\
             [routes.answer]\npath = \"/answer\"\nrespond = {{ body = \"{number}\" }}\n\
             [routes.all]\npath = \"/*\"\nupstream = \"service\"\nmax_body = false\n",
            grace.as_secs(),
            10_000 + number / 3,
        );
        if number.is_multiple_of(2) {
            text.push_str(&format!(
                "[listeners.sometimes]\naddress = \"127.0.0.1:0\"\n\
                 [upstreams.sometimes]\nbackends = \"http://{service}\"\n\
                 [routes.sometimes]\npath = \"/sometimes\"\nupstream = \"sometimes\"\n"
            ));
        }
        self.put("maitred.toml", &text)
    }

    /// Writes a configuration that cannot be.
    pub fn misconfigure(&self) -> io::Result<()> {
        self.put("maitred.toml", "[routes.answer]\npath = \"/answer\"\nupstream = \"nowhere\"\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it lies in the folder for temporary files, and says whose it was.
        let _ = fs::remove_dir_all(&self.path);
    }
}
