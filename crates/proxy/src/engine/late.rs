//! Who is waited for, and for how long.

use std::time::Duration;

use filter::Reason;
use listen::MinRate;
use pingora_core::{Error, ErrorType};

use crate::gateway;

/// How long each side may be silent, or take nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) origin_speaks: Duration,
    /// How long the origin may take to its final head once it has the whole request, whatever it says before; none in a
    /// stream, unless its client has said how long it waits.
    pub(super) head: Option<Duration>,
    /// Whether that holds for the client's part as well: it has said itself how long it waits in all.
    pub(super) is_for_all: bool,
    pub(super) origin_listens: Duration,
    /// Whether the client may be silent for as long as the origin speaks, as in a stream.
    pub(super) either_speaks: bool,
    pub(super) client_speaks: Duration,
    pub(super) client_listens: Duration,
    /// How long the rest of a request may take once its answer is over.
    pub(super) drain: Duration,
}

impl Limits {
    /// How long the client may take for the next of `waiting` bytes.
    pub(super) fn listens(most: Duration, rate: Option<MinRate>, waiting: usize) -> Duration {
        rate.map_or(most, |rate| rate.time_for(waiting).min(most))
    }
}

/// Who is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    OriginSpeaks,
    /// Nobody has spoken for as long as there was time, and the client still has to send. The origin is not blamed.
    All,
    OriginListens,
    ClientSpeaks,
    ClientListens,
    Drain,
    /// Another origin is asked as well.
    Hedge,
    /// One that was asked as well.
    Rival,
    /// What was held back may pass.
    Nobody,
}

impl Late {
    pub(super) fn error(self) -> Box<Error> {
        match self {
            Self::OriginSpeaks | Self::Hedge | Self::Rival => {
                Error::explain(ErrorType::ReadTimedout, "the answer").into_up()
            }
            Self::All => gateway::carry(Reason::UpstreamTimeout).into_down(),
            Self::OriginListens => Error::explain(ErrorType::WriteTimedout, "the request").into_up(),
            Self::ClientSpeaks => Error::explain(ErrorType::ReadTimedout, "the request's content").into_down(),
            Self::ClientListens | Self::Drain | Self::Nobody => {
                Error::explain(ErrorType::WriteTimedout, "the answer").into_down()
            }
        }
    }
}
