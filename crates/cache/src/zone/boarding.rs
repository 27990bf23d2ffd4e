//! Who asks for what is not there: one for all, or each for itself.

use std::sync::Arc;

use super::{Zone, hash};
use crate::{
    flight::{Boarded, Flight, Landed},
    freshness::Millis,
    key::Key,
    lock,
    stored::Stored,
};

/// For how long a key is known whose answer was not kept, or is to be asked for before each use, so that requests for it do not
/// wait for each other.
const ALONE: Millis = 120_000;

impl Zone {
    /// Joins the fetch of this key that is under way, or begins one. One whose head is there already is joined where it
    /// `does`, like an answer that is kept: it was not asked for on behalf of who comes now. Keys whose answers are not
    /// kept are fetched by each for itself.
    pub fn board(self: &Arc<Self>, key: &Key, now: Millis, does: impl Fn(&Stored) -> bool) -> Boarded {
        if self.alone.get(&hash(key)).is_some_and(|until| now < until) {
            return Boarded::Leads(Flight::alone());
        }
        self.join(key, does)
    }

    /// A fetch of this key in the background, unless one is under way that still counts. Nobody waits for it, so there is one at
    /// a time, also where answers are not kept, or come stale.
    pub fn board_behind(self: &Arc<Self>, key: &Key) -> Option<Arc<Flight>> {
        match self.join(key, |_| true) {
            Boarded::Leads(flight) => Some(flight),
            Boarded::Follows(_) => None,
        }
    }

    fn join(self: &Arc<Self>, key: &Key, does: impl Fn(&Stored) -> bool) -> Boarded {
        let mut flights = lock(&self.flights);
        let joinable = |flight: &&Arc<Flight>| match flight.landed() {
            Some(Landed::Shared(stored)) => self.counts(&stored) && does(&stored),
            Some(_) => false,
            None => true,
        };
        if let Some(flight) = flights.get(key).filter(joinable) {
            return Boarded::Follows(flight.ticket());
        }
        let flight = Flight::shared(self.clone(), key.clone());
        flights.insert(key.clone(), flight.clone());
        Boarded::Leads(flight)
    }

    /// Ends what others can join.
    pub(crate) fn land(&self, key: &Key, flight: &Flight) {
        let mut flights = lock(&self.flights);
        if flights.get(key).is_some_and(|known| std::ptr::eq(&**known, flight)) {
            flights.remove(key);
        }
    }

    /// Whether a fetch of this key is under way.
    pub fn is_flying(&self, key: &Key) -> bool {
        lock(&self.flights).contains_key(key)
    }

    /// The answer under this key is not kept, or is to be asked for before each use: requests for it shall not wait for each other.
    pub fn leave_alone(&self, key: &Key, now: Millis) {
        self.alone.insert(hash(key), now + ALONE);
    }
}
