//! What callers of a plan may, where that is something else than what others may.

use std::{borrow::Cow, num::NonZeroU32, ops::RangeInclusive, sync::Arc};

use filter::Identity;
use http::HeaderValue;
use smallvec::SmallVec;

use crate::{
    amount::Measure,
    clock::unix,
    fields,
    limit::{Limit, Salted, Stage},
    quota::days_of_month,
};

/// How many days a month may have.
const MONTHS: RangeInclusive<u64> = 28..=31;

/// The rules of a limit for callers of one plan.
pub(crate) type Rules = SmallVec<[Salted; 1]>;

/// The same for every plan that the limit names, in the order of the names.
pub(crate) type Plans = Box<[Planned]>;

/// What callers of one plan may.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: Box<str>,
    pub(crate) rules: Rules,
    pub(crate) measure: Measure,
}

/// Which rules of a limit concern a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tier {
    /// The limit's own, which is 0, or those of one of its plans.
    pub(crate) plan: u8,
    /// What stands in them in the place of what they say.
    pub(crate) amount: Option<NonZeroU32>,
}

impl Tier {
    /// The limit's own rules.
    pub(crate) const OWN: Self = Self::of(0);

    pub(crate) const fn of(plan: u8) -> Self {
        Self { plan, amount: None }
    }
}

/// The number of a plan among those that the limits of a route name; 0 for none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Plan(u16);

/// The plans that the limits of a route name, and what callers of each are told.
#[derive(Debug, Default)]
pub(crate) struct Tariff {
    limits: Box<[Arc<Limit>]>,
    plans: Box<[Box<str>]>,
    /// What `RateLimit-Policy` says, by the number of the plan.
    policies: Box<[Policies]>,
}

/// What `RateLimit-Policy` says; where a quota is for a month, in a month of each length.
type Policies = SmallVec<[Option<HeaderValue>; 1]>;

impl Tariff {
    pub(crate) fn of(limits: &[Arc<Limit>]) -> Self {
        let named = limits.iter().flat_map(|limit| limit.plans.iter());
        let mut plans: Vec<Box<str>> = named.map(|plan| plan.name.clone()).collect();
        plans.sort_unstable();
        plans.dedup();
        let monthly = limits.iter().flat_map(|limit| &limit.rules).any(|salted| salted.rule.is_monthly());
        let told = |plan: Option<&Box<str>>| {
            let tier = |limit: &Limit| limit.tier(plan.map(|plan| &**plan));
            let of = |days| fields::policies(limits.iter().map(|limit| (&**limit, tier(limit))), days);
            if monthly { MONTHS.map(of).collect() } else { Policies::from_iter([of(0)]) }
        };
        let policies = std::iter::once(told(None)).chain(plans.iter().map(|plan| told(Some(plan)))).collect();
        Self { limits: limits.into(), plans: plans.into(), policies }
    }

    /// The caller's plan.
    pub(crate) fn plan(&self, identity: Option<&Identity>) -> Plan {
        let own = identity.and_then(|identity| identity.plan.as_deref());
        let place = own.and_then(|own| self.plans.binary_search_by(|name| (**name).cmp(own)).ok());
        Plan(place.and_then(|place| u16::try_from(place + 1).ok()).unwrap_or(0))
    }

    /// What a caller of a plan is told of the limits; written for that one alone where it has an amount of its own.
    pub(crate) fn policies(&self, plan: Plan, caller: Option<&Identity>) -> Option<Cow<'_, HeaderValue>> {
        let own = |caller: &&Identity| self.limits.iter().any(|limit| limit.amount(caller).is_some());
        let Some(caller) = caller.filter(|caller| !caller.limits.is_empty()).filter(own) else {
            return self.known(plan).map(Cow::Borrowed);
        };
        let name = usize::from(plan.0).checked_sub(1).and_then(|place| self.plans.get(place)).map(|name| &**name);
        let tier = |limit: &Limit| Tier { amount: limit.amount(caller), ..limit.tier(name) };
        let limits = self.limits.iter().map(|limit| (&**limit, tier(limit)));
        fields::policies(limits, days_of_month(unix())).map(Cow::Owned)
    }

    /// What callers of a plan are told.
    fn known(&self, plan: Plan) -> Option<&HeaderValue> {
        match &self.policies.get(usize::from(plan.0))?[..] {
            [policies] => policies.as_ref(),
            months => months.get((days_of_month(unix()) - MONTHS.start()) as usize)?.as_ref(),
        }
    }

    /// Which rules of each of these limits concern callers of each plan; nothing where no limit names any.
    pub(crate) fn tiers(&self, limits: &[Arc<Limit>]) -> Box<[Tier]> {
        if self.plans.is_empty() {
            return Box::default();
        }
        let plans = std::iter::once(None).chain(self.plans.iter().map(|plan| Some(&**plan)));
        plans.flat_map(|plan| limits.iter().map(move |limit| limit.tier(plan))).collect()
    }
}

impl Stage {
    /// Which rules of the limit of this number concern a caller of a plan.
    pub(crate) fn tier(&self, plan: Plan, limit: usize, caller: Option<&Identity>) -> Tier {
        let tier = self.tiers.get(usize::from(plan.0) * self.limits.len() + limit).copied().unwrap_or_default();
        match caller.filter(|caller| !caller.limits.is_empty()) {
            None => tier,
            Some(caller) => Tier { amount: self.limits.get(limit).and_then(|limit| limit.amount(caller)), ..tier },
        }
    }
}

impl Limit {
    /// The rules that concern a caller.
    pub(crate) fn rules_of(&self, tier: Tier) -> impl Iterator<Item = Salted> {
        let rules = self.plan(tier).map_or(&self.rules, |plan| &plan.rules);
        rules.iter().map(move |salted| Salted { rule: self.sized(salted.rule, tier), ..*salted })
    }

    /// Every rule that somebody is counted by, one of each kind: a plan may have a burst that the limit itself has not.
    pub(crate) fn every_rule(&self) -> SmallVec<[&Salted; 4]> {
        let mut every = SmallVec::<[&Salted; 4]>::new();
        for salted in self.rules.iter().chain(self.plans.iter().flat_map(|plan| &plan.rules)) {
            if every.iter().all(|known| known.salt != salted.salt) {
                every.push(salted);
            }
        }
        every
    }

    /// The plan that a caller has these rules by.
    pub(crate) fn plan(&self, tier: Tier) -> Option<&Planned> {
        self.plans.get(usize::from(tier.plan).checked_sub(1)?)
    }

    /// The limit's own rules, and those of each plan.
    pub(crate) fn tiers(&self) -> impl Iterator<Item = Tier> {
        (0..=self.plans.len()).filter_map(|plan| u8::try_from(plan).ok()).map(Tier::of)
    }

    /// Which rules concern callers of a plan.
    pub(crate) fn tier(&self, plan: Option<&str>) -> Tier {
        let place = plan.and_then(|plan| self.plans.binary_search_by(|known| (*known.name).cmp(plan)).ok());
        Tier::of(place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0))
    }

    /// Whether this limit counts a caller by `key`.
    pub fn counts(&self, caller: &Identity, key: &str) -> bool {
        self.key.of_caller(caller) == Some(key)
    }
}
