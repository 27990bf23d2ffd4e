//! What an operator sees of a key, and can do about it.

use filter::Identity;
use store::Down;

use crate::{
    ask::Source,
    clock::{MILLISECOND, Now},
    counters::{Counters, Hashed},
    lease,
    limit::{Limit, Salted},
    rule::{Rule, Said},
};

/// Where one key stands under one rule of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// `window`, `bucket`, `quota`, `concurrent`, `ban`, or `down` or `up` of bandwidth.
    pub kind: &'static str,
    /// How many requests the rule lets pass; of bandwidth, bytes a second.
    pub limit: u32,
    /// How many more would pass now; of bandwidth, bytes.
    pub remaining: u32,
    /// Milliseconds until the next one would, where none would now.
    pub wait_ms: u64,
    /// How many requests wait for a place.
    pub waiting: u32,
}

impl Limit {
    /// Where a key stands, written by hand: an address, a user, the value of a header, or what a list of those who are
    /// limited shows. `caller` is who it belongs to, where that is known.
    pub fn look(&self, counters: &Counters, key: &str, caller: Option<&Identity>) -> Vec<Look> {
        let now = Now::read();
        let waiting = |key| self.fair.as_ref().map_or(0, |fair| fair.gate.look(key).1);
        let value = self.value_of(counters, key);
        let look = |salted: Salted| {
            let (rule, hashed) = (salted.rule, value.with(salted.salt));
            let queues = self.source(&rule) == Source::Queue;
            let said = if queues { self.queue_says(hashed, &rule) } else { self.says(counters, &rule, hashed, now) };
            let (remaining, wait) = match said {
                Said::Free(standing) if matches!(rule, Rule::Bandwidth(_)) => (standing.remaining, 0),
                Said::Free(standing) => (standing.remaining.saturating_add(self.cost), 0),
                Said::Full { wait } => (0, wait.div_ceil(MILLISECOND)),
            };
            Look { kind: rule.kind(), limit: rule.most(), remaining, wait_ms: wait, waiting: waiting(hashed) }
        };
        self.rules_of(self.tier_of(caller)).map(look).collect()
    }

    /// Forgives a key what it has used up: in the store first, where several processes count together, since until then it
    /// would refuse again. What is under way stays so. `caller` is as in [`look`](Limit::look).
    ///
    /// # Errors
    ///
    /// When the store is away or does not answer. The key is forgiven in this process alone then.
    pub async fn reset(&self, counters: &Counters, key: &str, caller: Option<&Identity>) -> Result<(), Down> {
        let asked = match &self.shared {
            Some(shared) => shared.store.forget(&shared.places(self, key)).await,
            None => Ok(()),
        };
        self.reset_here(counters, key, caller);
        asked
    }

    /// The same in this process alone, under whatever plan it was counted. Says whether anything was known of the key.
    pub(crate) fn reset_here(&self, counters: &Counters, key: &str, caller: Option<&Identity>) -> bool {
        let (value, mut known) = (self.value_of(counters, key), false);
        for salted in self.every_rule() {
            let hashed = value.with(salted.salt);
            known |= match self.estimate(&salted.rule) {
                Some((sketch, window)) => sketch.forgive(window, hashed, Now::read()),
                None if matches!(salted.rule, Rule::Quota(_)) => counters.forgive_quota(hashed),
                None => counters.forgive(hashed),
            };
            if self.is_shared(&salted.rule) {
                lease::forget(counters, hashed, self.tiers().chain([self.tier_of(caller)]));
            }
            counters.limited().forget(hashed);
        }
        known
    }

    /// What a key that is written by hand is counted by, before a rule makes a cell of it.
    fn value_of(&self, counters: &Counters, key: &str) -> Hashed {
        let first = self.rules.first().map(|salted| salted.salt);
        let shown = counters.limited().find(&self.name, key).zip(first).map(|(shown, salt)| shown.with(salt));
        shown.unwrap_or_else(|| self.key.meant(key).hash(counters))
    }
}
