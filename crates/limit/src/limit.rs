//! A limit, and those of one route at one step.

use std::{sync::Arc, time::Duration};

use filter::{Admit, Body, Mode, Reason, Reply, View};
use http::{HeaderValue, header};
use smallvec::SmallVec;

use crate::{
    cell::Cell,
    clock::Now,
    config::{Headers, OnMissing},
    counters::{Counters, Hashed, Locked},
    fields,
    key::{Key, Place, Value, address},
    meters::Meters,
    permits::{Hold, Item, Nearest, Permits},
    rule::{Rule, Said, Standing},
    shared::Shared,
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
    /// What several processes count together.
    pub(crate) shared: Option<Shared>,
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
    /// Where what several processes share is counted.
    pub(crate) store: Option<store::Store>,
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
pub(crate) struct Ask {
    pub(crate) limit: usize,
    pub(crate) salted: Salted,
    pub(crate) key: Hashed,
    pub(crate) said: Said,
    pub(crate) source: Source,
    /// What the key is called in the store.
    pub(crate) called: Option<Box<str>>,
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
    /// Nobody: the store is away, and the limit lets everybody pass then.
    Nobody,
}

/// What becomes of a request.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The limits that refuse it.
    pub(crate) refused: SmallVec<[usize; 2]>,
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
        // Of what is counted elsewhere, what this process knows.
        asks.iter_mut().for_each(|ask| ask.source = Source::Here);
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, Now::read());
        drop(locked);
        if verdict.refused.is_empty() { Ok(()) } else { Err(self.refusal(&verdict, &asks)) }
    }
}

impl Stage {
    /// Asks the limits, those among them whose counters several processes share, and charges for the request.
    pub async fn pass(&self, request: &View<'_>) -> Result<Permits, Reply> {
        match &self.store {
            None => self.admit(request),
            // In a box: larger than what every request carries along.
            Some(store) => Box::pin(self.pass_shared(store, request)).await,
        }
    }

    pub(crate) fn admit_at(&self, request: &View<'_>, now: Now) -> Result<Permits, Reply> {
        let mut asks = self.asks(request)?;
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, now);
        if !verdict.refused.is_empty() {
            drop(locked);
            return Err(self.refuse(&verdict, &asks, request));
        }
        Ok(self.charge(&verdict, asks, locked, now))
    }

    /// What the request is answered that the limits refuse; counted and remembered.
    pub(crate) fn refuse(&self, verdict: &Verdict, asks: &[Ask], request: &View<'_>) -> Reply {
        self.tell_refusal(verdict, asks, request);
        self.refusal(verdict, asks)
    }

    /// Charges for a request that passes. What the store has charged is remembered here as well, so that this process knows
    /// of it when the store is away.
    pub(crate) fn charge(
        &self,
        verdict: &Verdict,
        mut asks: SmallVec<[Ask; 2]>,
        mut locked: Locked<'_>,
        now: Now,
    ) -> Permits {
        let mut permits = Permits::default();
        permits.delay = Duration::from_nanos(verdict.wait);
        let charged = |ask: &&mut Ask| {
            let counts = !matches!(ask.salted.rule, Rule::Ban(_)) && ask.source != Source::Nobody;
            counts && !verdict.shadowed.contains(&ask.limit)
        };
        for ask in asks.iter_mut().filter(charged) {
            let (limit, rule) = (&self.limits[ask.limit], ask.salted.rule);
            let charge = |cell: &mut Cell, roomy| {
                let by = rule.charge(cell, now, limit.cost, roomy);
                if let Rule::Quota(quota) = rule {
                    self.counters.book(ask.key, by, cell.used);
                    if quota.is_getting_short(cell.used, limit.cost) {
                        log::warn!("limit {}: {} of {} are used up", limit.name, cell.used, quota.limit());
                    }
                }
                by
            };
            let Some(by) = locked.change(ask.key, now, charge) else { continue };
            let hold = match rule {
                Rule::Concurrent(_) => Hold::Slot,
                _ if limit.failures => Hold::Failure,
                _ if self.returns => Hold::Charge,
                _ => continue,
            };
            let elsewhere = match (&self.store, ask.source, ask.called.take()) {
                (Some(store), Source::Store, Some(called)) => Some((store.clone(), called)),
                _ => None,
            };
            permits.keep(&self.counters, Item { key: ask.key, rule, by, cost: limit.cost, hold, elsewhere });
        }
        drop(locked);
        permits.nearest = self.nearest(&asks);
        self.tell_passing(verdict, &asks);
        permits.shadowed = !verdict.shadowed.is_empty();
        permits
    }

    fn place(&self) -> Place<'_> {
        Place { route: &self.route, upstream: &self.upstream }
    }

    /// What the limits count this request by. `None` for one that does not concern it.
    pub(crate) fn value<'v>(&'v self, limit: &'v Limit, request: &View<'v>) -> Result<Option<Value<'v>>, Reply> {
        match (limit.key.of(request, self.place()), limit.missing) {
            (Some(value), _) => Ok(Some(value)),
            (None, OnMissing::Ip) => Ok(Some(address(request.client.address))),
            (None, OnMissing::Skip) => Ok(None),
            (None, OnMissing::Deny) if limit.mode == Mode::Shadow => Ok(None),
            (None, OnMissing::Deny) => Err(Reason::LimitKeyMissing.into()),
        }
    }

    pub(crate) fn asks(&self, request: &View<'_>) -> Result<SmallVec<[Ask; 2]>, Reply> {
        let mut asks = SmallVec::new();
        for (index, limit) in self.limits.iter().enumerate() {
            let Some(value) = self.value(limit, request)? else { continue };
            let key = value.hash(&self.counters);
            asks.extend(limit.rules.iter().map(|&salted| {
                Ask {
                    limit: index,
                    salted,
                    key: key.with(salted.salt),
                    said: Said::Free(Standing { remaining: salted.rule.most(), reset: 0 }),
                    source: if limit.is_elsewhere(&salted.rule) { Source::Unasked } else { Source::Here },
                    called: limit
                        .shared
                        .as_ref()
                        .filter(|_| limit.is_elsewhere(&salted.rule))
                        .map(|shared| shared.called(&limit.name, &salted.rule, value)),
                }
            }));
        }
        Ok(asks)
    }

    /// Asks the counters of this process, and sums up what all have said.
    pub(crate) fn weigh(&self, asks: &mut [Ask], locked: &Locked<'_>, now: Now) -> Verdict {
        let mut verdict = Verdict::default();
        for ask in asks {
            let limit = &self.limits[ask.limit];
            let rule = &ask.salted.rule;
            if ask.source == Source::Here {
                ask.said = match locked.find(ask.key) {
                    Some(cell) => rule.ask(cell, now, limit.cost),
                    None => rule.ask(&Cell::default(), now, limit.cost),
                };
            }
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
            self.strike(index, asks);
            let Some(ask) = asks.iter().find(|ask| ask.limit == index) else { continue };
            self.counters.limited().note(ask.key, Duration::from_nanos(verdict.wait), || {
                let value = self.value(limit, request).ok().flatten().unwrap_or(Value::Nobody);
                (Arc::clone(&limit.name), value.text(&self.counters))
            });
        }
    }

    /// Counts a refusal towards a ban.
    fn strike(&self, limit: usize, asks: &[Ask]) {
        for ask in asks.iter().filter(|ask| ask.limit == limit) {
            if let Rule::Ban(ban) = ask.salted.rule {
                let now = Now::read();
                self.counters.lock([ask.key].into_iter()).change(ask.key, now, |cell, _| ban.strike(cell, now));
            }
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
    /// Whether the store counts for this rule. Each process bans by itself.
    fn is_elsewhere(&self, rule: &Rule) -> bool {
        self.shared.is_some() && !matches!(rule, Rule::Ban(_))
    }

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
