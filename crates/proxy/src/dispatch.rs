//! Step 4: choose a backend, begin an attempt, decide on a retry.

use std::time::{Duration, Instant, SystemTime};

use filter::{Mode, Reason};
use http::{HeaderMap, Method, header};
use pingora_core::{Error, ErrorType, upstreams::peer::HttpPeer};
use pingora_http::{RequestHeader, ResponseHeader};
use snapshot::{Destination, Route};
use tokio::time::sleep;
use upstream::{Fault, Key, Missed, Reading, Resend, Retries, Timeouts, Upstream, Wish};

use crate::{
    context::{Attempt, Body, Context, Unpacking, upstream_of},
    interims::Interims,
    mirror,
};

/// Begins the next attempt: another endpoint than those that failed, while there is time left. `uploads` says whether
/// the request has a body. May wait: for a place where all are taken, and before it tries again.
pub(crate) async fn dispatch(ctx: &mut Context, head: &RequestHeader, uploads: bool) -> Result<Box<HttpPeer>, Reason> {
    let pause = Duration::from_micros(std::mem::take(&mut ctx.attempt.pause).into());
    if !pause.is_zero() {
        let pause = time_left(&ctx.attempt, Instant::now())?.map_or(pause, |left| left.min(pause));
        Box::pin(sleep(pause)).await;
        time_left(&ctx.attempt, Instant::now())?;
    }
    limit(ctx, head).await?;
    let peer = choose(ctx, head, uploads).await?;
    mirror::begin(ctx, head, uploads);
    Ok(peer)
}

/// Asks the limits of what the upstream may be sent; every attempt counts. The whole refusal is kept in the proofs.
async fn limit(ctx: &mut Context, head: &RequestHeader) -> Result<(), Reason> {
    // The attempt before is over: it does not stand in the way of this one.
    drop(std::mem::take(&mut ctx.attempt.permits));
    if ctx.route().is_none_or(|route| route.limits.by_upstream.is_none()) {
        return Ok(());
    }
    choose_arm(ctx, head);
    let sent = ctx.route().zip(ctx.upstream());
    let Some(stage) = sent.and_then(|(route, upstream)| route.limits.of_upstream(upstream.name())) else {
        return Err(Reason::Internal);
    };
    let Some(view) = ctx.view(head) else { return Err(Reason::Internal) };
    match stage.pass(&view, ctx.proofs.permits.waited()).await {
        Ok(permits) => {
            ctx.proofs.permits.has_waited(permits.waited());
            if permits.shadowed() {
                ctx.record.shadow = ctx.record.shadow.or(Reason::Limited);
            }
            let delay = permits.delay();
            ctx.attempt.permits = permits;
            if !delay.is_zero() {
                Box::pin(sleep(delay)).await;
            }
            time_left(&ctx.attempt, Instant::now())?;
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

/// Decides which upstream of a split takes the request, unless that is decided.
pub(crate) fn choose_arm(ctx: &mut Context, head: &RequestHeader) {
    if let Some(Destination::Split(split)) = ctx.route().map(|route| &route.destination)
        && ctx.arm.is_none()
    {
        ctx.arm = ctx.view(head).map(|view| split.choose(&view));
    }
}

async fn choose(ctx: &mut Context, head: &RequestHeader, uploads: bool) -> Result<Box<HttpPeer>, Reason> {
    // Where a connection from the pool had ended and nobody was to be told.
    leave(ctx, Reason::UpstreamReset);
    choose_arm(ctx, head);
    let Some(arrival) = ctx.arrival.as_ref() else { return Err(Reason::Internal) };
    let Some((route, upstream)) = arrival.route().and_then(|route| Some((route, upstream_of(route, ctx.arm)?))) else {
        return Err(Reason::Internal);
    };
    if let Some(credentials) = upstream.credentials()
        && !credentials.ready().await
    {
        return Err(Reason::UpstreamCredentials);
    }
    let Attempt { tried, deadline, .. } = &ctx.attempt;
    let identity = ctx.proofs.identity.as_deref();
    let key = upstream.key().and_then(|key: &Key| key.of(&arrival.view(head).by(identity)));
    let home = upstream.sticky().and_then(|sticky| sticky.home(&arrival.view(head)));
    let chosen = upstream.choose_or_wait(&Wish { tried, key, home, subset: route.subset }, *deadline).await;
    // Where none is left, what the attempt before died of says more, if it died of anything.
    let died = ctx.record.tries.last().map(|last| last.reason).filter(|reason| *reason != Reason::None);
    let pick = chosen.map_err(|missed| died.unwrap_or_else(|| reason_of(missed)))?;
    let now = Instant::now();
    let mut peer = pick.peer(&times(ctx, route, upstream, head, uploads, now)?);
    upstream.announce(&mut peer, || arrival.ends());
    ctx.attempt.began = Some(now);
    ctx.attempt.interims = Interims::default();
    ctx.attempt.resend.iter_mut().for_each(Resend::is_under_way);
    ctx.record.attempt();
    ctx.body = watch(route, head, uploads);
    ctx.attempt.pick = Some(pick);
    Ok(peer)
}

/// The attempt's request is sent once more, since the connection from the pool had ended. What watches its body, and what
/// copies it, begin anew; its time does not.
pub(crate) fn renew(ctx: &mut Context, head: &RequestHeader, uploads: bool, peer: &mut HttpPeer) -> Result<(), Reason> {
    let Some((route, upstream)) = ctx.route().zip(ctx.upstream()) else { return Err(Reason::Internal) };
    let Timeouts { connect, read, .. } = times(ctx, route, upstream, head, uploads, Instant::now())?;
    let options = &mut peer.options;
    options.total_connection_timeout = [options.total_connection_timeout, connect].into_iter().flatten().min();
    options.read_timeout = Some(read);
    ctx.body = watch(route, head, uploads);
    mirror::restart(ctx);
    Ok(())
}

/// How long an attempt may take that begins `now`.
fn times(
    ctx: &Context,
    route: &Route,
    upstream: &Upstream,
    head: &RequestHeader,
    uploads: bool,
    now: Instant,
) -> Result<Timeouts, Reason> {
    let timeouts = timeouts(route, upstream, head, uploads, time_left(&ctx.attempt, now)?);
    // Unlike the route's time it holds for a stream as well.
    let call = call_ends(head, ctx.record.start).map(|end| end.saturating_duration_since(now));
    Ok(call.map_or(timeouts, |call| in_call(timeouts, call)))
}

/// What watches the body of an attempt.
fn watch(route: &Route, head: &RequestHeader, uploads: bool) -> Option<Body> {
    let most = |mode| route.access.max_body(mode);
    let decompress = route.decompress.filter(|_| uploads);
    match decompress.and_then(|decompress| decompress.decoder(&head.headers, most(Mode::Enforce))) {
        Some(decoder) => Some(Body::Packed(Box::new(Unpacking { decoder, shadow: most(Mode::Shadow) }))),
        None => route.access.body_limit().map(Body::Limited),
    }
}

pub(crate) fn reason_of(missed: Missed) -> Reason {
    match missed {
        Missed::NoBackend => Reason::NoBackend,
        Missed::Full => Reason::UpstreamBusy,
        Missed::Open => Reason::CircuitOpen,
        Missed::Overloaded => Reason::UpstreamOverloaded,
    }
}

pub(crate) fn time_left(attempt: &Attempt, now: Instant) -> Result<Option<Duration>, Reason> {
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
pub(crate) fn timeouts(
    route: &Route,
    upstream: &Upstream,
    head: &RequestHeader,
    uploads: bool,
    left: Option<Duration>,
) -> Timeouts {
    let stream = is_stream(head).then_some(route.stream_idle);
    let read = stream.unwrap_or_else(|| left.map_or(upstream.timeout(), |left| left.min(upstream.timeout())));
    Timeouts { connect: left, read, upload: uploads.then_some(route.stream_idle) }
}

/// The same for a call of gRPC whose client gives up after `left`. Its deadline counts from its head on, upload or not.
fn in_call(timeouts: Timeouts, left: Duration) -> Timeouts {
    Timeouts { read: timeouts.read.min(left), upload: None, ..timeouts }
}

/// How long the attempt under way may take to the head of its answer.
pub(crate) fn head_timeout(ctx: &Context) -> Duration {
    let own = ctx.upstream().map_or(Duration::ZERO, |upstream| upstream.timeout());
    let left = time_left(&ctx.attempt, Instant::now()).unwrap_or(Some(Duration::ZERO));
    left.map_or(own, |left| left.min(own))
}

/// Whether the request asks for an answer that has no natural end.
pub(crate) fn is_stream(head: &RequestHeader) -> bool {
    let upgrade = head.headers.contains_key(header::UPGRADE);
    upgrade || starts(head, header::ACCEPT, "text/event-stream") || is_grpc(head)
}

fn is_grpc(head: &RequestHeader) -> bool {
    starts(head, header::CONTENT_TYPE, "application/grpc")
}

fn starts(head: &RequestHeader, name: header::HeaderName, with: &str) -> bool {
    let value = head.headers.get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with(with))
}

/// When a client of gRPC gives up that began at `start`, by its own word.
pub(crate) fn call_ends(head: &RequestHeader, start: Instant) -> Option<Instant> {
    start.checked_add(grpc_timeout(head)? + GRACE)
}

/// For so much longer than it says is a client of gRPC waited for, so that its own expiry is what it sees.
const GRACE: Duration = Duration::from_millis(100);

/// Tells the origin how long a client of gRPC will still wait that began at `start` and has said how long it would. What an
/// attempt before has taken, or a place that was waited for, is gone: an origin that was told all of it would work on for
/// nobody. The route's `timeout` is not told: it ends with the answer's head, where a call may only have begun.
pub(crate) fn tell_call(start: Instant, from: &RequestHeader, to: &mut RequestHeader) -> pingora_core::Result<()> {
    match grpc_timeout(from) {
        Some(told) => to.insert_header(GRPC_TIMEOUT, in_grpc(told.saturating_sub(start.elapsed()))),
        None => Ok(()),
    }
}

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Writes a time as gRPC does: a number above 0 of at most eight digits, and the finest unit that it fits in.
fn in_grpc(time: Duration) -> String {
    let units = [(time.as_micros(), 'u'), (time.as_millis(), 'm'), (time.as_secs().into(), 'S')];
    let fits = units.into_iter().find(|(number, _)| *number < 100_000_000);
    let (number, unit) = fits.unwrap_or((u128::from(time.as_secs() / 3600), 'H'));
    format!("{}{unit}", number.max(1))
}

/// The time that a gRPC client gives a call. In any other request the field means nothing: who asks for a page does not say
/// how long an origin may keep us.
fn grpc_timeout(head: &RequestHeader) -> Option<Duration> {
    if !is_grpc(head) {
        return None;
    }
    let text = head.headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // The gRPC specification allows at most eight digits.
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// After a connection that was not made: nothing was sent, so any method may go elsewhere. Whether there is to be another
/// attempt.
pub(crate) fn after_connect_failure(ctx: &mut Context, reading: Reading) -> bool {
    count_failure(ctx, reading);
    let elsewhere = reading.may_go_elsewhere() && in_time(ctx);
    let retry = elsewhere && (has_another_address(ctx) || covers(ctx, reading) && take_retry(ctx));
    conclude(ctx, reading.reason, retry)
}

/// After a failure on a connection that was made: only an idempotent request whose body can be sent again, and only
/// where the origin has answered nothing (RFC 9110 section 9.2.2); of what a backend has refused unprocessed the method
/// does not matter, and like a connection that was not made it adds to no load. Whether there is to be another attempt.
pub(crate) fn after_failure(ctx: &mut Context, reading: Reading, method: &Method, replayable: bool) -> bool {
    let elsewhere = reading.may_go_elsewhere();
    if elsewhere {
        count_failure(ctx, reading);
    }
    let refused = reading.fault == Fault::Nobody;
    let repeatable = can_be_sent_again(ctx, replayable) && (refused || method.is_idempotent());
    let worth_it = elsewhere && covers(ctx, reading) && in_time(ctx);
    let retry = repeatable && worth_it && if refused { take_retry(ctx) } else { take_resend(ctx) };
    if retry {
        back_off(ctx, None);
    }
    conclude(ctx, reading.reason, retry)
}

/// When the head of an answer is there, informational ones apart: counts it, and says whether it is to be passed over for
/// another attempt. To be asked before anything of it goes to the client.
pub(crate) fn after_answer(
    ctx: &mut Context,
    asked: &RequestHeader,
    answer: &ResponseHeader,
    replayable: bool,
) -> bool {
    let status = answer.status.as_u16();
    let took = ctx.attempt.began.map_or(Duration::ZERO, |began| began.elapsed());
    ctx.record.upstream_status = status;
    ctx.record.first_byte = Some(took);
    let Some(pick) = &ctx.attempt.pick else { return false };
    pick.answered(status, took);
    let Some(on) = retries(ctx).map(|retries| &retries.on) else { return false };
    // A call of gRPC that may be repeated is known by nothing but that the configuration says so.
    let call = is_grpc(asked) && answer.headers.get("grpc-status").is_some_and(|code| on.cover_grpc(code.as_bytes()));
    let repeatable = can_be_sent_again(ctx, replayable) && (call || asked.method.is_idempotent());
    if !repeatable || !call && !on.cover_status(status) {
        return false;
    }
    let told = retry_after(&answer.headers);
    // Who asks for more time than there is had better tell the client himself.
    let retry = leaves_time(ctx, told.unwrap_or(Duration::ZERO)) && take_resend(ctx);
    if retry {
        ctx.attempt.tried.extend(ctx.attempt.pick.as_ref().map(upstream::Pick::endpoint));
        back_off(ctx, told);
    }
    conclude(ctx, Reason::UpstreamStatus, retry)
}

/// What ends an attempt whose answer is passed over for another one (ADR 3).
pub(crate) fn again() -> Box<Error> {
    Error::explain(AGAIN, "the answer is worth another attempt")
}

/// Whether an error is [`again`]'s: everything about it is decided.
pub(crate) fn is_again(error: &Error) -> bool {
    *error.etype() == AGAIN
}

const AGAIN: ErrorType = ErrorType::Custom("again");

/// Counts a failure against the endpoint, as far as it is to blame, and notes that it was tried.
pub(crate) fn count_failure(ctx: &mut Context, reading: Reading) {
    let took = ctx.attempt.began.map_or(Duration::ZERO, |began| began.elapsed());
    let fair = is_fair(ctx, took);
    if let Some(pick) = &ctx.attempt.pick {
        pick.failed(reading, took, fair);
        ctx.attempt.tried.push(pick.endpoint());
    }
}

/// Whether an attempt had all the time that the configuration gives.
pub(crate) fn is_fair(ctx: &Context, took: Duration) -> bool {
    given(ctx).is_none_or(|given| took + TICK >= given)
}

/// How long the configuration lets a backend take. A client may give less, by its `grpc-timeout`, and so may what a
/// retry has left.
fn given(ctx: &Context) -> Option<Duration> {
    let route = ctx.route()?;
    let own = ctx.upstream()?.timeout();
    Some(route.timeout.map_or(own, |timeout| timeout.min(own)))
}

/// Clocks and timers do not agree to the last millisecond.
const TICK: Duration = Duration::from_millis(50);

fn can_be_sent_again(ctx: &Context, replayable: bool) -> bool {
    replayable && !ctx.attempt.answered
}

fn in_time(ctx: &Context) -> bool {
    time_left(&ctx.attempt, Instant::now()).is_ok()
}

/// Whether another attempt may begin after a `pause` that the backend asks for.
fn leaves_time(ctx: &Context, pause: Duration) -> bool {
    let left = time_left(&ctx.attempt, Instant::now()).unwrap_or(Some(Duration::ZERO));
    pause <= LONGEST_PAUSE && left.is_none_or(|left| left > pause)
}

/// The longest `Retry-After` that is waited for, whatever time the route leaves: one without a `timeout` leaves any,
/// and a backend could hold its clients' connections, and memory for each, for days. Envoy draws this line at 300 s;
/// here it is the `timeout` that a route has where it says nothing, so that one without waits no longer than others.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn has_another_address(ctx: &Context) -> bool {
    ctx.upstream().is_some_and(|upstream| upstream.has_another_address(&ctx.attempt.tried))
}

/// The route's retries, or else its upstream's.
fn retries(ctx: &Context) -> Option<&Retries> {
    let route = ctx.route()?;
    route.retries.as_ref().or(ctx.upstream().map(|upstream| upstream.retries()))
}

fn covers(ctx: &Context, reading: Reading) -> bool {
    retries(ctx).is_some_and(|retries| retries.on.cover(reading))
}

/// Takes a retry of something that was sent, which has to be within the budget as well.
fn take_resend(ctx: &mut Context) -> bool {
    ctx.attempt.resend = None;
    let Some((upstream, retries)) = ctx.upstream().zip(retries(ctx)) else { return false };
    if ctx.attempt.retries >= retries.attempts {
        return false;
    }
    ctx.attempt.resend = upstream.resend(retries);
    ctx.attempt.resend.is_some() && take_retry(ctx)
}

fn take_retry(ctx: &mut Context) -> bool {
    let left = retries(ctx).is_some_and(|retries| ctx.attempt.retries < retries.attempts);
    ctx.attempt.retries += u32::from(left);
    left
}

/// Something was sent: the next attempt waits a little, or as long as the backend has asked for.
fn back_off(ctx: &mut Context, told: Option<Duration>) {
    let pause = told.or_else(|| retries(ctx).map(|retries| retries.backoff(ctx.attempt.retries)));
    ctx.attempt.pause = pause.map_or(0, |pause| u32::try_from(pause.as_micros()).unwrap_or(u32::MAX));
}

/// How long `Retry-After` asks to wait (RFC 9110 section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            httpdate::parse_http_date(text).ok().map(|date| date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// Lets go of an endpoint that another attempt leaves behind.
fn conclude(ctx: &mut Context, reason: Reason, retry: bool) -> bool {
    if retry {
        if let Some(upstream) = ctx.upstream() {
            upstream.meters().retry(reason);
        }
        leave(ctx, reason);
    }
    retry
}

/// Lets go of the endpoint of an attempt that ends for `reason`.
pub(crate) fn leave(ctx: &mut Context, reason: Reason) {
    ctx.attempt.used = None;
    let Some(pick) = ctx.attempt.pick.take() else { return };
    ctx.record.circuit = pick.circuit();
    ctx.record.note(pick.label().clone(), reason);
    ctx.attempt.last = Some(pick.label().clone());
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
        let read = |text| {
            let mut head = head("content-type", "application/grpc");
            head.insert_header("grpc-timeout", text).unwrap();
            grpc_timeout(&head)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("150m"), Some(Duration::from_millis(150)));
        for wrong in ["", "S", "2", "2X", "123456789S", "-1S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(grpc_timeout(&head("grpc-timeout", "2S")), None, "not gRPC");
    }

    #[test]
    fn what_is_left_of_a_grpc_deadline_is_written_in_eight_digits() {
        for (left, written) in [
            (Duration::ZERO, "1u"),
            (Duration::from_nanos(1_999), "1u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_micros(100_000_999), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(99_999_999 * 3600), "99999999H"),
        ] {
            assert_eq!(in_grpc(left), written);
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
