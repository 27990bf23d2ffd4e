//! An origin server with byte-level control over what it answers and a record of what it saw.

mod answer;
mod http1;
mod http2;
mod preamble;
mod seen;

use std::{fmt, net::SocketAddr, sync::Arc};

use tokio::{
    io::AsyncRead,
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use self::seen::Log;
pub use self::{
    answer::Answer,
    seen::{Outcome, Seen},
};
use crate::{Address, Certificate, Stream, Wire, tls::ServerTrust, tls::accept};

type Responder = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// An origin server on a free port. Stops when it is dropped. Displayed, it is the URL to write as a backend.
#[derive(Debug)]
pub struct Origin {
    address: Address,
    scheme: &'static str,
    log: Arc<Log>,
    tasks: JoinSet<()>,
    _folder: Option<tempfile::TempDir>,
}

/// How an origin listens: in plain HTTP/1 unless told otherwise.
#[derive(Debug, Default)]
pub struct Builder {
    h2: bool,
    unix: bool,
    proxied: bool,
    at: Option<SocketAddr>,
    tls: Option<(Certificate, ServerTrust)>,
}

impl Builder {
    /// Speaks HTTP/2 in cleartext with prior knowledge.
    pub fn h2c(mut self) -> Self {
        self.h2 = true;
        self
    }

    /// Speaks TLS with this certificate, offering HTTP/1.1 only.
    pub fn tls(mut self, certificate: Certificate) -> Self {
        self.tls = Some((certificate, ServerTrust::default()));
        self
    }

    /// Speaks HTTP/2 over TLS with this certificate.
    pub fn h2(mut self, certificate: Certificate) -> Self {
        self.h2 = true;
        self.tls(certificate)
    }

    /// Requires a client certificate that `authority` has issued.
    pub fn client_ca(mut self, authority: &crate::Authority) -> Self {
        let (_, trust) = self.tls.as_mut().expect("client certificates belong to TLS: call `tls` first");
        trust.client_ca = Some(authority.root());
        self
    }

    /// Listens on a unix socket in a folder of its own.
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Expects a header of the PROXY protocol at the beginning of every connection, before TLS; see
    /// [`Origin::preamble`].
    pub fn proxy_protocol(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Listens at this address, where an origin that was stopped has been.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.at = Some(address);
        self
    }

    /// Starts; `responder` says for each request what to answer.
    pub async fn start(self, responder: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Origin {
        let log = Arc::new(Log::new());
        let mut tasks = JoinSet::new();
        let protocol =
            Protocol { h2: self.h2, proxied: self.proxied, log: log.clone(), responder: Arc::new(responder) };
        let scheme = match (self.h2, self.tls.is_some()) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "h2c",
            (true, true) => "h2",
        };
        if self.unix {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("origin.sock");
            let listener = UnixListener::bind(&path).unwrap();
            tasks.spawn(accept_unix(listener, protocol));
            return Origin { address: Address::Unix(path), scheme: "unix", log, tasks, _folder: Some(folder) };
        }
        let listener = TcpListener::bind(self.at.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        tasks.spawn(accept_tcp(listener, self.tls, protocol));
        Origin { address, scheme, log, tasks, _folder: None }
    }
}

impl Origin {
    /// How to listen, before starting.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A plain HTTP/1 origin; `responder` says for each request what to answer.
    pub async fn start(responder: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::builder().start(responder).await
    }

    /// A plain HTTP/1 origin that answers every request with a JSON document of what it saw.
    pub async fn echo() -> Self {
        Self::start(|_| Answer::echo()).await
    }

    /// A plain HTTP/1 origin that answers every request with this text.
    pub async fn text(text: &'static str) -> Self {
        Self::start(move |_| Answer::text(text)).await
    }

    /// A plain HTTP/1 origin that answers every request with these bytes as they are, and closes.
    pub async fn raw(bytes: &'static [u8]) -> Self {
        Self::start(move |_| Answer::raw(bytes).closing()).await
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its IP address and port.
    pub fn socket(&self) -> SocketAddr {
        self.address.socket()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.socket().port()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.all()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.log.connections()
    }

    /// The PROXY header that a connection, counted from 0, began with.
    pub fn preamble(&self, connection: usize) -> Vec<u8> {
        self.log.preamble(connection)
    }

    /// Waits for the first request.
    pub async fn request(&self) -> Seen {
        self.nth(0).await
    }

    /// Waits for the request number `n`, counted from 0.
    pub async fn nth(&self, n: usize) -> Seen {
        self.log.until(&format!("request number {n}"), |seen, _| seen.get(n).cloned()).await
    }

    /// Waits until the request number `n` has ended, and says what was seen of it.
    pub async fn ended(&self, n: usize) -> Seen {
        let ended = |seen: &[Seen], _| seen.get(n).filter(|request| request.outcome != Outcome::Open).cloned();
        self.log.until(&format!("the end of request number {n}"), ended).await
    }

    /// Waits until no more than `count` connections are open.
    pub async fn until_open(&self, count: usize) {
        self.log.until_open(count).await;
    }

    /// Waits until `condition` holds for what was seen; fails the test with `what`.
    pub async fn until(&self, what: &str, mut condition: impl FnMut(&[Seen]) -> bool) {
        self.log.until(what, |seen, _| condition(seen).then_some(())).await;
    }

    /// Waits until `count` connections were made.
    pub async fn until_connections(&self, count: usize) {
        self.log.until(&format!("{count} connections"), |_, made| (made >= count).then_some(())).await;
    }

    /// Stops listening and closes every connection.
    pub async fn stop(mut self) -> Address {
        self.tasks.shutdown().await;
        self.address.clone()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "{}://{address}", self.scheme),
        }
    }
}

/// An address that refuses connections: it was free a moment ago.
impl Address {
    /// An address on which nobody listens.
    pub fn refusing() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }
}

#[derive(Clone)]
struct Protocol {
    h2: bool,
    proxied: bool,
    log: Arc<Log>,
    responder: Responder,
}

impl Protocol {
    /// Reads what comes before everything else; whether the connection is to be served.
    async fn greet(&self, stream: &mut (impl AsyncRead + Unpin), connection: usize) -> bool {
        if !self.proxied {
            return true;
        }
        let Ok(header) = preamble::read(stream).await else { return false };
        self.log.announce(connection, header);
        true
    }

    async fn serve(self, stream: Stream, connection: usize) {
        if self.h2 {
            http2::serve(stream, connection, self).await;
        } else {
            http1::serve(Wire::new(stream), connection, self).await;
        }
    }
}

async fn accept_tcp(listener: TcpListener, tls: Option<(Certificate, ServerTrust)>, protocol: Protocol) {
    let mut connections = JoinSet::new();
    let alpn: &[&str] = if protocol.h2 { &["h2"] } else { &["http/1.1"] };
    let config = tls.map(|(certificate, trust)| certificate.server_config(alpn, &trust));
    while let Ok((mut tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let (protocol, config) = (protocol.clone(), config.clone());
        let connection = protocol.log.connect();
        let open = protocol.log.open();
        connections.spawn(async move {
            let _open = open;
            if !protocol.greet(&mut tcp, connection).await {
                return;
            }
            let stream = match config {
                None => Stream::Tcp(tcp),
                Some(config) => match accept(tcp, config).await {
                    Ok(stream) => stream,
                    Err(_) => return,
                },
            };
            protocol.serve(stream, connection).await;
        });
    }
}

async fn accept_unix(listener: UnixListener, protocol: Protocol) {
    let mut connections = JoinSet::new();
    while let Ok((mut unix, _)) = listener.accept().await {
        let (protocol, connection) = (protocol.clone(), protocol.log.connect());
        connections.spawn(async move {
            if protocol.greet(&mut unix, connection).await {
                protocol.serve(Stream::Unix(unix), connection).await;
            }
        });
    }
}

#[cfg(test)]
mod tests;
