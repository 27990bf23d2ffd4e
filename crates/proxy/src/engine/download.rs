//! The answer of the origin, on its way to the client.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use pingora_core::{Error, ErrorType, Result};
use snapshot::Answers;

use super::{
    head::{self, Answered, Ending, Malformed},
    origin::Origin,
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
    Content(Ending),
    /// Everything has.
    Whole,
}

/// What the origin has said.
#[derive(Debug)]
pub(super) struct Download {
    stage: Stage,
    buffer: BytesMut,
    /// Whether the origin has said anything at all.
    heard: bool,
    /// Whether the connection to the origin may be used again.
    persists: bool,
    /// How many bytes of content were passed on.
    pub(super) sent: u64,
}

impl Download {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Head, buffer: BytesMut::new(), heard: false, persists: false, sent: 0 }
    }

    /// Whether the origin has said anything at all.
    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Whether everything has come.
    pub(super) fn is_whole(&self) -> bool {
        self.stage == Stage::Whole
    }

    /// Whether the connection to the origin can carry another request. One that has said more than its answer cannot.
    pub(super) fn can_reuse(&self) -> bool {
        self.persists && self.stage == Stage::Whole && self.buffer.is_empty()
    }

    /// The connection ends with this answer, whatever the origin says of it.
    pub(super) fn is_last(&mut self) {
        self.persists = false;
    }

    /// Reads from the origin once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, origin: &mut Origin) -> Poll<Result<()>> {
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
            Stage::Content(Ending::Close { ended }) => {
                *ended = true;
                Ok(())
            }
            _ => Err(Error::explain(ErrorType::ConnectionClosed, "the answer is not whole").into_up()),
        }
    }

    /// The next head of the answer, once it is whole; what is not `asked` for of it stays as it came.
    pub(super) fn next_head(&mut self, asked: Option<&Answers>) -> Result<Option<Answered>> {
        if self.stage != Stage::Head {
            return Ok(None);
        }
        let found = head::read(&self.buffer, asked).map_err(nonsense)?;
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

    /// The final head is passed on; says whether content follows.
    pub(super) fn begin(&mut self, ending: Ending) -> bool {
        self.stage = if ending == Ending::Head { Stage::Whole } else { Stage::Content(ending) };
        ending != Ending::Head
    }

    /// What has come of the content, and whether it is the last of it; `None` where nothing has.
    pub(super) fn take_content(&mut self) -> Result<Option<(Bytes, bool)>> {
        let Stage::Content(ending) = &mut self.stage else { return Ok(None) };
        let ended = matches!(ending, Ending::Close { ended: true });
        if self.buffer.is_empty() && !ended {
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

    /// A piece of content is passed on, the `last` or another one.
    pub(super) fn passed(&mut self, content: &Bytes, last: bool) {
        self.sent += content.len() as u64;
        if last {
            self.stage = Stage::Whole;
        }
    }
}

fn nonsense(_: Malformed) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the answer").into_up()
}
