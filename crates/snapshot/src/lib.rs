//! What requests run on: the configuration, compiled into something immutable and published by one pointer.
//!
//! [`compile()`] makes a [`Snapshot`] out of a `Config` and the [`State`] that outlives it; [`Live`] is the one
//! pointer. A request pins one snapshot and never sees two.

mod answers;
mod callers;
mod compile;
mod fit;
mod heirloom;
mod live;
mod pages;
mod route;
mod state;
mod unkeyed;
mod warnings;

pub use answers::{Answers, Passes};
pub use compile::{Compiled, Settings, compile};
pub use heirloom::{HEIRLOOMS, Heirloom};
pub use live::Live;
pub use route::{Destination, Route, Trails};
pub use state::State;

use std::{collections::BTreeMap, sync::Arc};

use telemetry::{AccessLog, RouteMeters};
use upstream::Upstream;

/// Everything that requests run on; immutable.
pub struct Snapshot {
    /// Which configuration it is: counts from 1; 0 for one that is not in force.
    pub generation: u64,
    /// Finds a request's route.
    pub table: ::route::Table,
    /// What is known of where addresses are.
    pub places: Option<access::Databases>,
    /// What each route does, by the table's `RouteId`.
    pub routes: Vec<Route>,
    /// Every upstream by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Where answers are kept; `None` where no route keeps any.
    pub cache: Option<Arc<cache::Zone>>,
    /// How much of them, and where.
    pub caches: cache::Settings,
    /// Where limits count that several processes share.
    pub redis: Option<store::Store>,
    /// Meters for what no route takes.
    pub unmatched: Arc<RouteMeters>,
    /// Where `redirect = "https"` leads; `None` where no listener speaks TLS.
    pub https_port: Option<u16>,
    /// Whether answers of our own say in `Proxy-Status` why they are.
    pub proxy_status: bool,
    /// Where requests are told of; `None` when switched off.
    pub access_log: Option<Arc<AccessLog>>,
    /// Where it is written down who tried to get in.
    pub audit: Option<telemetry::Audit>,
}

impl Snapshot {
    /// From now on it is the one in force: what is done in the background is done for it, and a successor is told of it.
    pub fn goes_live(&self, state: &State) {
        self.upstreams.values().for_each(|upstream| upstream.goes_live());
        for route in &self.routes {
            if let Destination::Split(split) = &route.destination {
                split.goes_live(&state.upstreams);
            }
        }
        self.redis.iter().for_each(store::Store::goes_live);
    }

    /// Gives the kept answers the room that this configuration has for them.
    pub(crate) fn arrange_cache(&self) {
        if let Some(cache) = &self.cache {
            cache.arrange(&self.caches, self.redis.as_ref());
        }
    }
}
