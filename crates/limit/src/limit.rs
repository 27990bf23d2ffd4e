//! A limit, and those of one route at one step.

use std::{sync::Arc, time::Duration};

use filter::{Admit, Body, Mode, Reason, Reply, View};
use http::{HeaderValue, header};
use smallvec::SmallVec;

use crate::{
    clock::Now,
    config::{Headers, OnMissing},
    counters::{Counters, Hashed, Locked},
    fields,
    key::{Key, Place, Value, address},
    meters::Meters,
    permits::{Hold, Item, Nearest, Permits},
    rule::{Rule, Said},
};

/// A limit, as run.
#[derive(Debug)]
pub struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) key: Key,
    pub(crate) rules: SmallVec<[Salted; 1]>,
    pub(crate) cost: u32,
    /// Whether a request is forgiven when its answer is a good one.
    pub(crate) failures: bool,
    /// For how many nanoseconds a request may be held back.
    pub(crate) patience: u64,
    pub(crate) mode: Mode,
    pub(crate) missing: OnMissing,
    pub(crate) headers: Headers,
    pub(crate) x_headers: bool,
    pub(crate) meters: Meters,
}

/// A rule, and what tells its cells from those of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salted {
    pub(crate) rule: Rule,
    pub(crate) salt: Hashed,
}

impl Limit {
    /// Its name: in metrics, in logs, in the fields of answers.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// The limits of one route at one step: all are asked before any is charged.
#[derive(Debug)]
pub struct Stage {
    pub(crate) limits: Box<[Arc<Limit>]>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) route: Arc<str>,
    pub(crate) upstream: Arc<str>,
    /// Its number among those of the route.
    pub(crate) number: u8,
    /// Whether a step that comes later may still refuse, so that charges may have to be given back.
    pub(crate) returns: bool,
    /// What `RateLimit-Policy` says of the route.
    pub(crate) policies: Option<HeaderValue>,
}

/// What one rule of one limit says to a request.
struct Ask {
    limit: usize,
    salted: Salted,
    key: Hashed,
    said: Said,
}

/// What becomes of a request.
#[derive(Default)]
struct Verdict {
    /// The limits that refuse it.
    refused: SmallVec<[usize; 2]>,
    /// Those that would, were they obeyed.
    shadowed: SmallVec<[usize; 2]>,
    /// For how many nanoseconds it has to wait: to be let in, or to come again.
    wait: u64,
}

impl Admit for Stage {
    type Proof = Permits;

    fn admit(&self, request: &View<'_>) -> Result<Permits, Reply> {
        self.admit_at(request, Now::read())
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let mut asks = self.asks(request)?;
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, Now::read());
        drop(locked);
        if verdict.refused.is_empty() { Ok(()) } else { Err(self.refusal(&verdict, &asks)) }
    }
}

impl Stage {
    pub(crate) fn admit_at(&self, request: &View<'_>, now: Now) -> Result<Permits, Reply> {
        let mut asks = self.asks(request)?;
        let mut locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, now);
        if !verdict.refused.is_empty() {
            drop(locked);
            self.tell_refusal(&verdict, &asks, request);
            return Err(self.refusal(&verdict, &asks));
        }
        let mut permits = Permits::default();
        permits.delay = Duration::from_nanos(verdict.wait);
        for ask in asks.iter().filter(|ask| !verdict.shadowed.contains(&ask.limit)) {
            let (limit, rule) = (&self.limits[ask.limit], ask.salted.rule);
            let charge = |cell: &mut _, roomy| rule.charge(cell, now, limit.cost, roomy);
            let Some(by) = locked.change(ask.key, now, charge) else { continue };
            let hold = match rule {
                Rule::Concurrent(_) => Hold::Slot,
                _ if limit.failures => Hold::Failure,
                _ if self.returns => Hold::Charge,
                _ => continue,
            };
            permits.keep(&self.counters, Item { key: ask.key, rule, by, cost: limit.cost, hold });
        }
        drop(locked);
        permits.nearest = self.nearest(&asks);
        self.tell_passing(&verdict, &asks);
        permits.shadowed = !verdict.shadowed.is_empty();
        Ok(permits)
    }

    fn place(&self) -> Place<'_> {
        Place { route: &self.route, upstream: &self.upstream }
    }

    /// What the limits count this request by. `None` for one that does not concern it.
    fn value<'v>(&'v self, limit: &'v Limit, request: &View<'v>) -> Result<Option<Value<'v>>, Reply> {
        match (limit.key.of(request, self.place()), limit.missing) {
            (Some(value), _) => Ok(Some(value)),
            (None, OnMissing::Ip) => Ok(Some(address(request.client.address))),
            (None, OnMissing::Skip) => Ok(None),
            (None, OnMissing::Deny) if limit.mode == Mode::Shadow => Ok(None),
            (None, OnMissing::Deny) => Err(Reason::LimitKeyMissing.into()),
        }
    }

    fn asks(&self, request: &View<'_>) -> Result<SmallVec<[Ask; 2]>, Reply> {
        let mut asks = SmallVec::new();
        for (index, limit) in self.limits.iter().enumerate() {
            let Some(value) = self.value(limit, request)? else { continue };
            let key = value.hash(&self.counters);
            asks.extend(limit.rules.iter().map(|&salted| Ask {
                limit: index,
                salted,
                key: key.with(salted.salt),
                said: Said::Full { wait: 0 },
            }));
        }
        Ok(asks)
    }

    fn weigh(&self, asks: &mut [Ask], locked: &Locked<'_>, now: Now) -> Verdict {
        let mut verdict = Verdict::default();
        for ask in asks {
            let limit = &self.limits[ask.limit];
            let rule = &ask.salted.rule;
            ask.said = match locked.find(ask.key) {
                Some(cell) => rule.ask(cell, now, limit.cost),
                None => rule.ask(&crate::cell::Cell::default(), now, limit.cost),
            };
            let Said::Full { wait } = ask.said else { continue };
            if limit.mode == Mode::Shadow {
                verdict.shadowed.push(ask.limit);
            } else if wait <= limit.patience {
                verdict.hold(wait);
            } else {
                verdict.refuse(ask.limit, wait);
            }
        }
        verdict
    }

    /// Of the limits that are announced the one that is nearest to its end.
    fn nearest(&self, asks: &[Ask]) -> Option<Nearest> {
        let standing = |ask: &Ask| match ask.said {
            Said::Free(standing) if self.limits[ask.limit].is_announced(&ask.salted.rule) => {
                let reset = standing.reset.div_ceil(crate::clock::SECOND);
                Some(Nearest {
                    stage: self.number,
                    limit: ask.limit as u8,
                    remaining: standing.remaining,
                    reset: u32::try_from(reset).unwrap_or(u32::MAX),
                })
            }
            _ => None,
        };
        asks.iter().filter_map(standing).min_by_key(|nearest| nearest.remaining)
    }

    /// A line for each limit: what it would say.
    pub(crate) fn explain<'v>(&'v self, request: &View<'v>) -> Vec<String> {
        let now = Now::read();
        let explain = |limit: &'v Arc<Limit>| {
            let name = &limit.name;
            let Ok(value) = self.value(limit, request) else { return format!("{name}: refuses, its key is missing") };
            let Some(value) = value else { return format!("{name}: does not concern it, its key is missing") };
            let who = value.text(&self.counters);
            let shadow = if limit.mode == Mode::Shadow { ", in shadow" } else { "" };
            let says = limit.rules.iter().map(|salted| {
                let key = value.hash(&self.counters).with(salted.salt);
                let said = self.counters.look(key, |cell| salted.rule.ask(cell, now, limit.cost));
                let said = said.unwrap_or_else(|| salted.rule.ask(&crate::cell::Cell::default(), now, limit.cost));
                match said {
                    Said::Free(standing) => format!("{} of {} left", standing.remaining, salted.rule.most()),
                    Said::Full { wait } => format!("used up for {} ms", wait.div_ceil(crate::clock::MILLISECOND)),
                }
            });
            let says: Vec<String> = says.collect();
            format!("{name}: {} for {who}{shadow}", says.join(", "))
        };
        self.limits.iter().map(explain).collect()
    }

    fn refusal(&self, verdict: &Verdict, asks: &[Ask]) -> Reply {
        let seconds = verdict.wait.div_ceil(crate::clock::SECOND).max(1);
        let names = verdict.refused.iter().map(|index| Arc::clone(&self.limits[*index].name)).collect();
        let mut reply = Reply::refuse(Reason::Limited).with(header::RETRY_AFTER, HeaderValue::from(seconds));
        reply.body = Body::Limits(names);
        let violated = asks.iter().find(|ask| {
            matches!(ask.said, Said::Full { .. })
                && verdict.refused.contains(&ask.limit)
                && self.limits[ask.limit].headers != Headers::Never
                && ask.salted.rule.policy().is_some()
        });
        if let Some(ask) = violated {
            fields::refusal(&self.limits[ask.limit], self.policies.as_ref(), seconds, &mut reply);
        }
        reply
    }

    fn tell_refusal(&self, verdict: &Verdict, asks: &[Ask], request: &View<'_>) {
        for &index in &verdict.refused {
            let limit = &self.limits[index];
            limit.meters.limited.inc();
            let Some(ask) = asks.iter().find(|ask| ask.limit == index) else { continue };
            self.counters.limited().note(ask.key, Duration::from_nanos(verdict.wait), || {
                let value = self.value(limit, request).ok().flatten().unwrap_or(Value::Nobody);
                (Arc::clone(&limit.name), value.text(&self.counters))
            });
        }
    }

    fn tell_passing(&self, verdict: &Verdict, asks: &[Ask]) {
        let mut last = None;
        for ask in asks {
            if last.replace(ask.limit) == Some(ask.limit) {
                continue;
            }
            let meters = &self.limits[ask.limit].meters;
            if verdict.shadowed.contains(&ask.limit) {
                meters.shadowed.inc();
            } else if verdict.wait > 0 && matches!(ask.said, Said::Full { .. }) {
                meters.delayed.inc();
            } else {
                meters.allowed.inc();
            }
        }
    }
}

impl Limit {
    fn is_announced(&self, rule: &Rule) -> bool {
        self.mode == Mode::Enforce && self.headers == Headers::Always && rule.policy().is_some()
    }

    /// The quota and its seconds, where answers may tell of it.
    pub(crate) fn policy(&self) -> Option<(u32, u64)> {
        if self.mode == Mode::Shadow || self.headers == Headers::Never {
            return None;
        }
        self.rules.first()?.rule.policy()
    }
}

impl Verdict {
    /// It has to wait; unless it is refused, which counts alone.
    fn hold(&mut self, wait: u64) {
        if self.refused.is_empty() {
            self.wait = self.wait.max(wait);
        }
    }

    fn refuse(&mut self, limit: usize, wait: u64) {
        if self.refused.is_empty() {
            self.wait = 0;
        }
        self.wait = self.wait.max(wait);
        if self.refused.last() != Some(&limit) {
            self.refused.push(limit);
        }
    }
}

#[cfg(test)]
mod tests;
