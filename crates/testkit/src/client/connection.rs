//! An HTTP/1 client that can also send whatever bytes a test likes.

use bytes::Bytes;

use super::{Request, Response, request::Payload};
use crate::{Address, Body, Cut, Fields, Framing, LIMIT, Stream, Wire, within, within_limit};

/// A client's HTTP/1 connection.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    host: String,
    limit: std::time::Duration,
}

impl Connection {
    /// Connects to `address`.
    pub async fn to(address: &Address) -> Self {
        let host = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".into(),
        };
        Self::over(address.connect().await, &host)
    }

    /// Speaks over an existing stream, asking for `host` unless a request says otherwise.
    pub fn over(stream: Stream, host: &str) -> Self {
        Self { wire: Wire::new(stream), host: host.to_owned(), limit: LIMIT }
    }

    /// Allows each answer this much time instead of [`LIMIT`]: for very large bodies.
    pub fn limit(mut self, limit: std::time::Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Our own address.
    pub fn local_address(&self) -> std::net::SocketAddr {
        self.wire.stream().local_address().unwrap()
    }

    /// The connection below.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Gives the stream back.
    pub fn into_stream(self) -> Stream {
        self.wire.into_parts().0
    }

    /// Sends bytes as they are; whether the other side still takes them shows in what it answers.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("the proxy to take bytes", self.wire.write(bytes.as_ref())).await;
    }

    /// Sends a request and reads its answer.
    pub async fn fetch(&mut self, request: Request) -> Response {
        self.start(&request).await;
        self.answer(&request.method).await
    }

    /// The same where the connection may end meanwhile; `None` where it ends before the head of an answer.
    pub async fn try_fetch(&mut self, request: Request) -> Option<Response> {
        self.start(&request).await;
        let (method, limit) = (request.method.clone(), self.limit);
        within_limit(limit, format!("the answer to a {method} request, or the end"), self.whole(&method)).await.ok()
    }

    /// Sends a request without waiting for the answer.
    pub async fn start(&mut self, request: &Request) {
        let limit = self.limit;
        let _ = within_limit(limit, "the proxy to take a request", self.write(request)).await;
    }

    async fn write(&mut self, request: &Request) -> Result<(), Cut> {
        self.wire.write(request.head(&self.host).as_bytes()).await?;
        for piece in request.pieces() {
            match &request.body {
                Payload::Chunked(_) => self.send_chunk(&piece).await?,
                _ => self.wire.write(&piece).await?,
            }
        }
        match &request.body {
            Payload::Chunked(_) => self.wire.write(b"0\r\n\r\n").await,
            _ => Ok(()),
        }
    }

    /// Sends one chunk of a chunked body.
    pub async fn send_chunk(&mut self, piece: &[u8]) -> Result<(), Cut> {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        self.wire.write(&chunk).await
    }

    /// Reads the next answer, which is to a request with `method`.
    #[track_caller]
    pub fn answer(&mut self, method: &str) -> impl Future<Output = Response> {
        let (method, limit) = (method.to_owned(), self.limit);
        within_limit(limit, format!("the answer to a {method} request"), async move {
            self.whole(&method).await.unwrap_or_else(|why| panic!("{why}"))
        })
    }

    async fn whole(&mut self, method: &str) -> Result<Response, String> {
        let (version, status, headers, interim) = self.head().await?;
        let framing = Framing::of_answer(method, status, &headers);
        let (body, cut) = if status == 101 { (Body::default(), None) } else { self.wire.collect(framing).await };
        Ok(Response { version, status, interim, headers, body, cut })
    }

    /// Reads the head of the next final answer (or of a 101) and leaves its body on the connection.
    pub async fn answer_head(&mut self) -> (u16, Fields) {
        let head = within("the head of an answer", self.head()).await;
        let (_, status, headers, _) = head.unwrap_or_else(|why| panic!("{why}"));
        (status, headers)
    }

    async fn head(&mut self) -> Result<(String, u16, Fields, Vec<(u16, Fields)>), String> {
        let mut interim = Vec::new();
        loop {
            let (version, status, fields) = self.next_head().await?;
            if status >= 200 || status == 101 {
                return Ok((version, status, fields, interim));
            }
            interim.push((status, fields));
        }
    }

    /// Reads the next head, interim or final.
    pub async fn any_head(&mut self) -> (String, u16, Fields) {
        self.next_head().await.unwrap_or_else(|why| panic!("{why}"))
    }

    async fn next_head(&mut self) -> Result<(String, u16, Fields), String> {
        let head = match self.wire.read_head().await {
            Ok(Some(head)) => head,
            Ok(None) => {
                let ahead = String::from_utf8_lossy(self.wire.ahead());
                return Err(format!("closed instead of answering, after {ahead:?}"));
            }
            Err(cut) => return Err(format!("cut off instead of answered: {cut:?}")),
        };
        let text = String::from_utf8_lossy(&head).into_owned();
        let (line, fields) = text.split_once("\r\n").unwrap_or((&text, ""));
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok());
        Ok((version, status.ok_or_else(|| format!("{line:?} is no status line"))?, Fields::parse(fields)))
    }

    /// Reads one chunk of a chunked answer; empty at its end.
    pub async fn chunk(&mut self) -> Result<Bytes, Cut> {
        within("a chunk", async {
            match self.wire.read_chunk_size().await? {
                0 => self.wire.read_trailers().await.map(|_| Bytes::new()),
                size => {
                    let chunk = self.wire.read_exactly(size as usize).await?;
                    self.wire.read_chunk_end().await?;
                    Ok(chunk)
                }
            }
        })
        .await
    }

    /// Reads exactly `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Bytes {
        within(format!("{count} bytes"), self.wire.read_exactly(count)).await.unwrap()
    }

    /// Reads up to the end of the connection; what came before a reset counts too.
    pub async fn rest(&mut self) -> Bytes {
        let read = self.wire.until_closed();
        within("the connection to close", read).await;
        self.wire.take_ahead()
    }

    /// Reads whatever comes until the connection closes or one whole answer is there.
    pub async fn rest_or_answer(&mut self) -> Bytes {
        within("an answer or the close", async {
            loop {
                let text = String::from_utf8_lossy(self.wire.ahead()).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = Fields::parse(head).get("content-length").and_then(|length| length.parse().ok());
                    if body.len() >= length.unwrap_or(0) {
                        return;
                    }
                }
                if !matches!(self.wire.fill().await, Ok(true)) {
                    return;
                }
            }
        })
        .await;
        self.wire.take_ahead()
    }

    /// Reads once and keeps what came for later; whether anything did.
    pub async fn wire_ready(&mut self) -> bool {
        matches!(self.wire.fill().await, Ok(true))
    }

    /// Waits until the proxy closes, and fails the test when it sends anything before.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?} before the close", String::from_utf8_lossy(&rest));
    }

    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.wire.finish().await;
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        self.wire.reset();
    }
}
