//! Step 4, once more: another backend is asked as well, because the first takes its time.

use std::time::{Duration, Instant};

use filter::Reason;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use telemetry::{Hedged as Result, Try};
use upstream::{EndpointId, Hedge, Hedged, Key, Pick, Reading, Wish};

use crate::{
    context::Context,
    dispatch::{self, count_failure, is_fair, is_stream, leave, time_left, timeouts},
};

/// A second attempt beside the one under way.
pub(crate) struct Second {
    pub(crate) pick: Pick,
    pub(crate) peer: Box<HttpPeer>,
    began: Instant,
    /// How long its connection took to make; zero where it was reused, `None` while there is none.
    pub(crate) connect: Option<Duration>,
    /// Counts it as such for as long as it lives.
    _hedged: Hedged,
}

/// The route's, or else its upstream's.
fn hedge(ctx: &Context) -> Option<&Hedge> {
    let route = ctx.route()?;
    route.hedge.as_ref().or(ctx.upstream()?.hedge()).filter(|hedge| hedge.max > 0)
}

/// How long the attempt under way is waited for before another backend is asked as well, and how many may be; `None` where
/// none is. Who is to stay at one backend is not sent to another, and what an upstream is sent at most is not sent twice.
pub(crate) fn after(ctx: &Context, head: &RequestHeader) -> Option<(Duration, u32)> {
    let (hedge, upstream) = (hedge(ctx)?, ctx.upstream()?);
    let is_counted = ctx.route()?.limits.by_upstream.is_some();
    if is_counted || upstream.sticky().is_some() || !head.method.is_idempotent() || is_stream(head) {
        return None;
    }
    Some((upstream.hedge_after(hedge)?, hedge.max))
}

/// Begins an attempt at an endpoint that has not been tried, and is not among those that are `asked`. The request has to be
/// there as a whole.
pub(crate) fn begin(ctx: &Context, head: &RequestHeader, asked: impl Iterator<Item = EndpointId>) -> Option<Second> {
    let (route, upstream, arrival) = (ctx.route()?, ctx.upstream()?, ctx.arrival.as_ref()?);
    let now = Instant::now();
    let left = time_left(&ctx.attempt, now).ok()?;
    let mut tried: SmallVec<[EndpointId; 4]> = ctx.attempt.tried.iter().copied().collect();
    tried.extend(ctx.attempt.pick.as_ref().map(Pick::endpoint).into_iter().chain(asked));
    let key = upstream.key().and_then(|key: &Key| key.of(&ctx.view(head)?));
    let (pick, hedged) = upstream.rival(hedge(ctx)?, &Wish { tried: &tried, key, subset: route.subset, home: None })?;
    if ctx.attempt.pick.as_ref().is_some_and(|first| first.standby() < pick.standby()) {
        // A backup is for when no other can be used.
        return None;
    }
    let mut peer = pick.peer(&timeouts(route, upstream, head, false, left));
    upstream.announce(&mut peer, || arrival.ends());
    Some(Second { pick, peer, began: now, connect: None, _hedged: hedged })
}

/// The second's answer is the first: from now on it is the attempt. `failed` is what the one before has died of, where it
/// has.
pub(crate) fn win(ctx: &mut Context, second: Second, failed: Option<Reading>) -> Box<HttpPeer> {
    let took = ctx.attempt.began.map_or(Duration::ZERO, |began| began.elapsed());
    match (failed, &ctx.attempt.pick) {
        (_, None) => {}
        (Some(reading), Some(_)) => {
            count_failure(ctx, reading);
            leave(ctx, reading.reason);
        }
        (None, Some(pick)) => {
            pick.outrun(took);
            leave(ctx, Reason::Outrun);
        }
    }
    (ctx.attempt.pause, ctx.attempt.resend) = (0, None);
    tell(ctx, Result::Won);
    ctx.record.attempt();
    if let Some(upstream) = ctx.upstream()
        && let Some(took) = second.connect.filter(|took| !took.is_zero())
    {
        upstream.meters().connect(took);
    }
    (ctx.record.connect, ctx.record.reused) = (second.connect, second.connect.map(|took| took.is_zero()));
    ctx.attempt.began = Some(second.began);
    ctx.attempt.pick = Some(second.pick);
    second.peer
}

/// Another answer was the first.
pub(crate) fn lose(ctx: &mut Context, second: &Second) {
    second.pick.outrun(second.began.elapsed());
    tell(ctx, Result::Lost);
    note(ctx, second, Reason::Outrun, 0);
}

/// Nothing came of it. What there is to tell of it is [`note`]'s.
pub(crate) fn fail(ctx: &Context, second: &Second, reading: Reading) {
    let took = second.began.elapsed();
    second.pick.failed(reading, took, is_fair(ctx, took));
    tell(ctx, Result::Failed);
}

/// It was answered with a `status` that nobody was waiting for. What there is to tell of it is [`note`]'s.
pub(crate) fn pass_over(ctx: &Context, second: &Second, status: u16) {
    second.pick.answered(status, second.began.elapsed());
    tell(ctx, Result::Failed);
}

/// Whether an answer is one that a second backend was asked for.
pub(crate) fn is_wanted(status: u16) -> bool {
    status < 500
}

fn tell(ctx: &Context, result: Result) {
    if let Some(upstream) = ctx.upstream() {
        upstream.meters().hedged(result);
    }
}

/// Keeps what there is to tell of a second that did not win.
pub(crate) fn note(ctx: &mut Context, second: &Second, reason: Reason, status: u16) {
    ctx.record.attempts += 1;
    if reason != Reason::Outrun {
        ctx.attempt.tried.push(second.pick.endpoint());
    }
    let (backend, circuit) = (second.pick.label().clone(), second.pick.circuit());
    let first_byte = (status != 0).then(|| second.began.elapsed());
    ctx.record.tries.push(Try { backend, reason, status, connect: second.connect, first_byte, circuit });
}

/// Until when the second has to have answered, whatever it says before: it is there to be fast.
pub(crate) fn until(ctx: &Context, second: &Second) -> Instant {
    second.began + dispatch::head_timeout(ctx)
}
