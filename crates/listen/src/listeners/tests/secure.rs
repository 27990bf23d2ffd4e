//! Listeners with TLS.

use std::{fs, path::Path};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// A self-signed certificate in files: `{ cert, key }` as written, and what a client is to trust.
fn certificate(folder: &Path, name: &str) -> (String, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let file = |ending: &str| folder.join(format!("{}.{ending}", name.replace('*', "_")));
    fs::write(file("pem"), made.cert.pem()).unwrap();
    fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    let written = format!(r#"{{ "cert": "{}", "key": "{}" }}"#, file("pem").display(), file("key").display());
    (written, made.cert.der().clone())
}

/// A client that trusts `roots` and offers `alpn`.
fn client(
    roots: &[CertificateDer<'static>],
    alpn: &[&str],
    version: &'static rustls::SupportedProtocolVersion,
) -> TlsConnector {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).unwrap());
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(connector: &TlsConnector, at: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(at).await?;
    timeout(LONG, connector.connect(ServerName::try_from(name.to_owned()).unwrap(), tcp)).await.unwrap()
}

#[tokio::test]
async fn each_name_gets_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.test", "*.b.test", "c.b.test"];
    let (written, roots): (Vec<_>, Vec<_>) = names.iter().map(|name| certificate(folder.path(), name)).unzip();
    let mut house = House::new();
    let config = format!(r#"{{ "address": "127.0.0.1:0", "tls": [{}] }}"#, written.join(","));
    let local = house.open("tls", &config).await.unwrap();
    let connector = client(&roots, &["h2", "http/1.1"], &TLS13);
    for (name, expected) in [("a.test", 0), ("x.b.test", 1), ("c.b.test", 2)] {
        let mut stream = connect(&connector, local, name).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], roots[expected], "{name}");
        exchange(&mut stream, "hello").await;
        let (connection, alpn, _) = house.seen().await;
        assert!(matches!(alpn, Some(ALPN::H2)));
        let facts = connection.tls.as_ref().unwrap();
        assert_eq!((facts.version, facts.server_name.as_deref()), ("TLSv1.3", Some(name)));
        assert!(facts.cipher.starts_with("TLS_"), "{}", facts.cipher);
    }
    // A name that no certificate covers gets the first; the client decides.
    assert!(connect(&connector, local, "unknown.test").await.is_err());
}

#[tokio::test]
async fn protocols_and_versions_are_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let (written, root) = certificate(folder.path(), "a.test");
    let mut house = House::new();
    let both = house.open("both", &format!(r#"{{ "address": "127.0.0.1:0", "tls": {written} }}"#)).await.unwrap();
    let config = format!(r#"{{ "address": "127.0.0.1:0", "protocols": "h1", "tls": {written} }}"#);
    let only = house.open("only", &config).await.unwrap();
    let roots = [root];
    for (at, offered, version, expected) in [
        (both, &["h2", "http/1.1"][..], &TLS13, Some("h2")),
        (both, &["http/1.1", "h2"], &TLS12, Some("h2")),
        (both, &["http/1.1"], &TLS12, Some("http/1.1")),
        (both, &[], &TLS13, None),
        (only, &["h2", "http/1.1"], &TLS13, Some("http/1.1")),
    ] {
        let mut stream = connect(&client(&roots, offered, version), at, "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected.map(str::as_bytes));
        exchange(&mut stream, "hello").await;
        let (connection, _, _) = house.seen().await;
        let words = if version == &TLS13 { "TLSv1.3" } else { "TLSv1.2" };
        assert_eq!(connection.tls.as_ref().unwrap().version, words);
    }
    assert!(connect(&client(&roots, &["h2"], &TLS13), only, "a.test").await.is_err());
}

#[tokio::test]
async fn a_listener_without_http1_serves_none() {
    let folder = tempfile::tempdir().unwrap();
    let (written, root) = certificate(folder.path(), "a.test");
    let mut house = House::new();
    let config = format!(r#"{{ "address": "127.0.0.1:0", "protocols": "h2", "tls": {written} }}"#);
    let local = house.open("grpc", &config).await.unwrap();
    let roots = [root];
    exchange(&mut connect(&client(&roots, &["h2"], &TLS13), local, "a.test").await.unwrap(), "hello").await;
    assert!(closed(&mut connect(&client(&roots, &[], &TLS13), local, "a.test").await.unwrap()).await);
    assert!(connect(&client(&roots, &["http/1.1"], &TLS13), local, "a.test").await.is_err());
}

/// How the next handshake of `connector` goes.
async fn handshake(connector: &TlsConnector, at: SocketAddr) -> rustls::HandshakeKind {
    let mut stream = connect(connector, at, "a.test").await.unwrap();
    exchange(&mut stream, "hello").await; // the ticket comes with the first answer
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    stream.shutdown().await.unwrap();
    kind
}

#[tokio::test]
async fn sessions_are_resumed_by_whoever_has_the_keys() {
    use rustls::HandshakeKind::{Full, Resumed};
    let folder = tempfile::tempdir().unwrap();
    let (written, root) = certificate(folder.path(), "a.test");
    let config = format!(r#"{{ "address": "127.0.0.1:0", "tls": {written} }}"#);
    for version in [&TLS12, &TLS13] {
        let mut house = House::new();
        let local = house.open("tls", &config).await.unwrap();
        let connector = client(std::slice::from_ref(&root), &[], version);
        assert_eq!(handshake(&connector, local).await, Full);
        assert_eq!(handshake(&connector, local).await, Resumed);

        // The same listener, compiled anew: what a reload does.
        house.close("tls").await;
        let local = house.open("tls", &config).await.unwrap();
        assert_eq!(handshake(&connector, local).await, Resumed);
        // Another process that was given the keys: what an upgrade does.
        let mut successor = House::new();
        successor.keys.import(&house.keys.export()).unwrap();
        let local = successor.open("tls", &config).await.unwrap();
        assert_eq!(handshake(&connector, local).await, Resumed);
        // Another listener, and another process that was not.
        let local = successor.open("other", &config).await.unwrap();
        assert_eq!(handshake(&connector, local).await, Full);
        let mut foreign = House::new();
        let local = foreign.open("tls", &config).await.unwrap();
        assert_eq!(handshake(&connector, local).await, Full);
    }
}

#[tokio::test]
async fn a_stalled_handshake_is_closed_and_every_handshake_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (written, root) = certificate(folder.path(), "a.test");
    let mut house = House::new();
    let config = format!(r#"{{ "address": "127.0.0.1:0", "timeouts": {{ "header": "200ms" }}, "tls": {written} }}"#);
    let local = house.open("tls", &config).await.unwrap();

    let mut stalled = TcpStream::connect(local).await.unwrap();
    stalled.write_all(&[22, 3, 1]).await.unwrap();
    assert!(closed(&mut stalled).await);

    let mut plain = TcpStream::connect(local).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let mut alert = Vec::new();
    let _ = timeout(LONG, plain.read_to_end(&mut alert)).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert record: {alert:?}");

    drop(TcpStream::connect(local).await.unwrap());
    exchange(&mut connect(&client(&[root], &[], &TLS13), local, "a.test").await.unwrap(), "hello").await;
    timeout(LONG, house.listeners.idle()).await.unwrap();

    let text = house.metrics.encode();
    for (version, result) in [("-", "timeout"), ("-", "failed"), ("-", "closed"), ("TLSv1.3", "ok")] {
        let labels =
            [r#"listener="tls""#.to_owned(), format!(r#"version="{version}""#), format!(r#"result="{result}""#)];
        let of = |line: &&str| {
            line.starts_with("maitred_tls_handshakes_total") && labels.iter().all(|label| line.contains(label))
        };
        assert!(text.lines().find(of).is_some_and(|line| line.ends_with(" 1")), "{result}: {text}");
    }
}
