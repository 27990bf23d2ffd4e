//! The old process's side of the hand-over.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use snapshot::State;

use super::{Channel, Facts, Handed, Message, Pace, Telling, channel::BATCH};

/// How many bytes of counters go with one packet; base64 makes four out of three.
const PART: usize = 60 * 1024;

/// Everything that is handed over.
pub struct Gift {
    /// The sockets.
    pub sockets: Vec<(Handed, OwnedFd)>,
    /// What concerns have learnt, up to the moment when it is told.
    pub state: State,
    /// What is known.
    pub facts: Facts,
}

/// A new process that serves.
pub struct Served {
    /// Its version.
    pub version: String,
    /// Its id.
    pub pid: u32,
    /// The sockets that it has taken.
    pub taken: Vec<Handed>,
    /// Whether it keeps the channel open and says when it leaves.
    pub stays: bool,
    /// What it has been told.
    pub telling: Telling,
}

/// Hands everything over and waits until the new process serves. Blocks.
///
/// # Errors
///
/// Why it does not, in a sentence. Nothing has changed then.
pub fn give(channel: &Channel, gift: &Gift, deadline: Instant) -> Result<Served, String> {
    let late = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => "the new process was not ready in time".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the new process ended before it was ready".to_owned()
        }
        _ => format!("the new process cannot be talked to: {error}"),
    };
    let hello = channel.receive(Some(deadline)).map_err(late)?.0;
    let Message::Hello { version, pid, counters, keeps, stays } = hello else {
        return Err(OUT_OF_TURN.into());
    };
    let counters = counters && keeps.is_empty();
    let mut telling = Telling::to(keeps);
    send(channel, gift, counters, &mut telling, deadline).map_err(late)?;
    match channel.receive(Some(deadline)).map_err(late)?.0 {
        Message::Ready { taken } => Ok(Served { version, pid, taken, stays, telling }),
        Message::Failed { report } => Err(format!("the new process cannot serve:\n{}", report.trim_end())),
        _ => Err(OUT_OF_TURN.into()),
    }
}

const OUT_OF_TURN: &str = "the new process does not speak as a maitred of this kind does";

fn send(channel: &Channel, gift: &Gift, counters: bool, telling: &mut Telling, deadline: Instant) -> io::Result<()> {
    let pace = Pace::Until(deadline);
    for batch in gift.sockets.chunks(BATCH) {
        let sockets = batch.iter().map(|(handed, _)| handed.clone()).collect();
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
        channel.send(&Message::Sockets { sockets }, &fds, pace)?;
    }
    if counters {
        for part in gift.state.limits.export().chunks(PART) {
            channel.send(&Message::Counters { part: BASE64_STANDARD.encode(part) }, &[], pace)?;
        }
    }
    telling.all(channel, &gift.state, deadline)?;
    channel.send(&Message::Facts(gift.facts.clone()), &[], pace)
}
