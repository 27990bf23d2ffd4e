//! Answers that go on: Server-Sent Events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::{protocols::http::ServerSession, server::ShutdownWatch};
use pingora_http::ResponseHeader;
use telemetry::{Followers, Following, Wanted};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::events::Subscription;

/// How many clients may be told of things at a time; each holds a connection of a socket's.
pub(crate) const FOLLOWERS: usize = 16;

/// How long nothing may be said, so that what stands between knows that somebody is there.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a client may take to read one event.
const WRITE: Duration = Duration::from_secs(30);

/// How many lines of the access log may wait for somebody who follows it.
const LINES: usize = 1024;

/// Where the events of an answer are from.
pub(crate) enum Source {
    Events(Subscription),
    Log(Lines),
}

/// Lines of the access log as they are written.
pub(crate) struct Lines {
    waiting: mpsc::Receiver<Bytes>,
    dropped: Arc<AtomicU64>,
    _following: Following,
}

impl Lines {
    pub(crate) fn of(followers: &Arc<Followers>, wanted: Wanted) -> Self {
        let (sender, waiting) = mpsc::channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let following = followers.follow(wanted, move |line| {
            // Looked at first, so that a line that has no room costs no memory.
            match sender.try_reserve() {
                Ok(room) => room.send(Bytes::copy_from_slice(line)),
                Err(_) => {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { waiting, dropped, _following: following }
    }

    async fn next(&mut self) -> Option<Bytes> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Some(format!("event: dropped\ndata: {{\"lines\":{dropped}}}\n\n").into());
        }
        let line = self.waiting.recv().await?;
        Some([b"event: line\ndata: ", &line[..], b"\n\n"].concat().into())
    }
}

impl Source {
    /// The next event in its wire form. Nothing is lost when this is dropped while it waits.
    async fn next(&mut self) -> Option<Bytes> {
        match self {
            Source::Log(lines) => lines.next().await,
            Source::Events(subscription) => {
                let event = subscription.next().await?;
                let data = serde_json::to_string(&*event).unwrap_or_default();
                Some(format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.kind).into())
            }
        }
    }
}

/// Tells the client of whatever `source` has until one of the two, or the server, comes to its end.
pub(crate) async fn tell(
    session: &mut ServerSession,
    mut source: Source,
    stop: &mut ShutdownWatch,
) -> pingora_core::Result<()> {
    session.set_keepalive(None);
    session.write_response_header(Box::new(head()?)).await?;
    loop {
        let next = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => None,
            // Nothing is expected, so this ends when the client goes.
            gone = session.read_body_or_idle(true) => return gone.map(|_| ()),
            () = sleep(SILENCE) => Some(Bytes::from_static(b": still here\n\n")),
            next = source.next() => next,
        };
        let Some(event) = next else { break };
        let Ok(written) = timeout(WRITE, session.write_response_body(event, false)).await else {
            log::debug!("somebody who follows does not read");
            return Ok(());
        };
        written?;
    }
    session.write_response_body(Bytes::new(), true).await
}

fn head() -> pingora_core::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(6))?;
    head.insert_header(header::CONTENT_TYPE, "text/event-stream")?;
    head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    Ok(head)
}
