//! Another origin that is asked the same as the first.

use std::{
    pin::Pin,
    task::{Context as Task, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use pingora_core::{Error, ErrorType, Result, upstreams::peer::Peer};
use tokio::io::AsyncWrite;

use super::{Engine, download::Download, head::Answered, is_closed, origin::Origin};
use crate::{hedge::Second, persist::is_interim};

type Connecting = Pin<Box<dyn Future<Output = Result<Origin>> + Send>>;

/// An attempt beside the one under way, up to the head of its answer.
pub(super) struct Rival {
    pub(super) second: Second,
    /// When it is late.
    pub(super) until: tokio::time::Instant,
    began: Instant,
    stage: Stage,
    reused: bool,
    /// The whole request, and how much of it is on its way.
    request: Bytes,
    sent: usize,
    pub(super) down: Download,
}

enum Stage {
    Connecting(Connecting),
    Asked(Origin),
}

impl Rival {
    pub(super) fn new(engine: &Engine, mut second: Second, until: Instant, request: Bytes) -> Self {
        let began = Instant::now();
        let pooled = engine.pool.take(second.peer.reuse_hash(), second.pick.counter(), began);
        let reused = pooled.is_some();
        if reused {
            second.connect = Some(std::time::Duration::ZERO);
        }
        let stage = pooled.map_or_else(|| Stage::Connecting(connect(engine, &second)), Stage::Asked);
        Self { second, until: until.into(), began, stage, reused, request, sent: 0, down: Download::new() }
    }

    /// Whether nothing of the request is owed to it. It may have answered before it had everything.
    pub(super) fn has_all(&self) -> bool {
        self.sent == self.request.len()
    }

    /// The connection, once it has answered.
    pub(super) fn into_parts(self) -> (Second, Download, Option<Origin>) {
        let stream = match self.stage {
            Stage::Asked(stream) => Some(stream),
            Stage::Connecting(_) => None,
        };
        (self.second, self.down, stream)
    }

    /// Ready with the final head of its answer.
    pub(super) fn poll(&mut self, cx: &mut Task<'_>, engine: &Engine) -> Poll<Result<Answered>> {
        loop {
            let asked = match &mut self.stage {
                Stage::Connecting(connecting) => {
                    let stream = ready!(connecting.as_mut().poll(cx))?;
                    self.second.connect = Some(self.began.elapsed());
                    self.stage = Stage::Asked(stream);
                    continue;
                }
                Stage::Asked(stream) => ready!(ask(cx, stream, &self.request, &mut self.sent, &mut self.down)),
            };
            match asked {
                // The other end had closed a connection from the pool, most likely before the request came.
                Err(error) if self.reused && !self.down.is_heard() && is_closed(&error) => {
                    self.stage = Stage::Connecting(connect(engine, &self.second));
                    (self.reused, self.sent, self.began) = (false, 0, Instant::now());
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

fn connect(engine: &Engine, second: &Second) -> Connecting {
    let (connector, peer, counter) = (engine.connector.clone(), second.peer.clone(), second.pick.counter().clone());
    Box::pin(async move { Origin::connect(&connector, &peer, &counter).await })
}

/// Sends what is left of the request, and reads up to the final head.
fn ask(
    cx: &mut Task<'_>,
    stream: &mut Origin,
    request: &[u8],
    sent: &mut usize,
    down: &mut Download,
) -> Poll<Result<Answered>> {
    let closed = |error| Error::because(ErrorType::WriteError, "the request", error).into_up();
    while *sent < request.len() {
        match Pin::new(&mut *stream).poll_write(cx, &request[*sent..]).map_err(closed)? {
            Poll::Ready(0) => return Poll::Ready(Err(Error::explain(ErrorType::WriteError, "the request").into_up())),
            Poll::Ready(count) => *sent += count,
            Poll::Pending => break,
        }
    }
    if *sent == request.len() {
        let _ = Pin::new(&mut *stream).poll_flush(cx).map_err(closed)?;
    }
    loop {
        ready!(down.poll_read(cx, stream))?;
        while let Some(answered) = down.next_head(None)? {
            if !is_interim(answered.head.status) {
                return Poll::Ready(Ok(answered));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use upstream::Counter;

    use super::*;

    #[tokio::test]
    async fn one_that_answers_before_it_has_everything_is_not_used_again() {
        let (ours, mut theirs) = duplex(64);
        let mut stream = Origin::new(Box::new(ours), Counter::new(&Arc::default(), None).connection());
        let (request, mut sent, mut down) = ([b'x'; 100], 0, Download::new());
        theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let answered = poll_fn(|cx| ask(cx, &mut stream, &request, &mut sent, &mut down)).await;
        let mut answered = answered.unwrap();
        assert_eq!((answered.head.status.as_u16(), sent), (204, 64));
        // What it was sent is in its way: the next request would be taken for the rest of this one.
        let ending = down.ending(&mut answered, &http::Method::PUT).unwrap();
        down.begin(ending);
        assert!(down.can_reuse());
        down.is_last();
        assert!(!down.can_reuse());
        assert_eq!(theirs.read(&mut [0; 100]).await.unwrap(), 64);
    }
}
