//! Step 7: meters and access log.

use std::time::{Duration, Instant};

use filter::{Reason, RequestId};
use http::{HeaderValue, Method, header};
use listen::Connection;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use snapshot::Snapshot;
use telemetry::{LoggedRequest, Record, RouteMeters, UNMATCHED};

use crate::{
    context::{Arrival, Context},
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
    mirror::conclude(ctx, ctx.record.reason);
    last_try(ctx, ctx.record.reason);
    ctx.record.close(Instant::now());
    ctx.in_flight = None;
    ctx.proofs.permits.settle(ctx.record.status);
    ctx.attempt.permits.settle(ctx.record.status);
    let Some(arrival) = &ctx.arrival else { return };
    meters(arrival).finish(&arrival.connection.meters, Some(&head.method), &ctx.record);
    let Some(log) = &arrival.snapshot.access_log else { return };
    let view = arrival.view(head).by(ctx.proofs.identity.as_deref());
    let trace = view.client.trace.trace_id_hex();
    let bytes = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let route = arrival.route();
    let nearest = ctx.nearest().and_then(|nearest| Some((route?.limits.nearest(nearest)?.name(), nearest.remaining())));
    let limit = ctx.proofs.limited.as_ref().map(|limit| (limit, 0)).or(nearest);
    log.write(
        &ctx.record,
        &LoggedRequest {
            listener: &view.client.listener,
            route: route.map_or(UNMATCHED, |route| &route.name),
            upstream: ctx.upstream().map(|upstream| &**upstream.name()),
            variant: ctx.variant(),
            backend: ctx
                .attempt
                .pick
                .as_ref()
                .map(upstream::Pick::label)
                .or(ctx.attempt.last.as_ref())
                .map(|label| &**label),
            client_ip: view.client.address,
            request_id: Some(view.client.request_id.as_str()),
            trace_id: Some(trace.as_str()),
            protocol: Some(head.version),
            tls: view.client.tls.as_ref().map(|tls| tls.version),
            scheme: Some(view.client.scheme),
            method: Some(head.method.as_str().as_bytes()),
            host: Some(view.host.as_bytes()),
            path: Some(view.path.as_bytes()),
            query: view.query.map(str::as_bytes),
            referer: bytes(header::REFERER),
            user_agent: bytes(header::USER_AGENT),
            limit: limit.map(|(name, _)| &**name),
            limit_remaining: limit.map(|(_, remaining)| remaining.into()),
            identity: view.identity,
            generation: arrival.snapshot.generation,
            country: arrival
                .snapshot
                .places
                .as_ref()
                .zip(view.client.address)
                .and_then(|(places, at)| places.country(at)),
        },
    );
}

fn meters(arrival: &Arrival) -> &RouteMeters {
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
