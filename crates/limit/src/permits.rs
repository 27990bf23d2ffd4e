//! What a request holds of the limits that it has passed, and gives back when it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use smallvec::SmallVec;

use crate::{
    clock::{Now, SECOND},
    counters::{Counters, Hashed},
    gate::Place,
    lease,
    meters::Meters,
    plan::{Plan, Tier},
    rule::Rule,
    shared,
    sketch::Sketch,
    throughput::{Throughput, Way},
    waited::Waited,
};

/// What a request holds. Dropping it gives back what is held for as long as the request is under way.
#[derive(Debug, Default)]
#[must_use = "dropping it gives back what the request holds"]
pub struct Permits {
    pub(crate) held: Option<Box<Held>>,
    pub(crate) nearest: Option<Nearest>,
    pub(crate) delay: Duration,
    pub(crate) shadowed: bool,
    pub(crate) waited: Waited,
    /// The caller's plan, as far as a step has asked for it that knows who calls.
    pub(crate) plan: Plan,
}

pub(crate) struct Held {
    counters: Arc<Counters>,
    items: SmallVec<[Item; 2]>,
    /// Given back by being dropped.
    places: Vec<Place>,
    /// What the content of the request and of its answer is charged to.
    flows: Vec<Flow>,
}

/// A limit on bandwidth that a request passes its content under.
pub(crate) struct Flow {
    pub(crate) key: Hashed,
    pub(crate) limit: Throughput,
    /// Whether it is not obeyed.
    pub(crate) shadow: bool,
    pub(crate) meters: Meters,
    /// Whether any of it was held back.
    pub(crate) slowed: AtomicBool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", self.items.len())
    }
}

/// One charge that may have to be given back.
pub(crate) struct Item {
    pub(crate) key: Hashed,
    pub(crate) rule: Rule,
    /// What to give back by.
    pub(crate) by: u64,
    pub(crate) cost: u32,
    pub(crate) hold: Hold,
    /// The store that has charged as well, what it calls the key, and what it gives the charge back by.
    pub(crate) elsewhere: Option<Box<(store::Store, Box<str>, i64)>>,
    /// Where it was taken out of a lease, whose.
    pub(crate) leased: Option<Tier>,
    /// Where it was estimated, not counted.
    pub(crate) sketch: Option<Arc<Sketch>>,
}

/// Why a charge may have to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is for as long as the request is under way.
    Slot,
    /// It is forgiven where the answer is a good one.
    Failure,
    /// It does not count where a later step refuses the request.
    Charge,
}

/// Where a client stands under the limit that is nearest to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest {
    /// The step of the limit, and its number there.
    pub(crate) stage: u8,
    pub(crate) limit: u8,
    /// The caller's plan.
    pub(crate) plan: Plan,
    pub(crate) remaining: u32,
    /// Seconds until there is more.
    pub(crate) reset: u32,
}

impl Nearest {
    /// How many more requests may pass now.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }
}

impl Permits {
    /// For how long the request has to be held back.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Whether a limit would have refused the request, were it obeyed.
    pub fn shadowed(&self) -> bool {
        self.shadowed
    }

    /// Where the client stands; [`Limits::nearest`](crate::Limits::nearest) says under which limit.
    pub fn nearest(&self) -> Option<Nearest> {
        self.nearest
    }

    /// Nothing yet, for a request that goes on for another one that has waited for the store.
    pub fn after(waited: Waited) -> Self {
        let mut permits = Self::default();
        permits.waited = waited;
        permits
    }

    /// How long the request has waited for the store, in this step and in those before.
    pub fn waited(&self) -> Waited {
        self.waited
    }

    /// The request has waited so long for the store in all, in a step whose permits are kept elsewhere.
    pub fn has_waited(&mut self, waited: Waited) {
        self.waited = self.waited.max(waited);
    }

    /// Takes what a later step has permitted.
    pub fn add(&mut self, mut later: Permits) {
        self.delay = later.delay;
        self.has_waited(later.waited);
        self.shadowed |= later.shadowed;
        let both = self.nearest.into_iter().chain(later.nearest);
        // An earlier step did not know the plan, and a later one that does may have nothing to announce.
        self.plan = self.plan.max(later.plan);
        let plan = self.plan;
        self.nearest = both.min_by_key(|nearest| nearest.remaining).map(|nearest| Nearest { plan, ..nearest });
        match (&mut self.held, later.held.take()) {
            (_, None) => {}
            (Some(held), Some(mut more)) => {
                held.items.append(&mut more.items);
                held.places.append(&mut more.places);
                held.flows.append(&mut more.flows);
            }
            (held @ None, more) => *held = more,
        }
    }

    /// A later step has refused the request: it does not count for anybody.
    pub fn take_back(&mut self) {
        self.nearest = None;
        if let Some(held) = self.held.take() {
            held.give_back(|_| true);
        }
    }

    /// The client is about to be answered with `status`. What counts failures alone forgets a request with a good answer
    /// now, and not at its end, since a client that has its answer may come again before that.
    pub fn forgive(&mut self, status: u16) {
        if (100..400).contains(&status)
            && let Some(held) = &mut self.held
        {
            held.give_back(|hold| hold == Hold::Failure);
            held.items.retain(|item| item.hold != Hold::Failure);
        }
    }

    /// The request is over and was answered with `status`, or 0 where it got no answer.
    pub fn settle(&mut self, status: u16) {
        self.forgive(status);
        if let Some(held) = self.held.take() {
            held.give_back(|hold| hold == Hold::Slot);
        }
    }

    /// How much content may pass at once where a limit on bandwidth says so.
    pub fn piece(&self, way: Way) -> Option<usize> {
        self.flows(way).map(|flow| flow.limit.piece()).min()
    }

    /// Charges for so many bytes of content, and says for how long they have to wait.
    pub fn draw(&self, way: Way, bytes: usize) -> Duration {
        let Some(held) = &self.held else { return Duration::ZERO };
        let now = Now::read();
        let waits = self.flows(way).map(|flow| flow.draw(&held.counters, now, bytes as u64));
        Duration::from_nanos(waits.max().unwrap_or(0))
    }

    fn flows(&self, way: Way) -> impl Iterator<Item = &Flow> {
        let flows = self.held.as_ref().map_or(&[][..], |held| &held.flows);
        flows.iter().filter(move |flow| flow.limit.way() == way)
    }

    pub(crate) fn keep_flow(&mut self, counters: &Arc<Counters>, flow: Flow) {
        self.held(counters).flows.push(flow);
    }

    pub(crate) fn keep(&mut self, counters: &Arc<Counters>, item: Item) {
        self.held(counters).items.push(item);
    }

    pub(crate) fn keep_place(&mut self, counters: &Arc<Counters>, place: Place) {
        self.held(counters).places.push(place);
    }

    fn held(&mut self, counters: &Arc<Counters>) -> &mut Held {
        let empty = || {
            let counters = Arc::clone(counters);
            Box::new(Held { counters, items: SmallVec::new(), places: Vec::new(), flows: Vec::new() })
        };
        self.held.get_or_insert_with(empty)
    }
}

impl Flow {
    /// Charges for so many bytes, and says for how many nanoseconds they have to wait.
    fn draw(&self, counters: &Counters, now: Now, bytes: u64) -> u64 {
        let mut locked = counters.lock([self.key].into_iter());
        let wait = locked.change(self.key, None, now, |cell, _| self.limit.draw(cell, now, bytes)).unwrap_or(0);
        drop(locked);
        if wait == 0 {
            return 0;
        }
        if !self.slowed.swap(true, Relaxed) {
            if self.shadow { self.meters.shadowed.inc() } else { self.meters.delayed.inc() }
        }
        if self.shadow {
            return 0;
        }
        self.meters.held.inc_by(wait as f64 / SECOND as f64);
        wait
    }
}

impl Held {
    fn give_back(&self, which: impl Fn(Hold) -> bool) {
        let mut items = self.items.iter().filter(|item| which(item.hold)).peekable();
        // Asked for before an answer and after it, and mostly for nothing: the clock is not read for that.
        let Some(now) = items.peek().map(|_| Now::read()) else { return };
        for item in items {
            if let (Some(sketch), Rule::Window(window)) = (&item.sketch, item.rule) {
                sketch.give_back(&window, item.key, now, item.by, item.cost);
                continue;
            }
            self.counters.give_back(item.key, &item.rule, now, item.by, item.cost);
            if let Some(tier) = item.leased {
                lease::give_back(&self.counters, item.key, tier, item.cost);
            }
            if let Some((store, called, by)) = item.elsewhere.as_deref() {
                shared::give_back(store, called, &item.rule, item.cost, *by);
            }
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back(|hold| hold == Hold::Slot);
        }
    }
}
