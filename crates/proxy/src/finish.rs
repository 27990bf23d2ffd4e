//! Step 7: meters and access log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use filter::{Client, Reason, RequestId};
use http::{HeaderValue, Method, header};
use listen::Connection;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use snapshot::Snapshot;
use telemetry::{AccessLog, LoggedRequest, Record, RouteMeters, UNMATCHED};

use crate::{
    context::{Arrival, Context, host_of},
    front::Refused,
    mirror, persist,
};

/// Counts the request as in flight, as soon as its route is known.
pub(crate) fn begin(ctx: &mut Context) {
    ctx.in_flight = ctx.arrival.as_ref().map(|arrival| meters(arrival).enter());
}

/// What the attempt's connection cost.
pub(crate) fn connected(ctx: &mut Context, reused: bool) {
    let took = match ctx.attempt.began {
        Some(began) if !reused => began.elapsed(),
        _ => Duration::ZERO,
    };
    ctx.record.reused = Some(reused);
    ctx.record.connect = Some(took);
    if !reused && let Some(upstream) = ctx.upstream() {
        upstream.meters().connect(took);
    }
}

/// The request is over: count it, tell it.
pub(crate) fn finish(session: &Session, ctx: &mut Context) {
    let downstream = session.as_downstream();
    ctx.record.status = status(session, ctx.record.reason);
    ctx.record.bytes_in = downstream.body_bytes_read() as u64;
    ctx.record.bytes_out = downstream.body_bytes_sent() as u64;
    tell(ctx, session.req_header());
}

/// Keeps what there is to tell of the last attempt, which ended for `reason`, where the record's own fields do not say it.
pub(crate) fn last_try(ctx: &mut Context, reason: Reason) {
    let Some(pick) = &ctx.attempt.pick else { return };
    ctx.record.circuit = pick.circuit();
    if ctx.record.attempts > 1 || reason != Reason::None {
        ctx.record.note(pick.label().clone(), reason);
    }
}

/// Tells a request whose record has everything but its duration.
pub(crate) fn tell(ctx: &mut Context, head: &RequestHeader) {
    close(ctx);
    let Some(arrival) = &ctx.arrival else { return };
    meters(arrival).finish(&arrival.connection.meters, Some(&head.method), &ctx.record);
    let Some(log) = &arrival.snapshot.access_log else { return };
    Scene {
        generation: arrival.snapshot.generation,
        client: &arrival.client,
        host: arrival.host.as_deref(),
        path: arrival.path.as_deref(),
        route: arrival.route().map_or(UNMATCHED, |route| &route.name),
        upstream: ctx.upstream().map(|upstream| &**upstream.name()),
        variant: ctx.variant(),
        limit: limit(ctx).map(|(name, remaining)| (&**name, remaining)),
        country: country(arrival),
    }
    .tell(log, ctx, head);
}

fn close(ctx: &mut Context) {
    mirror::conclude(ctx, ctx.record.reason);
    last_try(ctx, ctx.record.reason);
    ctx.record.close(Instant::now());
    ctx.in_flight = None;
    ctx.proofs.permits.settle(ctx.record.status);
    ctx.attempt.permits.settle(ctx.record.status);
}

/// The limit that has refused the request, or else the one that its client is nearest to, and what that leaves.
fn limit(ctx: &Context) -> Option<(&Arc<str>, u64)> {
    let nearest = || {
        let nearest = ctx.nearest()?;
        Some((ctx.route()?.limits.nearest(nearest)?.name(), nearest.remaining().into()))
    };
    ctx.proofs.limited.as_ref().map(|limit| (limit, 0)).or_else(nearest)
}

fn country(arrival: &Arrival) -> Option<[u8; 2]> {
    let (places, at) = arrival.snapshot.places.as_ref().zip(arrival.client.address)?;
    places.country(at)
}

/// What is told of a request that only its arrival and the configuration know.
struct Scene<'s> {
    generation: u64,
    client: &'s Client,
    host: Option<&'s str>,
    path: Option<&'s str>,
    route: &'s str,
    upstream: Option<&'s str>,
    variant: Option<&'s str>,
    limit: Option<(&'s str, u64)>,
    country: Option<[u8; 2]>,
}

impl Scene<'_> {
    fn tell(&self, log: &AccessLog, ctx: &Context, head: &RequestHeader) {
        let trace = self.client.trace.trace_id_hex();
        let bytes = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        let backend = ctx.attempt.pick.as_ref().map(upstream::Pick::label).or(ctx.attempt.last.as_ref());
        log.write(
            &ctx.record,
            &LoggedRequest {
                listener: &self.client.listener,
                route: self.route,
                upstream: self.upstream,
                variant: self.variant,
                backend: backend.map(|label| &**label),
                client_ip: self.client.address,
                request_id: Some(self.client.request_id.as_str()),
                trace_id: Some(trace.as_str()),
                protocol: Some(head.version),
                tls: self.client.tls.as_ref().map(|tls| tls.version),
                scheme: Some(self.client.scheme),
                method: Some(head.method.as_str().as_bytes()),
                host: Some(self.host.unwrap_or_else(|| host_of(head)).as_bytes()),
                path: Some(self.path.unwrap_or_else(|| head.uri.path()).as_bytes()),
                query: head.uri.query().map(str::as_bytes),
                referer: bytes(header::REFERER),
                user_agent: bytes(header::USER_AGENT),
                limit: self.limit.map(|(name, _)| name),
                limit_remaining: self.limit.map(|(_, remaining)| remaining),
                identity: ctx.proofs.identity.as_deref(),
                generation: self.generation,
                country: self.country,
            },
        );
    }
}

/// What is needed to tell of a tunnel at its end, without the configuration: a tunnel may outlive many of those, and each
/// would go on with all that is done for it in the background.
pub(crate) struct Kept {
    generation: u64,
    connection: Arc<Connection>,
    client: Client,
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    route: Option<Arc<str>>,
    meters: Arc<RouteMeters>,
    upstream: Option<Arc<str>>,
    has_variants: bool,
    limit: Option<(Arc<str>, u64)>,
    country: Option<[u8; 2]>,
    log: Option<Arc<AccessLog>>,
}

impl Kept {
    /// Takes it out of the context, which lets go of the configuration.
    pub(crate) fn of(ctx: &mut Context) -> Option<Self> {
        let limit = limit(ctx).map(|(name, remaining)| (Arc::clone(name), remaining));
        let (upstream, has_variants) =
            (ctx.upstream().map(|upstream| Arc::clone(upstream.name())), ctx.variant().is_some());
        let arrival = ctx.arrival.take()?;
        Some(Self {
            generation: arrival.snapshot.generation,
            route: arrival.route().map(|route| Arc::clone(&route.name)),
            meters: Arc::clone(meters(&arrival)),
            upstream,
            has_variants,
            limit,
            country: country(&arrival),
            log: arrival.snapshot.access_log.clone(),
            connection: arrival.connection,
            client: arrival.client,
            host: arrival.host,
            path: arrival.path,
        })
    }

    /// Tells of it, as [`tell`].
    pub(crate) fn tell(&self, ctx: &mut Context, head: &RequestHeader) {
        close(ctx);
        self.meters.finish(&self.connection.meters, Some(&head.method), &ctx.record);
        let Some(log) = &self.log else { return };
        Scene {
            generation: self.generation,
            client: &self.client,
            host: self.host.as_deref(),
            path: self.path.as_deref(),
            route: self.route.as_deref().unwrap_or(UNMATCHED),
            upstream: self.upstream.as_deref(),
            variant: self.upstream.as_deref().filter(|_| self.has_variants),
            limit: self.limit.as_ref().map(|(name, remaining)| (&**name, *remaining)),
            country: self.country,
        }
        .tell(log, ctx, head);
    }
}

fn meters(arrival: &Arrival) -> &Arc<RouteMeters> {
    arrival.route().map_or(&arrival.snapshot.unmatched, |route| &route.meters)
}

/// What the client was sent; where it was sent nothing, nginx's 499 for a client that left first.
fn status(session: &Session, reason: Reason) -> u16 {
    match persist::answered(session) {
        Some(head) => head.status.as_u16(),
        None if reason == Reason::None => Reason::ClientClosed.status_code(),
        None => reason.status_code(),
    }
}

/// A request that was refused before the engine saw it.
pub(crate) fn refused(snapshot: &Snapshot, connection: &Connection, refused: &Refused, id: &RequestId, sent: usize) {
    let mut record = Record::new(Instant::now());
    record.reason = refused.reason;
    record.status = refused.reason.status_code();
    record.bytes_out = sent as u64;
    record.close(Instant::now());
    let method = refused.method.as_deref().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    snapshot.unmatched.finish(&connection.meters, method.as_ref(), &record);
    let Some(log) = &snapshot.access_log else { return };
    let target = refused.target.as_deref().unwrap_or("");
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut request = LoggedRequest::new(&connection.listener.name, UNMATCHED);
    request.client_ip = connection.peer.map(|peer| peer.ip().to_canonical());
    request.request_id = Some(id.as_str());
    request.tls = connection.tls.as_ref().map(|tls| tls.version);
    request.method = refused.method.as_deref().map(str::as_bytes);
    request.path = Some(path.as_bytes()).filter(|path| !path.is_empty());
    request.query = query.map(str::as_bytes);
    request.protocol = refused.version;
    request.generation = snapshot.generation;
    log.write(&record, &request);
}

/// A connection that was closed because the listener was full.
pub(crate) fn turned_away(snapshot: &Snapshot, connection: &Connection, reason: Reason) {
    let nothing = Refused { reason, method: None, target: None, version: None };
    refused(snapshot, connection, &nothing, &crate::arrive::new_request_id(), 0);
}
