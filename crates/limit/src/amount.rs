//! What a caller may that has an amount of its own, in the place of what the limit says or the caller's plan.
//!
//! An amount is a number alone. The rules that it makes are those of the plan, or else of the limit, with that number in them:
//! of the same kinds, so that they go on with what was counted.

use std::{num::NonZeroU32, time::Duration};

use filter::{Amounts, Identity};

use crate::{
    bucket::Bucket,
    limit::Limit,
    plan::Tier,
    rule::Rule,
    window::{MOST, Window},
};

const _: () = assert!(Amounts::MOST == MOST, "what may be written is what can be counted");

/// How much passes, as it is written: what a burst is in proportion to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    /// How many requests, or how many places.
    pub(crate) count: u64,
    /// In which time; none at all for places.
    pub(crate) per: Duration,
    /// How many may come at once, where anything is said of it.
    pub(crate) burst: Option<u64>,
}

impl Measure {
    /// Another one, whose burst is to it as this one's is to this.
    pub(crate) fn resized(self, count: u64, per: Duration) -> Self {
        let product = |count: u64, per: Duration| u128::from(count).saturating_mul(per.as_millis().max(1));
        let (now, before) = (product(count, self.per), product(self.count, per));
        let burst = self.burst.map(|burst| {
            let burst = u128::from(burst).saturating_mul(now).div_ceil(before.max(1));
            u64::try_from(burst).unwrap_or(u64::MAX).clamp(1, MOST.into())
        });
        Self { count, per, burst }
    }
}

impl Limit {
    /// Whether callers may have amounts of their own: it counts requests, and by who sends them.
    pub fn takes_amounts(&self) -> bool {
        self.measure.is_some()
    }

    /// A caller's own amount. One that is less than a request costs is what it costs: nobody is shut out by a number.
    pub(crate) fn amount(&self, caller: &Identity) -> Option<NonZeroU32> {
        let own = caller.limits.get(&self.name).filter(|_| self.measure.is_some())?;
        NonZeroU32::new(own.max(self.cost))
    }

    /// Which rules concern a caller.
    pub(crate) fn tier_of(&self, caller: Option<&Identity>) -> Tier {
        let tier = self.tier(caller.and_then(|caller| caller.plan.as_deref()));
        Tier { amount: caller.and_then(|caller| self.amount(caller)), ..tier }
    }

    /// A rule of the tier as it is by the caller's own amount, where there is one.
    pub(crate) fn sized(&self, rule: Rule, tier: Tier) -> Rule {
        let (Some(amount), Some(own)) = (tier.amount, self.measure) else { return rule };
        let count = u64::from(amount.get());
        match rule {
            Rule::Window(window) => Rule::Window(Window::new(amount.get(), Duration::from_millis(window.millis()))),
            Rule::Quota(quota) => Rule::Quota(quota.with(amount.get())),
            Rule::Concurrent(_) => Rule::Concurrent(amount.get()),
            Rule::Bucket(_) => {
                // In the limit's own unit, whatever the plan's is.
                let measure = self.plan(tier).map_or(own, |plan| plan.measure).resized(count, own.per);
                let burst = measure.burst.unwrap_or(count).clamp(self.cost.into(), MOST.into());
                Rule::Bucket(Bucket::new(count, own.per, u32::try_from(burst).unwrap_or(MOST)))
            }
            Rule::Ban(_) | Rule::Bandwidth(_) => rule,
        }
    }
}
