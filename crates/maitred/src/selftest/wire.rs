//! As much of HTTP/1.1 as both ends of the self-test need: heads, bodies with a length or in chunks, bytes as they are.

use std::io::{self, ErrorKind};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a head may be.
const HEAD: usize = 16 * 1024;

/// A connection's bytes, whatever carries them.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// One end of a connection.
pub struct Wire {
    stream: Box<dyn Duplex>,
    buffer: BytesMut,
}

/// The head of a request or of an answer.
pub struct Head {
    /// `GET /path` of a request, `200` of an answer.
    pub says: String,
    /// How its body is framed.
    pub body: Framing,
    /// Whether the connection ends with this answer.
    pub closes: bool,
}

/// Where a body ends (RFC 9112 section 6.3): after so many bytes, or after the last chunk with so many left of this one.
pub enum Framing {
    Length(u64),
    Chunks(u64),
}

impl Wire {
    pub fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: BytesMut::with_capacity(16 * 1024) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends one chunk; an empty one ends the body.
    pub async fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await
    }

    /// The next head; `None` when the connection ends before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() && self.fill().await? == 0 {
            return Ok(None);
        }
        let mut head = Head { says: String::new(), body: Framing::Length(0), closes: false };
        let mut size = 0;
        loop {
            let line = self.line().await?;
            size += line.len();
            if size > HEAD {
                return Err(broken("a head without end"));
            }
            match line.split_once(':') {
                _ if line.is_empty() => return Ok(Some(head)),
                _ if head.says.is_empty() => head.says = says(&line),
                Some((name, value)) => head.field(&name.to_ascii_lowercase(), &value.trim().to_ascii_lowercase())?,
                None => return Err(broken("a line without a colon")),
            }
        }
    }

    /// The next piece of a body; `None` at its end.
    pub async fn piece(&mut self, body: &mut Framing) -> io::Result<Option<Bytes>> {
        if let Framing::Chunks(0) = body {
            let size = u64::from_str_radix(&self.line().await?, 16).map_err(|_| broken("no size of a chunk"))?;
            *body = Framing::Chunks(size);
            if size == 0 {
                self.line().await?;
                *body = Framing::Length(0);
            }
        }
        let (Framing::Length(left) | Framing::Chunks(left)) = body;
        if *left == 0 {
            return Ok(None);
        }
        self.some().await?;
        let count = self.buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= count as u64;
        let piece = self.buffer.split_to(count).freeze();
        if let Framing::Chunks(0) = body {
            self.line().await?;
        }
        Ok(Some(piece))
    }

    /// A whole body.
    pub async fn whole(&mut self, mut body: Framing) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Whatever comes next; `None` when the connection ends.
    pub async fn bytes(&mut self) -> io::Result<Option<Bytes>> {
        if self.buffer.is_empty() && self.fill().await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    /// Exactly so many bytes.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Bytes> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Ok(self.buffer.split_to(count).freeze())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > HEAD {
                return Err(broken("a line without end"));
            }
            self.more().await?;
        }
    }

    async fn some(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { self.more().await } else { Ok(()) }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(4096);
        self.stream.read_buf(&mut self.buffer).await
    }
}

impl Head {
    fn field(&mut self, name: &str, value: &str) -> io::Result<()> {
        match name {
            "content-length" => self.body = Framing::Length(value.parse().map_err(|_| broken("a wrong length"))?),
            "transfer-encoding" => self.body = Framing::Chunks(0),
            "connection" => self.closes = value.split(',').any(|token| token.trim() == "close"),
            _ => {}
        }
        Ok(())
    }
}

/// The status of an answer's first line, or method and path of a request's.
fn says(line: &str) -> String {
    let mut words = line.split(' ');
    let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if first.starts_with("HTTP/") { second.to_owned() } else { format!("{first} {second}") }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_of_both_framings_are_read_to_their_ends() {
        let (one, two) = tokio::io::duplex(256);
        let (mut client, mut server) = (Wire::new(one), Wire::new(two));
        client.send("POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        for piece in ["one", "two", ""] {
            client.send_chunk(piece.as_bytes()).await.unwrap();
        }
        let head = server.head().await.unwrap().unwrap();
        assert_eq!(head.says, "POST /up");
        assert_eq!(server.whole(head.body).await.unwrap(), b"onetwo");
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await.unwrap();
        let head = client.head().await.unwrap().unwrap();
        assert!(head.says == "200" && head.closes);
        assert_eq!(client.whole(head.body).await.unwrap(), b"ok");
        drop(server);
        assert!(client.head().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        ] {
            let (one, two) = tokio::io::duplex(1024);
            let (mut client, mut server) = (Wire::new(one), Wire::new(two));
            server.send(text).await.unwrap();
            drop(server);
            let head = client.head().await.unwrap().unwrap();
            assert_eq!(client.whole(head.body).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }
}
