//! Connections to a backend, counted one by one: those of our own pool, and those of Pingora's, which tells nobody what is
//! taken out of it and put back.

use std::{
    fmt,
    os::fd::RawFd,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::AcqRel},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::StatusCode;
use nix::sys::socket::Shutdown;
use pingora_core::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    protocols::{
        Digest, GetProxyDigest, UniqueID,
        l4::{ext, socket::SocketAddr, stream::Stream},
        raw_connect::ProxyDigest,
    },
    upstreams::peer::{HttpPeer, Tracer, Tracing},
};
use pingora_http::ResponseHeader;
use telemetry::Connections;
use tokio::task::AbortHandle;

use crate::name::jittered;

/// Makes connections in Pingora's way.
pub(crate) type Dial = Arc<dyn L4Connect + Send + Sync>;

/// Counts the connections to one backend, and says how long each is used.
#[derive(Debug, Clone)]
pub struct Counter {
    all: Arc<Connections>,
    lifetime: Option<Duration>,
    /// After which those of Pingora's pool are closed once nobody uses them.
    forgotten: Option<Duration>,
}

/// One connection, in use or waiting for its next use, counted until it is dropped.
#[derive(Debug)]
pub struct Connection {
    all: Arc<Connections>,
    is_active: bool,
    retires: Option<Instant>,
}

/// One of Pingora's, counted until its socket is closed. Over HTTP/2 it has many users at once.
#[derive(Debug)]
struct Pooled {
    all: Arc<Connections>,
    /// How many there are, [`CLOSED`] and [`FORGOTTEN`].
    users: AtomicU32,
    retires: Option<Instant>,
    /// Until its socket is closed.
    open: Mutex<Option<Open>>,
}

/// What an open connection is closed by.
#[derive(Debug)]
struct Open {
    socket: RawFd,
    /// Waits until the pool has to have let go of it.
    watch: Option<AbortHandle>,
}

const CLOSED: u32 = 1 << 31;

/// The pool gives it to nobody any more: it is closed with its last user. Where two streams of one connection begin and end
/// at the same moment Pingora's pool of those that are in use holds it twice, and lets go of it once: it would stay open for
/// as long as the origin likes.
const FORGOTTEN: u32 = 1 << 30;

/// How long after its time somebody may still be about to use what the pool has just given to him.
const GRACE: Duration = Duration::from_secs(1);

/// A use of one of Pingora's connections, which is active for as long as it has any.
#[derive(Debug)]
pub struct Use(Arc<Pooled>);

/// Notices that a socket is closed.
struct End(Arc<Pooled>);

/// Connects, and counts what it has made.
#[derive(Debug)]
pub(crate) struct Counting {
    counter: Counter,
    dial: Option<Dial>,
}

impl Counter {
    /// Counts what is in `all`, of which each is used for new requests for no longer than `lifetime`.
    pub fn new(all: &Arc<Connections>, lifetime: Option<Duration>) -> Self {
        Self { all: Arc::clone(all), lifetime, forgotten: None }
    }

    /// Counts those of HTTP/2, which Pingora's pool gives to nobody once they are older than `lifetime`.
    pub(crate) fn of_streams(all: &Arc<Connections>, lifetime: Option<Duration>) -> Self {
        let forgotten = lifetime.map(|lifetime| lifetime.saturating_add(GRACE));
        Self { all: Arc::clone(all), lifetime: None, forgotten }
    }

    /// Until when one that is made now is used: a little earlier than it may be, so that those that were made together do
    /// not end together.
    fn retires(&self) -> Option<Instant> {
        Instant::now().checked_add(jittered(self.lifetime?))
    }

    /// A connection that was just made and is in use.
    pub fn connection(&self) -> Connection {
        self.all.opened();
        self.all.taken();
        Connection { all: Arc::clone(&self.all), is_active: true, retires: self.retires() }
    }

    /// Connects as `dial` does, or as Pingora does.
    pub(crate) fn dial(&self, dial: Option<Dial>) -> Dial {
        Arc::new(Counting { counter: self.clone(), dial })
    }

    /// Makes the connections of `peer` counted, which go into one of Pingora's pools.
    pub(crate) fn count(&self, peer: &mut HttpPeer, plain: &Dial) {
        let dial = peer.options.custom_l4.take();
        peer.options.custom_l4 = Some(if dial.is_some() { self.dial(dial) } else { Arc::clone(plain) });
    }
}

impl Connection {
    /// It waits for its next use.
    pub fn rest(&mut self) {
        if std::mem::take(&mut self.is_active) {
            self.all.released();
        }
    }

    /// Until when it is used for new requests.
    pub fn retires(&self) -> Option<Instant> {
        self.retires
    }

    /// It is used again, for whom `counter` counts: upstreams that lead to the same place share what waits.
    pub fn resume(&mut self, counter: &Counter) {
        if !Arc::ptr_eq(&self.all, &counter.all) {
            self.rest();
            counter.all.opened();
            std::mem::replace(&mut self.all, Arc::clone(&counter.all)).closed();
        }
        if !std::mem::replace(&mut self.is_active, true) {
            self.all.taken();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.rest();
        self.all.closed();
    }
}

impl Use {
    /// Uses the connection that `digest` is of, where that is counted.
    pub fn of(digest: Option<&Digest>) -> Option<Self> {
        let pooled = digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Pooled>>()?;
        if pooled.users.fetch_add(1, AcqRel) & !FORGOTTEN == 0 {
            pooled.all.taken();
        }
        Some(Self(Arc::clone(pooled)))
    }

    /// Whether the connection has had its time, and is not to be used after this.
    pub fn is_over(&self) -> bool {
        self.0.retires.is_some_and(|retires| retires <= Instant::now())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let users = self.0.users.fetch_sub(1, AcqRel);
        if users & !FORGOTTEN == 1 {
            self.0.all.released();
        }
        if users == FORGOTTEN + 1 {
            self.0.shut();
        }
    }
}

impl Pooled {
    fn new(all: &Arc<Connections>, retires: Option<Instant>) -> Self {
        Self { all: Arc::clone(all), users: AtomicU32::new(0), retires, open: Mutex::default() }
    }

    /// Nobody finds it in the pool any more.
    fn forget(&self) {
        if self.users.fetch_or(FORGOTTEN, AcqRel) == 0 {
            self.shut();
        }
    }

    /// Ends the connection, which whoever reads from it sees.
    fn shut(&self) {
        if let Some(open) = &*self.open() {
            // One that the origin has just ended is none any more.
            let _ = nix::sys::socket::shutdown(open.socket, Shutdown::Both);
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after it until it is closed.
    fn watch(self: &Arc<Self>, socket: RawFd, forgotten: Option<Duration>) {
        let watched = Arc::downgrade(self);
        let watch = forgotten.map(|forgotten| {
            let watch = tokio::spawn(async move {
                tokio::time::sleep(forgotten).await;
                if let Some(pooled) = watched.upgrade() {
                    pooled.forget();
                }
            });
            watch.abort_handle()
        });
        *self.open() = Some(Open { socket, watch });
    }

    /// Whoever uses it yet is told so by its errors.
    fn close(&self) {
        // Its number may be another socket's as soon as this is closed.
        if let Some(watch) = self.open().take().and_then(|open| open.watch) {
            watch.abort();
        }
        let users = self.users.fetch_or(CLOSED, AcqRel);
        if users & CLOSED != 0 {
            return;
        }
        if users & !FORGOTTEN > 0 {
            self.all.released();
        }
        self.all.closed();
    }
}

impl Tracing for End {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.0.close();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("End")
    }
}

#[async_trait]
impl L4Connect for Counting {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let mut stream = match &self.dial {
            Some(dial) => dial.connect(address).await?,
            None => plain(address).await?,
        };
        // Where a connection carries what we want to know of it: a stream has room for what a proxy before it has said.
        let response = Box::new(ResponseHeader::build(StatusCode::OK, Some(0))?);
        let pooled = Arc::new(Pooled::new(&self.counter.all, self.counter.retires()));
        pooled.watch(stream.id(), self.counter.forgotten);
        pooled.all.opened();
        stream.tracer = Some(Tracer(Box::new(End(Arc::clone(&pooled)))));
        stream.set_proxy_digest(ProxyDigest::new(response, Some(Box::new(pooled))));
        Ok(stream)
    }
}

/// Connects as Pingora does. The peer's `total_connection_timeout` bounds it.
pub(crate) async fn plain(address: &SocketAddr) -> Result<Stream> {
    match address {
        SocketAddr::Inet(address) => Ok(ext::connect(address, None).await.map_err(ours)?.into()),
        SocketAddr::Unix(address) => {
            let path = address.as_pathname().unwrap_or(Path::new(""));
            Ok(ext::connect_uds(path).await.map_err(ours)?.into())
        }
    }
}

/// An error of our own socket is told as Pingora tells it where it connects itself: an internal one.
fn ours(error: Box<Error>) -> Box<Error> {
    match error.etype() {
        ErrorType::SocketError | ErrorType::BindError => {
            Error::because(ErrorType::InternalError, "cannot connect", error)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(all: &Connections) -> (i64, i64) {
        (all.active(), all.idle())
    }

    #[test]
    fn a_connection_is_counted_once_however_it_ends() {
        let all = Arc::new(Connections::default());
        let counter = Counter::new(&all, None);
        let (mut one, two) = (counter.connection(), counter.connection());
        assert_eq!(counted(&all), (2, 0));
        one.rest();
        one.rest();
        assert_eq!(counted(&all), (1, 1));
        drop(two);
        assert_eq!(counted(&all), (0, 1));
        one.resume(&counter);
        one.resume(&counter);
        assert_eq!(counted(&all), (1, 0));
        one.rest();
        let others = Arc::new(Connections::default());
        one.resume(&Counter::new(&others, None));
        assert_eq!((counted(&all), counted(&others)), ((0, 0), (1, 0)), "it is theirs now");
        one.resume(&counter);
        assert_eq!((counted(&all), counted(&others)), ((1, 0), (0, 0)));
        one.rest();
        drop(one);
        assert_eq!(counted(&all), (0, 0));
    }

    #[test]
    fn one_with_many_users_is_active_until_the_last_has_left() {
        let all = Arc::new(Connections::default());
        let pooled = Arc::new(Pooled::new(&all, None));
        all.opened();
        let digest = ProxyDigest::new(
            Box::new(ResponseHeader::build(StatusCode::OK, None).unwrap()),
            Some(Box::new(Arc::clone(&pooled))),
        );
        let digest = Digest { proxy_digest: Some(Arc::new(digest)), ..Digest::default() };
        let (one, two) = (Use::of(Some(&digest)), Use::of(Some(&digest)));
        assert_eq!(counted(&all), (1, 0));
        drop(one);
        assert_eq!(counted(&all), (1, 0));
        drop(two);
        assert_eq!(counted(&all), (0, 1));
        pooled.forget();
        assert_eq!(counted(&all), (0, 1), "what has no socket is not closed");
        let late = Use::of(Some(&digest));
        assert_eq!(counted(&all), (1, 0));
        drop(late);
        assert_eq!(counted(&all), (0, 1));
        let late = Use::of(Some(&digest));
        End(Arc::clone(&pooled)).on_disconnected();
        assert_eq!(counted(&all), (0, 0));
        drop((late, Use::of(Some(&digest))));
        End(pooled).on_disconnected();
        assert_eq!(counted(&all), (0, 0), "what is closed is not counted again");
    }

    #[test]
    fn those_that_were_made_together_do_not_end_together() {
        let lifetime = Duration::from_secs(100);
        let counter = Counter::new(&Arc::default(), Some(lifetime));
        let now = Instant::now();
        let ends: Vec<Instant> = (0..10).map(|_| counter.connection().retires().unwrap()).collect();
        assert!(ends.iter().all(|end| *end >= now + lifetime.mul_f32(0.9) && *end <= Instant::now() + lifetime));
        assert!(ends.iter().any(|end| *end != ends[0]));
    }
}
