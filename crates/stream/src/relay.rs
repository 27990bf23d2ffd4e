//! From an accepted connection to a backend, and what is told of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use filter::Reason;
use listen::{Accepted, Connection, Mode, Serve, Socket, Streams};
use pingora_core::{protocols::Stream, server::ShutdownWatch};
use proxy_protocol::Ends;
use snapshot::{Live, Snapshot};
use telemetry::{LoggedRequest, Protocol, Record, UNMATCHED};
use tokio::io::AsyncWriteExt;
use upstream::Pick;

use crate::{
    carry::{Ended, Half, carry},
    connect::connect,
    hello,
};

/// Serves the connections of listeners that pass bytes on. One for all of them.
pub struct Relay {
    live: Arc<Live>,
}

/// What is told of a connection at its end.
struct Told {
    record: Record,
    /// The configuration that said where it goes; 0 while none has.
    generation: u64,
    server_name: Option<String>,
    /// Its name, and no more: a stream may outlive many configurations.
    upstream: Option<Arc<str>>,
    pick: Option<Pick>,
}

impl Relay {
    /// A relay to the upstreams of what `live` holds when a connection comes in.
    pub fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    /// Carries the connection to its end. The error is why it was refused, or why it did not end well.
    async fn pass(
        &self,
        mut client: Stream,
        connection: &Connection,
        streams: &Streams,
        told: &mut Told,
    ) -> Result<(), Reason> {
        let mut said = Vec::new();
        if streams.is_tls {
            // In a box of its own, so that its memory is not kept for the life of the connection.
            let read = Box::pin(hello::read(&mut client, connection.listener.timeouts.header));
            (said, told.server_name) = read.await?;
            told.record.bytes_in = said.len() as u64;
        }
        let Some(name) = streams.upstream(told.server_name.as_deref()) else {
            refuse_name(client).await;
            return Err(Reason::UnknownServerName);
        };
        let upstream = {
            let snapshot = self.live.load();
            told.generation = snapshot.generation;
            snapshot.upstreams.get(&**name).cloned().ok_or(Reason::NoBackend)?
        };
        told.upstream = Some(Arc::clone(upstream.name()));
        let backend =
            Box::pin(connect(&upstream, connection.peer.map(|peer| peer.ip()), &mut told.record, &mut told.pick))
                .await?;
        let _counted = told.pick.as_ref().map(|pick| pick.counter().connection());
        let ends = Ends { source: connection.peer, destination: connection.local };
        let first = upstream.header(&ends).into_iter().flatten().chain(said).collect();
        drop(upstream);
        let (record, meters) = (&mut told.record, &connection.meters);
        meters.passed(record.bytes_in, 0);
        let idle = connection.listener.timeouts.idle;
        let mut sides = Sides(Some((client, backend)));
        let ended = sides.carry(first, idle, |up, down| {
            record.bytes_in += up;
            record.bytes_out += down;
            meters.passed(up, down);
        });
        let ended = ended.await;
        sides.end(ended)
    }

    fn tell(&self, snapshot: &Snapshot, connection: &Connection, told: &mut Told) {
        told.record.close(Instant::now());
        if told.record.reason != Reason::None {
            connection.meters.stream_error(told.record.reason);
        }
        let Some(log) = &snapshot.access_log else { return };
        let mut request = LoggedRequest::new(&connection.listener.name, UNMATCHED);
        request.generation = if told.generation == 0 { snapshot.generation } else { told.generation };
        request.upstream = told.upstream.as_deref();
        request.backend = told.pick.as_ref().map(|pick| &**pick.label());
        request.client_ip = connection.peer.map(|peer| peer.ip());
        request.tls = connection.tls.as_ref().map(|tls| tls.version);
        let terminated = connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        request.host = told.server_name.as_deref().or(terminated).map(str::as_bytes);
        log.write(&told.record, &request);
    }
}

/// The client and the backend, until they have ended. What was cut must not look as if it had ended: a side that broke off
/// breaks the other, and where they are dropped before the end, with the process, both are broken off.
struct Sides(Option<(Stream, Socket)>);

impl Sides {
    /// Carries bytes both ways; `first` goes to the backend ahead of the client's.
    async fn carry(&mut self, first: Vec<u8>, idle: Duration, passed: impl FnMut(u64, u64)) -> Ended {
        match &mut self.0 {
            Some((client, backend)) => carry(&mut **client, backend, Half::beginning_with(first), idle, passed).await,
            None => Ended::Well,
        }
    }

    fn end(mut self, ended: Ended) -> Result<(), Reason> {
        let sides = self.0.take();
        match ended {
            Ended::Well => Ok(()),
            Ended::Idle => Err(Reason::Idle),
            Ended::Client(error) => {
                log::debug!("a client broke off: {error}");
                sides.inspect(|(_, backend)| backend.break_off());
                Err(Reason::ClientClosed)
            }
            Ended::Backend(error) => {
                log::debug!("a backend broke off: {error}");
                sides.into_iter().for_each(|(client, _)| listen::reset(client));
                Err(Reason::UpstreamReset)
            }
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        if let Some((client, backend)) = self.0.take() {
            backend.break_off();
            listen::reset(client);
        }
    }
}

/// Tells a TLS client that the name which it asks for is unknown here.
async fn refuse_name(mut client: Stream) {
    // Whoever does not listen any more need not hear it.
    let _ = client.write_all(hello::UNRECOGNIZED_NAME).await;
    let _ = client.shutdown().await;
}

impl Told {
    fn new(began: Instant) -> Self {
        Self { record: Record::new(began), generation: 0, server_name: None, upstream: None, pick: None }
    }
}

#[async_trait]
impl Serve for Relay {
    /// A stream has no point at which it could end in good order, so `shutdown` changes nothing: it goes on until one of
    /// its sides ends it, or the process does.
    async fn serve(self: Arc<Self>, accepted: Accepted, _shutdown: ShutdownWatch) {
        let Accepted { stream, connection } = accepted;
        let Mode::Stream(streams) = &connection.listener.mode else { return };
        let protocol = if streams.is_tls { Protocol::TlsPassthrough } else { Protocol::Tcp };
        let _open = connection.meters.open(protocol);
        let mut told = Told::new(connection.accepted);
        told.record.reason = match self.pass(stream, &connection, streams, &mut told).await {
            Ok(()) => Reason::None,
            Err(reason) => reason,
        };
        self.tell(&self.live.load(), &connection, &mut told);
    }

    fn turned_away(&self, connection: &Connection, reason: Reason) {
        let mut told = Told::new(connection.accepted);
        told.record.reason = reason;
        self.tell(&self.live.load(), connection, &mut told);
    }
}
