//! A limit, and those of one route at one step.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use filter::{Admit, Body, Mode, Reason, Reply, View};
use http::{HeaderValue, header};

use crate::{
    amount::Measure,
    ask::{Ask, Asks, Begun, Charge, Passed, Source},
    cell::Cell,
    clock::Now,
    config::{Headers, OnMissing},
    counters::{Counters, Hashed},
    fields::{self, Told},
    gate::Fair,
    key::{Key, Place, Value, address},
    meters::Meters,
    permits::{Flow, Hold, Item, Nearest, Permits},
    plan::{Plan, Plans, Rules, Tariff, Tier},
    quota::Quota,
    rule::{Rule, Said, Standing},
    shard::Locked,
    shared::Shared,
    sketch::Sketch,
    throughput::Throughput,
    verdict::Verdict,
    waited::Waited,
    window::Window,
};

/// A limit, as run.
#[derive(Debug)]
pub struct Limit {
    pub(crate) name: Arc<str>,
    /// The name as answers tell it.
    pub(crate) told: Box<str>,
    pub(crate) key: Key,
    pub(crate) rules: Rules,
    /// What callers of some plans may in their place.
    pub(crate) plans: Plans,
    /// What amounts of callers' own are measured by, where callers may have any.
    pub(crate) measure: Option<Measure>,
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
    /// Whether any of them has leases.
    pub(crate) leases: bool,
    /// The numbers of those that requests wait for places of, by their names: in this order every route asks for them. Two
    /// requests that asked in opposite orders would wait for each other.
    pub(crate) queues: Box<[usize]>,
    pub(crate) route: Arc<str>,
    pub(crate) upstream: Arc<str>,
    /// Its number among those of the route.
    pub(crate) number: u8,
    /// Whether a step that comes later may still refuse, so that charges may have to be given back.
    pub(crate) returns: bool,
    /// What the route's limits say to callers of each plan, and which rules of these limits each means.
    pub(crate) tariff: Arc<Tariff>,
    pub(crate) tiers: Box<[Tier]>,
}

impl Admit for Stage {
    type Proof = Permits;

    /// Where requests wait for places, only those pass that need not.
    fn admit(&self, request: &View<'_>) -> Result<Permits, Reply> {
        self.admit_at(request, Now::read())
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        let mut passed = Passed::default();
        self.ask(request, &mut passed.asks)?;
        // Of what is counted elsewhere, what this process knows.
        for ask in &mut passed.asks {
            match ask.source {
                Source::Queue => ask.said = self.limits[ask.limit].queue_says(ask.key, &ask.rule),
                Source::Sketch => {}
                _ => ask.source = Source::Here,
            }
        }
        let locked = self.counters.lock(passed.asks.iter().map(|ask| ask.key));
        self.weigh(&mut passed, &locked, Now::read());
        drop(locked);
        if passed.verdict.refused.is_empty() {
            Ok(())
        } else {
            Err(self.refusal(&passed.verdict, passed.verdict.wait, &passed.asks, request))
        }
    }
}

impl Stage {
    /// Asks the limits, those among them whose counters several processes share, and charges for the request. Waits for a
    /// place where it has to. `waited` is how long the request has waited for the store already.
    pub async fn pass(&self, request: &View<'_>, waited: Waited) -> Result<Permits, Reply> {
        if self.store.is_none() && self.queues.is_empty() {
            return self.admit(request);
        }
        match self.begin(request)? {
            Begun::Passed(permits) => Ok(permits),
            // In a box: larger than what every request carries along.
            Begun::Waits(passed) => Box::pin(self.go_on(request, waited, passed)).await,
        }
    }

    pub(crate) fn admit_at(&self, request: &View<'_>, now: Now) -> Result<Permits, Reply> {
        let mut passed = Passed::default();
        self.admit_here(request, now, &mut passed)?;
        if !self.queues.is_empty() {
            self.place_now(request, &mut passed)?;
        }
        self.tell_passing(&passed.verdict, &passed.asks);
        Ok(passed.permits)
    }

    /// How far a request comes that need not wait.
    fn begin(&self, request: &View<'_>) -> Result<Begun, Reply> {
        let mut passed = Passed::default();
        let asks_store = match &self.store {
            None => self.admit_here(request, Now::read(), &mut passed).map(|()| false)?,
            Some(_) => self.begin_shared(request, &mut passed)?,
        };
        if asks_store || !self.queues.is_empty() {
            return Ok(Begun::Waits(Box::new(passed)));
        }
        self.tell_passing(&passed.verdict, &passed.asks);
        Ok(Begun::Passed(passed.permits))
    }

    /// Asks the store and waits for places, as far as that has to be.
    async fn go_on(&self, request: &View<'_>, waited: Waited, mut passed: Box<Passed>) -> Result<Permits, Reply> {
        if let Some(store) = self.store.as_ref().filter(|_| passed.asks_store()) {
            self.pass_shared(store, request, waited, &mut passed).await?;
        }
        if !self.queues.is_empty() {
            self.place(request, &mut passed).await?;
        }
        self.tell_passing(&passed.verdict, &passed.asks);
        Ok(passed.permits)
    }

    fn admit_here(&self, request: &View<'_>, now: Now, passed: &mut Passed) -> Result<(), Reply> {
        self.ask(request, &mut passed.asks)?;
        let mut locked = self.counters.lock(passed.asks.iter().map(|ask| ask.key));
        self.weigh(passed, &locked, now);
        if !passed.verdict.refused.is_empty() {
            drop(locked);
            return Err(self.refuse(&passed.verdict, &passed.asks, request));
        }
        self.charge(passed, &mut locked, now);
        // Others may go on; what follows is this request's alone.
        drop(locked);
        self.permit(passed);
        Ok(())
    }

    /// What the request is answered that the limits refuse; counted and remembered.
    pub(crate) fn refuse(&self, verdict: &Verdict, asks: &[Ask], request: &View<'_>) -> Reply {
        let wait = self.tell_refusal(verdict, asks, request);
        self.refusal(verdict, wait, asks, request)
    }

    /// Charges for a request that passes. What the store has charged is remembered here as well, so that this process knows
    /// of it when the store is away.
    pub(crate) fn charge(&self, passed: &mut Passed, locked: &mut Locked<'_>, now: Now) {
        for ask in &mut passed.asks {
            let (limit, rule) = (&*self.limits[ask.limit], &ask.rule);
            let elsewhere = matches!(ask.source, Source::Nobody | Source::Queue);
            let counts = !matches!(rule, Rule::Ban(_) | Rule::Bandwidth(_)) && !elsewhere;
            if !counts || passed.verdict.shadowed.contains(&ask.limit) {
                continue;
            }
            ask.charge = match limit.estimate(rule) {
                Some((sketch, window)) => Some(Charge { by: sketch.charge(window, ask.key, now, limit.cost), used: 0 }),
                None => locked.charge(ask.key, ask.at, now, rule, limit.cost),
            };
        }
    }

    /// What a request holds that was charged for.
    pub(crate) fn permit(&self, passed: &mut Passed) {
        let Passed { permits, verdict, asks } = passed;
        permits.delay = Duration::from_nanos(verdict.wait);
        permits.shadowed = !verdict.shadowed.is_empty();
        permits.plan = asks.iter().map(|ask| ask.plan).max().unwrap_or_default();
        for ask in asks.iter_mut() {
            if let Some(charge) = ask.charge {
                self.keep(permits, ask, charge);
            } else if let Rule::Bandwidth(throughput) = ask.rule {
                self.open_flow(permits, &self.limits[ask.limit], ask.key, throughput);
            }
        }
        permits.nearest = self.nearest(asks);
    }

    /// Keeps what may have to be given back of a charge.
    fn keep(&self, permits: &mut Permits, ask: &mut Ask, charge: Charge) {
        let (limit, rule) = (&self.limits[ask.limit], ask.rule);
        if let Rule::Quota(quota) = rule {
            self.counters.book(ask.key, charge.by, charge.used);
            if let Some((used, charged)) = ask.used(&quota, charge.used, limit.cost) {
                limit.warn(&quota, used, charged);
            }
        }
        let hold = match rule {
            Rule::Concurrent(_) => Hold::Slot,
            _ if limit.failures => Hold::Failure,
            _ if self.returns => Hold::Charge,
            _ => return,
        };
        let elsewhere = match (&self.store, ask.source, ask.called.take()) {
            (Some(store), Source::Store, Some(called)) => Some(Box::new((store.clone(), called, ask.charged_by))),
            _ => None,
        };
        let (leased, sketch) = ((ask.source == Source::Lease).then_some(ask.tier), limit.sketch.clone());
        let item = Item { key: ask.key, rule, by: charge.by, cost: limit.cost, hold, elsewhere, leased, sketch };
        permits.keep(&self.counters, item);
    }

    /// The request's content is charged to this as it passes.
    fn open_flow(&self, permits: &mut Permits, limit: &Limit, key: Hashed, throughput: Throughput) {
        let shadow = limit.mode == Mode::Shadow;
        let (meters, slowed) = (limit.meters.clone(), AtomicBool::new(false));
        permits.keep_flow(&self.counters, Flow { key, limit: throughput, shadow, meters, slowed });
    }

    /// Whom a question was put to.
    pub(crate) fn asked<'a>(&'a self, ask: &'a Ask) -> (&'a Limit, &'a Rule) {
        (&self.limits[ask.limit], &ask.rule)
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

    /// What is to be asked for a request, and under which keys.
    pub(crate) fn ask(&self, request: &View<'_>, asks: &mut Asks) -> Result<(), Reply> {
        let plan = if self.tiers.is_empty() { Plan::default() } else { self.tariff.plan(request.identity) };
        for (index, limit) in self.limits.iter().enumerate() {
            let Some(value) = self.value(limit, request)? else { continue };
            let key = value.hash(&self.counters);
            let tier = self.tier(plan, index, request.identity);
            for salted in limit.rules_of(tier) {
                asks.push(Ask {
                    key: key.with(salted.salt),
                    said: Said::Free(Standing { remaining: salted.rule.most(), reset: 0 }),
                    limit: index,
                    rule: salted.rule,
                    plan,
                    tier,
                    source: limit.source(&salted.rule),
                    at: None,
                    charge: None,
                    called: None,
                    want: limit.cost,
                    fetches: false,
                    charged: 0,
                    charged_by: 0,
                });
            }
        }
        Ok(())
    }

    /// Asks the counters of this process, and sums up what all have said.
    pub(crate) fn weigh(&self, passed: &mut Passed, locked: &Locked<'_>, now: Now) {
        let Passed { verdict, asks, .. } = passed;
        *verdict = Verdict::default();
        for ask in asks {
            let (limit, rule) = (&*self.limits[ask.limit], &ask.rule);
            if ask.source == Source::Here {
                (ask.at, ask.said) = match locked.find(ask.key) {
                    Some((at, cell)) => (Some(at), rule.ask(cell, now, limit.cost)),
                    None => (None, rule.ask(&Cell::default(), now, limit.cost)),
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
    }

    /// Of the limits that are announced the one that is nearest to its end.
    fn nearest(&self, asks: &[Ask]) -> Option<Nearest> {
        let standing = |ask: &Ask| match ask.said {
            Said::Free(standing) if self.is_announced(ask) => {
                let reset = standing.reset.div_ceil(crate::clock::SECOND);
                Some(Nearest {
                    stage: self.number,
                    limit: ask.limit as u8,
                    plan: ask.plan,
                    remaining: standing.remaining,
                    reset: u32::try_from(reset).unwrap_or(u32::MAX),
                })
            }
            _ => None,
        };
        asks.iter().filter_map(standing).min_by_key(|nearest| nearest.remaining)
    }

    fn is_announced(&self, ask: &Ask) -> bool {
        let (limit, rule) = self.asked(ask);
        limit.mode == Mode::Enforce && limit.headers == Headers::Always && rule.policy(0).is_some()
    }

    fn refusal(&self, verdict: &Verdict, wait: u64, asks: &[Ask], request: &View<'_>) -> Reply {
        let seconds = wait.div_ceil(crate::clock::SECOND).max(1);
        let names = verdict.refused.iter().map(|index| Arc::clone(&self.limits[*index].name)).collect();
        let mut reply = Reply::refuse(Reason::Limited).with(header::RETRY_AFTER, HeaderValue::from(seconds));
        reply.body = Body::Limits(names);
        let violated = asks.iter().find(|ask| {
            let (limit, rule) = self.asked(ask);
            matches!(ask.said, Said::Full { .. })
                && verdict.refused.contains(&ask.limit)
                && limit.headers != Headers::Never
                && rule.policy(0).is_some()
        });
        if let Some(ask) = violated {
            let (limit, policies) = (&self.limits[ask.limit], self.tariff.policies(ask.plan, request.identity));
            let told = Told { limit, tier: ask.tier, policies, remaining: 0, reset: seconds };
            fields::refusal(&told, &mut reply);
        }
        reply
    }

    /// Counts and remembers a refusal. Says for how long it holds, which is longer where it has led to a ban.
    fn tell_refusal(&self, verdict: &Verdict, asks: &[Ask], request: &View<'_>) -> u64 {
        let bans = verdict.refused.iter().map(|&index| self.strike(index, asks));
        let wait = bans.fold(verdict.wait, u64::max);
        for &index in &verdict.refused {
            let limit = &self.limits[index];
            limit.meters.limited.inc();
            let Some(ask) = asks.iter().find(|ask| ask.limit == index) else { continue };
            self.counters.limited().note(ask.key, Duration::from_nanos(wait), || {
                let value = self.value(limit, request).ok().flatten().unwrap_or(Value::Nobody);
                (Arc::clone(&limit.name), limit.shown(value, &self.counters))
            });
        }
        wait
    }

    /// Counts a refusal towards a ban. Says how long the client is banned now.
    fn strike(&self, limit: usize, asks: &[Ask]) -> u64 {
        let strikes = asks.iter().filter(|ask| ask.limit == limit).map(|ask| match self.asked(ask) {
            (_, Rule::Ban(ban)) => self.counters.strike(ask.key, ban, Now::read()),
            _ => 0,
        });
        strikes.fold(0, u64::max)
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

    /// Whether a rule is counted in the store.
    pub(crate) fn is_shared(&self, rule: &Rule) -> bool {
        self.source(rule) == Source::Unasked
    }

    /// A key, for people. What several processes count together has the same name in all of them.
    fn shown(&self, value: Value<'_>, counters: &Counters) -> Box<str> {
        match value {
            Value::Bytes(_) if self.shared.is_some() => crate::shared::name(value).into(),
            value => value.text(counters),
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

    /// The quota and its seconds, in a month of so many days, where answers may tell of it.
    pub(crate) fn policy(&self, tier: Tier, days: u64) -> Option<(u32, u64)> {
        if self.mode == Mode::Shadow || self.headers == Headers::Never {
            return None;
        }
        self.rules_of(tier).next()?.rule.policy(days)
    }
}

#[cfg(test)]
mod tests;
