//! The endpoints of an upstream at one time, in the order in which they are preferred.

use std::{
    cell::OnceCell,
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use balance::{Field, Policy};

use crate::{
    backend::Backend,
    clock,
    endpoint::{Endpoint, EndpointId, Need},
    pool::Wish,
    sticky::Home,
    subset::{Subset, SubsetId, matches},
};

/// The endpoints at one time. Immutable; another takes its place when addresses come or go.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) tiers: Box<[Tier]>,
    /// By their ids.
    pub(crate) subsets: Box<[Subset]>,
    /// By what cookies name them; empty where clients are not kept anywhere.
    pub(crate) homes: HashMap<Home, Arc<Endpoint>>,
}

/// Endpoints of the same rank, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) policy: Policy,
    pub(crate) endpoints: Box<[Arc<Endpoint>]>,
}

/// One look at a tier, for one request.
struct Look<'l> {
    tier: &'l Tier,
    need: Need,
    tried: &'l [EndpointId],
    /// The clock is read when the first endpoint needs it.
    now: &'l OnceCell<u64>,
}

impl Field for Look<'_> {
    fn usable(&self, index: usize) -> bool {
        self.tier.endpoints[index].meets(self.need, self.tried, || self.now())
    }

    fn load(&self, index: usize) -> u32 {
        self.tier.endpoints[index].standing.load.load(Relaxed)
    }

    fn total(&self) -> u32 {
        self.tier.endpoints.first().map_or(0, |endpoint| endpoint.tally.total.load(Relaxed))
    }

    fn latency(&self, index: usize) -> f32 {
        self.tier.endpoints[index].standing.latency.read(self.now())
    }
}

impl Look<'_> {
    fn now(&self) -> u64 {
        *self.now.get_or_init(clock::now)
    }
}

impl Set {
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.tiers.iter().flat_map(|tier| &tier.endpoints)
    }

    /// Those of a subset, or all.
    fn tiers_of(&self, subset: Option<SubsetId>) -> &[Tier] {
        match subset {
            None => &self.tiers,
            Some(SubsetId(place)) => self.subsets.get(usize::from(place)).map_or(&[], |subset| &subset.tiers),
        }
    }

    /// Those of a subset, or all.
    pub(crate) fn endpoints_of(&self, subset: Option<SubsetId>) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.tiers_of(subset).iter().flat_map(|tier| &tier.endpoints)
    }

    /// Whether a subset has the endpoint.
    pub(crate) fn has(&self, subset: Option<SubsetId>, endpoint: &Endpoint) -> bool {
        let Some(SubsetId(place)) = subset else { return true };
        self.subsets.get(usize::from(place)).is_some_and(|subset| matches(&subset.labels, &endpoint.backend))
    }

    /// Whether a subset has the backend, be it without an address yet.
    pub(crate) fn has_backend(&self, subset: SubsetId, backend: &Backend) -> bool {
        self.subsets.get(usize::from(subset.0)).is_some_and(|subset| matches(&subset.labels, backend))
    }

    /// The endpoint whose turn it is among those that meet the need, of the first tier that has one.
    pub(crate) fn pick(&self, need: Need, wish: &Wish<'_>, now: &OnceCell<u64>) -> Option<&Arc<Endpoint>> {
        let Wish { tried, key, subset, .. } = *wish;
        self.tiers_of(subset).iter().find_map(|tier| {
            let index = tier.policy.pick(&Look { tier, need, tried, now }, key)?;
            tier.endpoints.get(index)
        })
    }

    /// Another endpoint of the same backend as the one tried last.
    pub(crate) fn has_sibling(&self, tried: &[EndpointId]) -> bool {
        let Some(last) = tried.last() else { return false };
        let Some(last) = self.endpoints().find(|endpoint| endpoint.id() == *last) else { return false };
        let same = |backend: &Arc<Backend>| Arc::ptr_eq(backend, &last.backend);
        self.endpoints().any(|endpoint| same(&endpoint.backend) && !tried.contains(&endpoint.id()))
    }
}
