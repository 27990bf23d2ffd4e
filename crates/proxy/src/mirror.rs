//! Copies of requests for another upstream: nobody waits for them, and nothing of them reaches the client.
//!
//! A copy is made when the request's first attempt begins, and sent by a task of its own once the content is whole.

mod send;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use filter::Reason;
use http::{HeaderName, HeaderValue, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use proxy_protocol::Ends;
use rewrite::HostPolicy;
use tokio::sync::oneshot;
use upstream::{Key, Mirror, MirrorAnswer, Place};

use crate::{context::Context, relay};

/// A copy of the request, and the answer that the copy's is compared with.
pub(crate) struct Copying {
    /// Until its content is whole.
    order: Option<Order>,
    original: Option<Original>,
}

/// A copy to be sent.
struct Order {
    place: Place,
    head: RequestHeader,
    content: BytesMut,
    /// Whether it has content at all.
    uploads: bool,
    /// Whether the Host field is the backend's own.
    names_backend: bool,
    /// The hash of what the upstream's policy goes by.
    key: Option<u64>,
    ends: Ends,
    route: Arc<str>,
    /// What the line about a difference calls it.
    about: String,
    original: Option<oneshot::Receiver<MirrorAnswer>>,
}

/// What the client's own request is answered.
struct Original {
    tell: oneshot::Sender<MirrorAnswer>,
    answer: MirrorAnswer,
    content: BytesMut,
    most: usize,
    /// Whether its content is longer than is compared.
    overflows: bool,
}

const X_SHADOW: HeaderName = HeaderName::from_static("x-shadow");

/// Copies the request whose attempt begins, where its route says so. `uploads` says whether it has content.
pub(crate) fn begin(ctx: &mut Context, head: &RequestHeader, uploads: bool) {
    let Some(mirror) = ctx.route().and_then(|route| route.mirror.as_ref()) else { return };
    if ctx.record.attempts > 1 {
        restart(ctx);
        return;
    }
    if head.headers.contains_key(header::UPGRADE) {
        return;
    }
    let Some(place) = mirror.begin() else { return };
    if length(head).is_some_and(|length| length > mirror.max_body() as u64) {
        mirror.meters().too_large();
        return;
    }
    let compares = mirror.compare().is_some();
    let mut copying = Copying { order: order(ctx, head, place, uploads), original: None };
    if let Some(order) = copying.order.as_mut().filter(|_| compares) {
        let (tell, told) = oneshot::channel();
        order.original = Some(told);
        let most = order.place.mirror().max_body();
        let answer = MirrorAnswer::default();
        copying.original = Some(Original { tell, answer, content: BytesMut::new(), most, overflows: false });
    }
    if !uploads && let Some(order) = copying.order.take() {
        tokio::spawn(send::carry(order));
    }
    ctx.mirror = Some(Box::new(copying));
}

/// What was sent of the content comes by again from its beginning.
pub(crate) fn restart(ctx: &mut Context) {
    if let Some(order) = ctx.mirror.as_mut().and_then(|copying| copying.order.as_mut()) {
        order.content.clear();
    }
}

fn length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The head as the origin is sent it, but for what is about its own connection.
fn order(ctx: &Context, from: &RequestHeader, place: Place, uploads: bool) -> Option<Order> {
    let (arrival, route, view) = (ctx.arrival.as_ref()?, ctx.route()?, ctx.view(from)?);
    let mut head = from.clone();
    head.set_version(Version::HTTP_11);
    relay::request_to(ctx, None, from, &mut head).ok()?;
    for name in [header::EXPECT, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        head.remove_header(&name);
    }
    for name in place.mirror().remove() {
        head.remove_header(name);
    }
    head.insert_header(X_SHADOW, HeaderValue::from_static("1")).ok()?;
    let key = place.mirror().upstream().key().and_then(|key: &Key| key.of(&view));
    Some(Order {
        head,
        content: BytesMut::new(),
        uploads,
        names_backend: matches!(route.host, HostPolicy::Upstream),
        key,
        ends: arrival.ends(),
        route: route.name.clone(),
        about: match place.mirror().compare() {
            Some(_) => format!("{} {} ({})", from.method, view.path.escape_debug(), arrival.client.request_id.as_str()),
            None => String::new(),
        },
        original: None,
        place,
    })
}

/// A chunk of the request's content, which the policies have let pass. With the last one the copy is sent.
pub(crate) fn request_chunk(ctx: &mut Context, chunk: Option<&Bytes>, last: bool) {
    let Some(copying) = &mut ctx.mirror else { return };
    let Some(order) = &mut copying.order else { return };
    let chunk = chunk.map_or(&[][..], |chunk| chunk);
    if order.content.len() + chunk.len() > order.place.mirror().max_body() {
        order.place.mirror().meters().too_large();
        ctx.mirror = None;
        return;
    }
    order.content.extend_from_slice(chunk);
    if last && let Some(order) = copying.order.take() {
        tokio::spawn(send::carry(order));
    }
}

/// The head of the answer that the client gets.
pub(crate) fn answer(ctx: &mut Context, head: &ResponseHeader) {
    let original = ctx.mirror.as_mut().and_then(|copying| copying.original.as_mut());
    if let Some(original) = original {
        original.answer = MirrorAnswer { status: head.status.as_u16(), headers: head.headers.clone(), content: None };
    }
}

/// A chunk of its content, as it came.
pub(crate) fn answer_chunk(ctx: &mut Context, chunk: Option<&Bytes>) {
    let Some(original) = ctx.mirror.as_mut().and_then(|copying| copying.original.as_mut()) else { return };
    let chunk = chunk.map_or(&[][..], |chunk| chunk);
    original.overflows |= original.content.len() + chunk.len() > original.most;
    if !original.overflows {
        original.content.extend_from_slice(chunk);
    }
}

/// The request is over, for `reason`.
pub(crate) fn conclude(ctx: &mut Context, reason: Reason) {
    let Some(Original { tell, mut answer, content, overflows, .. }) =
        ctx.mirror.take().and_then(|copying| copying.original)
    else {
        return;
    };
    if reason == Reason::None && answer.status != 0 {
        answer.content = Some(content.freeze()).filter(|_| !overflows);
        // The copy may have come to nothing, and then nobody listens.
        drop(tell.send(answer));
    }
}

/// Counts what came of a copy, and tells what differs.
fn settle(mirror: &Mirror, order: &Order, ours: Option<MirrorAnswer>, theirs: MirrorAnswer) {
    let meters = mirror.meters();
    let (Some(compare), Some(ours)) = (mirror.compare(), ours) else { return meters.answered() };
    let plain = |answer| plain(answer, mirror.max_body());
    match compare.difference(&plain(ours), &plain(theirs)) {
        Err(_) => meters.answered(),
        Ok(None) => meters.compared(true),
        Ok(Some(what)) => {
            meters.compared(false);
            if let Some(untold) = mirror.may_tell() {
                let (route, upstream, about) = (&order.route, mirror.upstream().name(), &order.about);
                let more = if untold > 0 { format!(", and {untold} more since the last line") } else { String::new() };
                log::info!("mirror of route `{route}` to `{upstream}`: {about} differs in {what}{more}");
            }
        }
    }
}

/// Content is compared without its coding, which depends on who has answered.
fn plain(answer: MirrorAnswer, most: usize) -> MirrorAnswer {
    let coding = answer.headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    let content =
        answer.content.as_ref().and_then(|content| transform::decode(coding, content, most.saturating_mul(8)));
    MirrorAnswer { content, ..answer }
}
