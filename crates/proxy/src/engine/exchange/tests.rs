//! Who is waited for while neither side has what it needs: minutes, which no test through sockets could take.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use pingora_core::connectors::TransportConnector;
use pingora_http::ResponseHeader;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use upstream::Counter;

use super::*;
use crate::{
    engine::{Lines, Pool, outbox::Coding},
    fetch::Fetches,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A client that sends, without end if it is not told to end, and takes what it is answered a little at a time.
struct Sipping {
    /// How many pieces it has yet to send.
    pieces: usize,
    waiting: usize,
    /// When it takes some, and how much of it.
    turns: Interval,
    takes: usize,
    answered: bool,
}

impl Sipping {
    fn new(every: Duration, takes: usize) -> Self {
        let mut turns = interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pieces: usize::MAX, waiting: 0, turns, takes, answered: false }
    }
}

impl Client for Sipping {
    const TOLD: relay::Told = relay::Told::Among;

    fn is_body_read(&self) -> bool {
        self.pieces == 0
    }

    fn can_be_watched(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, _: &mut Task<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn poll_content(&mut self, _: &mut Task<'_>, _: u64) -> Poll<Result<Bytes>> {
        self.pieces -= 1;
        Poll::Ready(Ok(Bytes::from_static(&[b'x'; 4096])))
    }

    fn put_interim(&mut self, _: &ResponseHeader) {}

    fn put_final(
        &mut self,
        _: ResponseHeader,
        _: &Lines,
        _: &RequestHeader,
        _: bool,
        keeps: bool,
        _: impl FnOnce(&ResponseHeader, &mut BytesMut),
    ) -> Result<bool> {
        self.answered = true;
        Ok(keeps)
    }

    fn put(&mut self, content: Bytes, _: bool) {
        self.waiting = content.len();
    }

    fn forget(&mut self) {}

    fn has_room(&self) -> bool {
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn waiting(&self) -> usize {
        self.waiting
    }

    fn poll_write(&mut self, cx: &mut Task<'_>, wrote: &mut bool) -> Poll<io::Result<()>> {
        while self.waiting > 0 {
            std::task::ready!(self.turns.poll_tick(cx));
            self.waiting = self.waiting.saturating_sub(self.takes);
            *wrote = true;
        }
        Poll::Ready(Ok(()))
    }

    fn is_committed(&self) -> bool {
        self.answered
    }

    fn break_off(&mut self, _: Reason) {}
}

/// Sends back what it reads, and reads on only once that is taken.
async fn echo(mut stream: DuplexStream) {
    let mut buffer = [0; 4096];
    while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "no head");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// Takes nothing, and says nothing more than that it will answer.
async fn deaf(mut stream: DuplexStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    std::future::pending().await
}

/// Tells again and again that it will answer, and takes a little of what there is.
async fn telling(mut stream: DuplexStream) {
    let mut buffer = [0; 1024];
    let mut turns = interval(MINUTE / 2);
    loop {
        turns.tick().await;
        stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut buffer).now_or_never();
    }
}

/// How an exchange of ten minutes between the two ends; `None` where it goes on.
async fn exchanged<F: Future<Output = ()> + Send + 'static>(
    mut client: Sipping,
    origin: impl FnOnce(DuplexStream) -> F,
) -> Option<Result<()>> {
    let connector = std::sync::Arc::new(TransportConnector::new(None));
    let pool = Pool::new(1, 1);
    let fetches = Fetches::new(connector.clone(), pool.clone());
    let engine = Engine::new(connector, pool, fetches);
    let (ours, theirs) = duplex(64 * 1024);
    let origin = tokio::spawn(origin(theirs));
    let mut stream = Origin::new(Box::new(ours), Counter::new(&std::sync::Arc::default(), None).connection());
    let head = RequestHeader::build("POST", b"/", None).unwrap();
    let mut upload = Upload::new(false, Coding::Plain);
    upload.out.head().extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    let limits = Limits {
        origin_speaks: 2 * MINUTE,
        head: Some(5 * MINUTE),
        is_for_all: false,
        origin_listens: MINUTE,
        either_speaks: false,
        client_speaks: MINUTE,
        client_listens: MINUTE,
        drain: MINUTE,
    };
    let mut ctx = Context::new();
    let mut alarm = Alarm::default();
    let mut exchange = Exchange::new(&engine, &mut client, &mut stream, &head, &mut ctx, &mut upload, limits, false);
    let ended = timeout(10 * MINUTE, exchange.run(&mut alarm)).await.ok();
    origin.abort();
    ended
}

fn ends(ended: Option<Result<()>>) -> (ErrorType, ErrorSource) {
    let error = ended.expect("it to end").expect_err("it to end for somebody who is late");
    (error.etype().clone(), error.esource().clone())
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_reads_only_while_its_answer_is_taken_is_not_late() {
    // What waits takes the client minutes each time.
    let client = Sipping::new(Duration::from_secs(20), 1024);
    let ended = exchanged(client, echo).await;
    assert!(ended.is_none(), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_an_answer_is_late_itself() {
    let client = Sipping::new(Duration::from_secs(61), 1024);
    assert_eq!(ends(exchanged(client, echo).await), (ErrorType::WriteTimedout, ErrorSource::Downstream));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_takes_nothing_while_it_could_be_read_from_is_late() {
    let client = Sipping::new(Duration::from_millis(1), usize::MAX);
    assert_eq!(ends(exchanged(client, deaf).await), (ErrorType::WriteTimedout, ErrorSource::Upstream));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_only_tells_of_progress_is_late_in_the_end() {
    let mut client = Sipping::new(Duration::from_millis(1), usize::MAX);
    client.pieces = 3;
    let began = tokio::time::Instant::now();
    assert_eq!(ends(exchanged(client, telling).await), (ErrorType::ReadTimedout, ErrorSource::Upstream));
    assert_eq!(began.elapsed().as_secs() / 60, 5);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_tells_of_progress_while_it_is_sent_something_is_not_late() {
    let client = Sipping::new(Duration::from_millis(1), usize::MAX);
    let ended = exchanged(client, telling).await;
    assert!(ended.is_none(), "{ended:?}");
}
