//! Everything one route does, in the order it is done.

use std::{sync::Arc, time::Duration};

use filter::template::Input;
use telemetry::{AuthMeters, RouteMeters};
use upstream::{Hedge, Mirror, Retries, Split, SubsetId, Upstream};

use crate::Answers;

/// One route, as run.
pub struct Route {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// Which origins may call.
    pub cors: Option<cors::Cors>,
    /// Which addresses may enter.
    pub addresses: Option<access::Addresses>,
    /// Which countries and networks may enter.
    pub geo: Option<access::Geo>,
    /// Sizes and shapes that may enter.
    pub access: access::Access,
    /// Who may call.
    pub auth: auth::Auth,
    /// Whether the cache knows requests as `auth` shows them to the origin. It does not where the route itself tells the origin
    /// a credential: then that tells answers apart.
    pub veils: bool,
    /// The counters of each policy of `auth`.
    pub auth_meters: Box<[AuthMeters]>,
    /// How often, and how many at once.
    pub limits: limit::Limits,
    /// What the origin is asked instead of what the client asked.
    pub rewrite: Option<rewrite::Rewrite>,
    /// Which Host the origin sees.
    pub host: rewrite::HostPolicy,
    /// What of its answers is kept.
    pub cache: Option<cache::Policy>,
    /// Where it goes.
    pub destination: Destination,
    /// Which backends of its upstream alone it goes to.
    pub subset: Option<SubsetId>,
    /// Where copies of its requests go.
    pub mirror: Option<Arc<Mirror>>,
    /// Forwarding fields for the origin.
    pub forwarding: transform::Forwarding,
    /// Edits of the request's head.
    pub request: Option<transform::RequestEdits>,
    /// Edits of the response's head.
    pub response: Option<transform::ResponseEdits>,
    /// Security fields of the response.
    pub security: Option<transform::SecurityHeaders>,
    /// Whether what changes the heads may do it by lines behind all others.
    pub trails: Trails,
    /// What somebody has to see of its answers.
    pub answers: Answers,
    /// Compression of the response's content.
    pub compress: Option<transform::Compress>,
    /// Unpacking of the request's content.
    pub decompress: Option<transform::Decompress>,
    /// Until the head of the answer, all attempts together.
    pub timeout: Option<Duration>,
    /// How long a tunnel or stream may be silent.
    pub stream_idle: Duration,
    /// When it is tried again; as the upstream says where `None`.
    pub retries: Option<Retries>,
    /// When another backend is asked as well, where the route says it in place of its upstream.
    pub hedge: Option<Hedge>,
    /// Meters with their labels resolved.
    pub meters: Arc<RouteMeters>,
}

/// Whether the concerns that change a head of this route leave each other's fields alone, so that each may write its own
/// [behind all others](filter::Trail).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trails {
    /// In requests.
    pub request: bool,
    /// In answers.
    pub response: bool,
}

impl Trails {
    /// Looks for fields that two of them change.
    pub(crate) fn of(
        auth: &auth::Auth,
        request: &transform::RequestEdits,
        response: Option<&transform::ResponseEdits>,
        security: Option<&transform::SecurityHeaders>,
    ) -> Self {
        let edited = |name| transform::TOLD.contains(&name) || request.touches(name);
        let is_late = |name: &str| {
            LATE.iter().any(|late| name.starts_with(late))
                || security.is_some_and(|own| own.touched().any(|own| own == name))
        };
        Self {
            request: !transform::TOLD.iter().any(|name| request.touches(name)) && !auth.filled().any(edited),
            response: !response.is_some_and(|edits| edits.put().any(is_late)),
        }
    }
}

/// Whether credentials are hidden from the origin, and nothing in the route's own words tells it one all the same.
pub(crate) fn veils(auth: &auth::Auth, rewrite: Option<&rewrite::Rewrite>, request: &transform::RequestEdits) -> bool {
    // A rewrite sees the query without the credentials.
    let fields = |input: &Input<'_>| matches!(input, Input::Header(_) | Input::Cookie(_));
    let written = rewrite.into_iter().flat_map(|rewrite| rewrite.templates()).flat_map(|template| template.inputs());
    let edited = request.templates().flat_map(|template| template.inputs());
    auth.veils() && !written.filter(fields).chain(edited).any(|input| auth.is_secret(&input))
}

/// How the fields begin that an answer is given after the route's edits: by `cors`, limits, sessions and sticky cookies.
const LATE: [&str; 5] = ["access-control-", "ratelimit", "set-cookie", "vary", "x-ratelimit-"];

/// Where a route's requests go.
pub enum Destination {
    /// To a backend of an upstream.
    Upstream(Arc<Upstream>),
    /// To a backend of one of several upstreams.
    Split(Split),
    /// Elsewhere, by the client itself.
    Redirect(rewrite::Redirect),
    /// Nowhere: the answer stands in the configuration.
    Respond(rewrite::Respond),
}

impl Route {
    /// The upstream, for a route that has one and no more.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.destination {
            Destination::Upstream(upstream) => Some(upstream),
            _ => None,
        }
    }

    /// All upstreams that may get its requests.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let split = match &self.destination {
            Destination::Split(split) => Some(split),
            _ => None,
        };
        let arms = split.into_iter().flat_map(|split| split.arms().map(|(upstream, _)| upstream));
        self.upstream().into_iter().chain(arms)
    }
}
