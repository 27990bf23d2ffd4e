//! The endpoints of an upstream at one time, in the order in which they are preferred.

use std::{cell::OnceCell, sync::Arc, sync::atomic::Ordering::Relaxed};

use balance::{Field, Policy};

use crate::{
    backend::Backend,
    clock,
    endpoint::{Endpoint, EndpointId, Need},
};

/// The endpoints at one time. Immutable; another takes its place when addresses come or go.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) tiers: Box<[Tier]>,
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

    /// The endpoint whose turn it is among those that meet the need, of the first tier that has one.
    pub(crate) fn pick(
        &self,
        need: Need,
        tried: &[EndpointId],
        key: Option<u64>,
        now: &OnceCell<u64>,
    ) -> Option<&Arc<Endpoint>> {
        self.tiers.iter().find_map(|tier| {
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
