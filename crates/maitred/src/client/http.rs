//! As much of an HTTP/1.1 client as the admin listener needs: one request a connection, over TCP or a unix socket.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    time::Duration,
};

use document::Secret;

use super::places::{Place, Stream};

/// How long the head of an answer may be.
const HEAD: usize = 64 * 1024;

/// How long an answer may be that is read whole.
const WHOLE: u64 = 256 * 1024 * 1024;

/// How long a server that tells of events may be silent: it says every 15 seconds that it is there.
const SILENCE: Duration = Duration::from_secs(40);

/// An answer whose head was read.
pub struct Answer {
    /// The status.
    pub status: u16,
    body: Body,
}

/// One event of a stream (HTML, section 9.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What kind of event.
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// A body being read.
struct Body {
    stream: BufReader<Stream>,
    framing: Framing,
}

/// Where a body ends (RFC 9112 section 6.3).
enum Framing {
    /// After as many bytes.
    Length(u64),
    /// After a chunk of size 0; this many bytes are left of the one that is being read.
    Chunks(u64),
    /// With the connection.
    Close,
    /// It has ended.
    Ended,
}

/// Sends a request and reads the head of its answer.
pub fn ask(
    place: &Place,
    token: Option<&Secret>,
    method: &str,
    path: &str,
    body: Option<&str>,
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = place.connect(patience)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", place.host());
    request.push_str("Accept: application/json, text/event-stream;q=0.5\r\n");
    if let Some(token) = token {
        request.push_str(&format!("Authorization: Bearer {}\r\n", token.expose()));
    }
    if let Some(body) = body {
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body.unwrap_or(""));
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let (status, framing) = head(&mut stream).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs()))
        }
        _ => error,
    })?;
    Ok(Answer { status, body: Body { stream, framing } })
}

fn head(stream: &mut impl BufRead) -> io::Result<(u16, Framing)> {
    let not_http = || io::Error::new(ErrorKind::InvalidData, "what answers there does not speak HTTP");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let before = bytes.len();
        stream.by_ref().take((HEAD - before) as u64).read_until(b'\n', &mut bytes)?;
        if bytes.len() == before {
            return Err(if before == 0 { ErrorKind::UnexpectedEof.into() } else { not_http() });
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = match parsed.parse(&bytes) {
        Ok(httparse::Status::Complete(_)) => parsed.code.ok_or_else(not_http)?,
        _ => return Err(not_http()),
    };
    let field = |name: &str| {
        let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let framing = match (field("transfer-encoding"), field("content-length")) {
        _ if matches!(status, 204 | 304) => Framing::Ended,
        (Some(_), _) => Framing::Chunks(0),
        (None, Some(length)) => Framing::Length(length.trim().parse().map_err(|_| not_http())?),
        (None, None) => Framing::Close,
    };
    Ok((status, framing))
}

impl Answer {
    /// The body to its end.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.take(WHOLE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The body as events, until the server ends it.
    pub fn events(self) -> io::Result<impl Iterator<Item = io::Result<Event>>> {
        self.body.stream.get_ref().set_read_timeout(SILENCE)?;
        let mut lines = BufReader::new(self.body).lines();
        Ok(std::iter::from_fn(move || next_event(&mut lines)))
    }
}

fn next_event(lines: &mut impl Iterator<Item = io::Result<String>>) -> Option<io::Result<Event>> {
    let mut event = Event::default();
    loop {
        let line = match lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        match line.split_once(':') {
            None if line.is_empty() && event != Event::default() => return Some(Ok(event)),
            Some(("event", kind)) => event.kind = kind.trim_start().to_owned(),
            Some(("data", data)) => event.data.push_str(data.strip_prefix(' ').unwrap_or(data)),
            _ => {}
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunks(0) = self.framing {
            let size = chunk(&mut self.stream)?;
            self.framing = if size == 0 { Framing::Ended } else { Framing::Chunks(size) };
        }
        let left = match self.framing {
            Framing::Length(left) | Framing::Chunks(left) => left,
            Framing::Close => u64::MAX,
            Framing::Ended => 0,
        };
        if left == 0 {
            return Ok(0);
        }
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.stream.read(&mut buffer[..room])?;
        match &mut self.framing {
            Framing::Length(left) | Framing::Chunks(left) if count > 0 => *left -= count as u64,
            Framing::Length(_) | Framing::Chunks(_) if room > 0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        if let Framing::Chunks(0) = self.framing {
            // The line end that follows the chunk.
            self.stream.read_until(b'\n', &mut Vec::new())?;
        }
        Ok(count)
    }
}

/// Reads the size of the next chunk.
fn chunk(stream: &mut impl BufRead) -> io::Result<u64> {
    let mut line = Vec::new();
    stream.by_ref().take(1024).read_until(b'\n', &mut line)?;
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.split(';').next()).map(str::trim);
    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    size.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the answer broke off"))
}

#[cfg(test)]
mod tests;
