//! Content that goes from one socket to another without coming by here: the kernel moves it through a pipe.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll},
};

use listen::Socket;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How much a pipe is asked to hold, and so how much moves with one call each way. The system may allow less.
const SIZE: usize = 256 * 1024;

/// So many pipes are kept by each worker for who comes next.
const SPARE: usize = 16;

thread_local! {
    static SPARE_PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and what is in it. Nobody else ever gets one with something in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    reads: OwnedFd,
    writes: OwnedFd,
    held: usize,
}

impl Pipe {
    /// One with nothing in it.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(spare) = SPARE_PIPES.with_borrow_mut(Vec::pop) {
            return Ok(spare);
        }
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user may have only so much in pipes that are larger than usual: then it stays as it is.
        let _ = fcntl_setpipe_size(&writes, SIZE);
        Ok(Self { reads, writes, held: 0 })
    }

    /// Gives it back; with something in it, it is closed.
    pub(super) fn rest(self) {
        if self.held == 0 {
            SPARE_PIPES.with_borrow_mut(|spare| {
                if spare.len() < SPARE {
                    spare.push(self);
                }
            });
        }
    }

    /// How many bytes are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `most` bytes from the socket into the pipe, of which there must be none in it; 0 at the stream's end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let (writes, most) = (&self.writes, most.min(SIZE));
        let moved = from.poll_read_by(cx, || Ok(splice(from, None, writes, None, most, SpliceFlags::NONBLOCK)?));
        if let Poll::Ready(Ok(count)) = &moved {
            self.held += count;
        }
        moved
    }

    /// Moves what is in the pipe into the socket; says how much.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Socket) -> Poll<io::Result<usize>> {
        let (reads, held) = (&self.reads, self.held);
        let moved = to.poll_write_by(cx, || Ok(splice(reads, None, to, None, held, SpliceFlags::NONBLOCK)?));
        if let Poll::Ready(Ok(count)) = &moved {
            self.held -= count;
        }
        moved
    }
}

/// Whether the error is the system's word that it cannot do this at all, and not the end of a connection.
pub(super) fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}
