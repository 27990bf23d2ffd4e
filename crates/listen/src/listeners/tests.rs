//! Listeners opened and closed under real connections.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use document::{At, Report};
use filter::Reason;
use pingora_core::protocols::ALPN;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName};
use telemetry::Metrics;
use tls::TicketKeys;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{Accepted, Connection};
use pingora_core::server::ShutdownWatch;

const LONG: Duration = Duration::from_secs(20);

/// Sends back what it is sent, and tells the test of every connection.
struct Echo {
    seen: mpsc::UnboundedSender<(Arc<Connection>, Option<ALPN>, String)>,
    turned_away: AtomicUsize,
}

#[async_trait]
impl Serve for Echo {
    async fn serve(self: Arc<Self>, accepted: Accepted, mut shutdown: ShutdownWatch) {
        let Accepted { mut stream, connection } = accepted;
        let digest = stream.get_socket_digest().and_then(|digest| digest.peer_addr().map(ToString::to_string));
        let seen = (connection, stream.selected_alpn_proto(), digest.unwrap_or_default());
        self.seen.send(seen).unwrap();
        let mut buffer = [0; 1024];
        loop {
            let count = tokio::select! {
                count = stream.read(&mut buffer) => count.unwrap_or(0),
                _ = shutdown.wait_for(|shutdown| *shutdown) => 0,
            };
            if count == 0 || buffer[..count].starts_with(b"panic") {
                assert_eq!(count, 0, "as the client wished");
                let _ = stream.shutdown().await;
                return;
            }
            stream.write_all(&buffer[..count]).await.unwrap();
            stream.flush().await.unwrap();
        }
    }

    fn turned_away(&self, _: &Connection, reason: Reason) {
        assert_eq!(reason, Reason::TooManyConnections);
        self.turned_away.fetch_add(1, Ordering::SeqCst);
    }
}

/// Listeners that echo, and what the echo has seen.
struct House {
    listeners: Listeners,
    written: BTreeMap<String, String>,
    echo: Arc<Echo>,
    seen: mpsc::UnboundedReceiver<(Arc<Connection>, Option<ALPN>, String)>,
    metrics: Metrics,
    keys: TicketKeys,
}

impl House {
    fn new() -> Self {
        let (seen, receiver) = mpsc::unbounded_channel();
        Self {
            listeners: Listeners::new(),
            written: BTreeMap::new(),
            echo: Arc::new(Echo { seen, turned_away: AtomicUsize::new(0) }),
            seen: receiver,
            metrics: metrics(),
            keys: TicketKeys::default(),
        }
    }

    /// Opens a listener from its configuration, or changes it, and returns where it is.
    async fn open(&mut self, name: &str, config: &str) -> Option<SocketAddr> {
        self.written.insert(name.into(), config.into());
        self.apply().await;
        self.local(name)
    }

    async fn close(&mut self, name: &str) -> Changed {
        self.written.remove(name);
        self.apply().await
    }

    async fn apply(&self) -> Changed {
        let change = self.prepare(&mut Inherited::default()).unwrap();
        timeout(LONG, self.make(change)).await.unwrap()
    }

    fn prepare(&self, inherited: &mut Inherited) -> Result<Change, BindError> {
        let wanted = self.written.iter().map(|(name, config)| listener(name, config, &self.keys)).collect();
        self.listeners.prepare(wanted, inherited)
    }

    async fn make(&self, change: Change) -> Changed {
        let serve: Arc<dyn Serve> = self.echo.clone();
        let staff = |listener: &Arc<Listener>| Staff {
            serve: Arc::clone(&serve),
            meters: self.metrics.listener(&listener.name),
        };
        self.listeners.apply(change, staff).await
    }

    /// Where a listener is.
    fn local(&self, name: &str) -> Option<SocketAddr> {
        let listener = self.listeners.all().into_iter().find(|listener| &*listener.name == name).unwrap();
        self.listeners.addresses(&listener)[0].1
    }

    async fn seen(&mut self) -> (Arc<Connection>, Option<ALPN>, String) {
        timeout(LONG, self.seen.recv()).await.unwrap().unwrap()
    }
}

fn listener(name: &str, config: &str, keys: &TicketKeys) -> Arc<Listener> {
    let mut report = Report::new();
    let config = serde_json::from_str(config).unwrap();
    crate::compile(name, &config, &At::root().key(name), keys, &mut report)
        .unwrap_or_else(|| panic!("{report:?}"))
        .into()
}

fn metrics() -> Metrics {
    Metrics::new(&telemetry::Build { version: "0", revision: "-", rustc: "-", tls: "-" })
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut read = vec![0; text.len()];
    timeout(LONG, stream.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, text.as_bytes());
}

/// Waits for the other end to close.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    matches!(timeout(LONG, stream.read(&mut [0])).await.unwrap(), Ok(0) | Err(_))
}

#[tokio::test]
async fn a_connection_is_served_and_known() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": ":0", "trusted_proxies": "127.0.0.0/8" }"#).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", local.port())).await.unwrap();
    exchange(&mut client, "hello").await;
    let (connection, alpn, peer) = house.seen().await;
    assert_eq!(&*connection.listener.name, "web");
    assert_eq!(connection.peer, Some(client.local_addr().unwrap()));
    assert_eq!(connection.local, Some(client.peer_addr().unwrap()));
    assert_eq!(peer, client.local_addr().unwrap().to_string());
    assert!(connection.is_trusted() && connection.tls.is_none() && alpn.is_none());
}

#[tokio::test]
async fn a_closed_listener_lets_its_connections_end_as_they_like() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    house.open("other", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    exchange(&mut client, "before").await;
    let (connection, ..) = house.seen().await;

    let other = house.local("other").unwrap();
    let mut unharmed = TcpStream::connect(other).await.unwrap();
    exchange(&mut unharmed, "before").await;
    assert_eq!(house.close("web").await, Changed { opened: 0, closed: 1, retired: 1 });
    assert!(TcpStream::connect(local).await.is_err());
    std::net::TcpListener::bind(local).unwrap();
    assert!(connection.is_closing());
    drop(connection);
    assert!(closed(&mut client).await);
    exchange(&mut unharmed, "after").await;
    drop(unharmed);
    timeout(LONG, house.listeners.idle()).await.unwrap();
    assert_eq!(house.listeners.live(), 0);
}

#[tokio::test]
async fn a_listener_that_stays_keeps_its_socket_and_its_connections() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    exchange(&mut client, "before").await;
    house.seen().await;
    for _ in 0..10 {
        assert_eq!(house.apply().await, Changed::default());
        exchange(&mut client, "after").await;
        exchange(&mut TcpStream::connect(local).await.unwrap(), "anew").await;
        house.seen().await;
    }
}

#[tokio::test]
async fn a_changed_listener_meets_new_connections_otherwise_and_ends_the_old() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0", "max_connections": 1 }"#).await.unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    exchange(&mut client, "before").await;
    let (connection, ..) = house.seen().await;
    assert_eq!(connection.listener.max_connections, 1);
    let changed = r#"{ "address": "127.0.0.1:0", "max_connections": 2 }"#;
    assert_eq!(house.open("web", changed).await, Some(local));
    assert!(closed(&mut client).await);
    exchange(&mut TcpStream::connect(local).await.unwrap(), "after").await;
    assert_eq!(house.seen().await.0.listener.max_connections, 2);
}

#[tokio::test]
async fn a_socket_goes_to_the_listener_that_has_its_address_now() {
    let mut house = House::new();
    let local = house.open("one", r#"{ "address": ":0" }"#).await.unwrap();
    let address = format!(r#"{{ "address": "127.0.0.1:{}" }}"#, local.port());
    house.written.remove("one");
    // The address that was listened on before takes these connections as well, until it is closed.
    house.open("two", &address).await.unwrap();
    exchange(&mut TcpStream::connect(("127.0.0.1", local.port())).await.unwrap(), "hello").await;
    assert_eq!(&*house.seen().await.0.listener.name, "two");
    house.written.remove("two");
    assert_eq!(house.open("three", &address).await.unwrap().port(), local.port());
    exchange(&mut TcpStream::connect(("127.0.0.1", local.port())).await.unwrap(), "hello").await;
    assert_eq!(&*house.seen().await.0.listener.name, "three");
    let port = local.port();
    let refused = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_change_that_cannot_be_made_changes_nothing() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    house.written.insert("free".into(), r#"{ "address": "127.0.0.1:0" }"#.into());
    house.written.insert("taken".into(), format!(r#"{{ "address": "127.0.0.1:{port}" }}"#));
    house.written.remove("web");
    let error = house.prepare(&mut Inherited::default()).unwrap_err();
    assert!(matches!(error.cause, BindCause::InUse(Some(_))), "{error:?}");
    exchange(&mut TcpStream::connect(local).await.unwrap(), "still here").await;
    assert_eq!(&*house.seen().await.0.listener.name, "web");
}

#[tokio::test]
async fn sockets_are_handed_over_with_what_waits_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let (mut old, mut new) = (House::new(), House::new());
    let local = old.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let unix = format!(r#"{{ "address": "unix:{}" }}"#, path.display());
    old.open("app", &unix).await;
    old.open("gone", r#"{ "address": "127.0.0.1:0" }"#).await;
    let gone = old.local("gone").unwrap();
    new.written = old.written.clone();
    new.written.remove("gone");

    let mut inherited: Inherited = old.listeners.copies().unwrap().into_iter().collect();
    let change = new.prepare(&mut inherited).unwrap();
    let left: Vec<Place> = inherited.left().cloned().collect();
    assert_eq!(left.len(), 1);
    drop(inherited);
    let all = old.listeners.copies().unwrap().into_iter().map(|(place, _)| place);
    let taken: HashSet<Place> = all.filter(|place| !left.contains(place)).collect();
    timeout(LONG, old.listeners.hand_over(&taken)).await.unwrap();
    // Nobody accepts at this moment, and nobody is refused.
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(std::net::TcpStream::connect(local).unwrap());
    }
    assert!(TcpStream::connect(gone).await.is_err());
    timeout(LONG, new.make(change)).await.unwrap();
    for client in waiting {
        client.set_nonblocking(true).unwrap();
        exchange(&mut TcpStream::from_std(client).unwrap(), "hello").await;
    }
    drop(old);
    exchange(&mut UnixStream::connect(&path).await.unwrap(), "the file is still there").await;
    new.listeners.close_all().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn retiring_reaches_connections() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    exchange(&mut client, "hello").await;
    house.seen().await;
    timeout(LONG, house.listeners.close_all()).await.unwrap();
    exchange(&mut client, "still here").await;
    house.listeners.retire_all();
    assert!(closed(&mut client).await);
    timeout(LONG, house.listeners.idle()).await.unwrap();
    assert!(TcpStream::connect(local).await.is_err());
}

#[tokio::test]
async fn connections_that_wait_when_a_listener_closes_are_served() {
    let mut house = House::new();
    house.written.insert("web".into(), r#"{ "address": "127.0.0.1:0" }"#.into());
    let change = house.prepare(&mut Inherited::default()).unwrap();
    let local = change.taken.values().next().unwrap().local.unwrap();
    let mut early = Vec::new();
    for _ in 0..20 {
        early.push(std::net::TcpStream::connect(local).unwrap());
    }
    house.make(change).await;
    house.listeners.close_all().await;
    for client in early {
        client.set_nonblocking(true).unwrap();
        exchange(&mut TcpStream::from_std(client).unwrap(), "still here").await;
        house.seen().await;
    }
}

#[tokio::test]
async fn a_full_listener_closes_what_comes() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0", "max_connections": 1 }"#).await.unwrap();
    let mut first = TcpStream::connect(local).await.unwrap();
    exchange(&mut first, "one").await;
    house.seen().await;
    assert!(closed(&mut TcpStream::connect(local).await.unwrap()).await);
    assert_eq!(house.echo.turned_away.load(Ordering::SeqCst), 1);
    assert_eq!(house.listeners.live_on("web"), Some(1));
    exchange(&mut first, "still").await;
    drop(first);
    timeout(LONG, house.listeners.idle()).await.unwrap();
    exchange(&mut TcpStream::connect(local).await.unwrap(), "two").await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let mut house = House::new();
    let local = house.open("web", r#"{ "address": "127.0.0.1:0" }"#).await.unwrap();
    let mut other = TcpStream::connect(local).await.unwrap();
    exchange(&mut other, "hello").await;
    let mut client = TcpStream::connect(local).await.unwrap();
    client.write_all(b"panic").await.unwrap();
    assert!(closed(&mut client).await);
    exchange(&mut other, "unharmed").await;
    drop(other);
    timeout(LONG, house.listeners.idle()).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let mut house = House::new();
    house.open("web", &format!(r#"{{ "address": "unix:{}", "trusted_proxies": "unix" }}"#, path.display())).await;
    let mut client = UnixStream::connect(&path).await.unwrap();
    exchange(&mut client, "hello").await;
    let (connection, _, _) = house.seen().await;
    assert!(connection.peer.is_none() && connection.local.is_none() && connection.is_trusted());
    house.listeners.close_all().await;
    assert!(!path.exists());
}

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
