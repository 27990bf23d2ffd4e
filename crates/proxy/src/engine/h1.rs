//! A client that speaks HTTP/1: its connection, for one request.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{
    HEAD,
    client::Client,
    head,
    lines::Lines,
    outbox::{Coding, Outbox},
    pipe::Pipe,
    upload::poll_read_buf,
};
use crate::{
    front::{chunked::Chunks, conn::Boundary, conn::Conn},
    relay::Told,
};

/// How much is read at once at first, and once much has come.
const READ: (usize, usize) = (16 * 1024, 64 * 1024);

/// Room for less than this is not worth a read.
const LEAST_ROOM: usize = 4 * 1024;

/// The connection, and what of the two messages is under way.
pub(super) struct H1<'a> {
    conn: &'a mut Conn,
    chunks: Option<Chunks>,
    /// What was read of the request's content.
    buffer: BytesMut,
    /// What is to be written.
    out: Outbox,
    /// How much the socket had taken when that was last waited for.
    taken: u64,
    coding: Coding,
    /// Whether the final head waits or is written.
    answers: bool,
    committed: bool,
    /// Whether the client knows by the end of its connection alone that the answer is over.
    open_ended: bool,
}

impl<'a> H1<'a> {
    pub(super) fn new(conn: &'a mut Conn, body: Boundary) -> Self {
        conn.set_boundary(0, body);
        Self {
            conn,
            chunks: (body == Boundary::Chunked).then(Chunks::default),
            buffer: BytesMut::new(),
            out: Outbox::default(),
            taken: 0,
            coding: Coding::Plain,
            answers: false,
            committed: false,
            open_ended: false,
        }
    }

    /// Whether the client cannot tell by itself that the answer was broken off: its end is the connection's.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended && self.committed
    }
}

impl Client for H1<'_> {
    const TOLD: Told = Told::Behind;

    fn is_body_read(&self) -> bool {
        self.conn.is_body_read()
    }

    fn may_drip(&mut self) {
        self.conn.may_drip();
    }

    fn can_be_watched(&self) -> bool {
        self.conn.is_body_read()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.poll_gone(cx)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.poll_broken(cx)
    }

    fn poll_content(&mut self, cx: &mut Context<'_>, received: u64) -> Poll<Result<Bytes>> {
        loop {
            if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
                let much = received.max(self.conn.left()) >= READ.1 as u64;
                self.buffer.reserve(if much { READ.1 } else { READ.0 });
            }
            let count = ready!(poll_read_buf(cx, self.conn, &mut self.buffer)).map_err(broken)?;
            if count == 0 {
                return Poll::Ready(Err(gone()));
            }
            let content = match &mut self.chunks {
                None => self.buffer.split(),
                Some(chunks) => chunks.decode(&mut self.buffer).map_err(|_| malformed())?,
            };
            if !content.is_empty() || self.conn.is_body_read() {
                return Poll::Ready(Ok(content.freeze()));
            }
        }
    }

    fn left_for_pipe(&self) -> u64 {
        if self.conn.is_bare() { self.conn.left() } else { 0 }
    }

    fn poll_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        self.conn.poll_pipe(cx, pipe)
    }

    fn put_interim(&mut self, head: &ResponseHeader) {
        head::write_interim(head, self.out.head());
        self.out.stays();
    }

    fn put_final(
        &mut self,
        mut head: ResponseHeader,
        lines: &Lines,
        request: &RequestHeader,
        has_content: bool,
        keeps: bool,
        more: impl FnOnce(&ResponseHeader, &mut BytesMut),
    ) -> Result<bool> {
        let is_old = request.version == Version::HTTP_10;
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            head.remove_header(&header::CONTENT_LENGTH);
        }
        let mut keeps = keeps;
        let is_framed = lines.length.is_some() || head.headers.contains_key(header::CONTENT_LENGTH);
        if has_content && !is_framed {
            if is_old {
                // RFC 9112 section 6.1: it cannot read chunks. The content ends with its connection.
                (keeps, self.open_ended) = (false, true);
            } else {
                self.coding = Coding::Chunked;
                head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            }
        } else if !is_framed && has_no_end(&head, request) {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))?;
        }
        if is_old {
            head.remove_header(&header::TRANSFER_ENCODING);
        }
        self.out.head().reserve(HEAD);
        head::write_final(&head, lines, keeps, self.out.head(), |out| more(&head, out));
        self.answers = true;
        Ok(keeps)
    }

    fn put(&mut self, content: Bytes, last: bool) {
        self.out.put(content, self.coding, last);
    }

    fn forget(&mut self) {
        self.out.cut();
        (self.coding, self.answers, self.open_ended) = (Coding::Plain, false, false);
    }

    fn has_room(&self) -> bool {
        self.out.has_room()
    }

    fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    fn waiting(&self) -> usize {
        self.out.waiting()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wrote: &mut bool) -> Poll<io::Result<()>> {
        let polled = self.out.poll_write(cx, self.conn, wrote);
        self.committed |= *wrote && self.answers;
        if polled.is_pending() {
            // What was taken into a buffer leaves it without being seen.
            let taken = self.conn.taken();
            *wrote |= taken != self.taken;
            self.taken = taken;
        }
        polled
    }

    fn is_committed(&self) -> bool {
        self.committed
    }

    fn break_off(&mut self, _reason: Reason) {
        // Its connection ends, which says it.
    }
}

/// Whether an answer without content says nothing of where it ends, though one to this request could have some.
fn has_no_end(head: &ResponseHeader, request: &RequestHeader) -> bool {
    request.method != Method::HEAD
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

pub(super) fn broken(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ReadError, "the request's content", error).into_down()
}

/// The client has left.
pub(super) fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client left").into_down()
}

fn malformed() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the request's chunks").into_down()
}
