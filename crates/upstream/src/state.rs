//! What outlives a configuration: the addresses of every host name in use.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time;

use crate::{
    name::Name,
    resolve::{Resolve, System},
};

/// The names that upstreams use, found again by host and port: a reload keeps the addresses of those that stay.
///
/// A name is created when an upstream is compiled, which asks nobody; [`start`](State::start) begins the lookups, and
/// they end with the last upstream that uses the name.
#[derive(Clone)]
pub struct State {
    resolver: Arc<dyn Resolve>,
    names: Arc<Mutex<Names>>,
}

/// By host and port. A name that nobody uses any more is swept when the next one is made.
type Names = HashMap<(Box<str>, u16), Weak<Name>>;

impl Default for State {
    fn default() -> Self {
        Self::new(System::default())
    }
}

impl State {
    /// A state that asks `resolver`; [`State::default`] asks the system's.
    pub fn new(resolver: impl Resolve) -> Self {
        Self { resolver: Arc::new(resolver), names: Arc::default() }
    }

    /// Begins to look up every name in use that is not yet. To be called within the Tokio runtime that is to carry the
    /// lookups, after each compilation that is going to be used.
    pub fn start(&self) {
        for name in self.in_use() {
            name.start(&self.resolver);
        }
    }

    /// Does what [`start`](State::start) does and waits until each name has been looked up once, at most for `limit`.
    /// What is left then keeps being tried. Returns the hosts that have no address yet.
    pub async fn first_resolution(&self, limit: Duration) -> Vec<Box<str>> {
        self.start();
        let names = self.in_use();
        let all = async {
            for name in &names {
                name.settled().await;
            }
        };
        // Late is not wrong: those without an address are returned either way.
        let _ = time::timeout(limit, all).await;
        names.iter().filter(|name| name.sockets().is_empty()).map(|name| name.host.clone()).collect()
    }

    /// The name `host` with `port`, made where nobody uses it yet.
    pub(crate) fn name(&self, host: &str, port: u16) -> Arc<Name> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, name| name.strong_count() > 0);
        let key = (host.into(), port);
        if let Some(name) = names.get(&key).and_then(Weak::upgrade) {
            return name;
        }
        let name = Arc::new(Name::new(host, port));
        names.insert(key, Arc::downgrade(&name));
        name
    }

    fn in_use(&self) -> Vec<Arc<Name>> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.values().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("names", &self.in_use()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
