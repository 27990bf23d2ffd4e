//! Who asks for what is not there: one for all, or each for itself.

use std::sync::Arc;

use http::HeaderMap;
use smallvec::SmallVec;

use super::{Zone, hash};
use crate::{
    flight::{Boarded, Flight, Landed},
    freshness::Millis,
    key::{Key, Selecting},
    lock,
    stored::Stored,
};

/// For how long a key is known whose answer was not kept, or is to be asked for before each use, so that requests for it do not
/// wait for each other.
const ALONE: Millis = 120_000;

/// How many fetches of one key others can join, for different values of what its answers vary by. Beyond these each asks for
/// itself.
const MOST_FLIGHTS: usize = super::VARIANTS;

/// The fetches of one key that others can join. Most keys have one.
pub(super) type Flights = SmallVec<[Arc<Flight>; 1]>;

impl Zone {
    /// Joins the fetch of this key that is under way, or begins one. One whose head is there already is joined where it is for this
    /// request and `does`, like an answer that is kept: it was not asked for on behalf of who comes now. Keys whose answers are not
    /// kept are fetched by each for itself.
    pub fn board(
        self: &Arc<Self>,
        key: &Key,
        request: &HeaderMap,
        now: Millis,
        does: impl Fn(&Stored) -> bool,
    ) -> Boarded {
        if self.is_left_alone(key, now) {
            return Boarded::Leads(Flight::alone());
        }
        self.join(key, request, true, does).unwrap_or_else(|| Boarded::Leads(Flight::alone()))
    }

    /// Begins a fetch for a request that nothing does which was asked for before it came, so that it waits for nobody. Others can
    /// join it where there is none that they can wait for.
    pub fn board_alone(self: &Arc<Self>, key: &Key, request: &HeaderMap, now: Millis) -> Arc<Flight> {
        let led = if self.is_left_alone(key, now) { None } else { self.join(key, request, false, |_| false) };
        match led {
            Some(Boarded::Leads(flight)) => flight,
            _ => Flight::alone(),
        }
    }

    /// A fetch in the background, unless one for such requests is under way that still counts. Nobody waits for it, so there is one
    /// at a time, also where answers are not kept, or come stale.
    pub fn board_behind(self: &Arc<Self>, key: &Key, request: &HeaderMap) -> Option<Arc<Flight>> {
        match self.join(key, request, true, |_| true)? {
            Boarded::Leads(flight) => Some(flight),
            Boarded::Follows(_) => None,
        }
    }

    /// `None` where too many are under way for other requests, or there is one to wait for, and it `waits` for none.
    fn join(
        self: &Arc<Self>,
        key: &Key,
        request: &HeaderMap,
        waits: bool,
        does: impl Fn(&Stored) -> bool,
    ) -> Option<Boarded> {
        let asking = Selecting::of(request);
        // What the latest answer depends on, so will the next one. Where there is none it is for everybody until its head says more.
        let mut latest = self.kept.peek(key).and_then(|variants| variants.answers.first().cloned());
        let mut all = lock(&self.flights);
        let flights = all.entry(key.clone()).or_default();
        for flight in flights.iter() {
            let Some(Landed::Shared(stored)) = flight.landed() else { continue };
            if self.counts(&stored) && stored.answers(&asking) && does(&stored) {
                return Some(Boarded::Follows(flight.ticket()));
            }
            if latest.as_ref().is_none_or(|known| known.freshness().asked() <= stored.freshness().asked()) {
                latest = Some(stored);
            }
        }
        let is_like = |flight: &Flight| latest.as_ref().is_none_or(|known| asking.is_like(flight.request(), known));
        if let Some(flight) = flights.iter().find(|flight| flight.landed().is_none() && is_like(flight)) {
            return waits.then(|| Boarded::Follows(flight.ticket()));
        }
        // What came for such requests and does not do is joined by nobody any more: the new one is.
        flights.retain(|flight| match flight.landed() {
            Some(Landed::Shared(stored)) => self.counts(&stored) && !stored.answers(&asking),
            Some(_) => false,
            None => true,
        });
        if flights.len() >= MOST_FLIGHTS {
            return None;
        }
        let flight = Flight::shared(self.clone(), key.clone(), request.clone());
        flights.push(flight.clone());
        Some(Boarded::Leads(flight))
    }

    /// Ends what others can join.
    pub(crate) fn land(&self, key: &Key, flight: &Flight) {
        let mut all = lock(&self.flights);
        let Some(flights) = all.get_mut(key) else { return };
        flights.retain(|known| !std::ptr::eq(&**known, flight));
        if flights.is_empty() {
            all.remove(key);
        }
    }

    /// Whether a fetch of this key is under way.
    pub fn is_flying(&self, key: &Key) -> bool {
        lock(&self.flights).contains_key(key)
    }

    /// Whether answers under this key are known not to be kept, or to be asked for before each use.
    pub fn is_left_alone(&self, key: &Key, now: Millis) -> bool {
        self.alone.get(&hash(key)).is_some_and(|until| now < until)
    }

    /// The answer under this key is not kept, or is to be asked for before each use: requests for it shall not wait for each other.
    pub fn leave_alone(&self, key: &Key, now: Millis) {
        self.alone.insert(hash(key), now + ALONE);
    }
}
