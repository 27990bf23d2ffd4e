//! The answer of the origin, on its way to the client.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, Method, Version, header};
use pingora_core::{Error, ErrorType, Result, protocols::Stream};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{
    HEAD,
    head::{self, Answered, Ending, Malformed},
    outbox::{Coding, Outbox},
    upload::poll_read_buf,
};

/// How much is read at once at first, and once much has come.
const READ: (usize, usize) = (16 * 1024, 64 * 1024);

/// How much of the answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its head, or one before it, is being read.
    Head,
    /// Its content is.
    Content(Ending, Coding),
    /// Everything has.
    Whole,
}

/// What the origin has said, and what of it waits for the client.
#[derive(Debug)]
pub(super) struct Download {
    stage: Stage,
    buffer: BytesMut,
    /// Whether the origin has said anything at all.
    heard: bool,
    /// Whether the final head waits or is written.
    answers: bool,
    /// Whether the client has been sent any of it.
    pub(super) committed: bool,
    /// Whether the client knows by the end of its connection alone that the answer is over.
    open_ended: bool,
    /// Whether the connection to the origin may be used again.
    persists: bool,
    /// How many bytes of content were passed on.
    pub(super) sent: u64,
    /// What is to be written to the client.
    pub(super) out: Outbox,
}

impl Download {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Head,
            buffer: BytesMut::new(),
            heard: false,
            answers: false,
            committed: false,
            open_ended: false,
            persists: false,
            sent: 0,
            out: Outbox::default(),
        }
    }

    /// Whether the origin has said anything at all.
    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Whether there is a final head.
    pub(super) fn has_begun(&self) -> bool {
        self.answers
    }

    /// Whether the client has everything.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Whole && self.out.is_empty()
    }

    /// Whether there is more to be read, and nothing waits for the client.
    pub(super) fn wants_more(&self) -> bool {
        self.stage != Stage::Whole && self.out.is_empty()
    }

    /// Whether the connection to the origin can carry another request. One that has said more than its answer cannot.
    pub(super) fn can_reuse(&self) -> bool {
        self.persists && self.stage == Stage::Whole && self.buffer.is_empty()
    }

    /// Reads from the origin once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, origin: &mut Stream) -> Poll<Result<()>> {
        if self.buffer.capacity() - self.buffer.len() < READ.0 / 4 {
            self.buffer.reserve(if self.sent < READ.0 as u64 { READ.0 } else { READ.1 });
        }
        match ready!(poll_read_buf(cx, origin, &mut self.buffer)) {
            Ok(0) => self.ended(),
            Ok(_) => {
                self.heard = true;
                Ok(())
            }
            Err(error) => Err(Error::because(ErrorType::ReadError, "the answer", error).into_up()),
        }
        .into()
    }

    /// The origin has closed.
    fn ended(&mut self) -> Result<()> {
        match &mut self.stage {
            Stage::Content(Ending::Close { ended }, _) => {
                *ended = true;
                Ok(())
            }
            _ => Err(Error::explain(ErrorType::ConnectionClosed, "the answer is not whole").into_up()),
        }
    }

    /// The next head of the answer, once it is whole.
    pub(super) fn next_head(&mut self) -> Result<Option<Answered>> {
        if self.stage != Stage::Head {
            return Ok(None);
        }
        let found = head::read(&self.buffer).map_err(nonsense)?;
        match &found {
            Some(answered) => self.buffer.advance(answered.length),
            None if self.buffer.len() > listen::MAX_HEADER => return Err(nonsense(Malformed)),
            None => {}
        }
        Ok(found)
    }

    /// Where the content of a final answer ends.
    pub(super) fn ending(&mut self, answered: &mut Answered, method: &Method) -> Result<Ending> {
        let ending = head::ending(answered, method).map_err(nonsense)?;
        self.persists = answered.persists;
        Ok(ending)
    }

    /// Passes an interim head on.
    pub(super) fn put_interim(&mut self, head: &ResponseHeader) {
        head::write_interim(head, self.out.head());
    }

    /// Passes the final head on, framed for this client; returns whether its connection `keeps`.
    pub(super) fn put_final(
        &mut self,
        head: &mut ResponseHeader,
        request: &RequestHeader,
        ending: Ending,
        keeps: bool,
    ) -> Result<bool> {
        let is_old = request.version == Version::HTTP_10;
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            head.remove_header(&header::CONTENT_LENGTH);
        }
        let mut coding = Coding::Plain;
        let mut keeps = keeps;
        if ending != Ending::Head && !head.headers.contains_key(header::CONTENT_LENGTH) {
            if is_old {
                // RFC 9112 section 6.1: it cannot read chunks. The content ends with its connection.
                (keeps, self.open_ended) = (false, true);
            } else {
                coding = Coding::Chunked;
                head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            }
        }
        if is_old {
            head.remove_header(&header::TRANSFER_ENCODING);
        }
        self.out.head().reserve(HEAD);
        head::write_final(head, keeps, self.out.head());
        self.answers = true;
        self.stage = if ending == Ending::Head { Stage::Whole } else { Stage::Content(ending, coding) };
        Ok(keeps)
    }

    /// What has come of the content, and whether it is the last of it; `None` where nothing has, or where what came
    /// before is still to be written.
    pub(super) fn take_content(&mut self) -> Result<Option<(Bytes, bool)>> {
        let Stage::Content(ending, _) = &mut self.stage else { return Ok(None) };
        let ended = matches!(ending, Ending::Close { ended: true });
        if (self.buffer.is_empty() && !ended) || !self.out.has_room() {
            return Ok(None);
        }
        let (content, last) = match ending {
            Ending::Left(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= count as u64;
                (self.buffer.split_to(count), *left == 0)
            }
            Ending::Chunked(chunks) => {
                let content = chunks.decode(&mut self.buffer);
                (content.map_err(|_| nonsense(Malformed))?, chunks.is_done())
            }
            Ending::Close { .. } | Ending::Head => (self.buffer.split(), ended),
        };
        Ok(Some((content.freeze(), last)))
    }

    /// Passes a piece of content on, the `last` or another one.
    pub(super) fn put_content(&mut self, content: Bytes, last: bool) {
        let Stage::Content(_, coding) = self.stage else { return };
        self.sent += content.len() as u64;
        self.out.put(content, coding, last);
        if last {
            self.stage = Stage::Whole;
        }
    }

    /// Whether the client can tell by itself that an answer was broken off: not where its end is the connection's.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended && self.committed
    }
}

fn nonsense(_: Malformed) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the answer").into_up()
}
