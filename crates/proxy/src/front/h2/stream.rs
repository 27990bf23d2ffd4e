//! A client that speaks HTTP/2: one stream of its connection.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use filter::Reason;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, Response, header};
use listen::MinRate;
use pingora_core::{Error, ErrorType, Result, protocols::http::date::get_cached_date};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::{
    engine::{Client, Lines},
    front::pace::Watch,
    relay::Told,
};

/// Both directions of one stream. The codec keeps what the client's windows allow and no more.
pub(super) struct Stream {
    body: RecvStream,
    /// Whether all of the request has been read.
    read: bool,
    respond: SendResponse<Bytes>,
    /// Present once the final head is on its way.
    content: Option<SendStream<Bytes>>,
    /// What the client's windows have no room for yet.
    waiting: Bytes,
    /// Whether what waits, or nothing, is the end of the answer.
    last: bool,
    /// Whether the end of the answer is on its way.
    ended: bool,
    watch: Watch,
}

impl Stream {
    pub(super) fn new(head: &RequestHeader, body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        let nothing = || head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
        let read = body.is_end_stream() || nothing();
        Self {
            body,
            read,
            respond,
            content: None,
            waiting: Bytes::new(),
            last: false,
            ended: false,
            watch: Watch::default(),
        }
    }

    /// The request's content has to come as fast as this.
    pub(super) fn keep_pace(&mut self, least: Option<MinRate>) {
        self.watch = Watch::new(least);
    }

    /// Ends the answer with these fields. Nothing may wait any more.
    pub(super) fn put_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        let Some(content) = self.content.as_mut().filter(|_| !self.ended) else { return Ok(()) };
        self.ended = true;
        content.send_trailers(trailers).map_err(left)
    }

    /// Gives the stream up at once, unless the end of the answer is on its way.
    pub(super) fn reset(&mut self, why: h2::Reason) {
        if !self.ended {
            self.ended = true;
            match &mut self.content {
                Some(content) => content.send_reset(why),
                None => self.respond.send_reset(why),
            }
        }
    }

    /// Whether the end of the answer is on its way.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Client for Stream {
    const TOLD: Told = Told::Among;

    fn is_body_read(&self) -> bool {
        self.read
    }

    fn can_be_watched(&self) -> bool {
        true
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let gone = match &mut self.content {
            Some(content) => content.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        gone.map(|_| ())
    }

    fn poll_content(&mut self, cx: &mut Context<'_>, _received: u64) -> Poll<Result<Bytes>> {
        while !self.read {
            let piece = match self.body.poll_data(cx) {
                Poll::Pending => {
                    self.watch.waits();
                    return Poll::Pending;
                }
                // What is left are trailers, of which HTTP/1 origins are sent none.
                Poll::Ready(None) => {
                    self.read = true;
                    break;
                }
                Poll::Ready(Some(piece)) => piece.map_err(broken)?,
            };
            self.read = self.body.is_end_stream();
            // Nobody reads on before this piece is taken, so that no more than the window's worth waits here.
            self.body.flow_control().release_capacity(piece.len()).map_err(broken)?;
            if !self.watch.moved(piece.len()) && !self.read {
                return Poll::Ready(Err(too_slow()));
            }
            if !piece.is_empty() {
                return Poll::Ready(Ok(piece));
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    fn put_interim(&mut self, head: &ResponseHeader) {
        let mut interim = Response::new(());
        *interim.status_mut() = head.status;
        *interim.headers_mut() = head.headers.clone();
        strip(interim.headers_mut());
        self.watch.restart();
        if let Err(error) = self.respond.send_informational(interim) {
            log::debug!("an interim answer was not passed on: {error}");
        }
    }

    fn put_final(
        &mut self,
        head: ResponseHeader,
        _lines: &Lines,
        _request: &RequestHeader,
        has_content: bool,
        keeps: bool,
        _more: impl FnOnce(&ResponseHeader, &mut BytesMut),
    ) -> Result<bool> {
        let mut answer = Response::from_parts(head.into(), ());
        strip(answer.headers_mut());
        answer.headers_mut().entry(header::DATE).or_insert_with(get_cached_date);
        self.watch.restart();
        self.content = Some(self.respond.send_response(answer, !has_content).map_err(left)?);
        self.ended = !has_content;
        Ok(keeps)
    }

    fn put(&mut self, content: Bytes, last: bool) {
        (self.waiting, self.last) = (content, last);
    }

    fn forget(&mut self) {
        // A head leaves as soon as it is put; content comes after it.
    }

    fn has_room(&self) -> bool {
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.last
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wrote: &mut bool) -> Poll<io::Result<()>> {
        let Some(content) = &mut self.content else { return Poll::Ready(Ok(())) };
        while !self.waiting.is_empty() {
            content.reserve_capacity(self.waiting.len());
            let mut room = content.capacity();
            if room == 0 {
                let grown = ready!(content.poll_capacity(cx));
                room = grown.unwrap_or(Ok(0)).map_err(io::Error::other)?;
            }
            if room == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let piece = self.waiting.split_to(room.min(self.waiting.len()));
            self.ended = self.last && self.waiting.is_empty();
            content.send_data(piece, self.ended).map_err(io::Error::other)?;
            *wrote = true;
            self.watch.restart();
        }
        if self.last && !self.ended {
            self.ended = true;
            content.send_data(Bytes::new(), true).map_err(io::Error::other)?;
            *wrote = true;
        }
        self.last = false;
        Poll::Ready(Ok(()))
    }

    fn is_committed(&self) -> bool {
        self.content.is_some()
    }

    fn break_off(&mut self, reason: Reason) {
        // A stream that is let go before its end is reset once its connection's turn comes; one whose client takes nothing
        // is reset now.
        if reason == Reason::AnswerTimeout {
            self.reset(h2::Reason::CANCEL);
        }
    }
}

/// What HTTP/2 has no use for (RFC 9113 section 8.2.2).
fn strip(fields: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        fields.remove(name);
    }
}

/// The client has given up its stream, or its connection has ended.
fn left(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectionClosed, "the client left", error).into_down()
}

/// Reading the content has failed: most often since the client left, else since it broke the rules.
fn broken(error: h2::Error) -> Box<Error> {
    if error.is_library() && error.is_reset() {
        return Error::because(ErrorType::InvalidHTTPHeader, "the request's content", error).into_down();
    }
    left(error)
}

fn too_slow() -> Box<Error> {
    Error::explain(ErrorType::ReadTimedout, "a body that comes too slowly").into_down()
}
