//! What would become of a request: the steps of a real one, with nothing sent and nothing counted.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use filter::{Reason, Reply, TlsFacts};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use listen::{Connection, Listener};
use pingora_http::{RequestHeader, ResponseHeader};
use rewrite::HostPolicy;
use route::Candidate;
use snapshot::{Destination, Route, Snapshot};
use telemetry::{Build, ListenerMeters, Metrics};
use tokio::sync::watch;
use upstream::{Backend, Upstream};

use crate::{
    admit, arrive,
    context::{Arrival, Context},
    foresee::{self, Foreseen},
    front, refuse, relay,
};

/// Judges requests against a snapshot.
pub struct Judge {
    /// A connection has meters; these belong to no page of metrics.
    meters: Arc<ListenerMeters>,
}

/// A request that nobody sends.
pub struct Asked {
    /// The listener that it would come in by.
    pub listener: Arc<Listener>,
    /// Who would connect: the client, or the proxy before us.
    pub from: IpAddr,
    /// The host that the client means: what a TLS handshake would name (SNI), whatever the head says.
    pub host: String,
    /// The port that it would come to; a listener's own where it has one.
    pub port: u16,
    /// Its head, as HTTP/1.1 would bring it.
    pub head: RequestHeader,
    /// Who is taken to call, whatever the head shows.
    pub user: Option<String>,
}

/// What becomes of a request.
pub struct Verdict {
    ctx: Context,
    head: RequestHeader,
    outcome: Outcome,
    asked: Option<auth::Verdict>,
}

/// How it ends.
pub enum Outcome {
    /// maitred answers.
    Answered(Answered),
    /// An upstream is asked.
    Forwarded(Forwarded),
}

/// An answer of maitred's own.
pub struct Answered {
    /// Which step answers.
    pub by: Step,
    /// The status.
    pub status: StatusCode,
    /// Why; [`Reason::None`] for an answer that is no refusal.
    pub reason: Reason,
    /// The fields that the client gets.
    pub fields: HeaderMap,
}

/// A request as an upstream would get it.
pub struct Forwarded {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Path and query, as the origin is asked for them.
    pub target: String,
    /// The fields that the origin gets.
    pub fields: HeaderMap,
    /// The `Host` that the origin gets: one, unless each backend is sent its own.
    pub hosts: Vec<HeaderValue>,
    /// The fields that the client gets whatever the origin answers.
    pub response: HeaderMap,
}

/// A step that may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The head was refused as it was read.
    Front,
    /// The request was refused, redirected or answered before a route had it.
    Arrive,
    /// The client's address may not enter.
    Address,
    /// A preflight was answered.
    Cors,
    /// It is too large, or of a shape that may not enter.
    Access,
    /// Nobody vouches for the client, or it may not do this.
    Auth,
    /// A limit is used up.
    Limit,
    /// The route's `redirect`.
    Redirect,
    /// The route's `respond`.
    Respond,
    /// The rewritten path would lead elsewhere.
    Rewrite,
    /// Its content is packed in a way that nobody here knows.
    Decompress,
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge {
    /// A judge with meters that nobody reads.
    pub fn new() -> Self {
        let nobody = Build { version: "-", revision: "-", rustc: "-", tls: "-" };
        Self { meters: Metrics::new(&nobody).listener("-") }
    }

    /// What becomes of `asked` on `snapshot`. Names are not looked up and no backend is picked.
    pub fn judge(&self, snapshot: &Arc<Snapshot>, asked: Asked) -> Verdict {
        let mut head = match front::read(&asked.head) {
            Ok(head) => head,
            Err(reason) => return Verdict::refused_unread(asked.head, reason),
        };
        let connection = self.connection(&asked);
        let switching = front::switch(snapshot.clone(), connection.clone(), &mut head);
        let (mut ctx, arrived) = match switching {
            Some(ctx) => (ctx, Ok(())),
            None => {
                // As the engine serves it: as if it had not asked for another protocol.
                head.remove_header(&header::UPGRADE);
                let mut ctx = Context::new();
                let arrived = arrive::arrive(snapshot.clone(), connection, &mut head, &mut ctx);
                (ctx, arrived)
            }
        };
        let (outcome, known) = outcome(&mut ctx, &head, arrived, asked.user.as_deref());
        Verdict { ctx, head, outcome, asked: known }
    }

    pub(crate) fn connection(&self, asked: &Asked) -> Arc<Connection> {
        let secure = asked.listener.certificates().is_some();
        let name = asked.host.strip_suffix('.').unwrap_or(&asked.host).to_ascii_lowercase();
        // RFC 6066 section 3: an address is no server name.
        let is_name = !name.starts_with('[') && name.parse::<IpAddr>().is_err();
        let server_name = is_name.then(|| name.into());
        Arc::new(Connection {
            closing: watch::channel(false).1,
            listener: asked.listener.clone(),
            meters: self.meters.clone(),
            peer: Some(SocketAddr::new(asked.from, EPHEMERAL)),
            local: Some(SocketAddr::new(asked.from, asked.port)),
            tls: secure.then(|| {
                Arc::new(TlsFacts { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", server_name, client: None })
            }),
            accepted: Instant::now(),
        })
    }
}

/// A port that a client may well have: nothing depends on it.
const EPHEMERAL: u16 = 49152;

fn outcome(
    ctx: &mut Context,
    head: &RequestHeader,
    arrived: Result<(), Reply>,
    user: Option<&str>,
) -> (Outcome, Option<auth::Verdict>) {
    let mut asked = None;
    let judged = arrived.map_err(|reply| (Step::Arrive, reply)).and_then(|()| {
        let Some((arrival, route)) = ctx.arrival.as_ref().and_then(|it| Some((it, it.route()?))) else {
            return Err((Step::Arrive, Reason::Internal.into()));
        };
        let judged = admit::judge(route, &arrival.view(head), user, &mut asked);
        ctx.proofs.identity = asked.as_ref().and_then(|verdict| verdict.identity.clone());
        judged
    });
    let judged = judged.and_then(|()| {
        let forwarded = ctx.route().and_then(|route| forwarded(ctx, route, head));
        forwarded.ok_or_else(|| (Step::Rewrite, Reason::Internal.into()))
    });
    let outcome = match judged {
        Ok(forwarded) => Outcome::Forwarded(forwarded),
        Err((by, reply)) => Outcome::Answered(Answered::new(by, &reply, ctx, head)),
    };
    (outcome, asked)
}

impl Answered {
    fn new(by: Step, reply: &Reply, ctx: &Context, head: &RequestHeader) -> Self {
        let id = ctx.arrival.as_ref().map(|arrival| &arrival.client.request_id);
        let is_head = head.method == Method::HEAD;
        let reason = reply.reason;
        match refuse::answer(reply, refuse::Form::of(head), id, is_head, ctx.tells_status()) {
            Ok(mut answer) => {
                relay::decorate(ctx, relay::Told::Among, head, &mut answer.head);
                Self { by, status: answer.head.status, reason, fields: answer.head.headers.clone() }
            }
            Err(_) => Self { by, status: StatusCode::INTERNAL_SERVER_ERROR, reason, fields: HeaderMap::new() },
        }
    }
}

fn forwarded(ctx: &Context, route: &Route, head: &RequestHeader) -> Option<Forwarded> {
    let upstream = match &route.destination {
        Destination::Split(split) => split.upstream(split.choose(&ctx.view(head)?))?.clone(),
        _ => route.upstream()?.clone(),
    };
    let first = upstream.backends().next();
    let mut to = head.clone();
    relay::request_to(ctx, first.as_deref().map(Backend::host), head, &mut to).ok()?;
    let mut hosts: Vec<HeaderValue> = match &route.host {
        HostPolicy::Upstream => upstream.backends().map(|backend| backend.host().clone()).collect(),
        _ => to.headers.get(header::HOST).cloned().into_iter().collect(),
    };
    hosts.dedup();
    let mut answer = ResponseHeader::build(StatusCode::OK, None).ok()?;
    relay::decorate(ctx, relay::Told::Among, head, &mut answer);
    Some(Forwarded {
        upstream,
        target: String::from_utf8_lossy(to.raw_path()).into_owned(),
        fields: to.headers.clone(),
        hosts,
        response: answer.headers.clone(),
    })
}

impl Verdict {
    fn refused_unread(head: RequestHeader, reason: Reason) -> Self {
        let ctx = Context::new();
        let answered = Answered::new(Step::Front, &reason.into(), &ctx, &head);
        Self { ctx, head, outcome: Outcome::Answered(answered), asked: None }
    }

    /// How it ends.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What came of asking who calls; `None` where nobody asks.
    pub fn asked(&self) -> Option<&auth::Verdict> {
        self.asked.as_ref()
    }

    /// The route that takes it.
    pub fn route(&self) -> Option<&Route> {
        self.ctx.route()
    }

    /// The request once it has arrived: client, canonical host, normalised path. `None` for a head that was refused as
    /// it was read.
    pub fn arrival(&self) -> Option<&Arrival> {
        self.ctx.arrival.as_ref()
    }

    /// The head that was judged.
    pub fn head(&self) -> &RequestHeader {
        &self.head
    }

    /// Every route, and why it won or lost; the winner first. None where the routes were not asked.
    pub fn candidates(&self) -> Vec<Candidate> {
        let Some(arrival) = self.arrival() else { return Vec::new() };
        let told = |head: &RequestHeader| arrival.snapshot.table.explain(&arrival.view(head));
        let won = |candidates: &[Candidate]| candidates.iter().find(|one| one.won).map(|one| one.id.0);
        let candidates = told(&self.head);
        if won(&candidates) == arrival.route {
            return if self.is_refused_before() { Vec::new() } else { candidates };
        }
        // A preflight goes where the request that it asks for would go.
        let Some(method) = cors::preflight_method(&self.head) else { return Vec::new() };
        let mut asked = self.head.clone();
        asked.set_method(method);
        let candidates = told(&asked);
        if won(&candidates) == arrival.route { candidates } else { Vec::new() }
    }

    /// What the route's cache would do for it; with what is kept, where the snapshot is the one `in_force`.
    pub fn foreseen(&self, in_force: bool) -> Option<Foreseen> {
        let upstream = match (&self.outcome, &self.route()?.destination) {
            (Outcome::Forwarded(sent), Destination::Split(_)) => Some(&**sent.upstream.name()),
            _ => None,
        };
        foresee::foresee(&self.ctx, &self.head, upstream, in_force)
    }

    /// Whether it was refused before any route was looked at.
    fn is_refused_before(&self) -> bool {
        let reason = match &self.outcome {
            Outcome::Answered(answered) if answered.by == Step::Arrive => answered.reason,
            _ => Reason::None,
        };
        !matches!(reason, Reason::None | Reason::NoRoute)
    }
}

#[cfg(test)]
mod tests;
