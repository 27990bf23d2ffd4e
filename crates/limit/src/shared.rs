//! Limits that several processes count together, in Redis.
//!
//! The maths is that of one process, in a script that Redis runs in one step: all rules of a request are asked before any
//! is charged, by the clock of Redis.

mod name;

use std::{sync::LazyLock, time::Duration};

use filter::{Reason, Reply, View};
use smallvec::SmallVec;
use store::{Down, Script, Store};

use crate::{
    ask::{Ask, Passed, Source},
    clock::{MILLISECOND, Now},
    config::WhenDown,
    limit::Stage,
    rule::{Rule, Said, Standing},
    shard::Locked,
    waited::Waited,
};

pub(crate) use name::name;

/// What a limit needs to be counted elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) down: WhenDown,
    /// How much a process takes at once at most, for a key that is asked for often.
    pub(crate) lease: Option<u32>,
}

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));

static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_back.lua")));

/// What the store says of one rule: whether it lets pass, how many are left, milliseconds, how much was charged, and what
/// that is given back by.
const ANSWER: usize = 5;

impl Stage {
    /// Asks what is known here: the limits of this process, and what it has on lease. Says whether the store has to be asked.
    pub(crate) fn begin_shared(&self, request: &View<'_>, passed: &mut Passed) -> Result<bool, Reply> {
        self.ask(request, &mut passed.asks)?;
        let now = Now::read();
        let mut locked = self.counters.lock(passed.asks.iter().map(|ask| ask.key));
        self.weigh(passed, &locked, now);
        if passed.verdict.refused.is_empty() && self.leases {
            self.borrow(&mut passed.asks, &mut locked, now);
            self.weigh(passed, &locked, now);
        }
        if !passed.verdict.refused.is_empty() {
            self.repay(&passed.asks, &mut locked, now);
            self.wait_for_shared(passed, &locked, now);
            drop(locked);
            return Err(self.refuse(&passed.verdict, &passed.asks, request));
        }
        if passed.asks_store() {
            return Ok(true);
        }
        self.charge(passed, &mut locked, now);
        drop(locked);
        self.permit(passed);
        Ok(false)
    }

    /// As `admit`, with a question to the store between asking the limits of this process and charging for the request.
    pub(crate) async fn pass_shared(
        &self,
        store: &Store,
        request: &View<'_>,
        waited: Waited,
        passed: &mut Passed,
    ) -> Result<(), Reply> {
        let began = Now::read();
        let asked = match waited.left(store.timeout()) {
            Some(left) => self.ask_store(store, left, request, &mut passed.asks).await,
            None => Err(Down),
        };
        passed.permits.waited = waited.and(Duration::from_nanos(Now::read().0.saturating_sub(began.0)));
        if let Err(Down) = asked
            && let Err(reply) = self.do_without(&mut passed.asks)
        {
            self.undo(store, &passed.asks);
            return Err(reply);
        }
        let now = Now::read();
        let mut locked = self.counters.lock(passed.asks.iter().map(|ask| ask.key));
        if self.leases {
            self.deposit(&mut passed.asks, &mut locked, now);
        }
        self.weigh(passed, &locked, now);
        if passed.verdict.refused.is_empty() {
            self.charge(passed, &mut locked, now);
            drop(locked);
            self.permit(passed);
            return Ok(());
        }
        drop(locked);
        self.undo(store, &passed.asks);
        Err(self.refuse(&passed.verdict, &passed.asks, request))
    }

    /// Asks for all rules in one question; where keys are spread over several nodes, in one for each, and as long as they
    /// agree.
    async fn ask_store(
        &self,
        store: &Store,
        patience: Duration,
        request: &View<'_>,
        asks: &mut [Ask],
    ) -> Result<(), Down> {
        for ask in asks.iter_mut().filter(|ask| ask.source == Source::Unasked) {
            let limit = &self.limits[ask.limit];
            if let (Some(shared), Ok(Some(value))) = (&limit.shared, self.value(limit, request)) {
                ask.called = Some(shared.called(&limit.name, &ask.rule, value));
            }
        }
        if !store.is_spread() {
            return self.ask_some(store, patience, false, asks.iter_mut()).await;
        }
        // After one that refuses the others are looked at, so that the client is told when all would let it pass. It is refused
        // whatever becomes of them: a node that hangs takes nothing back.
        let mut refused = false;
        let each = async {
            for index in 0..asks.len() {
                match self.ask_some(store, patience, refused, asks[index..=index].iter_mut()).await {
                    Ok(()) => refused |= self.is_refused(&asks[index]),
                    Err(Down) => return Err(Down),
                }
            }
            Ok(())
        };
        let asked = tokio::time::timeout(patience, each).await.unwrap_or(Err(Down));
        if refused { Ok(()) } else { asked }
    }

    /// The limits of this process refuse the request, and the store is not asked: what this process has seen of the others says
    /// whether the client has to wait longer for them.
    fn wait_for_shared(&self, passed: &mut Passed, locked: &Locked<'_>, now: Now) {
        for ask in passed.asks.iter().filter(|ask| ask.source == Source::Unasked) {
            let (limit, rule) = self.asked(ask);
            if let Some((_, cell)) = locked.find(ask.key)
                && let Said::Full { wait } = rule.ask(cell, now, limit.cost)
                && wait > limit.patience
                && limit.mode == filter::Mode::Enforce
            {
                passed.verdict.wait = passed.verdict.wait.max(wait);
            }
        }
    }

    fn is_refused(&self, ask: &Ask) -> bool {
        let limit = &self.limits[ask.limit];
        let full = matches!(ask.said, Said::Full { wait } if wait > limit.patience);
        full && limit.mode == filter::Mode::Enforce
    }

    async fn ask_some(
        &self,
        store: &Store,
        patience: Duration,
        looks: bool,
        asks: impl Iterator<Item = &mut Ask>,
    ) -> Result<(), Down> {
        let mut asks: SmallVec<[&mut Ask; 4]> = asks.filter(|ask| ask.source == Source::Unasked).collect();
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        for ask in &asks {
            let limit = &self.limits[ask.limit];
            let obeyed = limit.mode == filter::Mode::Enforce;
            let delay = if obeyed { (limit.patience / MILLISECOND) as i64 } else { -1 };
            keys.extend(ask.called.as_deref().map(str::to_owned));
            arguments.extend(ask.rule.script_arguments());
            let want = if looks { 0 } else { ask.want };
            arguments.extend([i64::from(limit.cost), delay, i64::from(want)]);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let numbers = store.run(&ADMIT, &keys, &arguments, patience).await?;
        if numbers.len() != ANSWER * asks.len() {
            return Err(Down);
        }
        for (ask, said) in asks.iter_mut().zip(numbers.chunks_exact(ANSWER)) {
            ask.source = Source::Store;
            (ask.said, ask.charged, ask.charged_by) = answered(said);
        }
        Ok(())
    }

    /// The store is away: each limit says what then.
    fn do_without(&self, asks: &mut [Ask]) -> Result<(), Reply> {
        for ask in asks.iter_mut().filter(|ask| ask.source == Source::Unasked) {
            let limit = &self.limits[ask.limit];
            limit.meters.store_errors.inc();
            ask.source = match limit.shared.as_ref().map(|shared| shared.down) {
                Some(WhenDown::Allow) => Source::Nobody,
                Some(WhenDown::Deny) if limit.mode == filter::Mode::Enforce => {
                    return Err(Reason::LimitStoreDown.into());
                }
                _ => Source::Here,
            };
        }
        Ok(())
    }

    /// What was charged for a request that is refused after all counts for nobody: another was faster.
    fn undo(&self, store: &Store, asks: &[Ask]) {
        if self.leases {
            let mut locked = self.counters.lock(asks.iter().map(|ask| ask.key));
            self.repay(asks, &mut locked, Now::read());
        }
        for ask in asks.iter().filter(|ask| ask.source == Source::Store && ask.charged > 0) {
            if let Some(called) = &ask.called {
                give_back(store, called, &ask.rule, ask.charged, ask.charged_by);
            }
        }
    }
}

/// One answer of the script, how much it has charged, and what it gives that back by.
fn answered(said: &[i64]) -> (Said, u32, i64) {
    let number = |index: usize| said.get(index).copied().unwrap_or(0).max(0) as u64;
    let (remaining, charged) = (number(1).min(u32::MAX.into()) as u32, number(3).min(u32::MAX.into()) as u32);
    let millis = number(2).saturating_mul(MILLISECOND);
    let said = match number(0) {
        1 => Said::Free(Standing { remaining, reset: millis }),
        _ => Said::Full { wait: millis },
    };
    (said, charged, number(4) as i64)
}

/// Gives a charge back in the store, some time soon.
pub(crate) fn give_back(store: &Store, called: &str, rule: &Rule, cost: u32, by: i64) {
    let mut arguments: Vec<i64> = rule.script_arguments().to_vec();
    arguments.extend([i64::from(cost), by]);
    store.run_later(&GIVE_BACK, called.to_owned(), arguments);
}

#[cfg(test)]
mod tests;
