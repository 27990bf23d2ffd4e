//! A limit, and those of one route at one step.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use filter::{Admit, Body, Mode, Reason, Reply, View};
use http::{HeaderValue, header};
use smallvec::SmallVec;

use crate::{
    cell::Cell,
    clock::Now,
    config::{Headers, OnMissing},
    counters::{Counters, Hashed, Locked},
    fields,
    gate::Fair,
    key::{Key, Place, Value, address},
    meters::Meters,
    permits::{Flow, Hold, Item, Nearest, Permits},
    quota::Quota,
    rule::{Rule, Said, Standing},
    shared::{Begun, Shared},
    sketch::Sketch,
    verdict::Verdict,
    window::Window,
};

/// A limit, as run.
#[derive(Debug)]
pub struct Limit {
    pub(crate) name: Arc<str>,
    /// The name as answers tell it.
    pub(crate) told: Box<str>,
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
    /// The places that requests wait for, where they do.
    pub(crate) fair: Option<Fair>,
    /// What is estimated in the place of counting it.
    pub(crate) sketch: Option<Arc<Sketch>>,
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
    /// Whether any of them has leases, and whether requests wait for places of any.
    pub(crate) leases: bool,
    pub(crate) queues: bool,
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
    /// How much the store is asked for, and whether that is for a lease.
    pub(crate) want: u32,
    pub(crate) fetches: bool,
    /// How much the store has charged.
    pub(crate) charged: u32,
}

/// What all rules of one step say.
pub(crate) type Asks = SmallVec<[Ask; 2]>;

/// A request that limits let pass, until it is told.
pub(crate) struct Passed {
    pub(crate) permits: Permits,
    pub(crate) verdict: Verdict,
    pub(crate) asks: Asks,
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

impl Admit for Stage {
    type Proof = Permits;

    /// Where requests wait for places, only those pass that need not.
    fn admit(&self, request: &View<'_>) -> Result<Permits, Reply> {
        if self.queues {
            let passed = self.admit_here(request, Now::read())?;
            return self.place_now(request, passed);
        }
        self.admit_at(request, Now::read())
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let mut asks = self.asks(request)?;
        // Of what is counted elsewhere, what this process knows.
        for ask in &mut asks {
            match ask.source {
                Source::Queue => ask.said = self.limits[ask.limit].queue_says(ask.key),
                Source::Sketch => {}
                _ => ask.source = Source::Here,
            }
        }
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, Now::read());
        drop(locked);
        if verdict.refused.is_empty() { Ok(()) } else { Err(self.refusal(&verdict, &asks)) }
    }
}

impl Stage {
    /// Asks the limits, those among them whose counters several processes share, and charges for the request. Waits for a
    /// place where it has to.
    pub async fn pass(&self, request: &View<'_>) -> Result<Permits, Reply> {
        if self.store.is_none() && !self.queues {
            return self.admit(request);
        }
        let passed = match &self.store {
            None => self.admit_here(request, Now::read())?,
            Some(store) => match self.begin(request)? {
                Begun::Passed(passed) => passed,
                // In a box: larger than what every request carries along.
                Begun::Asks(asks) => Box::pin(self.pass_shared(store, request, asks)).await?,
            },
        };
        if self.queues {
            return Box::pin(self.place(request, passed)).await;
        }
        self.tell_passing(&passed.verdict, &passed.asks);
        Ok(passed.permits)
    }

    pub(crate) fn admit_at(&self, request: &View<'_>, now: Now) -> Result<Permits, Reply> {
        let Passed { permits, verdict, asks } = self.admit_here(request, now)?;
        self.tell_passing(&verdict, &asks);
        Ok(permits)
    }

    fn admit_here(&self, request: &View<'_>, now: Now) -> Result<Passed, Reply> {
        let mut asks = self.asks(request)?;
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, now);
        if !verdict.refused.is_empty() {
            drop(locked);
            return Err(self.refuse(&verdict, &asks, request));
        }
        let permits = self.charge(&verdict, &mut asks, locked, now);
        Ok(Passed { permits, verdict, asks })
    }

    /// What the request is answered that the limits refuse; counted and remembered.
    pub(crate) fn refuse(&self, verdict: &Verdict, asks: &[Ask], request: &View<'_>) -> Reply {
        self.tell_refusal(verdict, asks, request);
        self.refusal(verdict, asks)
    }

    /// Charges for a request that passes. What the store has charged is remembered here as well, so that this process knows
    /// of it when the store is away.
    pub(crate) fn charge(&self, verdict: &Verdict, asks: &mut [Ask], mut locked: Locked<'_>, now: Now) -> Permits {
        let mut permits = Permits::default();
        permits.delay = Duration::from_nanos(verdict.wait);
        let charged = |ask: &&mut Ask| {
            let elsewhere = matches!(ask.source, Source::Nobody | Source::Queue);
            let counts = !matches!(ask.salted.rule, Rule::Ban(_) | Rule::Bandwidth(_)) && !elsewhere;
            counts && !verdict.shadowed.contains(&ask.limit)
        };
        for ask in asks.iter_mut().filter(charged) {
            let (limit, rule) = (&self.limits[ask.limit], ask.salted.rule);
            let charge = |cell: &mut Cell, roomy| {
                let by = rule.charge(cell, now, limit.cost, roomy);
                if let Rule::Quota(quota) = rule {
                    self.counters.book(ask.key, by, cell.used);
                    if let Some((used, charged)) = ask.used(&quota, cell.used, limit.cost) {
                        limit.warn(&quota, used, charged);
                    }
                }
                by
            };
            let estimated =
                limit.estimate(&rule).map(|(sketch, window)| sketch.charge(window, ask.key, now, limit.cost));
            let Some(by) = estimated.or_else(|| locked.change(ask.key, now, charge)) else { continue };
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
            let (leased, sketch) = (ask.source == Source::Lease, limit.sketch.clone());
            let (key, cost) = (ask.key, limit.cost);
            permits.keep(&self.counters, Item { key, rule, by, cost, hold, elsewhere, leased, sketch });
        }
        drop(locked);
        self.open_flows(&mut permits, asks);
        permits.nearest = self.nearest(asks);
        permits.shadowed = !verdict.shadowed.is_empty();
        permits
    }

    /// The request's content is charged to these as it passes.
    fn open_flows(&self, permits: &mut Permits, asks: &[Ask]) {
        for ask in asks {
            let Rule::Bandwidth(throughput) = ask.salted.rule else { continue };
            let limit = &self.limits[ask.limit];
            let flow = Flow {
                key: ask.key,
                limit: throughput,
                shadow: limit.mode == Mode::Shadow,
                meters: limit.meters.clone(),
                slowed: AtomicBool::new(false),
            };
            permits.keep_flow(&self.counters, flow);
        }
    }

    pub(crate) fn place_names(&self) -> Place<'_> {
        Place { route: &self.route, upstream: &self.upstream }
    }

    /// What the limits count this request by. `None` for one that does not concern it.
    pub(crate) fn value<'v>(&'v self, limit: &'v Limit, request: &View<'v>) -> Result<Option<Value<'v>>, Reply> {
        match (limit.key.of(request, self.place_names()), limit.missing) {
            (Some(value), _) => Ok(Some(value)),
            (None, OnMissing::Ip) => Ok(Some(address(request.client.address))),
            (None, OnMissing::Skip) => Ok(None),
            (None, OnMissing::Deny) if limit.mode == Mode::Shadow => Ok(None),
            (None, OnMissing::Deny) => Err(Reason::LimitKeyMissing.into()),
        }
    }

    pub(crate) fn asks(&self, request: &View<'_>) -> Result<Asks, Reply> {
        let mut asks = SmallVec::new();
        for (index, limit) in self.limits.iter().enumerate() {
            let Some(value) = self.value(limit, request)? else { continue };
            let key = value.hash(&self.counters);
            asks.extend(limit.rules.iter().map(|&salted| Ask {
                limit: index,
                salted,
                key: key.with(salted.salt),
                said: Said::Free(Standing { remaining: salted.rule.most(), reset: 0 }),
                source: limit.source(&salted.rule),
                called: None,
                want: limit.cost,
                fetches: false,
                charged: 0,
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
            if let Some((sketch, window)) = limit.estimate(rule) {
                ask.said = sketch.ask(window, ask.key, now, limit.cost);
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

    pub(crate) fn tell_passing(&self, verdict: &Verdict, asks: &[Ask]) {
        let mut last = None;
        for ask in asks {
            if last.replace(ask.limit) == Some(ask.limit) {
                continue;
            }
            let meters = &self.limits[ask.limit].meters;
            if verdict.shadowed.contains(&ask.limit) {
                meters.shadowed.inc();
            } else if (verdict.wait > 0 || ask.source == Source::Queue) && matches!(ask.said, Said::Full { .. }) {
                meters.delayed.inc();
                meters.held.inc_by(verdict.wait as f64 / crate::clock::SECOND as f64);
            } else {
                meters.allowed.inc();
            }
        }
    }
}

impl Ask {
    /// How much of a quota is used up, and how much of that was charged now: by everybody where the store has said so, else
    /// by this process, for which `used` and `cost` are what its own counters say. `None` for what was charged before.
    fn used(&self, quota: &Quota, used: u32, cost: u32) -> Option<(u32, u32)> {
        match self.said {
            Said::Free(standing) if self.charged > 0 => {
                Some((quota.limit().saturating_sub(standing.remaining), self.charged))
            }
            _ => (self.source != Source::Lease).then_some((used, cost)),
        }
    }
}

impl Limit {
    /// Says it once when so much of a quota is used up that somebody should know.
    fn warn(&self, quota: &Quota, used: u32, charged: u32) {
        if quota.is_getting_short(used, charged) {
            self.meters.short.inc();
            log::warn!("limit {}: {used} of {} are used up", self.name, quota.limit());
        }
    }

    /// Who is asked first. Each process bans by itself.
    pub(crate) fn source(&self, rule: &Rule) -> Source {
        match rule {
            Rule::Ban(_) => Source::Here,
            Rule::Window(_) if self.sketch.is_some() => Source::Sketch,
            Rule::Concurrent(_) if self.fair.is_some() => Source::Queue,
            _ if self.shared.is_some() => Source::Unasked,
            _ => Source::Here,
        }
    }

    /// What a rule is estimated by, where it is.
    pub(crate) fn estimate<'l>(&'l self, rule: &'l Rule) -> Option<(&'l Sketch, &'l Window)> {
        match (&self.sketch, rule) {
            (Some(sketch), Rule::Window(window)) => Some((sketch, window)),
            _ => None,
        }
    }

    /// What a rule says of a key now, as far as this process knows.
    pub(crate) fn says(&self, counters: &Counters, rule: &Rule, key: Hashed, now: Now) -> Said {
        if let Some((sketch, window)) = self.estimate(rule) {
            return sketch.ask(window, key, now, self.cost);
        }
        let said = counters.look(key, |cell| rule.ask(cell, now, self.cost));
        said.unwrap_or_else(|| rule.ask(&Cell::default(), now, self.cost))
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

#[cfg(test)]
mod tests;
