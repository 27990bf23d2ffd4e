//! The upgrade of the binary: a new process takes the sockets, and the old one drains once the new one serves.
//!
//! The two talk over a channel of their own, a packet for each [`Message`], with the descriptors of sockets beside. The
//! old process accepts until the new one has said that it is [`Message::Ready`]; whatever becomes of the new one before
//! that, nothing has changed. docs/adr/0019 says why this is not Pingora's hand-over.

mod channel;
mod give;
mod keep;
mod spawn;
mod supervise;
mod take;
mod waiting;

use std::os::fd::OwnedFd;

use listen::{Inherited, Place};
use serde::{Deserialize, Serialize};

pub use self::{
    channel::{Channel, Pace},
    give::{Gift, Served, give},
    keep::{Telling, go_on_with, nothing_lives_on},
    spawn::{Successor, spawn},
    supervise::{Orphans, hand_on, supervise},
    take::{Taken, take},
    waiting::Waiting,
};

/// What the two processes say to each other.
#[derive(Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// The new process is there.
    Hello {
        /// Its version.
        version: String,
        /// Its id.
        pid: u32,
        /// Whether it goes on with what limits have counted, which releases before 0.2 do not know of.
        #[serde(default)]
        counters: bool,
        /// What it can go on with, by the names of [`snapshot::HEIRLOOMS`].
        #[serde(default)]
        keeps: Vec<String>,
        /// Whether it keeps the channel open for as long as it lives, and says when it ends because it was told to.
        #[serde(default)]
        stays: bool,
    },
    /// Sockets; the descriptors come with the packet, in this order.
    Sockets {
        /// What each of them is.
        sockets: Vec<Handed>,
    },
    /// A part of what a concern has learnt. What lives on in the old process comes again after the new one has said that
    /// it serves.
    Kept(keep::Part),
    /// A part of what limits have counted, in base64, for processes that know of nothing else.
    Counters {
        /// The part.
        part: String,
    },
    /// What the old process has learnt. Nothing more comes after it before the new one serves.
    Facts(Facts),
    /// The new process serves.
    Ready {
        /// The sockets that it has taken.
        taken: Vec<Handed>,
    },
    /// The new process cannot serve.
    Failed {
        /// Why, as people read it.
        report: String,
    },
    /// The new process was told to end: that it ends is no failure.
    Leaves,
    /// To the process that watches over those after it, while it drains or as the first of a container: who serves now.
    Main {
        /// Its id.
        pid: u32,
    },
}

/// What a socket is that is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "for", content = "at", rename_all = "snake_case")]
pub enum Handed {
    /// A listener's, by its place.
    Listener(String),
    /// The admin plane's, by its address as configured.
    Admin(String),
    /// The channel to the process that watches over those after it.
    Supervisor,
}

/// What a process has learnt that its successor should know. It holds keys, so it cannot be printed.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// The number of the configuration in force.
    pub generation: u64,
    /// What TLS sessions are resumed with, in base64.
    pub ticket_keys: String,
    /// What keeps clients at their backends, in base64; a release that knew none sends nothing.
    #[serde(default)]
    pub sticky_key: String,
    /// How many requests upstreams can work on at a time, where that is found out.
    #[serde(default)]
    pub concurrency: std::collections::BTreeMap<String, u32>,
    /// The level of the process log that an operator has ordered.
    #[serde(default)]
    pub log_level: Option<admin::OrderedLevel>,
    /// Whether this very channel leads to the process that watches over those after it.
    pub supervises: bool,
    /// Whether the old process hears that the new one [leaves](Message::Leaves).
    #[serde(default)]
    pub hears: bool,
}

/// Sockets by what they are for.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those of listeners.
    pub listeners: Inherited,
    /// Those of the admin plane, by their configured address.
    pub admin: std::collections::HashMap<String, OwnedFd>,
    /// The channel to the process that watches over those after it.
    pub supervisor: Option<Channel>,
}

impl Handed {
    /// The place of a listener's socket.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Listener(place) => Some(Place::named(place)),
            _ => None,
        }
    }
}
