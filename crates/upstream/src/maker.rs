//! Makes backends of what is listed: once when the configuration is compiled, and again whenever other ones are found.

use std::sync::Arc;

use http::HeaderValue;
use telemetry::UpstreamMeters;

use crate::{
    backend::{Addresses, Backend},
    discover::Listed,
    peer::{self, Times},
    probe::Check,
    state::State,
    sticky::Sticky,
    target::Place,
    trust::Trust,
};

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
        Some(Arc::new(Backend {
            host: HeaderValue::try_from(listed.target.authority()).ok()?,
            protocol: listed.target.protocol,
            weight: listed.weight,
            labels: listed.labels.clone(),
            rank: self.rank(listed),
            meters: self.meters.backend(&label),
            orders: self.state.orders(&self.name, &label),
            check: self.check.clone(),
            label: label.into(),
            addresses: match &listed.target.place {
                Place::Name(host, port) => Addresses::Named(self.state.name(host, *port, listed.refresh)),
                Place::Address(..) | Place::Unix(_) => Addresses::Fixed,
            },
            template: peer::template(&listed.target, &self.trust, self.times)?,
        }))
    }

    /// Own zone, other zones, backups; and all of a priority before those of the next.
    pub(crate) fn rank(&self, listed: &Listed) -> u8 {
        let elsewhere = self.prefer_zone.is_some() && listed.zone != self.prefer_zone;
        let within = u8::from(elsewhere) + 2 * u8::from(listed.backup);
        listed.priority.saturating_mul(4).saturating_add(within)
    }
}
