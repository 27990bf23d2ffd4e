//! How many exchanges are under way: in all, and with each service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::Url;

/// How many may be under way at once, and how many of them with one service. Beyond that the answer is an error: a service that
/// is slow must not collect the requests of everybody, nor take all places from the other services.
pub(crate) struct Places {
    most: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// By host and port; those at which nothing is under way are not there.
    by_service: HashMap<Arc<str>, usize>,
}

/// One exchange that is under way.
pub(crate) struct Place<'p> {
    places: &'p Places,
    service: Arc<str>,
}

impl Places {
    pub fn new(most: usize, each: usize) -> Self {
        Self { most, each, taken: Mutex::default() }
    }

    /// A place for an exchange with whoever is at `url`, where there is one.
    pub fn take(&self, url: &Url) -> Option<Place<'_>> {
        let service: Arc<str> = format!("{}:{}", url.host, url.port).into();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_service.get(&service).copied().unwrap_or(0);
        if taken.all >= self.most || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by_service.insert(service.clone(), own + 1);
        Some(Place { places: self, service })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_service.get_mut(&self.service) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_service.remove(&self.service)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_does_not_take_the_places_of_the_others() {
        let url = |text| Url::parse(text).unwrap();
        let (slow, other) = (url("http://slow.test/check"), url("https://other.test/"));
        let places = Places::new(3, 2);
        let held = [places.take(&slow), places.take(&slow)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.take(&url("http://slow.test/another?page")).is_none(), "it is the same service");
        let own = places.take(&other);
        assert!(own.is_some() && places.take(&other).is_none(), "three are under way");
        drop(held);
        assert!(places.take(&other).is_some());
        drop(own);
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_service.len()), (0, 0));
    }
}
