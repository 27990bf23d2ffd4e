//! The new process's side of the hand-over.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use snapshot::{HEIRLOOMS, State};

use super::{
    Channel, Facts, Handed, Message, Pace, Sockets,
    keep::{self, Hearing},
    waiting,
};

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
    /// What its concerns had learnt, by name.
    pub kept: Vec<(String, Vec<u8>)>,
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
    let keeps = HEIRLOOMS.iter().map(|heirloom| heirloom.name.to_owned()).collect();
    let hello = Message::Hello { version, pid: std::process::id(), counters: true, keeps, stays: true };
    channel.send(&hello, &[], Pace::Until(Instant::now() + PATIENCE))?;
    let (mut listeners, mut admin, mut supervisor) = (Vec::new(), std::collections::HashMap::new(), None);
    let (mut counters, mut kept, mut hearing) = (Vec::new(), Vec::new(), Hearing::default());
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
            Message::Kept(part) => kept.extend(hearing.take(&part)),
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
    if !counters.is_empty() {
        kept.push(("limits".to_owned(), counters));
    }
    let sockets = Sockets { listeners: listeners.into_iter().collect(), admin, supervisor };
    Ok(Taken { sockets, facts, kept, channel })
}

impl Taken {
    /// Says that this process serves, on these sockets. The old one drains from here on.
    pub fn ready(&self, taken: Vec<Handed>) -> io::Result<()> {
        self.channel.send(&Message::Ready { taken }, &[], Pace::Until(Instant::now() + PATIENCE))
    }

    /// Goes on hearing what lives on in the old process, on a thread of its own. The channel is returned where the old
    /// process wants to know that this one leaves.
    pub fn stay(self, state: State) -> io::Result<Option<Channel>> {
        let channel = if self.facts.hears { Some(self.channel.try_clone()?) } else { None };
        let hears = thread::Builder::new().name("maitred-before".into());
        hears.spawn(move || keep::follow(&self.channel, &state))?;
        Ok(channel)
    }

    /// Says that this process cannot serve.
    pub fn failed(&self, report: &str) {
        // The old process serves on either way.
        let deadline = Instant::now() + PATIENCE;
        let _ = self.channel.send(&Message::Failed { report: report.into() }, &[], Pace::Until(deadline));
    }
}
