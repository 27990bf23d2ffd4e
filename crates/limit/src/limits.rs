//! The limits of one route, by the step at which what they count by is known.

use std::sync::Arc;

use bytes::BytesMut;
use filter::{Identity, View};
use pingora_http::ResponseHeader;

use crate::{
    counters::Counters,
    fields::{self, Told},
    limit::{Limit, Stage},
    permits::Nearest,
    plan::Tariff,
};

/// The limits of one route. Each is asked at the earliest step where its key is known.
#[derive(Debug, Default)]
pub struct Limits {
    /// Those that count by what every request has: an address, a header, a cookie, the route.
    pub by_client: Option<Stage>,
    /// Those that count by who calls.
    pub by_identity: Option<Stage>,
    /// Those that count what an upstream is sent.
    pub by_upstream: Option<Stage>,
    /// The same for the other upstreams of a split.
    pub(crate) by_others: Box<[Stage]>,
    pub(crate) tariff: Arc<Tariff>,
}

impl Limits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_client.is_none() && self.by_identity.is_none() && self.by_upstream.is_none()
    }

    /// What is asked before this upstream is sent anything.
    pub fn of_upstream(&self, name: &str) -> Option<&Stage> {
        let first = self.by_upstream.as_ref()?;
        if self.by_others.is_empty() {
            return Some(first);
        }
        std::iter::once(first).chain(&self.by_others).find(|stage| *stage.upstream == *name)
    }

    /// All of them, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Limit>> {
        let stages = [&self.by_client, &self.by_identity, &self.by_upstream];
        stages.into_iter().flatten().flat_map(|stage| &stage.limits)
    }

    /// What they count in; `None` where there are none.
    pub fn counters(&self) -> Option<&Arc<Counters>> {
        let stages = [&self.by_client, &self.by_identity, &self.by_upstream];
        stages.into_iter().flatten().map(|stage| &stage.counters).next()
    }

    /// The limit that a client is nearest to.
    pub fn nearest(&self, nearest: Nearest) -> Option<&Arc<Limit>> {
        self.stage(nearest)?.limits.get(usize::from(nearest.limit))
    }

    fn stage(&self, nearest: Nearest) -> Option<&Stage> {
        let stage = [&self.by_client, &self.by_identity, &self.by_upstream].into_iter().nth(nearest.stage.into())?;
        stage.as_ref()
    }

    fn told(&self, nearest: Nearest, caller: Option<&Identity>) -> Option<Told<'_>> {
        let (stage, number) = (self.stage(nearest)?, usize::from(nearest.limit));
        Some(Told {
            limit: stage.limits.get(number)?,
            tier: stage.tier(nearest.plan, number, caller),
            policies: self.tariff.policies(nearest.plan, caller),
            remaining: nearest.remaining,
            reset: nearest.reset.into(),
        })
    }

    /// Tells the client in its answer where it stands, and who calls with it.
    pub fn tell(&self, nearest: Option<Nearest>, caller: Option<&Identity>, head: &mut ResponseHeader) {
        if let Some(told) = nearest.and_then(|nearest| self.told(nearest, caller)) {
            fields::passing(&told, head);
        }
    }

    /// Writes what [`tell`](Limits::tell) puts, as lines of HTTP/1 behind all other fields.
    pub fn write(&self, nearest: Option<Nearest>, caller: Option<&Identity>, out: &mut BytesMut) {
        if let Some(told) = nearest.and_then(|nearest| self.told(nearest, caller)) {
            fields::write(&told, out);
        }
    }

    /// Takes out of an answer what [`write`](Limits::write) is going to have in its place.
    pub fn clear(&self, nearest: Option<Nearest>, head: &mut ResponseHeader) {
        if let Some(limit) = nearest.and_then(|nearest| self.nearest(nearest)) {
            fields::clear(limit, head);
        }
    }

    /// What each limit would say to the request, without charging for it: for people who ask. `live` says whether the
    /// counters are those of a running server.
    pub fn explain<'l>(&'l self, request: &View<'l>, live: bool) -> Vec<String> {
        let stages = [&self.by_client, &self.by_identity, &self.by_upstream];
        stages.into_iter().flatten().flat_map(|stage| stage.explain(request, live)).collect()
    }
}
