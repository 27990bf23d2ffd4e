//! Which of several endpoints takes the next request.
//!
//! A [`Policy`] is compiled from weights, once, and asked for every request. It knows endpoints by their index only: how
//! they are at this moment is the caller's to say, through a [`Field`]. Picking takes no lock and allocates nothing.
//!
//! ```
//! use maitred_balance::{Kind, Policy};
//!
//! let policy = Policy::new(Kind::RoundRobin, &[2, 1], &["a", "b"]).unwrap();
//! let picks: Vec<_> = (0..6).filter_map(|_| policy.pick(&|_| true, None)).collect();
//! assert_eq!(picks, [0, 1, 0, 0, 1, 0]);
//!
//! let second_only = |index| index == 1;
//! assert_eq!(policy.pick(&second_only, None), Some(1));
//! ```
//!
//! A new policy is a file with a type of its own and a variant of [`Policy`].

mod hash;
mod least;
mod lots;
mod maglev;
mod smooth;
mod two;

pub use hash::{hash, mix};
pub use least::LeastRequests;
pub use lots::Lots;
pub use maglev::Maglev;
pub use smooth::{MAX_SCHEDULE, SmoothWeighted};
pub use two::TwoChoices;

/// The endpoints as they are at this moment. Where only some may be used and nothing else matters, a closure will do.
pub trait Field {
    /// Whether the endpoint may be picked now.
    fn usable(&self, index: usize) -> bool;

    /// How many requests are under way there.
    fn load(&self, index: usize) -> u32;

    /// How many requests are under way at all endpoints together.
    fn total(&self) -> u32;

    /// How long it takes to answer, in any unit; the same unit for all. 0 where that is not known.
    fn latency(&self, index: usize) -> f32;
}

impl<F: Fn(usize) -> bool> Field for F {
    fn usable(&self, index: usize) -> bool {
        self(index)
    }

    fn load(&self, _: usize) -> u32 {
        0
    }

    fn total(&self) -> u32 {
        0
    }

    fn latency(&self, _: usize) -> f32 {
        1.0
    }
}

/// What a policy goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest requests under way.
    LeastRequests,
    /// The one of two with fewer requests under way, unless it is far slower.
    TwoChoices,
    /// The one of two that is likely to answer first.
    Latency,
    /// The same for the same key.
    Hash,
}

/// How the next endpoint is chosen. A closed set, so that picking is a branch and not a call through a table.
#[derive(Debug)]
pub enum Policy {
    /// Each endpoint in turn, as often as its weight says and spread as evenly as possible.
    RoundRobin(SmoothWeighted),
    /// A lot is drawn for each request; the weight is the chance.
    Random(Lots),
    /// The fewest requests under way in proportion to the weight.
    LeastRequests(LeastRequests),
    /// Two are drawn, and the one with fewer requests under way takes the request, unless it is far slower.
    TwoChoices(TwoChoices),
    /// Two are drawn, and the one that is likely to answer first takes the request (peak EWMA).
    Latency(TwoChoices),
    /// The key of the request says which (consistent hashing with bounded load).
    Hash(Maglev),
}

impl Policy {
    /// A policy over as many endpoints as there are weights. `names` tell endpoints apart across configurations: by them
    /// keys are hashed. `None` where every weight is 0 (an endpoint of weight 0 is never picked) or there are more than
    /// [`u16::MAX`] endpoints.
    pub fn new(kind: Kind, weights: &[u32], names: &[&str]) -> Option<Self> {
        Some(match kind {
            Kind::RoundRobin => Self::RoundRobin(SmoothWeighted::new(weights)?),
            Kind::Random => Self::Random(Lots::new(weights)?),
            Kind::LeastRequests => Self::LeastRequests(LeastRequests::new(weights)?),
            Kind::TwoChoices => Self::TwoChoices(TwoChoices::new(weights)?),
            Kind::Latency => Self::Latency(TwoChoices::new(weights)?),
            Kind::Hash => Self::Hash(Maglev::new(weights, names)?),
        })
    }

    /// The index of the next endpoint among those that are usable; `None` where none is. The `key` matters to
    /// [`Policy::Hash`] alone; a request without one goes anywhere.
    pub fn pick(&self, field: &impl Field, key: Option<u64>) -> Option<usize> {
        match self {
            Self::RoundRobin(smooth) => smooth.pick(|index| field.usable(index)),
            Self::Random(lots) => lots.pick(field),
            Self::LeastRequests(least) => least.pick(field),
            Self::TwoChoices(two) => two.pick_less_loaded(field),
            Self::Latency(two) => two.pick_faster(field),
            Self::Hash(maglev) => maglev.pick(field, key.unwrap_or_else(|| fastrand::u64(..))),
        }
    }
}

#[cfg(test)]
mod tests;
