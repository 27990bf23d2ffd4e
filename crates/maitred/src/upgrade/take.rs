//! The new process's side of the hand-over.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Channel, Facts, Handed, Message, Sockets, waiting};

/// How long the old process may take over what it has to say once it has begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// Set by a process that starts its successor: the channel is the successor's standard input.
pub const CHANNEL: &str = "MAITRED_UPGRADE_CHANNEL";

/// What was handed over, and the channel to say what becomes of it.
pub struct Taken {
    /// The sockets.
    pub sockets: Sockets,
    /// What the old process knew.
    pub facts: Facts,
    /// What its limits had counted.
    pub counters: Vec<u8>,
    channel: Channel,
}

/// Takes everything over. Blocks: for a process that was started by hand until the old one is told to hand over.
///
/// # Errors
///
/// When there is nobody to take anything from.
pub fn take() -> io::Result<Taken> {
    let (channel, by_hand) = match std::env::var_os(CHANNEL) {
        Some(_) => (Channel::from_fd(io::stdin().as_fd().try_clone_to_owned()?), false),
        None => (waiting::connect()?, true),
    };
    if !by_hand {
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    }
    let version = env!("CARGO_PKG_VERSION").into();
    channel.send(&Message::Hello { version, pid: std::process::id(), counters: true }, &[])?;
    let (mut listeners, mut admin, mut supervisor) = (Vec::new(), std::collections::HashMap::new(), None);
    let mut counters = Vec::new();
    let mut deadline = (!by_hand).then(|| Instant::now() + PATIENCE);
    let facts = loop {
        let (message, fds) = channel.receive(deadline)?;
        deadline = Some(Instant::now() + PATIENCE);
        match message {
            Message::Sockets { sockets } if sockets.len() == fds.len() => {
                for (handed, fd) in sockets.into_iter().zip(fds) {
                    match handed {
                        Handed::Listener(place) => listeners.push((listen::Place::named(&place), fd)),
                        Handed::Admin(address) => drop(admin.insert(address, fd)),
                        Handed::Supervisor => supervisor = Some(Channel::from_fd(fd)),
                    }
                }
            }
            Message::Counters { part } => {
                let part = BASE64_STANDARD.decode(part);
                counters.extend(part.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
            }
            Message::Facts(facts) => break facts,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the old process speaks out of turn")),
        }
    };
    if facts.supervises {
        supervisor = Some(channel.try_clone()?);
    }
    let sockets = Sockets { listeners: listeners.into_iter().collect(), admin, supervisor };
    Ok(Taken { sockets, facts, counters, channel })
}

impl Taken {
    /// Says that this process serves, on these sockets. The old one drains from here on.
    pub fn ready(&self, taken: Vec<Handed>) -> io::Result<()> {
        self.channel.send(&Message::Ready { taken }, &[])
    }

    /// Says that this process cannot serve.
    pub fn failed(&self, report: &str) {
        // The old process serves on either way.
        let _ = self.channel.send(&Message::Failed { report: report.into() }, &[]);
    }
}
