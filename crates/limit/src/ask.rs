//! What the rules of one step say to a request, from the first question to what is told of it.

use smallvec::SmallVec;

use crate::{
    counters::Hashed,
    permits::Permits,
    plan::{Plan, Tier},
    quota::Quota,
    rule::{Rule, Said},
    verdict::Verdict,
};

/// What one rule of one limit says to a request.
pub(crate) struct Ask {
    pub(crate) key: Hashed,
    pub(crate) said: Said,
    /// The number of the limit in its step, and its rule as it is for this caller.
    pub(crate) limit: usize,
    pub(crate) rule: Rule,
    /// The caller's plan, and which rules of the limit concern the caller.
    pub(crate) plan: Plan,
    pub(crate) tier: Tier,
    pub(crate) source: Source,
    /// Where the counters of this process had the key.
    pub(crate) at: Option<u32>,
    /// What was charged.
    pub(crate) charge: Option<Charge>,
    /// What the key is called in the store.
    pub(crate) called: Option<Box<str>>,
    /// How much the store is asked for, and whether that is for a lease.
    pub(crate) want: u32,
    pub(crate) fetches: bool,
    /// How much the store has charged, and what it gives that back by.
    pub(crate) charged: u32,
    pub(crate) charged_by: i64,
}

/// A charge of this process.
#[derive(Clone, Copy)]
pub(crate) struct Charge {
    /// What to give back by.
    pub(crate) by: u64,
    /// How much of the limit is used up now.
    pub(crate) used: u32,
}

/// What all rules of one step say. It is large, and never moved.
pub(crate) type Asks = SmallVec<[Ask; 2]>;

/// What becomes of a request, filled in while it is asked for: all of it is large, and never moved.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) permits: Permits,
    pub(crate) verdict: Verdict,
    pub(crate) asks: Asks,
}

/// How far a request has come that need not have waited.
pub(crate) enum Begun {
    /// All limits let it pass.
    Passed(Permits),
    /// The store has to be asked, or a place has to be had.
    Waits(Box<Passed>),
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The counters of this process.
    Here,
    /// The store, once it is asked.
    Unasked,
    /// The store.
    Store,
    /// What the store has given this process before.
    Lease,
    /// A place, which is asked for last and may be waited for.
    Queue,
    /// What this process estimates.
    Sketch,
    /// Nobody: the store is away, and the limit lets everybody pass then.
    Nobody,
}

impl Passed {
    /// Whether the store has to be asked yet.
    pub(crate) fn asks_store(&self) -> bool {
        self.asks.iter().any(|ask| ask.source == Source::Unasked)
    }
}

impl Ask {
    /// How much of a quota is used up, and how much of that was charged now: by everybody where the store has said so, else
    /// by this process, for which `used` and `cost` are what its own counters say. `None` for what was charged before.
    pub(crate) fn used(&self, quota: &Quota, used: u32, cost: u32) -> Option<(u32, u32)> {
        match self.said {
            Said::Free(standing) if self.charged > 0 => {
                Some((quota.limit().saturating_sub(standing.remaining), self.charged))
            }
            _ => (self.source != Source::Lease).then_some((used, cost)),
        }
    }
}
