//! Step 3: is there an answer already? A hit never enters dispatch.

mod failing;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cache::{
    Asked, Boarded, Forward, Key, Landed, Millis, Policy, Reader, Reuse, Selected, Status, Stored, Tier, Zone,
};
use filter::{Body, Reason, Reply};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use snapshot::Destination;
use telemetry::Cached;

pub(crate) use self::failing::is_failure;
use self::failing::{Lack, in_time};
use crate::{
    context::Context,
    dispatch,
    fetch::{Fetched, Fetches, Order},
    keyed::{self, Shown, key_of, passes},
};

/// How often a request joins a fetch that turns out to be for others before it asks for itself.
const ROUNDS: usize = 2;

/// What the cache says to a request.
pub(crate) enum Consulted {
    /// Nothing: it goes on to the origin as it is.
    Pass,
    /// This answer.
    Answer(Box<Answer>),
}

/// An answer that is kept, or being fetched.
pub(crate) struct Answer {
    /// Its head, with its framing, before what the route adds.
    pub(crate) head: ResponseHeader,
    /// Its content; `None` where there is none to send.
    pub(crate) content: Option<Reader>,
    /// What it is the whole of, or says to be unchanged, where it is.
    whole: Option<Arc<Stored>>,
}

/// Content that is compressed as it is sent, to be kept for the next who asks.
pub(crate) struct Copy {
    zone: Arc<Zone>,
    key: Key,
    stored: Arc<Stored>,
    coding: cache::Coding,
    pieces: BytesMut,
    /// What they take of the memory; `None` once there was too little, and nothing is copied.
    place: Option<cache::Place>,
}

impl Copy {
    pub(crate) fn take(&mut self, piece: Option<&Bytes>) {
        let (Some(place), Some(piece)) = (&mut self.place, piece) else { return };
        if place.take(piece.len() as u64) {
            self.pieces.extend_from_slice(piece);
        } else {
            (self.place, self.pieces) = (None, BytesMut::new());
        }
    }

    /// All of it has been taken.
    pub(crate) fn keep(mut self) {
        // What is kept of it has a place of its own.
        if self.place.take().is_some() {
            self.zone.keep_encoded(&self.key, &self.stored, self.coding, self.pieces.freeze());
        }
    }
}

/// A request that may be answered from the cache.
struct Visit<'a> {
    fetches: &'a Arc<Fetches>,
    policy: &'a Policy,
    zone: &'a Arc<Zone>,
    head: &'a RequestHeader,
    /// It as the origin is shown it, where that is another one.
    shown: Shown,
    key: Key,
    asked: Asked,
}

/// Whether the route keeps answers at all.
pub(crate) fn applies(ctx: &Context) -> bool {
    ctx.route().is_some_and(|route| route.cache.is_some())
}

/// The answer to a request that nothing stands in the way of: it is in memory, fresh, and the request has nothing special about
/// it. Where it is `None`, [`consult`] knows more, and need not find out again what was `seen`. It waits for nothing, which most
/// hits need not.
pub(crate) fn glance(
    fetches: &Arc<Fetches>,
    ctx: &mut Context,
    head: &RequestHeader,
    seen: &mut Option<Shown>,
) -> Option<Answer> {
    let snapshot = ctx.arrival.as_ref()?.snapshot.clone();
    let route = snapshot.routes.get(ctx.arrival.as_ref()?.route? as usize)?;
    let (policy, zone) = route.cache.as_ref().zip(snapshot.cache.as_ref())?;
    if head.method != Method::GET || !matches!(route.destination, Destination::Upstream(_)) {
        return None;
    }
    let asked = Asked::of(&head.headers);
    let view = ctx.view(head)?;
    if passes(policy, &view, &asked, false).is_some() {
        return None;
    }
    let known = seen.insert(keyed::shown(route, head)).as_deref().unwrap_or(head);
    let key = key_of(route, policy, &ctx.view(known)?)?;
    let stored = zone.find(&key, &known.headers)?;
    if cache::reuse::judge(&stored, &asked, cache::now()) != Reuse::Fresh {
        return None;
    }
    let shown = seen.take()?;
    let visit = Visit { fetches, policy, zone, head, shown, key, asked };
    let Consulted::Answer(mut answer) = visit.hit(ctx, &stored, None, Cached::Hit) else { return None };
    visit.encode(ctx, &mut answer);
    Some(*answer)
}

/// Looks for an answer to the request, and fetches it for the cache where there is none. `uploads` says whether the request
/// has a body, and `seen` what a [`glance`] at it has found out.
pub(crate) async fn consult(
    fetches: &Arc<Fetches>,
    ctx: &mut Context,
    head: &RequestHeader,
    uploads: bool,
    seen: Option<Shown>,
) -> Result<Consulted, Reply> {
    let Some(snapshot) = ctx.arrival.as_ref().map(|arrival| arrival.snapshot.clone()) else {
        return Ok(Consulted::Pass);
    };
    let route = ctx.arrival.as_ref().and_then(|arrival| snapshot.routes.get(arrival.route? as usize));
    let kept = route.and_then(|route| Some((route, route.cache.as_ref()?, snapshot.cache.as_ref()?)));
    let Some((route, policy, zone)) = kept else { return Ok(Consulted::Pass) };
    let asked = Asked::of(&head.headers);
    let Some(view) = ctx.view(head) else { return Ok(Consulted::Pass) };
    let shown = seen.unwrap_or_else(|| keyed::shown(route, head));
    let Some(known) = ctx.view(shown.as_deref().unwrap_or(head)) else { return Ok(Consulted::Pass) };
    if let Some(may) = policy.purges(&view) {
        return Err(if may { purge(zone, cache::Selector::of(&known)).await } else { Reason::AddressDenied.into() });
    }
    let passes = passes(policy, &view, &asked, uploads);
    let key = if passes.is_none() { key_of(route, policy, &known) } else { None };
    // Which upstream is asked decides what is answered.
    dispatch::choose_arm(ctx, head);
    let key = key.map(|key| match ctx.variant() {
        Some(upstream) => key.of_upstream(upstream),
        None => key,
    });
    let Some(key) = key else {
        ctx.cached = Some(Status::forwarded(passes.unwrap_or(Forward::Bypass)));
        ctx.record.cache = passes.filter(|why| *why != Forward::Method).map(|_| Cached::Bypass);
        return Ok(Consulted::Pass);
    };
    let visit = Visit { fetches, policy, zone, head, shown, key, asked };
    let mut consulted = visit.run(ctx).await?;
    if let Consulted::Answer(answer) = &mut consulted {
        visit.encode(ctx, answer);
    }
    Ok(consulted)
}

/// Lets go of answers for who may order that.
async fn purge(zone: &Arc<Zone>, selectors: [cache::Selector; 2]) -> Reply {
    let Some(count) = zone.order(selectors.into(), false, cache::now()).await else { return Reason::Internal.into() };
    let body = Body::Bytes(format!("{{\"purged\":{count}}}\n").into());
    Reply::answer(StatusCode::OK, body).with(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

impl Visit<'_> {
    /// The request as kept answers are told apart by it.
    fn known(&self) -> &RequestHeader {
        self.shown.as_deref().unwrap_or(self.head)
    }

    async fn run(&self, ctx: &mut Context) -> Result<Consulted, Reply> {
        let (mut round, mut again) = (0, false);
        loop {
            let looked = cache::now();
            let (found, tier) = self.find(ctx).await;
            let now = cache::now();
            let reuse = found.as_ref().map(|stored| cache::reuse::judge(stored, &self.asked, now));
            let why = match (&found, reuse) {
                (Some(stored), Some(Reuse::Fresh)) => return Ok(self.hit(ctx, stored, tier, Cached::Hit)),
                (Some(stored), Some(Reuse::Stale)) => return Ok(self.hit(ctx, stored, tier, Cached::Stale)),
                (Some(stored), Some(Reuse::StaleWhileRevalidating)) => {
                    self.refresh(ctx, stored);
                    return Ok(self.hit(ctx, stored, tier, Cached::Stale));
                }
                (Some(_), Some(Reuse::Asked)) => Forward::Request,
                (Some(_), _) => Forward::Stale,
                (None, _) if self.zone.has(&self.key) => Forward::VaryMiss,
                (None, _) => Forward::UriMiss,
            };
            if let Some(answered) = self.without_asking(ctx, found.is_some(), why) {
                return answered;
            }
            let boarded = if round == ROUNDS { Boarded::Leads(cache::Flight::alone()) } else { self.board(now) };
            let lack = Lack { stale: found, looked, why };
            let mut ticket = match boarded {
                Boarded::Leads(flight) => return self.lead(ctx, flight, &lack, again).await,
                Boarded::Follows(ticket) => ticket,
            };
            match in_time(ctx.attempt.deadline, ticket.landed()).await {
                Err(_) => return self.fail(ctx, &lack, Reason::UpstreamTimeout.into()),
                Ok(Landed::Failed(reply)) if again || !self.may_do_better(ctx, &lack, reply.reason) => {
                    return self.fail(ctx, &lack, reply);
                }
                Ok(Landed::Failed(_)) => again = true,
                // What was asked for before a change or a purge does not answer who comes after it, nor what is older by now.
                Ok(Landed::Shared(stored)) if self.may_share(&stored) => {
                    if let Some(reader) = stored.content().reader() {
                        ctx.record.cache = Some(Cached::Hit);
                        let status = Status { collapsed: true, ..Status::forwarded(why) };
                        return Ok(self.answer(&stored, Some(reader), status, false));
                    }
                    round += 1;
                }
                Ok(_) => round += 1,
            }
        }
    }

    /// What becomes of a request for which nothing that is kept does, where nothing is fetched for the cache on its behalf.
    fn without_asking(&self, ctx: &mut Context, is_kept: bool, why: Forward) -> Option<Result<Consulted, Reply>> {
        if self.asked.only_if_cached {
            return Some(Err(Reason::NotCached.into()));
        }
        let has = |name| self.head.headers.contains_key(name);
        let partial = has(header::RANGE);
        // What is known not to be kept is worth no more than the word that it has not changed.
        let conditional = || has(header::IF_NONE_MATCH) || has(header::IF_MODIFIED_SINCE);
        let is_own = || conditional() && self.zone.is_left_alone(&self.key, cache::now());
        if is_kept || !(partial || self.head.method == Method::HEAD || is_own()) {
            return None;
        }
        ctx.cached = Some(Status::forwarded(if partial { Forward::Partial } else { why }));
        ctx.record.cache = Some(Cached::Miss);
        Some(Ok(Consulted::Pass))
    }

    /// Whether what somebody else asked for meanwhile answers this request as well.
    fn may_share(&self, stored: &Stored) -> bool {
        stored.is_for(&self.known().headers)
            && self.zone.counts(stored)
            && cache::reuse::judge(stored, &self.asked, cache::now()).is_allowed()
    }

    /// What is kept for the request, and where it is if not in memory. What is not fresh in memory may be so elsewhere.
    async fn find(&self, ctx: &Context) -> (Option<Arc<Stored>>, Option<Tier>) {
        let found = self.zone.find(&self.key, &self.known().headers);
        let than = match &found {
            None => 0,
            Some(stored) if stored.left(cache::now()) > 0 || !self.zone.is_shared() => return (found, None),
            Some(stored) => stored.freshness().asked(),
        };
        let Some(view) = ctx.view(self.known()) else { return (found, None) };
        match self.zone.seek(&self.key, &view, than).await {
            Some((stored, tier)) => (Some(stored), Some(tier)),
            None => (found, None),
        }
    }

    /// An answer out of the zone.
    fn hit(&self, ctx: &mut Context, stored: &Arc<Stored>, tier: Option<Tier>, how: Cached) -> Consulted {
        ctx.record.cache = Some(how);
        let ttl = stored.left(cache::now()).div_euclid(1000);
        let status = Status { hit: true, ttl: Some(ttl), tier, ..Status::default() };
        self.answer(stored, stored.content().reader(), status, true)
    }

    /// Asks the origin for what others may want as well. `again` says whether it was asked in vain on behalf of who asks now: this
    /// fetch then has all the time that the route gives, since others wait for it, and is not to fail of what this request has left.
    async fn lead(
        &self,
        ctx: &mut Context,
        flight: Arc<cache::Flight>,
        lack: &Lack,
        again: bool,
    ) -> Result<Consulted, Reply> {
        // While it is held the fetch goes on.
        let _ticket = flight.ticket();
        let order = self.order(ctx.detached(again), flight, lack.stale.clone(), false);
        let fetching = self.fetches.begin(order);
        let deadline = ctx.attempt.deadline.filter(|_| again);
        let Ok(fetched) = in_time(deadline, fetching).await else {
            return self.fail(ctx, lack, Reason::UpstreamTimeout.into());
        };
        let Some(Fetched { landed, record, backend }) = fetched else { return Err(Reason::Internal.into()) };
        ctx.record.told_by(&record);
        ctx.attempt.last = backend;
        let arrived = match landed {
            Ok(arrived) => arrived,
            Err(reply) => return self.fail(ctx, lack, reply),
        };
        if is_failure(arrived.stored.status())
            && let Some(answer) = self.stale_on_error(ctx, lack, Some(arrived.stored.status()))
        {
            return Ok(answer);
        }
        ctx.record.cache = Some(if arrived.revalidated { Cached::Revalidated } else { Cached::Miss });
        let status = Status {
            origin: arrived.revalidated.then_some(StatusCode::NOT_MODIFIED.as_u16()),
            stored: arrived.kept.is_ok(),
            unkept: arrived.kept.err(),
            ..Status::forwarded(lack.why)
        };
        let mut consulted = self.answer(&arrived.stored, arrived.reader, status, arrived.revalidated);
        if let Consulted::Answer(answer) = &mut consulted {
            for (name, value) in arrived.withheld {
                let _ = answer.head.append_header(name, value);
            }
        }
        Ok(consulted)
    }

    fn board(&self, now: Millis) -> Boarded {
        if self.asked.is_anew() {
            return Boarded::Leads(self.zone.board_alone(&self.key, &self.known().headers, now));
        }
        let does = |stored: &Stored| cache::reuse::judge(stored, &self.asked, now) == Reuse::Fresh;
        self.zone.board(&self.key, &self.known().headers, now, does)
    }

    /// Asks the origin in the background, unless somebody does already.
    fn refresh(&self, ctx: &Context, stored: &Arc<Stored>) {
        if let Some(flight) = self.zone.board_behind(&self.key, &self.known().headers) {
            // Nobody waits for what becomes of it.
            drop(self.fetches.begin(self.order(ctx.detached(true), flight, Some(stored.clone()), true)));
        }
    }

    fn order(&self, ctx: Context, flight: Arc<cache::Flight>, stale: Option<Arc<Stored>>, background: bool) -> Order {
        Order {
            ctx,
            zone: self.zone.clone(),
            client: self.head.clone(),
            shown: self.shown.clone(),
            course: self.zone.begin(&self.key),
            flight,
            stale,
            background,
        }
    }

    /// What of it this request gets. `aged` says whether it is older than the request.
    fn answer(&self, stored: &Arc<Stored>, reader: Option<Reader>, status: Status, aged: bool) -> Consulted {
        let mut head = stored.head().clone();
        let was_kept = aged && status.unkept.is_none();
        let now = was_kept.then(cache::now);
        let mut selected = cache::select::select(&self.head.method, &self.head.headers, stored, now);
        let mut reader = reader;
        if let Selected::Part(from, to) = selected {
            match stored.content().part(from, Some(to)) {
                Some(part) => reader = Some(part),
                None => selected = Selected::Whole,
            }
        }
        let length = frame(&mut head, selected, stored);
        let is_empty = length == Some(0) || self.head.method == Method::HEAD || selected == Selected::NotModified;
        // Who gets little or nothing of it does not stay to the end.
        if is_empty || matches!(selected, Selected::Part(..)) {
            stored.content().want();
        }
        self.tell(&mut head, stored, status, aged);
        if length.is_none() && selected != Selected::NotModified && self.head.version == Version::HTTP_11 {
            put(&mut head, "Transfer-Encoding", HeaderValue::from_static("chunked"));
        }
        let told = selected == Selected::NotModified || (selected == Selected::Whole && !is_empty);
        let whole = told.then(|| stored.clone());
        Consulted::Answer(Box::new(Answer { head, content: reader.filter(|_| !is_empty), whole }))
    }

    /// What was compressed before is given like that, and what will be now is kept. `relay::encode` does the rest.
    fn encode(&self, ctx: &mut Context, answer: &mut Answer) {
        let Some(stored) = answer.whole.take() else { return };
        let Some(compress) = ctx.route().and_then(|route| route.compress.as_ref()) else { return };
        if answer.head.status == StatusCode::NOT_MODIFIED {
            let mut head = stored.head().clone();
            if let Some(length) = stored.content().length() {
                put(&mut head, "Content-Length", HeaderValue::from(length));
            }
            return compress.unmodified(self.head, &head, &mut answer.head);
        }
        let Some(coding) = compress.coding(self.head, &answer.head) else { return };
        if let Some(encoded) = stored.content().encoded(coding) {
            compress.relabel(self.head, &mut answer.head, encoded.length().unwrap_or(0));
            answer.content = encoded.reader();
        } else if stored.content().wants(coding) && stored.content().length().is_some() {
            let (zone, key) = (self.zone.clone(), self.key.clone());
            let place = Some(zone.place());
            ctx.copy = Some(Box::new(Copy { zone, key, stored, coding, pieces: BytesMut::new(), place }));
        }
    }

    /// Age, what the answer depends on, and what the cache had to do with it.
    fn tell(&self, head: &mut ResponseHeader, stored: &Stored, status: Status, aged: bool) {
        let age = stored.freshness().age(cache::now()) / 1000;
        if aged || age > 0 {
            put(head, "Age", HeaderValue::from(age));
        }
        for name in self.policy.vary() {
            let known = head.headers.get_all(header::VARY).into_iter().any(|line| {
                line.as_bytes()
                    .split(|byte| *byte == b',')
                    .any(|one| one.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
            });
            if !known {
                let _ = head.append_header(header::VARY, HeaderValue::from_name(name.clone()));
            }
        }
        if let Some(value) = status.value() {
            let _ = head.append_header(CACHE_STATUS, value);
        }
    }
}

/// As it is written over HTTP/1.
pub(crate) const CACHE_STATUS: &str = "Cache-Status";

/// What is said of the content of the whole, and is not so of a part. `Repr-Digest` is of the whole in either.
const CONTENT_SUMS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

fn put(head: &mut ResponseHeader, name: &'static str, value: HeaderValue) {
    // A constant name is a valid one.
    let _ = head.insert_header(name, value);
}

/// Makes the head one of a whole answer, a part, or neither. Gives the length of its content, where it is known.
fn frame(head: &mut ResponseHeader, selected: Selected, stored: &Stored) -> Option<u64> {
    let length = match selected {
        Selected::Whole if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => return Some(0),
        Selected::Whole => stored.content().length(),
        Selected::NotModified => {
            // RFC 9110 section 15.4.5: nothing about the content.
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                head.remove_header(&name);
            }
            let _ = head.set_status(StatusCode::NOT_MODIFIED);
            return None;
        }
        Selected::Part(from, to) => {
            let whole = stored.content().length().map_or_else(|| "*".to_owned(), |length| length.to_string());
            // RFC 9530 section 2: they are sums of the content of one message, which this is a part of.
            CONTENT_SUMS.iter().for_each(|name| drop(head.remove_header(name)));
            range(head, StatusCode::PARTIAL_CONTENT, &format!("bytes {from}-{}/{whole}", to.saturating_sub(1)));
            Some(to - from)
        }
        Selected::Unsatisfiable(length) => {
            head.remove_header(&header::CONTENT_TYPE);
            head.remove_header(&header::CONTENT_ENCODING);
            CONTENT_SUMS.iter().for_each(|name| drop(head.remove_header(name)));
            range(head, StatusCode::RANGE_NOT_SATISFIABLE, &format!("bytes */{length}"));
            Some(0)
        }
    };
    if let Some(length) = length {
        put(head, "Content-Length", HeaderValue::from(length));
    }
    length
}

fn range(head: &mut ResponseHeader, status: StatusCode, told: &str) {
    let _ = head.set_status(status);
    if let Ok(value) = HeaderValue::from_str(told) {
        put(head, "Content-Range", value);
    }
}
