//! Places for requests under way that are shared fairly: who has the fewest gets the next one that becomes free.
//!
//! As long as a place is free everybody gets one at once. When all are taken, requests wait, each behind those of the same
//! consumer. A place that becomes free goes to the consumer that has the fewest under way (max-min fairness), so that one
//! within its share waits for one request to end and not for a queue. Callers of each plan may have another number of the same
//! places, and a caller one of its own, which says when there is one free for them. The queue is bounded in length and in time; when it is full, the newest
//! request of the consumer that wants most has to go.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indexmap::IndexMap;
use smallvec::SmallVec;
use tokio::{sync::oneshot, time::timeout};

use crate::{counters::Hashed, key::Key, plan::Tier};

/// A limit whose requests wait for a place.
#[derive(Debug)]
pub(crate) struct Fair {
    pub(crate) gate: Arc<Gate>,
    pub(crate) terms: Terms,
    /// What the consumers are told apart by that share the places.
    pub(crate) by: Key,
}

/// How many places there are, and for how many requests and how long one may wait for them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// Whose they are: callers of each plan may have another number of the same places.
    pub(crate) tier: Tier,
    /// Whose amount of its own that goes by, where it does.
    pub(crate) caller: Option<Hashed>,
    pub(crate) places: u32,
    pub(crate) waiting: u32,
    pub(crate) patience: Duration,
}

/// The places of one limit, by its key. Kept across configurations.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<IndexMap<Hashed, Line>>);

/// Everybody who shares the places of one key.
#[derive(Debug, Default)]
struct Line {
    /// How many places there are for callers of each plan, as the newest of them was told.
    places: SmallVec<[(Tier, u32); 1]>,
    taken: u32,
    waiting: u32,
    /// The number of the next who waits.
    next: u64,
    consumers: IndexMap<Hashed, Consumer>,
}

#[derive(Debug, Default)]
struct Consumer {
    taken: u32,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    cost: u32,
    tier: Tier,
    caller: Option<Hashed>,
    /// Told whether it has a place, or has to go.
    tell: oneshot::Sender<bool>,
}

/// Who wants a place, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The limit's key, and the consumer under it.
    pub(crate) key: Hashed,
    pub(crate) consumer: Hashed,
    pub(crate) cost: u32,
}

/// There is no place, and none to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    wish: Wish,
}

/// What comes of asking for a place.
pub(crate) enum Asked {
    Placed(Place),
    Waits(Waiting),
}

/// A request that waits. Dropping it leaves the queue.
pub(crate) struct Waiting {
    gate: Arc<Gate>,
    wish: Wish,
    number: u64,
    patience: Duration,
    told: oneshot::Receiver<bool>,
    settled: bool,
}

impl Gate {
    /// A place at once, or one in the queue.
    pub(crate) fn ask(self: &Arc<Self>, terms: &Terms, wish: Wish) -> Result<Asked, Full> {
        let mut lines = self.lock();
        let line = lines.entry(wish.key).or_default();
        if line.there_are(terms) {
            line.hand_on();
        }
        if line.taken.saturating_add(wish.cost) <= terms.places && !line.is_before(terms, wish) {
            line.taken += wish.cost;
            line.consumers.entry(wish.consumer).or_default().taken += wish.cost;
            return Ok(Asked::Placed(Place { gate: self.clone(), wish }));
        }
        if line.waiting >= terms.waiting && !line.shed(wish) {
            tidy(&mut lines, wish);
            return Err(Full);
        }
        let (tell, told) = oneshot::channel();
        let number = line.next;
        line.next += 1;
        line.waiting += 1;
        let queue = &mut line.consumers.entry(wish.consumer).or_default().queue;
        queue.push_back(Waiter { number, cost: wish.cost, tier: terms.tier, caller: terms.caller, tell });
        let patience = terms.patience;
        Ok(Asked::Waits(Waiting { gate: self.clone(), wish, number, patience, told, settled: false }))
    }

    /// How much of the places of a key is taken, and how many wait.
    pub(crate) fn look(&self, key: Hashed) -> (u32, u32) {
        self.lock().get(&key).map_or((0, 0), |line| (line.taken, line.waiting))
    }

    /// Who has how much of which key.
    pub(crate) fn each(&self, mut tell: impl FnMut(Hashed, Hashed, u32)) {
        for (key, line) in &*self.lock() {
            line.consumers
                .iter()
                .filter(|(_, own)| own.taken > 0)
                .for_each(|(consumer, own)| tell(*key, *consumer, own.taken));
        }
    }

    /// Counts places as taken that somebody else has, be there any or not.
    pub(crate) fn lend(&self, wish: Wish) {
        if wish.cost > 0 {
            let mut lines = self.lock();
            let line = lines.entry(wish.key).or_default();
            line.taken = line.taken.saturating_add(wish.cost);
            let own = line.consumers.entry(wish.consumer).or_default();
            own.taken = own.taken.saturating_add(wish.cost);
        }
    }

    fn lock(&self) -> MutexGuard<'_, IndexMap<Hashed, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn give_back(&self, wish: Wish) {
        let mut lines = self.lock();
        if let Some(line) = lines.get_mut(&wish.key) {
            line.release(wish);
            line.hand_on();
        }
        tidy(&mut lines, wish);
    }
}

/// Forgets a consumer that has nothing and wants nothing, and a key without any.
fn tidy(lines: &mut IndexMap<Hashed, Line>, wish: Wish) {
    let Some(line) = lines.get_mut(&wish.key) else { return };
    if line.consumers.get(&wish.consumer).is_some_and(|own| own.taken == 0 && own.queue.is_empty()) {
        line.consumers.swap_remove(&wish.consumer);
    }
    if line.consumers.is_empty() {
        lines.swap_remove(&wish.key);
    }
}

/// How many places there are for callers of a plan, or for one by an amount of its own.
fn places_of(places: &[(Tier, u32)], tier: Tier) -> u32 {
    if let Some(own) = tier.amount {
        return own.get();
    }
    places.iter().find(|(own, _)| *own == tier).map_or(0, |(_, places)| *places)
}

impl Line {
    fn release(&mut self, wish: Wish) {
        self.taken = self.taken.saturating_sub(wish.cost);
        if let Some(own) = self.consumers.get_mut(&wish.consumer) {
            own.taken = own.taken.saturating_sub(wish.cost);
        }
    }

    /// Callers of that plan have so many places from now on, or the caller whose amount it is, and those of them who wait as well.
    /// Says whether somebody who waits goes by another number than before.
    fn there_are(&mut self, terms: &Terms) -> bool {
        if terms.tier.amount.is_some() {
            return self.waiting > 0 && self.go_by(terms);
        }
        match self.places.iter_mut().find(|(tier, _)| *tier == terms.tier) {
            Some((_, places)) => *places = terms.places,
            None => self.places.push((terms.tier, terms.places)),
        }
        false
    }

    /// A caller's amount may have changed since its other requests began to wait.
    fn go_by(&mut self, terms: &Terms) -> bool {
        let waiting = self.consumers.values_mut().flat_map(|own| &mut own.queue);
        let outdated = waiting.filter(|waiter| waiter.caller == terms.caller && waiter.tier != terms.tier);
        outdated.map(|waiter| waiter.tier = terms.tier).count() > 0
    }

    /// Whether somebody waits whom the newcomer must not pass: of the same consumer, or for no fewer places. Who has more of
    /// them does not wait for those who have fewer.
    fn is_before(&self, terms: &Terms, newcomer: Wish) -> bool {
        let no_fewer = |first: &Waiter| places_of(&self.places, first.tier) >= terms.places;
        let before = |(consumer, own): (&Hashed, &Consumer)| {
            own.queue.front().is_some_and(|first| *consumer == newcomer.consumer || no_fewer(first))
        };
        self.waiting > 0 && self.consumers.iter().any(before)
    }

    /// Gives what is free to those who wait, each of whom gets it by the places of their own plan.
    fn hand_on(&mut self) {
        while self.waiting > 0 {
            let (taken, places) = (self.taken, &self.places);
            let fits = |first: &Waiter| taken.saturating_add(first.cost) <= places_of(places, first.tier);
            let waits = |own: &Consumer| own.queue.front().map(|first| (own.taken, first.number));
            let fitting = self.consumers.values_mut().filter(|own| own.queue.front().is_some_and(fits));
            let Some(own) = fitting.min_by_key(|own| waits(own)) else { return };
            if let Some(first) = own.queue.pop_front() {
                own.taken += first.cost;
                self.taken += first.cost;
                self.waiting -= 1;
                // It leaves the queue under the same lock before it stops to listen.
                let _ = first.tell.send(true);
            }
        }
    }

    /// Makes room in a full queue at the cost of who wants more than the newcomer would. Says whether there is any.
    fn shed(&mut self, newcomer: Wish) -> bool {
        let wants = |own: &Consumer| own.taken as usize + own.queue.len();
        let own = self.consumers.get(&newcomer.consumer).map_or(0, wants) + 1;
        let greedy = self.consumers.values_mut().filter(|other| !other.queue.is_empty() && wants(other) > own);
        let Some(last) = greedy.max_by_key(|other| wants(other)).and_then(|greedy| greedy.queue.pop_back()) else {
            return false;
        };
        self.waiting -= 1;
        let _ = last.tell.send(false);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.give_back(self.wish);
    }
}

impl Waiting {
    /// The place, once it is there.
    pub(crate) async fn place(mut self) -> Result<Place, Full> {
        match timeout(self.patience, &mut self.told).await {
            Ok(told) => {
                self.settled = true;
                let place = || Place { gate: self.gate.clone(), wish: self.wish };
                told.ok().filter(|placed| *placed).map(|_| place()).ok_or(Full)
            }
            Err(_) => Err(Full),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut lines = self.gate.lock();
        if let Some(line) = lines.get_mut(&self.wish.key) {
            let queue = line.consumers.get_mut(&self.wish.consumer).map(|own| &mut own.queue);
            let own = queue.and_then(|queue| {
                let index = queue.iter().position(|waiter| waiter.number == self.number)?;
                queue.remove(index)
            });
            if own.is_some() {
                line.waiting -= 1;
            } else if self.told.try_recv() == Ok(true) {
                line.release(self.wish);
            }
            line.hand_on();
        }
        tidy(&mut lines, self.wish);
    }
}

#[cfg(test)]
mod tests;
