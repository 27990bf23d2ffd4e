//! Step 4: choose a backend, begin an attempt, decide on a retry.

use std::time::{Duration, Instant};

use filter::{Admit, Reason};
use http::{Method, header};
use pingora_core::{Error, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use snapshot::{Destination, Route};
use upstream::{Fault, Reading, Timeouts, Upstream};

use crate::context::{Attempt, Context};

/// Begins the next attempt: another endpoint than those that failed, while there is time left. `uploads` says whether
/// the request has a body.
pub(crate) async fn dispatch(ctx: &mut Context, head: &RequestHeader, uploads: bool) -> Result<Box<HttpPeer>, Reason> {
    limit(ctx, head).await?;
    choose(ctx, head, uploads)
}

/// Asks the limits of what the upstream may be sent; every attempt counts. The whole refusal is kept in the proofs.
async fn limit(ctx: &mut Context, head: &RequestHeader) -> Result<(), Reason> {
    let Some(stage) = ctx.route().and_then(|route| route.limits.by_upstream.as_ref()) else { return Ok(()) };
    let Some(view) = ctx.view(head) else { return Err(Reason::Internal) };
    match stage.admit(&view) {
        Ok(permits) => {
            if permits.shadowed() && ctx.record.shadow == Reason::None {
                ctx.record.shadow = Reason::Limited;
            }
            let delay = permits.delay();
            ctx.attempt.permits = permits;
            if !delay.is_zero() {
                Box::pin(tokio::time::sleep(delay)).await;
            }
            Ok(())
        }
        Err(reply) => {
            ctx.proofs.refused(&reply);
            let reason = reply.reason;
            ctx.proofs.refusal = Some(Box::new(reply));
            Err(reason)
        }
    }
}

fn choose(ctx: &mut Context, head: &RequestHeader, uploads: bool) -> Result<Box<HttpPeer>, Reason> {
    let now = Instant::now();
    let Some(arrival) = ctx.arrival.as_ref() else { return Err(Reason::Internal) };
    let Some((route, upstream)) = arrival.route().and_then(|route| Some((route, route.upstream()?))) else {
        return Err(Reason::Internal);
    };
    let left = time_left(&ctx.attempt, now)?;
    let Some(pick) = upstream.pick(&ctx.attempt.tried) else { return Err(Reason::NoBackend) };
    let mut peer = pick.peer(&timeouts(route, upstream, head, uploads, left));
    upstream.announce(&mut peer, || arrival.ends());
    ctx.attempt.began = Some(now);
    ctx.record.attempt();
    ctx.body = route.access.body_limit();
    ctx.attempt.pick = Some(pick);
    Ok(peer)
}

fn time_left(attempt: &Attempt, now: Instant) -> Result<Option<Duration>, Reason> {
    match attempt.deadline {
        None => Ok(None),
        Some(deadline) => match deadline.checked_duration_since(now) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(Reason::UpstreamTimeout),
        },
    }
}

/// An answer that may well be silent for long — a tunnel, an event stream, a gRPC stream — has the idle timeout of
/// streams; every other one has the upstream's, and at most what is left of the route's.
fn timeouts(
    route: &Route,
    upstream: &Upstream,
    head: &RequestHeader,
    uploads: bool,
    left: Option<Duration>,
) -> Timeouts {
    // A deadline that the client set counts from its head on, upload or not.
    if let Some(told) = grpc_timeout(head) {
        return Timeouts { connect: left, read: told.min(route.stream_idle), upload: None };
    }
    let stream = is_stream(head).then_some(route.stream_idle);
    let read = stream.unwrap_or_else(|| left.map_or(upstream.timeout(), |left| left.min(upstream.timeout())));
    Timeouts { connect: left, read, upload: uploads.then_some(route.stream_idle) }
}

/// How long the attempt under way may take to the head of its answer.
pub(crate) fn head_timeout(ctx: &Context) -> Duration {
    let own = ctx.route().and_then(Route::upstream).map_or(Duration::ZERO, |upstream| upstream.timeout());
    let left = time_left(&ctx.attempt, Instant::now()).unwrap_or(Some(Duration::ZERO));
    left.map_or(own, |left| left.min(own))
}

/// Whether the request asks for an answer that has no natural end.
pub(crate) fn is_stream(head: &RequestHeader) -> bool {
    let starts = |name: header::HeaderName, with: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.starts_with(with))
    };
    head.headers.contains_key(header::UPGRADE)
        || starts(header::ACCEPT, "text/event-stream")
        || starts(header::CONTENT_TYPE, "application/grpc")
}

/// The deadline that a gRPC client sets for itself, with a little grace so that its own expiry is what it sees.
fn grpc_timeout(head: &RequestHeader) -> Option<Duration> {
    let text = head.headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // The gRPC specification allows at most eight digits.
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let told = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(told + Duration::from_millis(100))
}

/// After a connection that was not made: nothing was sent, so any method may go elsewhere.
pub(crate) fn after_connect_failure(ctx: &mut Context, error: &mut Error) {
    let reading = Reading::of(error);
    give_up_pick(ctx, reading.reason);
    if reading.fault == Fault::Backend
        && let Some(pick) = &ctx.attempt.pick
    {
        pick.unreachable();
    }
    let retry = reading.fault == Fault::Backend && in_time(ctx) && (has_another_address(ctx) || take_retry(ctx));
    conclude(ctx, error, reading.reason, retry);
}

/// After a failure on a connection that was made: only an idempotent request whose body can be sent again, and only
/// where the origin has answered nothing (RFC 9110 section 9.2.2).
pub(crate) fn after_failure(ctx: &mut Context, error: &mut Error, method: &Method, replayable: bool) {
    let reading = Reading::of(error);
    if reading.fault == Fault::Backend {
        give_up_pick(ctx, reading.reason);
    }
    let repeatable = method.is_idempotent() && replayable && !ctx.attempt.answered;
    // A backend that took all the time there was has had the request: asking another doubles the load of a slow day.
    let worth_it = reading.fault == Fault::Backend && reading.reason != Reason::UpstreamTimeout;
    let retry = repeatable && worth_it && in_time(ctx) && take_retry(ctx);
    conclude(ctx, error, reading.reason, retry);
}

/// Notes where the attempt failed; the pick stays for the access log until the next one replaces it.
fn give_up_pick(ctx: &mut Context, reason: Reason) {
    if let Some(pick) = &ctx.attempt.pick {
        pick.meters().failed(reason);
        ctx.attempt.tried.push(pick.endpoint());
    }
}

fn in_time(ctx: &Context) -> bool {
    time_left(&ctx.attempt, Instant::now()).is_ok()
}

fn has_another_address(ctx: &Context) -> bool {
    ctx.route().and_then(Route::upstream).is_some_and(|upstream| upstream.has_another_address(&ctx.attempt.tried))
}

fn take_retry(ctx: &mut Context) -> bool {
    let allowed = ctx.route().map_or(0, |route| match &route.destination {
        Destination::Upstream(upstream) => route.retries.unwrap_or_else(|| upstream.retries()),
        _ => 0,
    });
    let left = ctx.attempt.retries < allowed;
    ctx.attempt.retries += u32::from(left);
    left
}

fn conclude(ctx: &Context, error: &mut Error, reason: Reason, retry: bool) {
    if retry && let Some(upstream) = ctx.route().and_then(Route::upstream) {
        upstream.meters().retry(reason);
    }
    error.set_retry(retry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &'static str, value: &str) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        head.insert_header(name, value).unwrap();
        head
    }

    #[test]
    fn a_grpc_deadline_is_read_with_its_unit() {
        let read = |text| grpc_timeout(&head("grpc-timeout", text));
        assert_eq!(read("2S"), Some(Duration::from_millis(2100)));
        assert_eq!(read("150m"), Some(Duration::from_millis(250)));
        for wrong in ["", "S", "2", "2X", "123456789S", "-1S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tunnels_events_and_grpc_are_streams() {
        assert!(is_stream(&head("upgrade", "websocket")));
        assert!(is_stream(&head("accept", "text/event-stream")));
        assert!(is_stream(&head("content-type", "application/grpc+proto")));
        assert!(!is_stream(&head("accept", "application/json")));
    }
}
