//! Peers against real sockets: what is connected to, what is verified, what is reused, and how its errors read.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use document::{At, Report};
use filter::Reason;
use maitred_upstream as upstream;
use pingora_core::{BError, connectors::http::Connector};
use pingora_http::RequestHeader;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use telemetry::{Build, Metrics};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    time,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier},
};
use upstream::{Config, Fault, Pick, Reading, State, Timeouts, Upstream};

const SOON: Duration = Duration::from_secs(20);

fn compiled(written: Value) -> Upstream {
    let config: Config = serde_json::from_value(written).unwrap();
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let mut report = Report::new();
    let upstream = upstream::compile(&config, "users", &At::root(), &State::default(), &metrics, &mut report);
    assert!(!report.has_errors(), "{report:?}");
    upstream.unwrap()
}

fn pick(written: Value) -> Pick {
    compiled(written).pick(&[]).unwrap()
}

/// One request and its answer's status; the connection goes back into the pool. Tells whether it came from there.
async fn ask(connector: &Connector, pick: &Pick) -> Result<(u16, bool), BError> {
    ask_within(connector, pick, SOON).await
}

async fn ask_within(connector: &Connector, pick: &Pick, read: Duration) -> Result<(u16, bool), BError> {
    let peer = pick.peer(&Timeouts { connect: None, read, upload: None });
    let exchange = async {
        let (mut session, reused) = connector.get_http_session(&*peer).await?;
        let mut head = RequestHeader::build("GET", b"/", None)?;
        head.insert_header("Host", pick.host())?;
        session.set_read_timeout(peer.options.read_timeout);
        session.write_request_header(Box::new(head)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().unwrap().status.as_u16();
        while session.read_response_body().await?.is_some() {}
        connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
        Ok((status, reused))
    };
    time::timeout(SOON, exchange).await.unwrap()
}

async fn reading(pick: &Pick) -> Reading {
    Reading::of(&ask(&Connector::new(None), pick).await.unwrap_err().into_up())
}

/// Answers every request on a connection, which it takes to have no body.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|length| length > 0) {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            stream.flush().await.unwrap();
        }
    }
}

async fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// An origin that answers each first read with `bytes` and closes, or keeps silent where there are none.
async fn rude_origin(bytes: Option<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            match bytes {
                Some(bytes) => stream.write_all(bytes).await.unwrap(),
                None => silent.push(stream),
            }
        }
    });
    port
}

/// Authorities and the certificates that they sign, as files.
struct Paper {
    folder: TempDir,
}

impl Paper {
    fn new() -> Self {
        let paper = Self { folder: tempfile::tempdir().unwrap() };
        for authority in ["ours", "other"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, authority);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            paper.write(&format!("{authority}.pem"), &params.self_signed(&key).unwrap().pem());
            let issuer = Issuer::new(params, key);
            let key = KeyPair::generate().unwrap();
            let names = ["crm.internal".to_string(), "127.0.0.1".to_string()];
            let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            paper.write(&format!("{authority}-leaf.pem"), &leaf.pem());
            paper.write(&format!("{authority}-leaf.key"), &key.serialize_pem());
        }
        paper
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// An origin with the certificate of `ours`; `clients`: one that asks for a certificate by `ours` as well.
    async fn origin(&self, clients: bool) -> u16 {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let certificates = |name: &str| vec![CertificateDer::from_pem_file(self.path(name)).unwrap()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ours.pem"));
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.path("ours-leaf.key")).unwrap();
        let mut config = builder.with_single_cert(certificates("ours-leaf.pem"), key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "https is HTTP/1.1");
                        serve(stream).await;
                    }
                });
            }
        });
        port
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let pick = pick(json!({ "backends": format!("http://127.0.0.1:{}", origin().await) }));
    let connector = Connector::new(None);
    assert_eq!(ask(&connector, &pick).await.unwrap(), (200, false));
    assert_eq!(ask(&connector, &pick).await.unwrap(), (200, true));
}

#[tokio::test]
async fn a_reload_finds_its_connections_again() {
    let written = json!({ "backends": format!("http://127.0.0.1:{}", origin().await) });
    let connector = Connector::new(None);
    ask(&connector, &pick(written.clone())).await.unwrap();
    assert_eq!(ask(&connector, &pick(written)).await.unwrap(), (200, true));
}

#[tokio::test]
async fn a_named_backend_is_reached_at_its_addresses() {
    let config = Config::from_url(format!("http://localhost:{}", origin().await));
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let state = State::default();
    let users = upstream::compile(&config, "users", &At::root(), &state, &metrics, &mut Report::new()).unwrap();
    assert_eq!(state.first_resolution(SOON).await, []);
    let connector = Connector::new(None);
    let mut tried = Vec::new();
    // The origin listens on IPv4 only; `::1`, where this machine has it, is refused and given up at once.
    loop {
        let pick = users.pick(&tried).unwrap();
        match ask(&connector, &pick).await {
            Ok((status, _)) => break assert_eq!(status, 200),
            Err(error) => {
                let reading = Reading::of(&error.into_up());
                assert!(!reading.sent);
                pick.failed(reading, Duration::ZERO, true);
                tried.push(pick.endpoint());
                assert!(users.has_another_address(&tried));
            }
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_backend() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let pick = pick(json!({ "backends": format!("unix:{}", path.display()) }));
    assert_eq!((pick.address(), pick.host().as_bytes()), (None, &b"localhost"[..]));
    let connector = Connector::new(None);
    assert_eq!(ask(&connector, &pick).await.unwrap(), (200, false));
    assert_eq!(ask(&connector, &pick).await.unwrap(), (200, true));
}

#[tokio::test]
async fn the_backends_certificate_is_verified() {
    let paper = Paper::new();
    let port = paper.origin(false).await;
    let with = |url: String, tls: Value| pick(json!({ "backends": url, "tls": tls }));
    let by_ip = format!("https://127.0.0.1:{port}");
    let ours = paper.path("ours.pem");

    let connector = Connector::new(None);
    let trusted = with(by_ip.clone(), json!({ "ca": ours }));
    assert_eq!(ask(&connector, &trusted).await.unwrap(), (200, false), "an address is verified as one");
    assert_eq!(ask(&connector, &trusted).await.unwrap(), (200, true));
    let named = with(by_ip.clone(), json!({ "ca": ours, "sni": "crm.internal" }));
    assert_eq!(ask(&connector, &named).await.unwrap(), (200, false));

    let unknown = with(by_ip.clone(), json!({}));
    let other = with(by_ip.clone(), json!({ "ca": paper.path("other.pem") }));
    let misnamed = with(by_ip.clone(), json!({ "ca": ours, "sni": "other.internal" }));
    for refused in [unknown, other, misnamed] {
        // Through the connector that has an idle connection to the very address.
        let error = ask(&connector, &refused).await.unwrap_err().into_up();
        assert_eq!(Reading::of(&error), Reading { reason: Reason::UpstreamTls, fault: Fault::Backend, sent: false });
    }
    assert_eq!(ask(&connector, &with(by_ip, json!({ "verify": false }))).await.unwrap(), (200, false));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let paper = Paper::new();
    let port = paper.origin(true).await;
    let with = |leaf: Option<&str>| {
        let mut tls = json!({ "ca": paper.path("ours.pem") });
        if let Some(leaf) = leaf {
            tls["cert"] = paper.path(&format!("{leaf}.pem")).into();
            tls["key"] = paper.path(&format!("{leaf}.key")).into();
        }
        pick(json!({ "backends": format!("https://127.0.0.1:{port}"), "tls": tls }))
    };
    let connector = Connector::new(None);
    assert_eq!(ask(&connector, &with(Some("ours-leaf"))).await.unwrap(), (200, false));
    assert!(ask(&connector, &with(Some("other-leaf"))).await.is_err());
    assert!(ask(&connector, &with(None)).await.is_err(), "nor through a connection made with a certificate");
}

#[tokio::test]
async fn a_refused_connection_reads_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let read = reading(&pick(json!({ "backends": format!("http://127.0.0.1:{port}") }))).await;
    assert_eq!(read, Reading { reason: Reason::UpstreamRefused, fault: Fault::Backend, sent: false });
}

#[tokio::test]
async fn a_missing_unix_socket_is_unreachable() {
    let read = reading(&pick(json!({ "backends": "unix:/nowhere/app.sock" }))).await;
    assert_eq!(read, Reading { reason: Reason::UpstreamUnreachable, fault: Fault::Backend, sent: false });
}

#[tokio::test]
async fn an_origin_that_hangs_up_breaks_off_or_babbles() {
    for (bytes, reason) in [
        (&b""[..], Reason::UpstreamReset),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", Reason::UpstreamReset),
        (b"nonsense\r\n\r\n", Reason::UpstreamProtocol),
    ] {
        let port = rude_origin(Some(bytes)).await;
        let read = reading(&pick(json!({ "backends": format!("http://127.0.0.1:{port}") }))).await;
        assert_eq!(read, Reading { reason, fault: Fault::Backend, sent: true }, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_silent_origin_is_given_up_after_the_timeout() {
    let port = rude_origin(None).await;
    let http = pick(json!({ "backends": format!("http://127.0.0.1:{port}") }));
    let error = ask_within(&Connector::new(None), &http, Duration::from_millis(50)).await.unwrap_err().into_up();
    assert_eq!(Reading::of(&error), Reading { reason: Reason::UpstreamTimeout, fault: Fault::Backend, sent: true });
    // A silent TLS handshake ends with the limit for connecting.
    let pool = json!({ "connect": "50ms" });
    let tls = pick(json!({ "backends": format!("https://127.0.0.1:{port}"), "pool": pool }));
    let read = reading(&tls).await;
    assert_eq!(read, Reading { reason: Reason::ConnectTimeout, fault: Fault::Backend, sent: false });
}
