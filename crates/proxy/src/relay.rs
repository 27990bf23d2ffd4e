//! Step 5: request out, response back, bodies through.

use bytes::{Bytes, BytesMut};
use filter::{Amend, Inspect, Reply, Trail, View, authority_of};
use http::{HeaderValue, StatusCode, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use rewrite::HostPolicy;
use snapshot::{Destination, Route};
use transform::hop;

use upstream::Pick;

use crate::{context::Context, dispatch, invalidate, mirror, persist::is_interim, refuse::Answer};

/// Where the fields go that the policies of a route add to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Among the others.
    Among,
    /// Behind the others, by [`tell`] or [`tell_client`], where nothing changes them any more: for a head that goes out
    /// over HTTP/1 at once.
    Behind,
}

/// Makes the head that the origin is sent out of the one that the client sent.
pub(crate) fn request(ctx: &Context, told: Told, from: &RequestHeader, to: &mut RequestHeader) -> Result<()> {
    request_by(ctx, ctx.attempt.pick.as_ref(), told, from, to)
}

/// The same for an attempt at another endpoint than the one under way.
pub(crate) fn request_by(
    ctx: &Context,
    pick: Option<&Pick>,
    told: Told,
    from: &RequestHeader,
    to: &mut RequestHeader,
) -> Result<()> {
    dispatch::tell_call(ctx.record.start, from, to)?;
    make(ctx, pick.map(Pick::host), told, from, to)?;
    show(ctx, to)
}

/// Shows the upstream what it wants of maitred: last, so that nothing that a client or a template says stands in its place,
/// and only in what goes to that upstream. Whoever else makes a head, to look at it or for a mirror, never has it.
fn show(ctx: &Context, to: &mut RequestHeader) -> Result<()> {
    match ctx.upstream().and_then(|upstream| upstream.credentials()) {
        Some(credentials) if !credentials.show(to) => Err(Error::explain(ErrorType::InternalError, "no credentials")),
        _ => Ok(()),
    }
}

/// Writes the lines that [`request`] has left out for them to be [behind](Told::Behind) the others.
pub(crate) fn tell(ctx: &Context, from: &RequestHeader, to: &RequestHeader, out: &mut BytesMut) {
    if let Some((route, view)) = ctx.route().zip(ctx.view(from))
        && trails(ctx, route, &view)
    {
        route.forwarding.write(to, &view, out);
        route.auth.write(to, &view, out);
        route.request.write(to, &view, out);
    }
}

/// Whether what the origin is told may be [behind](Told::Behind): nobody changes it after, and no proxy before us has
/// said what is to be continued.
fn trails(ctx: &Context, route: &Route, view: &View<'_>) -> bool {
    let has_credentials = || ctx.upstream().is_some_and(|upstream| upstream.credentials().is_some());
    route.trails.request && !view.client.trusted && !has_credentials()
}

/// Does to a head what a policy says, but for the lines behind it where it `trails`.
fn change<H>(policy: &impl Trail<H>, trails: bool, head: &mut H, view: &View<'_>) {
    match trails {
        true => policy.clear(head, view),
        false => policy.amend(head, view),
    }
}

/// The head for a backend whose own `Host` is `backend`, to look at or for a mirror: without credentials.
pub(crate) fn request_to(
    ctx: &Context,
    backend: Option<&HeaderValue>,
    from: &RequestHeader,
    to: &mut RequestHeader,
) -> Result<()> {
    make(ctx, backend, Told::Among, from, to)
}

fn make(
    ctx: &Context,
    backend: Option<&HeaderValue>,
    told: Told,
    from: &RequestHeader,
    to: &mut RequestHeader,
) -> Result<()> {
    let Some((route, view)) = ctx.route().zip(ctx.view(from)) else { return Ok(()) };
    hop::strip_request(to, from);
    if to.version == Version::HTTP_2 {
        // Answered by ourselves: see `persist`.
        to.remove_header(&header::EXPECT);
    }
    transform::settle_request(to);
    if ctx.unpacks() {
        transform::tell_unpacked(to);
    }
    set_target(route, &view, from, to)?;
    set_host(backend, route, from, to)?;
    let trails = told == Told::Behind && trails(ctx, route, &view);
    change(&route.forwarding, trails, to, &view);
    // After what clients claim is gone: a caller's name may be told as `X-Forwarded-User`.
    change(&route.auth, trails, to, &view);
    change(&route.request, trails, to, &view);
    Ok(())
}

fn set_target(route: &Route, view: &View<'_>, from: &RequestHeader, to: &mut RequestHeader) -> Result<()> {
    // Credentials in the query are hidden before anything is made of it.
    let query = view.query.map(|query| route.auth.query(query));
    let view = &View { query: query.as_deref().filter(|query| !query.is_empty() || view.query == Some("")), ..*view };
    let origin_form = from.uri.authority().is_none() && from.raw_path().starts_with(b"/");
    if origin_form && view.path == from.uri.path() && route.rewrite.is_none() && view.query == from.uri.query() {
        return Ok(());
    }
    let mut target = String::with_capacity(view.path.len() + view.query.map_or(0, str::len) + 16);
    match &route.rewrite {
        Some(rewrite) => rewrite.target(view, &mut target),
        None => {
            target.push_str(view.path);
            if let Some(query) = view.query {
                target.push('?');
                target.push_str(query);
            }
        }
    }
    to.set_raw_path(target.as_bytes())
}

fn set_host(backend: Option<&HeaderValue>, route: &Route, from: &RequestHeader, to: &mut RequestHeader) -> Result<()> {
    match &route.host {
        HostPolicy::Keep if to.headers.contains_key(header::HOST) => Ok(()),
        HostPolicy::Keep => match HeaderValue::from_str(authority_of(from)) {
            Ok(host) if !host.is_empty() => to.insert_header(header::HOST, host),
            _ => insert_upstream_host(backend, to),
        },
        HostPolicy::Upstream => insert_upstream_host(backend, to),
        HostPolicy::Literal(host) => to.insert_header(header::HOST, host.clone()),
    }
}

fn insert_upstream_host(backend: Option<&HeaderValue>, to: &mut RequestHeader) -> Result<()> {
    match backend {
        Some(host) => to.insert_header(header::HOST, host.clone()),
        None => Ok(()),
    }
}

/// Unpacks a chunk of the request's body where the route says so, and counts it against the route's limit.
pub(crate) fn request_chunk(ctx: &mut Context, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply> {
    if let Some(body) = &mut ctx.body {
        body.chunk(chunk, last, &mut ctx.record.shadow)?;
    }
    // Pingora would write an empty last chunk over HTTP/1.1 and then the end of the body: two ends, of which the second
    // would begin the next request on that connection.
    if last && chunk.as_ref().is_some_and(Bytes::is_empty) {
        *chunk = None;
    }
    mirror::request_chunk(ctx, chunk.as_ref(), last);
    Ok(())
}

/// Whether somebody has to see the request's content on its way.
pub(crate) fn looks_at_request(ctx: &Context) -> bool {
    ctx.mirror.is_some() || ctx.unpacks()
}

/// Counts so many bytes of the request's body that nobody [looks at](looks_at_request).
pub(crate) fn request_piped(ctx: &mut Context, count: usize) -> Result<(), Reply> {
    let told = &mut ctx.record.shadow;
    ctx.body.as_mut().map_or(Ok(()), |limit| limit.count(count as u64, told))
}

/// What the origin answered, before anybody else sees it. `asked` says whether the client asked for another protocol.
pub(crate) fn upstream_response(
    ctx: &mut Context,
    head: &mut ResponseHeader,
    client: Version,
    asked: bool,
) -> Result<()> {
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if head.status.is_informational() && !switches {
        let since = ctx.record.start.elapsed();
        if !ctx.attempt.interims.admit(since, head) {
            return Err(nonsense("interim answers without end"));
        }
        hop::strip_response(head, client);
        // It has no content, whatever it says (RFC 9110 section 15.2).
        head.remove_header(&header::TRANSFER_ENCODING);
        head.remove_header(&header::CONTENT_LENGTH);
        return Ok(());
    }
    if switches && !asked {
        return Err(nonsense("a change of protocol that nobody asked for"));
    }
    if !transform::is_framing_known(head) {
        return Err(nonsense("a transfer coding other than chunked"));
    }
    ctx.attempt.answered = true;
    mirror::answer(ctx, head);
    if head.status == StatusCode::UNAUTHORIZED
        && let Some(credentials) = ctx.upstream().and_then(|upstream| upstream.credentials())
    {
        credentials.spurned();
    }
    if let Some(upstream) = ctx.upstream()
        && let Some(took) = ctx.record.first_byte
    {
        upstream.meters().first_byte(took);
    }
    hop::strip_response(head, client);
    transform::settle_response(head);
    Ok(())
}

/// An answer that cannot be passed on as it was meant.
fn nonsense(what: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::InvalidHTTPHeader, what);
    error.as_up();
    error
}

/// Whether the content of an upstream's answer is sent compressed. Its head says so from here on, and every chunk goes
/// through [`response_chunk`].
pub(crate) fn encode(ctx: &mut Context, from: &RequestHeader, head: &mut ResponseHeader) {
    if head.status.is_informational() {
        return;
    }
    let compress = ctx.route().and_then(|route| route.compress.as_ref());
    ctx.encoder = compress.and_then(|compress| compress.begin(from, head)).map(Box::new);
}

/// The same for an answer of our own, whose content is there as a whole.
pub(crate) fn encode_whole(ctx: &Context, from: &RequestHeader, answer: &mut Answer) {
    if let Some(compress) = ctx.route().and_then(|route| route.compress.as_ref()) {
        let content = std::mem::take(&mut answer.content);
        answer.content = compress.whole(from, &mut answer.head, content);
    }
}

/// Changes a chunk of the answer's content to what the client is sent of it: `Some` of nothing where it is held back.
pub(crate) fn response_chunk(ctx: &mut Context, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply> {
    mirror::answer_chunk(ctx, chunk.as_ref());
    match &mut ctx.encoder {
        Some(encoder) => encoder.chunk(chunk, last)?,
        None => return Ok(()),
    }
    if let Some(copy) = &mut ctx.copy {
        copy.take(chunk.as_ref());
        if last && let Some(copy) = ctx.copy.take() {
            copy.keep();
        }
    }
    Ok(())
}

/// The cookie that keeps the client at the backend that has answered, where it is not kept there already.
fn keep<'c>(ctx: &'c Context, view: &View<'_>) -> Option<&'c HeaderValue> {
    let sticky = ctx.upstream()?.sticky()?;
    let pick = ctx.attempt.pick.as_ref().filter(|pick| ctx.attempt.answered && sticky.home(view) != pick.home())?;
    pick.cookie(view.client.scheme == filter::Scheme::Https)
}

/// Makes a head what the client is sent, which is about to be: the origin's answers and ours.
pub(crate) fn response(ctx: &mut Context, told: Told, from: &RequestHeader, head: &mut ResponseHeader) {
    if !is_interim(head.status) {
        // Who has read the answer may ask again at once, on another connection.
        ctx.proofs.permits.forgive(head.status.as_u16());
        ctx.attempt.permits.forgive(head.status.as_u16());
    }
    decorate(ctx, told, from, head);
}

/// Adds the policies' own fields.
pub(crate) fn decorate(ctx: &Context, told: Told, from: &RequestHeader, head: &mut ResponseHeader) {
    if !head.status.is_informational() {
        invalidate::conclude(ctx, from, head);
    }
    let Some((route, view)) = ctx.route().zip(ctx.view(from)) else { return };
    if head.status.is_informational() {
        return;
    }
    if let (Some(chosen), Destination::Split(split)) = (ctx.arm, &route.destination)
        && let Some(cookie) = split.cookie(chosen, view.client.scheme == filter::Scheme::Https)
    {
        head.append_header(header::SET_COOKIE, cookie).ok();
    }
    if let Some(cookie) = keep(ctx, &view) {
        head.append_header(header::SET_COOKIE, cookie.clone()).ok();
    }
    let trails = told == Told::Behind && route.trails.response;
    change(&route.response, trails, head, &view);
    let cookies = view.identity.map(|identity| &*identity.cookies).unwrap_or_default();
    if !cookies.is_empty() {
        transform::make_private(head);
    }
    for cookie in cookies {
        // After the route's edits, which are meant for what the origin says.
        head.append_header(header::SET_COOKIE, cookie.clone()).ok();
    }
    change(&route.security, trails, head, &view);
    route.cors.amend(head, &view);
    match trails {
        true => route.limits.clear(ctx.nearest(), head),
        false => route.limits.tell(ctx.nearest(), view.identity, head),
    }
}

/// Writes the lines that [`response`] has left out for them to be [behind](Told::Behind) the others.
pub(crate) fn tell_client(ctx: &Context, from: &RequestHeader, head: &ResponseHeader, out: &mut BytesMut) {
    if let Some((route, view)) = ctx.route().zip(ctx.view(from))
        && route.trails.response
    {
        route.response.write(head, &view, out);
        route.security.write(head, &view, out);
        route.limits.write(ctx.nearest(), view.identity, out);
    }
}
