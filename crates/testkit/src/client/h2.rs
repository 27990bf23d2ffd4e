//! An HTTP/2 client with its streams in the test's hands.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture, client::SendRequest};
use http::HeaderMap;

use super::{Request, Response, request::Payload};
use crate::{Body, Cut, Fields, LIMIT, Stream, within, within_limit};

/// A client's HTTP/2 connection, with prior knowledge or after ALPN.
#[derive(Debug, Clone)]
pub struct H2 {
    sender: SendRequest<Bytes>,
    scheme: &'static str,
    host: String,
    limit: Duration,
}

impl H2 {
    /// Shakes hands over `stream`, asking for `host` unless a request says otherwise.
    pub async fn over(stream: Stream, host: &str) -> Self {
        let scheme = if stream.tls().is_some() { "https" } else { "http" };
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = within("the HTTP/2 handshake", builder.handshake(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, scheme, host: host.to_owned(), limit: LIMIT }
    }

    /// Allows each answer this much time instead of [`LIMIT`]: for very large bodies.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends a request and reads its answer; fails the test when the stream is reset before the head.
    pub async fn fetch(&self, request: Request) -> Response {
        self.try_fetch(request).await.expect("an answer")
    }

    /// Sends a request and reads its answer; a reset after the head shows as an incomplete body.
    pub async fn try_fetch(&self, request: Request) -> Result<Response, h2::Error> {
        let what = format!("the HTTP/2 answer to {} {}", request.method, request.target);
        within_limit(self.limit, what, async {
            let pieces = request.pieces();
            let (mut out, mut incoming) = self.open(&request).await;
            let upload = async {
                for piece in pieces {
                    if out.send(piece).await.is_err() {
                        return;
                    }
                }
                let _ = out.finish().await;
            };
            let (answer, ()) = tokio::join!(incoming.collect(), upload);
            answer
        })
        .await
    }

    /// Opens a stream with the head of `request`; its body is up to the test. Ends the stream where there is none.
    pub async fn open(&self, request: &Request) -> (Outgoing, Incoming) {
        let mut sender = within("room for a stream", self.sender.clone().ready()).await.unwrap();
        let host = request.headers.get("host").unwrap_or(&self.host);
        let uri = match request.target.as_str() {
            absolute if absolute.contains("://") => absolute.to_owned(),
            path => format!("{}://{host}{path}", self.scheme),
        };
        let mut head = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in request.headers.0.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            head = head.header(name.to_ascii_lowercase(), value);
        }
        if let Payload::Counted(bytes) = &request.body {
            head = head.header("content-length", bytes.len());
        }
        if let Payload::Generated(length) = request.body {
            head = head.header("content-length", length);
        }
        let ended = matches!(request.body, Payload::None);
        let (answer, stream) = sender.send_request(head.body(()).unwrap(), ended).unwrap();
        let mut out = Outgoing::new(stream);
        out.ended = ended;
        (out, Incoming { answer: Some(answer), body: None, interim: Vec::new() })
    }

    /// Opens a stream whose body the test sends piece by piece.
    pub async fn stream(&self, request: Request) -> (Outgoing, Incoming) {
        self.open(&request.chunks(&[])).await
    }
}

/// The body going out on one stream.
#[derive(Debug)]
pub struct Outgoing {
    stream: SendStream<Bytes>,
    ended: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, ended: false }
    }

    /// Sends a piece as the other side's windows allow.
    pub async fn send(&mut self, mut piece: Bytes) -> Result<(), Cut> {
        while !piece.is_empty() {
            self.stream.reserve_capacity(piece.len());
            let room = match self.stream.capacity() {
                0 => poll_fn(|cx| self.stream.poll_capacity(cx)).await,
                room => Some(Ok(room)),
            };
            let room = room.ok_or_else(|| Cut("the stream is closed".into()))?.map_err(cut)?;
            if room > 0 {
                let now = piece.split_to(room.min(piece.len()));
                self.stream.send_data(now, false).map_err(cut)?;
            }
        }
        Ok(())
    }

    /// Ends the body.
    pub async fn finish(&mut self) -> Result<(), Cut> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.stream.send_data(Bytes::new(), true).map_err(cut)
    }

    /// Ends the body with trailers.
    pub fn trailers(mut self, trailers: HeaderMap) -> Result<(), Cut> {
        self.stream.send_trailers(trailers).map_err(cut)
    }

    /// Cancels the stream.
    pub fn reset(mut self, reason: h2::Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits until the other side resets the stream.
    pub async fn until_reset(&mut self) {
        let _ = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }
}

/// The answer coming in on one stream.
#[derive(Debug)]
pub struct Incoming {
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
    interim: Vec<(u16, Fields)>,
}

impl Incoming {
    /// Waits for the head.
    pub async fn head(&mut self) -> Result<(u16, Fields), h2::Error> {
        let (parts, body) = within("the head of an HTTP/2 answer", self.answered()).await?.into_parts();
        self.body = Some(body);
        Ok((parts.status.as_u16(), Fields::from_map(&parts.headers)))
    }

    /// Waits for the next interim answer.
    pub async fn interim(&mut self) -> (u16, Fields) {
        let answer = self.answer.as_mut().expect("interim answers come before the head");
        let next = poll_fn(|cx| answer.poll_informational(cx));
        let next = within("an interim answer", next).await.expect("an interim answer before the head").unwrap();
        (next.status().as_u16(), Fields::from_map(next.headers()))
    }

    /// The head, after the interim ones.
    async fn answered(&mut self) -> Result<http::Response<RecvStream>, h2::Error> {
        let mut answer = self.answer.take().expect("the head is read once");
        poll_fn(|cx| {
            while let Poll::Ready(Some(next)) = answer.poll_informational(cx) {
                let next = next?;
                self.interim.push((next.status().as_u16(), Fields::from_map(next.headers())));
            }
            Pin::new(&mut answer).poll(cx)
        })
        .await
    }

    /// Waits for the next piece of the body; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        within("a piece of an HTTP/2 answer", self.next()).await
    }

    async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let body = self.body.as_mut().expect("the head comes before the body");
        loop {
            let Some(piece) = body.data().await.transpose()? else { return Ok(None) };
            body.flow_control().release_capacity(piece.len())?;
            // An empty frame may end the body, and says nothing else.
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Waits for the trailers.
    pub async fn trailers(&mut self) -> Result<Fields, h2::Error> {
        let body = self.body.as_mut().expect("the head comes before the trailers");
        let trailers = within("trailers", body.trailers()).await?;
        Ok(Fields::from_map(&trailers.unwrap_or_default()))
    }

    async fn collect(&mut self) -> Result<Response, h2::Error> {
        let (parts, body) = self.answered().await?.into_parts();
        self.body = Some(body);
        let mut body = Body::default();
        let cut = loop {
            match self.next().await {
                Ok(Some(piece)) => body.take(&piece),
                Ok(None) => break None,
                Err(error) => break Some(Cut(error.to_string())),
            }
        };
        body.complete = cut.is_none();
        if body.complete {
            body.trailers = self.trailers().await?;
        }
        Ok(Response {
            version: "HTTP/2".into(),
            status: parts.status.as_u16(),
            interim: std::mem::take(&mut self.interim),
            headers: Fields::from_map(&parts.headers),
            body,
            cut,
        })
    }
}

fn cut(error: h2::Error) -> Cut {
    Cut(error.to_string())
}
