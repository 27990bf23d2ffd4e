//! Requests that nobody has sent yet, made so that the cache has the answers when somebody does.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderValue, header};
use listen::{Accepted, Serve};
use pingora_http::RequestHeader;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::watch,
    time::timeout,
};

use crate::{Asked, Front, Judge, front::answer};

/// How much of an answer is under way between the two ends.
const ROOM: usize = 64 * 1024;

/// How long one answer may take, to its end.
const LONGEST: Duration = Duration::from_secs(60);

/// Who asks, for the origin and the log.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("maitred-warm/", env!("CARGO_PKG_VERSION")));

/// Asks for what clients will ask for, by the way that theirs would go: through the listener's front, the route and all
/// its policies. So what is kept is kept under the right key, and nothing is kept that a client would not have been given.
pub struct Warmer {
    front: Arc<Front>,
    judge: Judge,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warmed {
    /// The status.
    pub status: u16,
    /// What the cache had to do with it (RFC 9211); `None` where nothing.
    pub cache: Option<String>,
    /// How much content came.
    pub bytes: u64,
}

impl Warmer {
    /// One that asks `front`.
    pub fn new(front: Arc<Front>) -> Self {
        Self { front, judge: Judge::new() }
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// Fails where there is no whole answer in time.
    pub async fn warm(&self, asked: &Asked) -> io::Result<Warmed> {
        timeout(LONGEST, self.ask(asked)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask(&self, asked: &Asked) -> io::Result<Warmed> {
        let mut head = asked.head.clone();
        let wrong = |_| io::Error::from(io::ErrorKind::InvalidInput);
        head.insert_header(header::CONNECTION, HeaderValue::from_static("close")).map_err(wrong)?;
        if !head.headers.contains_key(header::USER_AGENT) {
            head.insert_header(header::USER_AGENT, AGENT).map_err(wrong)?;
        }
        let connection = self.judge.connection(asked);
        let (ours, theirs) = duplex(ROOM);
        let front = self.front.serving(&connection.listener);
        let (_running, shutdown) = watch::channel(false);
        let serving = front.serve(Accepted { stream: Box::new(theirs), connection }, shutdown);
        let reading = read(ours, &head);
        tokio::pin!(serving, reading);
        tokio::select! {
            read = &mut reading => read,
            // What was written last may still have to be read.
            () = &mut serving => reading.await,
        }
    }
}

async fn read(mut stream: DuplexStream, request: &RequestHeader) -> io::Result<Warmed> {
    stream.write_all(&answer::request_wire(request)).await?;
    let mut bytes = BytesMut::new();
    let head = loop {
        if let Some((head, length)) = answer::parse(&bytes)? {
            let rest = bytes.split_off(length);
            bytes = rest;
            if !head.status.is_informational() {
                break head;
            }
            continue;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut content = answer::content(&head, request).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut length = 0;
    loop {
        let ours = content.take(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        length += ours as u64;
        if content.is_done() {
            break;
        }
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return if content == answer::Content::UntilClose {
                Ok(warmed(&head, length))
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
    Ok(warmed(&head, length))
}

fn warmed(head: &pingora_http::ResponseHeader, bytes: u64) -> Warmed {
    let lines = head.headers.get_all("cache-status").into_iter();
    // Ours is the last: others are nearer to the origin (RFC 9211 section 2).
    let own = lines.filter_map(|line| line.to_str().ok()).next_back();
    let cache = own.and_then(|line| line.rsplit(", ").next()).map(str::to_owned);
    Warmed { status: head.status.as_u16(), cache, bytes }
}
