//! The old process's side of the hand-over.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Channel, Facts, Handed, Message, channel::BATCH};

/// How many bytes of counters go with one packet; base64 makes four out of three.
const PART: usize = 60 * 1024;

/// Everything that is handed over.
pub struct Gift {
    /// The sockets.
    pub sockets: Vec<(Handed, OwnedFd)>,
    /// What limits have counted.
    pub counters: limit::State,
    /// What is known.
    pub facts: Facts,
}

/// A new process that serves.
#[derive(Debug)]
pub struct Served {
    /// Its version.
    pub version: String,
    /// Its id.
    pub pid: u32,
    /// The sockets that it has taken.
    pub taken: Vec<Handed>,
}

/// Hands everything over and waits until the new process serves. Blocks.
///
/// # Errors
///
/// Why it does not, in a sentence. Nothing has changed then.
pub fn give(channel: &Channel, gift: &Gift, deadline: Instant) -> Result<Served, String> {
    let late = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => "the new process was not ready in time".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the new process ended before it was ready".to_owned()
        }
        _ => format!("the new process cannot be talked to: {error}"),
    };
    let Message::Hello { version, pid, counters } = channel.receive(Some(deadline)).map_err(late)?.0 else {
        return Err(OUT_OF_TURN.into());
    };
    send(channel, gift, counters).map_err(late)?;
    match channel.receive(Some(deadline)).map_err(late)?.0 {
        Message::Ready { taken } => Ok(Served { version, pid, taken }),
        Message::Failed { report } => Err(format!("the new process cannot serve:\n{}", report.trim_end())),
        _ => Err(OUT_OF_TURN.into()),
    }
}

const OUT_OF_TURN: &str = "the new process does not speak as a maitred of this kind does";

fn send(channel: &Channel, gift: &Gift, counters: bool) -> io::Result<()> {
    for batch in gift.sockets.chunks(BATCH) {
        let sockets = batch.iter().map(|(handed, _)| handed.clone()).collect();
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
        channel.send(&Message::Sockets { sockets }, &fds)?;
    }
    if counters {
        for part in gift.counters.export().chunks(PART) {
            channel.send(&Message::Counters { part: BASE64_STANDARD.encode(part) }, &[])?;
        }
    }
    channel.send(&Message::Facts(gift.facts.clone()), &[])
}
