//! What one request carries from step to step.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use filter::{Captures, Client, Identity, Inspect, Reason, Reply, View, authority_of};
use limit::{Nearest, Permits, Waited};
use listen::{Connection, MinRate};
use pingora_http::RequestHeader;
use proxy_protocol::Ends;
use snapshot::{Destination, Route, Snapshot};
use telemetry::{InFlight, Record};
use upstream::{Chosen, Upstream};

use crate::{engine::NO_LIMIT, interims::Interims, mirror::Copying};

/// One request, as it happens. No concern can name it: a concern gets the two or three facts that it needs.
pub struct Context {
    /// Written by `arrive`, once: what the request is and which route it takes.
    pub arrival: Option<Arrival>,
    /// What passing each step has proved. Given back when the request ends, however it ends.
    pub proofs: Proofs,
    /// Which upstream of the route's split it goes to.
    pub arm: Option<Chosen>,
    /// The attempt under way, and what was tried before it.
    pub attempt: Attempt,
    /// What of the request's body has come by.
    pub body: Option<Body>,
    /// What the cache had to do with a request that it passed on.
    pub cached: Option<cache::Status>,
    /// A copy of it for another upstream.
    pub(crate) mirror: Option<Box<Copying>>,
    /// Compresses the answer's content as it goes by.
    pub encoder: Option<Box<transform::Encoder>>,
    /// What is compressed on its way, to be kept like that.
    pub(crate) copy: Option<Box<crate::consult::Copy>>,
    /// How fast the client has to take its answer.
    pub min_rate: Option<MinRate>,
    /// Counts the request as in flight while it lives.
    pub in_flight: Option<InFlight>,
    /// What will be told when the request ends.
    pub record: Record,
}

const _: () = assert!(size_of::<Context>() <= 768, "a context is copied into every request's future");

/// What watches the request's body.
pub enum Body {
    /// It may be so long.
    Limited(access::BodyLimit),
    /// It is unpacked, and may become so long.
    Packed(Box<Unpacking>),
}

/// Content that is unpacked on its way.
pub struct Unpacking {
    /// Unpacks it, as far as it may become long.
    pub decoder: transform::Decoder,
    /// How long it may become where more is only told of.
    pub shadow: Option<u64>,
}

impl Body {
    /// So much has gone by without being looked at. `told` keeps why a limit in shadow would have refused it.
    pub(crate) fn count(&mut self, count: u64, told: &mut Reason) -> Result<(), Reply> {
        match self {
            Self::Limited(limit) => limit.mode().settle(limit.count(count), told).map(drop),
            // What is to be unpacked is looked at.
            Self::Packed(_) => Err(Reason::Internal.into()),
        }
    }

    /// Looks at a piece and makes of it what the origin gets; `told` as in [`count`](Body::count).
    pub(crate) fn chunk(&mut self, chunk: &mut Option<Bytes>, last: bool, told: &mut Reason) -> Result<(), Reply> {
        match self {
            Self::Limited(limit) => limit.mode().settle(limit.chunk(chunk, last), told).map(drop),
            Self::Packed(unpacking) => {
                let Unpacking { decoder, shadow } = &mut **unpacking;
                decoder.chunk(chunk, last)?;
                if shadow.is_some_and(|most| decoder.length() > most) {
                    *told = told.or(Reason::BodyTooLarge);
                }
                Ok(())
            }
        }
    }
}

/// What the request is: pinned snapshot, route, client, normalised target.
#[derive(Clone)]
pub struct Arrival {
    /// The configuration that this request runs on, to its end.
    pub snapshot: Arc<Snapshot>,
    /// The connection that the request came by.
    pub connection: Arc<Connection>,
    /// The route's place in the snapshot; `None` where no route matches.
    pub route: Option<u32>,
    /// Who asks.
    pub client: Client,
    /// The host asked for, in lower case: looked up once, since every step wants it.
    pub host: Option<Box<str>>,
    /// The normalised path, where it differs from the path in the head.
    pub path: Option<Box<str>>,
    /// What the route's pattern captured.
    pub captures: Captures,
}

/// What passing has proved.
#[derive(Default)]
pub struct Proofs {
    /// Who calls; `None` where nobody asked, or may be anybody.
    pub identity: Option<Arc<Identity>>,
    /// What the limits have let pass.
    pub permits: Permits,
    /// The limit that has refused the request.
    pub limited: Option<Arc<str>>,
    /// The whole answer, where a step that can only give a reason has refused the request.
    pub refusal: Option<Box<Reply>>,
}

impl Proofs {
    /// A limit has refused the request, which then counts for no other.
    pub(crate) fn refused(&mut self, reply: &Reply) {
        self.permits.take_back();
        if let filter::Body::Limits(limits) = &reply.body {
            self.limited = limits.first().cloned();
        }
    }

    /// The answer to a request that was refused for `reason`.
    pub(crate) fn answer(&mut self, reason: Reason) -> Reply {
        let kept = self.refusal.take().filter(|reply| reply.reason == reason);
        kept.map_or_else(|| reason.into(), |reply| *reply)
    }
}

/// The attempt under way.
#[derive(Default)]
pub struct Attempt {
    /// How many retries were spent.
    pub retries: u32,
    /// When the whole request must have its answer's head.
    pub deadline: Option<Instant>,
    /// The endpoint that this attempt goes to, which counts it as under way for as long as it stands here.
    pub pick: Option<upstream::Pick>,
    /// Its use of one of the general engine's connections.
    pub used: Option<upstream::Use>,
    /// The backend of the attempt before.
    pub last: Option<Arc<str>>,
    /// How long to wait before the next attempt, in microseconds.
    pub pause: u32,
    /// Counts the attempt as a retry of something that was sent.
    pub resend: Option<upstream::Resend>,
    /// Endpoints that failed before.
    pub tried: smallvec::SmallVec<[upstream::EndpointId; 2]>,
    /// When this attempt began.
    pub began: Option<Instant>,
    /// What the limits of the upstream have let pass.
    pub permits: Permits,
    /// Whether the origin has answered with a final head, so that nothing may be sent again.
    pub answered: bool,
    /// What came of interim answers.
    pub interims: Interims,
}

impl Context {
    /// A request that begins now.
    pub fn new() -> Self {
        Self {
            arrival: None,
            proofs: Proofs::default(),
            arm: None,
            attempt: Attempt::default(),
            body: None,
            cached: None,
            mirror: None,
            encoder: None,
            copy: None,
            min_rate: None,
            in_flight: None,
            record: Record::new(Instant::now()),
        }
    }

    /// A context for a request of the cache's own in the place of this one. On `time` of its own it has all that the route gives,
    /// whatever of it this one has spent.
    pub(crate) fn detached(&self, time: bool) -> Self {
        let now = Instant::now();
        let fresh = || self.route().and_then(|route| route.timeout).map(|timeout| now + timeout);
        let deadline = if time { fresh() } else { self.attempt.deadline };
        let waited = if time { Waited::default() } else { self.proofs.permits.waited() };
        Self {
            arrival: self.arrival.clone(),
            proofs: Proofs {
                identity: self.proofs.identity.clone(),
                permits: Permits::after(waited),
                ..Proofs::default()
            },
            attempt: Attempt { deadline, ..Attempt::default() },
            arm: self.arm,
            ..Self::new()
        }
    }

    /// The route taken, once there is one.
    pub fn route(&self) -> Option<&Route> {
        self.arrival.as_ref().and_then(Arrival::route)
    }

    /// Where the client stands, under the limit that is nearest to its end.
    pub(crate) fn nearest(&self) -> Option<Nearest> {
        [self.proofs.permits.nearest(), self.attempt.permits.nearest()]
            .into_iter()
            .flatten()
            .min_by_key(Nearest::remaining)
    }

    /// The upstream that takes the request, once it is known.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        upstream_of(self.route()?, self.arm)
    }

    /// How long the client may take for a piece of its answer, or of its request.
    pub(crate) fn patience(&self) -> Duration {
        self.arrival.as_ref().map_or(NO_LIMIT, |arrival| arrival.connection.listener.timeouts.body)
    }

    /// Whether the request's content is unpacked on its way.
    pub(crate) fn unpacks(&self) -> bool {
        matches!(self.body, Some(Body::Packed(_)))
    }

    /// Whether an answer of our own says in `Proxy-Status` why it is one.
    pub(crate) fn tells_status(&self) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| arrival.snapshot.proxy_status)
    }

    /// Its name, where the route has several.
    pub fn variant(&self) -> Option<&str> {
        self.arm.and(self.upstream()).map(|upstream| &**upstream.name())
    }

    /// The request as a concern sees it that comes after authentication.
    pub fn view<'a>(&'a self, head: &'a RequestHeader) -> Option<View<'a>> {
        Some(self.arrival.as_ref()?.view(head).by(self.proofs.identity.as_deref()))
    }
}

/// The upstream that takes a request of `route`.
pub fn upstream_of(route: &Route, arm: Option<Chosen>) -> Option<&Arc<Upstream>> {
    match &route.destination {
        Destination::Upstream(upstream) => Some(upstream),
        Destination::Split(split) => split.upstream(arm?),
        _ => None,
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Arrival {
    /// The route taken, if any.
    pub fn route(&self) -> Option<&Route> {
        self.route.and_then(|index| self.snapshot.routes.get(index as usize))
    }

    /// The two ends of the client's connection, as far as trusted proxies tell. Such a proxy tells no port.
    pub fn ends(&self) -> Ends {
        let peer = self.client.peer;
        let source = match self.client.address {
            Some(told) if peer.map(|peer| peer.ip()) != Some(told) => Some((told, 0).into()),
            Some(_) => peer,
            None => None,
        };
        Ends { source, destination: self.connection.local }
    }

    /// The request as a concern sees it that does not ask who calls.
    pub fn view<'a>(&'a self, head: &'a RequestHeader) -> View<'a> {
        View {
            generation: self.snapshot.generation,
            head,
            client: &self.client,
            identity: None,
            host: self.host.as_deref().unwrap_or_else(|| host_of(head)),
            path: self.path.as_deref().unwrap_or_else(|| head.uri.path()),
            query: head.uri.query(),
            captures: &self.captures,
        }
    }
}

/// The host that the head names, without its port, as written.
pub fn host_of(head: &RequestHeader) -> &str {
    strip_port(authority_of(head))
}

/// `host:80` → `host`, `[::1]:80` → `[::1]`.
pub fn strip_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::strip_port;

    #[test]
    fn a_port_is_no_part_of_the_host() {
        for (authority, host) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")] {
            assert_eq!(strip_port(authority), host);
        }
    }
}
