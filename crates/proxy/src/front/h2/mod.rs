//! HTTP/2 from clients: one task reads and writes the frames of a connection, and each of its requests has one of its own.
//!
//! The frames are the `h2` crate's. What comes of a request is the engine's; one whose route may lead to an HTTP/2 origin
//! is handed to Pingora's, in a session of our own (`session`). ADR 34 says why.

mod session;
mod skipped;
mod stream;
mod streams;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, mpsc::Receiver},
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use filter::Reason;
use h2::{RecvStream, server, server::SendResponse};
use http::{Request, Version};
use listen::Connection;
use pingora_core::{
    apps::HttpServerApp,
    protocols::{
        Digest, GetProxyDigest, GetSocketDigest, Ssl,
        http::{
            ServerSession,
            v2::server::{H2Options, default_h2_options},
        },
    },
    server::ShutdownWatch,
};
use pingora_http::RequestHeader;
use tokio::time::{Instant, timeout};

use self::{session::Handed, skipped::Skipped, stream::Stream, streams::Streams};
use super::{FAREWELL, Front, Refused, conn::Conn, frames::Refusal, linger, lingered, notes::Notes};
use crate::{
    arrive,
    context::Context,
    dispatch,
    engine::{Alarm, Engine},
    finish,
};

/// What every HTTP/2 connection by prior knowledge begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many malformed requests end their connection, since each costs us more than its client; and one more for each so
/// many that were accepted. A gateway that carries many people's requests is not to suffer for one of them.
const MOST_MALFORMED: usize = 32;
const ACCEPTED_FOR_ONE: usize = 16;

/// How many times `timeouts.body` a client may take nothing before its connection ends. The requests that still have
/// something to send end after once, and tell of it themselves.
const PATIENCE: f64 = 1.25;

/// Bounds for a client's HTTP/2 connection: what one client may keep in flight, and so in memory.
pub(super) fn options() -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(128)
        .max_header_list_size(64 * 1024)
        // ADR 34 says why these.
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buffer_size(256 * 1024)
        .max_pending_accept_reset_streams(32)
        // What is still on its way for an upload that was answered early is passed over for as long as its stream is known;
        // after that it counts as an error of the client, of which the codec bears some for a connection's whole life.
        .max_concurrent_reset_streams(128)
        .reset_stream_duration(Duration::from_secs(30))
        // A client-streaming call sends a frame for each message, however small: some 16,000 may wait to be read.
        .data_frame_budget(4 * 1024 * 1024);
    options
}

/// Whether the preface that ALPN promised comes within `limit`. The codec would wait for it for ever.
pub(super) async fn greets(conn: &mut Conn, limit: Duration, shutdown: &mut ShutdownWatch) -> bool {
    let preface = async {
        while conn.ahead().len() < PREFACE.len() {
            if !PREFACE.starts_with(conn.ahead()) || !matches!(conn.read_ahead().await, Ok(1..)) {
                return false;
            }
        }
        conn.ahead().starts_with(PREFACE)
    };
    tokio::select! {
        biased;
        came = timeout(limit, preface) => came.unwrap_or(false),
        () = lingered(shutdown) => false,
    }
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What comes next on a connection.
#[allow(clippy::large_enum_variant, reason = "a request is taken out at once")]
enum Next {
    Request(Accepted),
    /// The codec may have refused a request.
    Refused(Refusal),
}

/// Why no request comes any more.
enum Ended {
    /// None has come for too long.
    Idle,
    /// The client has not taken what it was sent.
    Late,
    /// The connection has ended, in an error or not.
    Closed(Option<h2::Error>),
}

/// What a connection waits for that may end of waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A next request.
    Request,
    /// That the client has room for answers of which nobody else knows any more, after so many bytes of answers.
    Windows(u64),
    /// That the socket takes what waits for it, after so many bytes.
    Socket(u64),
}

/// A connection that speaks HTTP/2.
struct Multiplexed {
    frames: server::Connection<Conn, Bytes>,
    streams: Arc<Streams>,
    alarm: Alarm,
    /// Streams that the codec has refused by itself, and how many of them nobody else knew.
    refused: Receiver<Refusal>,
    unknown: usize,
    /// Whoever carries an accepted request tells of its end; here are the others.
    skipped: Skipped,
    notes: Arc<Notes>,
    /// How many were accepted.
    requests: usize,
    /// What it waits for, and since when, where it does not just serve requests.
    wait: Option<(Wait, Instant)>,
    /// How long it stays without a request.
    idle: Duration,
    /// How long its client may take nothing.
    patience: Duration,
    /// Whether its client was told to go away.
    told: bool,
    /// How long it stays then without a request.
    linger: Duration,
    /// Whether those that were to run before it have had their turn.
    yielded: bool,
}

/// What each request of a connection needs of it.
struct Shared {
    front: Arc<Front>,
    engine: Arc<Engine>,
    connection: Arc<Connection>,
    digest: Arc<Digest>,
    shutdown: ShutdownWatch,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    front: Arc<Front>,
    engine: Arc<Engine>,
    mut conn: Conn,
    connection: Arc<Connection>,
    shutdown: ShutdownWatch,
) {
    let digest = Arc::new(Digest {
        ssl_digest: conn.get_ssl_digest(),
        timing_digest: Vec::new(),
        proxy_digest: conn.get_proxy_digest(),
        socket_digest: conn.get_socket_digest(),
    });
    let (timeouts, mut told) = (&connection.listener.timeouts, shutdown.clone());
    let (refused, notes) = conn.beside_codec();
    let (idle, patience) = (timeouts.idle, timeouts.body.mul_f64(PATIENCE));
    let greeting = timeout(connection.listener.timeouts.header, front.h2.handshake(conn));
    let Ok(Ok(frames)) = greeting.await else { return };
    let shared = Arc::new(Shared { front, engine, connection, digest, shutdown });
    let mut multiplexed = Multiplexed {
        frames,
        streams: Arc::default(),
        alarm: Alarm::default(),
        refused,
        unknown: 0,
        skipped: Skipped::default(),
        notes,
        requests: 0,
        wait: None,
        idle,
        patience,
        told: false,
        linger: linger(),
        yielded: false,
    };
    let mut ends = pin!(async move { drop(told.wait_for(|told| *told).await) });
    loop {
        match poll_fn(|cx| multiplexed.poll_turn(cx, ends.as_mut())).await {
            Ok(Next::Request(accepted)) => {
                multiplexed.accept(accepted.1.stream_id().as_u32());
                let (shared, entered) = (shared.clone(), multiplexed.streams.enter());
                // In a box, since the runtime moves what it is given from place to place.
                tokio::spawn(Box::pin(async move { shared.carry(accepted, entered).await }));
            }
            Ok(Next::Refused(refusal)) => multiplexed.tell_refused(refusal, &shared),
            Err(Ended::Idle) => return multiplexed.say_goodbye().await,
            Err(Ended::Late) => {
                shared.tell_refused(Reason::AnswerTimeout);
                return multiplexed.say_goodbye().await;
            }
            Err(Ended::Closed(error)) => {
                while let Ok(refusal) = multiplexed.refused.try_recv() {
                    multiplexed.tell_refused(refusal, &shared);
                }
                return error.iter().for_each(|error| shared.tell(error));
            }
        }
    }
}

impl Multiplexed {
    /// What comes next, once everybody else who can run has.
    ///
    /// An answer wakes the connection, and the runtime would have it run at once: each answer would leave in a write of its
    /// own. Behind the others it writes what all of them have to say.
    fn poll_turn(&mut self, cx: &mut Task<'_>, ends: Pin<&mut impl Future<Output = ()>>) -> Poll<Result<Next, Ended>> {
        if !self.yielded {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.poll_next(cx, ends);
        self.yielded = next.is_ready();
        next
    }

    fn poll_next(&mut self, cx: &mut Task<'_>, ends: Pin<&mut impl Future<Output = ()>>) -> Poll<Result<Next, Ended>> {
        if !self.told && ends.poll(cx).is_ready() {
            (self.told, self.wait) = (true, None);
            self.frames.graceful_shutdown();
        }
        if self.streams.malformed() + self.unknown >= MOST_MALFORMED + self.requests / ACCEPTED_FOR_ONE {
            self.frames.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        }
        if let Poll::Ready(next) = self.frames.poll_accept(cx) {
            return Poll::Ready(match next {
                Some(Ok(accepted)) => Ok(Next::Request(accepted)),
                Some(Err(error)) => Err(Ended::Closed(Some(error))),
                None => Err(Ended::Closed(None)),
            });
        }
        if let Ok(refusal) = self.refused.try_recv() {
            return Poll::Ready(Ok(Next::Refused(refusal)));
        }
        self.poll_wait(cx).map(Err)
    }

    /// Ready once nothing has come, or nothing was taken, for too long.
    fn poll_wait(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        let is_quiet = self.streams.watch(cx);
        let wait = match self.notes.full() {
            // What waits here is nobody's who could give it up: its request is over, or its stream was reset.
            Some(taken) => Wait::Socket(taken),
            None if !is_quiet => {
                self.wait = None;
                return Poll::Pending;
            }
            None if self.frames.has_streams() => Wait::Windows(self.notes.answered()),
            None => Wait::Request,
        };
        let since = match self.wait {
            Some((before, since)) if before == wait => since,
            _ => self.wait.insert((wait, Instant::now())).1,
        };
        let limit = match wait {
            // One that was told to go is given a little for a request on its way.
            Wait::Request if self.told => self.idle.min(self.linger),
            Wait::Request => self.idle,
            _ => self.patience,
        };
        let ended = if wait == Wait::Request { Ended::Idle } else { Ended::Late };
        self.alarm.poll(cx, since + limit).map(|()| ended)
    }

    /// From here on somebody tells of the stream's end.
    fn accept(&mut self, stream: u32) {
        self.requests += 1;
        self.skipped.accept(stream);
        self.notes.accept(stream);
    }

    /// Counts and logs a request that nobody has seen.
    fn tell_refused(&mut self, refusal: Refusal, shared: &Shared) {
        if self.skipped.take(refusal.stream) {
            self.unknown += 1;
            shared.tell_refused(refusal.reason);
        }
    }

    /// Tells a client that has been silent for too long, or has taken nothing, that its connection ends, and closes it.
    async fn say_goodbye(&mut self) {
        self.frames.abrupt_shutdown(h2::Reason::NO_ERROR);
        let _ = timeout(FAREWELL, poll_fn(|cx| self.frames.poll_closed(cx))).await;
    }
}

impl Shared {
    /// One request, from its head to the last of its answer.
    async fn carry(&self, accepted: Accepted, entered: streams::Entered) {
        let (request, respond) = accepted;
        let (parts, body) = request.into_parts();
        let mut head = RequestHeader::from(parts);
        let mut stream = Stream::new(&head, body, respond);
        let mut ctx = Context::new();
        let arrived = arrive::arrive(self.front.live.load(), self.connection.clone(), &mut head, &mut ctx);
        arrive::settle(&mut head);
        if !Engine::takes(&ctx) {
            drop(ctx);
            let handed = Handed::new(head, stream, self.digest.clone());
            // In a box, since it is large and most requests do not come by here.
            let general = self.front.process_new_http(ServerSession::new_custom(Box::new(handed)), &self.shutdown);
            drop(general.await);
            return;
        }
        if ctx.route().is_none() || !dispatch::is_stream(&head) {
            stream.keep_pace(self.connection.listener.timeouts.min_rate);
        }
        let mut alarm = entered.alarm();
        self.engine.serve_h2(&mut stream, &mut alarm, &head, &mut ctx, arrived).await;
        entered.leave(alarm, matches!(ctx.record.reason, Reason::BadRequest | Reason::BadHost));
    }

    /// Counts and logs a connection that had to be ended for what its client sent.
    fn tell(&self, error: &h2::Error) {
        log::debug!("an HTTP/2 connection ended: {error}");
        let flood = error.get_io().is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
        let reason = match error.reason() {
            _ if flood => Reason::Flood,
            Some(h2::Reason::ENHANCE_YOUR_CALM) if error.is_library() => Reason::Flood,
            Some(_) if error.is_library() => Reason::BadRequest,
            // It is the client's own word, or its connection's end.
            _ => return,
        };
        self.tell_refused(reason);
    }

    fn tell_refused(&self, reason: Reason) {
        let refused = Refused { reason, method: None, target: None, version: Some(Version::HTTP_2) };
        let id = arrive::new_request_id();
        finish::refused(&self.front.live.load(), &self.connection, &refused, &id, 0);
    }
}
