//! The load: clients of every kind, who go on until the run has ended.

mod http1;
mod http2;
mod streams;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

pub use self::http1::get;
use super::{
    tally::{Course, Tally, Trouble},
    wire::Wire,
};

/// How long anything may take: far more than it does, so that whatever hangs is told of.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client of short requests waits between two: the load is to leave the machine room.
const PAUSE: Duration = Duration::from_millis(8);

/// How long the shorter streams last.
const SHORT: Duration = Duration::from_millis(1500);

/// The server under test, as its clients find it.
#[derive(Clone)]
pub struct House {
    /// Where it speaks HTTP/1 and HTTP/2 in plaintext.
    pub plain: SocketAddr,
    /// Where it speaks TLS.
    pub secure: SocketAddr,
    /// Resumes sessions.
    pub resuming: TlsConnector,
    /// Shakes hands in full each time.
    pub fresh: TlsConnector,
}

/// Which way a client goes in.
#[derive(Clone, Copy)]
pub enum Door {
    Plain,
    Secure,
    SecureAgain,
}

/// All clients.
pub struct Load {
    clients: JoinSet<()>,
    /// What is counted of each kind.
    pub tallies: Vec<Arc<Tally>>,
    /// Where the run is.
    pub course: Arc<Course>,
}

impl Load {
    /// Begins with the clients of every kind; the long streams last for `long`.
    pub fn start(house: &House, long: Duration) -> Self {
        let mut load = Self { clients: JoinSet::new(), tallies: Vec::new(), course: Arc::default() };
        let house = || house.clone();
        load.clients("HTTP/1, kept", "requests", 3, |tally| http1::kept(house(), Door::Plain, tally));
        load.clients("HTTP/1, new", "requests", 2, |tally| http1::new(house(), Door::Plain, tally));
        load.clients("HTTP/2", "requests", 2, |tally| http2::requests(house(), tally));
        load.clients("HTTPS, kept", "requests", 1, |tally| http1::kept(house(), Door::Secure, tally));
        load.clients("HTTPS, new", "requests", 1, |tally| http1::new(house(), Door::Secure, tally));
        load.clients("HTTPS, resumed", "requests", 1, |tally| http1::new(house(), Door::SecureAgain, tally));
        load.streams("download", "bytes", long, |tally, lasts| streams::download(house(), tally, lasts));
        load.streams("upload", "bytes", long, |tally, lasts| streams::upload(house(), tally, lasts));
        load.streams("WebSocket", "echoes", long, |tally, lasts| streams::websocket(house(), tally, lasts));
        load.streams("server-sent events", "events", long, |tally, lasts| streams::events(house(), tally, lasts));
        load
    }

    fn clients<F>(&mut self, kind: &'static str, unit: &'static str, count: usize, client: impl Fn(Arc<Tally>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tally = Tally::new(kind, unit, Arc::clone(&self.course));
        for _ in 0..count {
            self.clients.spawn(client(Arc::clone(&tally)));
        }
        self.tallies.push(tally);
    }

    /// One client with short streams one after the other, and one whose streams last.
    fn streams<F>(
        &mut self,
        kind: &'static str,
        unit: &'static str,
        long: Duration,
        client: impl Fn(Arc<Tally>, Duration) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let tally = Tally::new(kind, unit, Arc::clone(&self.course));
        for lasts in [SHORT, long] {
            self.clients.spawn(client(Arc::clone(&tally), lasts));
        }
        self.tallies.push(tally);
    }

    /// Lets every client end what it is at, and waits for all of them.
    pub async fn end(&mut self) {
        self.course.end();
        while self.clients.join_next().await.is_some() {}
    }
}

/// Connects.
async fn connect(house: &House, door: Door) -> Result<Wire, Trouble> {
    let connecting = async {
        let address = if let Door::Plain = door { house.plain } else { house.secure };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connector = match door {
            Door::Plain => return Ok(Wire::new(stream)),
            Door::Secure => &house.fresh,
            Door::SecureAgain => &house.resuming,
        };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        Ok(Wire::new(connector.connect(name, stream).await?))
    };
    let connected: io::Result<Wire> = in_time(connecting).await?;
    connected.map_err(|error| Trouble::connecting(&error))
}

async fn in_time<T>(waiting: impl Future<Output = T>) -> Result<T, Trouble> {
    let late = |_| Trouble::failed(format!("nothing within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, waiting).await.map_err(late)
}
