//! What limits would say to a request, for people who ask. Nothing is charged.

use std::{fmt, sync::Arc, time::Duration};

use filter::{Mode, View};

use crate::{
    ask::Source,
    clock::{MILLISECOND, Now},
    key::Value,
    limit::{Limit, Stage},
    plan::Tier,
    rule::{Rule, Said},
    throughput::Way,
};

impl Stage {
    /// A line for each limit: where the client stands, or, where there is no running server whose counters could tell,
    /// what would be counted.
    pub(crate) fn explain<'v>(&'v self, request: &View<'v>, live: bool) -> Vec<String> {
        let plan = self.tariff.plan(request.identity);
        let explain = |(number, limit): (usize, &'v Arc<Limit>)| {
            let name = &limit.name;
            let tier = self.tier(plan, number, request.identity);
            let Ok(value) = self.value(limit, request) else { return format!("{name}: refuses, its key is missing") };
            let Some(value) = value else { return format!("{name}: does not concern it, its key is missing") };
            let mut who = value.text(&self.counters).into_string();
            match limit.plan(tier) {
                _ if tier.amount.is_some() => who.push_str(" with an amount of its own"),
                Some(plan) => who.push_str(&format!(" with the plan `{}`", plan.name)),
                None => {}
            }
            let shadow = if limit.mode == Mode::Shadow { ", in shadow" } else { "" };
            if live {
                let seen = if limit.shared.is_some() { ", as far as this process has seen" } else { "" };
                return format!("{name}: {} for {who}{seen}{shadow}", self.standings(limit, tier, value).join(", "));
            }
            let rules: Vec<String> = limit.rules_of(tier).map(|salted| salted.rule.to_string()).collect();
            format!("{name}: counts {} for {who}, {}{shadow}", limit.cost, rules.join(", "))
        };
        self.limits.iter().enumerate().map(explain).collect()
    }

    /// What each rule of a limit says of a key.
    fn standings(&self, limit: &Limit, tier: Tier, value: Value<'_>) -> Vec<String> {
        let now = Now::read();
        let says = limit.rules_of(tier).filter_map(|salted| {
            let key = value.hash(&self.counters).with(salted.salt);
            if limit.source(&salted.rule) == Source::Queue {
                let (taken, waiting) = limit.fair.as_ref().map_or((0, 0), |fair| fair.gate.look(key));
                let most = salted.rule.most();
                return Some(format!("{} of {most} places left, {waiting} waiting", most.saturating_sub(taken)));
            }
            match (limit.says(&self.counters, &salted.rule, key, now), &salted.rule) {
                (Said::Free(_), Rule::Ban(_)) => None,
                (Said::Free(standing), Rule::Bandwidth(_)) => {
                    Some(format!("{}, of which {} bytes may pass at once", salted.rule, standing.remaining))
                }
                (Said::Free(standing), rule) => {
                    let left = standing.remaining.saturating_add(limit.cost);
                    Some(format!("{left} of {} left", rule.most()))
                }
                (Said::Full { wait }, rule) => {
                    let how = if matches!(rule, Rule::Ban(_)) { "banned" } else { "used up" };
                    Some(format!("{how} for {} ms", wait.div_ceil(MILLISECOND)))
                }
            }
        });
        says.collect()
    }
}

/// What it lets pass.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |time: Duration| document::Duration(time);
        match self {
            Self::Window(window) => {
                write!(f, "at most {} in any {}", window.limit(), span(Duration::from_millis(window.millis())))
            }
            Self::Bucket(bucket) => {
                let interval = Duration::from_micros(bucket.micros());
                write!(f, "at most {} at once, then one every {interval:?}", bucket.burst())
            }
            Self::Quota(quota) => {
                let period = quota.seconds().map(|seconds| span(Duration::from_secs(seconds)).to_string());
                write!(f, "at most {} in every {}", quota.limit(), period.as_deref().unwrap_or("month"))
            }
            Self::Concurrent(limit) => write!(f, "at most {limit} under way"),
            Self::Ban(_) => write!(f, "with a ban"),
            Self::Bandwidth(limit) => {
                let whom = if limit.way() == Way::Down { "to clients" } else { "from clients" };
                write!(f, "{} {whom}", document::ByteRate(limit.rate()))
            }
        }
    }
}
