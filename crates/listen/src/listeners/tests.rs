//! Listeners opened and closed under real connections.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use document::{At, Report};
use filter::Reason;
use pingora_core::protocols::ALPN;
use telemetry::Metrics;
use tls::TicketKeys;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::timeout,
};

use super::*;
use crate::{Accepted, Connection};
use pingora_core::server::ShutdownWatch;

mod secure;

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
        let listening = self.listeners.listen(change).unwrap();
        self.serve(listening).await
    }

    async fn serve(&self, listening: Listening) -> Changed {
        let serve: Arc<dyn Serve> = self.echo.clone();
        let staff = |listener: &Arc<Listener>| Staff {
            serve: Arc::clone(&serve),
            meters: self.metrics.listener(&listener.name),
        };
        self.listeners.apply(listening, staff).await
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
    new.listeners.own_files();
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
    let local = change.taken.values().next().unwrap().1.local.unwrap();
    assert!(TcpStream::connect(local).await.is_err(), "nobody may wait for what may come to nothing");
    let listening = house.listeners.listen(change).unwrap();
    let mut early = Vec::new();
    for _ in 0..20 {
        early.push(std::net::TcpStream::connect(local).unwrap());
    }
    house.serve(listening).await;
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
