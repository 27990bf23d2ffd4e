//! Makes backends of what is listed: once when the configuration is compiled, and again whenever other ones are found.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::HeaderValue;
use telemetry::UpstreamMeters;

use crate::{
    backend::{Addresses, Backend},
    counted::Counter,
    discover::Listed,
    peer::{self, Times},
    probe::Check,
    state::State,
    sticky::Sticky,
    target::Place,
    trust::Trust,
};

/// What keeps connections apart. The same after a reload, so that they are found again.
fn key(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What all backends of an upstream have in common.
#[derive(Debug)]
pub(crate) struct Maker {
    pub(crate) name: Arc<str>,
    pub(crate) prefer_zone: Option<Box<str>>,
    pub(crate) state: State,
    pub(crate) trust: Trust,
    pub(crate) times: Times,
    pub(crate) check: Option<Arc<Check>>,
    pub(crate) meters: Arc<UpstreamMeters>,
    /// How clients are kept at one backend.
    pub(crate) sticks: Option<Arc<Sticky>>,
}

impl Maker {
    /// The backend, unless it cannot be connected to.
    pub(crate) fn backend(&self, listed: &Listed) -> Option<Arc<Backend>> {
        let label = listed.target.label();
        let meters = self.meters.backend(&label);
        let is_h2 = listed.target.protocol.is_h2();
        let generations = self.times.lifetime.filter(|_| is_h2);
        let count = if is_h2 { Counter::of_streams } else { Counter::new };
        let counter = count(meters.connections(), self.times.lifetime);
        let dial = counter.dial(None);
        let mut template = peer::template(&listed.target, &self.trust, self.times)?;
        let (access, own) = (template.group_key, key(&(&self.name, &label)));
        // Who shares connections that wait keeps them for the same time.
        template.group_key ^= key(&self.times.lifetime);
        if is_h2 {
            template.group_key ^= own;
            template.options.custom_l4 = Some(Arc::clone(&dial));
        }
        Some(Arc::new(Backend {
            host: HeaderValue::try_from(listed.target.authority()).ok()?,
            protocol: listed.target.protocol,
            weight: listed.weight,
            labels: listed.labels.clone(),
            rank: self.rank(listed),
            meters,
            counter,
            dial,
            access,
            own,
            generations,
            orders: self.state.orders(&self.name, &label),
            check: self.check.clone(),
            label: label.into(),
            addresses: match &listed.target.place {
                Place::Name(host, port) => Addresses::Named(self.state.name(host, *port, listed.refresh)),
                Place::Address(..) | Place::Unix(_) => Addresses::Fixed,
            },
            template,
        }))
    }

    /// Own zone, other zones, backups; and all of a priority before those of the next.
    pub(crate) fn rank(&self, listed: &Listed) -> u8 {
        let elsewhere = self.prefer_zone.is_some() && listed.zone != self.prefer_zone;
        let within = u8::from(elsewhere) + 2 * u8::from(listed.backup);
        listed.priority.saturating_mul(4).saturating_add(within)
    }
}
