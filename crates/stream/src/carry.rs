//! Bytes both ways, until both sides have ended.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

/// How much is read at once. It lies on the stack: what cannot be written at once is all that a connection holds.
const READ: usize = 32 * 1024;

/// How a pair of connections ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Both sides have said their last word.
    Well,
    /// The client's side broke.
    Client(io::Error),
    /// The backend's side broke.
    Backend(io::Error),
    /// Nothing passed for too long.
    Idle,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Half {
    /// Read and, from `at` on, not yet written.
    held: Vec<u8>,
    at: usize,
    /// Whether something was written that is not yet flushed.
    unflushed: bool,
    state: State,
    /// How many bytes have passed.
    moved: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The one side has said its last word, and the other is to be told.
    Ending,
    Ended,
}

/// Which side an error is of.
enum Broken {
    Source(io::Error),
    Target(io::Error),
}

impl Half {
    /// A direction that begins with what `held` says.
    pub(crate) fn beginning_with(held: Vec<u8>) -> Self {
        Self { held, ..Self::default() }
    }

    /// Moves what can be moved; ready when there will be no more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin + ?Sized),
        target: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<Result<(), Broken>> {
        let (mut source, mut target) = (Pin::new(source), Pin::new(target));
        loop {
            while self.at < self.held.len() {
                self.at += ready!(written(target.as_mut().poll_write(cx, &self.held[self.at..])))?;
            }
            if !self.held.is_empty() {
                (self.held, self.at, self.unflushed) = (Vec::new(), 0, true);
            }
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(target.as_mut().poll_shutdown(cx)).map_err(Broken::Target)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            let mut room = [const { MaybeUninit::uninit() }; READ];
            let mut read = ReadBuf::uninit(&mut room);
            if source.as_mut().poll_read(cx, &mut read).map_err(Broken::Source)?.is_pending() {
                if self.unflushed && target.as_mut().poll_flush(cx).map_err(Broken::Target)?.is_ready() {
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            let mut bytes = read.filled();
            if bytes.is_empty() {
                self.state = State::Ending;
            }
            self.moved += bytes.len() as u64;
            while !bytes.is_empty() {
                match written(target.as_mut().poll_write(cx, bytes))? {
                    Poll::Ready(count) => bytes = &bytes[count..],
                    Poll::Pending => break,
                }
                self.unflushed = true;
            }
            self.held.extend_from_slice(bytes);
            if !self.held.is_empty() {
                return Poll::Pending; // the target tells when it takes more
            }
        }
    }
}

fn written(polled: Poll<io::Result<usize>>) -> Poll<Result<usize, Broken>> {
    polled.map(|result| match result {
        Ok(0) => Err(Broken::Target(io::ErrorKind::WriteZero.into())),
        other => other.map_err(Broken::Target),
    })
}

/// Carries bytes between `client` and `backend`; `up` is what the client says. `passed` is told how many bytes went up
/// and down, each time that some have.
pub(crate) async fn carry(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    backend: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    mut up: Half,
    idle: Duration,
    mut passed: impl FnMut(u64, u64),
) -> Ended {
    let mut down = Half::default();
    let mut last = Instant::now();
    let mut silence = pin!(sleep_until(last + idle));
    poll_fn(|cx| {
        let before = (up.moved, down.moved);
        let ends = [
            up.poll(cx, client, backend).map_err(|broken| match broken {
                Broken::Source(error) => Ended::Client(error),
                Broken::Target(error) => Ended::Backend(error),
            }),
            down.poll(cx, backend, client).map_err(|broken| match broken {
                Broken::Source(error) => Ended::Backend(error),
                Broken::Target(error) => Ended::Client(error),
            }),
        ];
        if before != (up.moved, down.moved) {
            last = Instant::now();
            passed(up.moved - before.0, down.moved - before.1);
        }
        let mut open = false;
        for end in ends {
            match end {
                Poll::Ready(Err(ended)) => return Poll::Ready(ended),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => open = true,
            }
        }
        if !open {
            return Poll::Ready(Ended::Well);
        }
        while silence.as_mut().poll(cx).is_ready() {
            if last + idle <= Instant::now() {
                return Poll::Ready(Ended::Idle);
            }
            silence.as_mut().reset(last + idle);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
