//! Which of several endpoints takes the next request.
//!
//! A [`Policy`] is compiled from weights, once, and asked for every request. It knows endpoints by their index only:
//! which of them may be used at this moment is the caller's to say. Picking takes no lock and allocates nothing.
//!
//! ```
//! use maitred_balance::Policy;
//!
//! let policy = Policy::round_robin(&[2, 1]).unwrap();
//! let picks: Vec<_> = (0..6).filter_map(|_| policy.pick(|_| true)).collect();
//! assert_eq!(picks, [0, 1, 0, 0, 1, 0]);
//!
//! let second_only = |index| index == 1;
//! assert_eq!(policy.pick(second_only), Some(1));
//! ```
//!
//! A new policy is a file with a type of its own and a variant of [`Policy`].

mod smooth;

pub use smooth::{MAX_SCHEDULE, SmoothWeighted};

/// How the next endpoint is chosen. A closed set, so that picking is a branch and not a call through a table.
#[derive(Debug)]
pub enum Policy {
    /// Each endpoint in turn, as often as its weight says and spread as evenly as possible.
    RoundRobin(SmoothWeighted),
}

impl Policy {
    /// Smooth weighted round robin over as many endpoints as there are weights; `None` where every weight is 0 (an
    /// endpoint of weight 0 is never picked) or there are more than [`u16::MAX`] of them.
    pub fn round_robin(weights: &[u32]) -> Option<Self> {
        SmoothWeighted::new(weights).map(Self::RoundRobin)
    }

    /// The index of the next endpoint among those that are `usable`; `None` where none is.
    pub fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Self::RoundRobin(smooth) => smooth.pick(usable),
        }
    }
}
