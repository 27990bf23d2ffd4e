//! Requests that the cache makes for everybody who asks for the same thing. They go on when who asked first has left, as
//! long as somebody waits.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use cache::{Closing, Content, Course, Flight, Landed, Policy, Reader, Stored, Unkept, Withheld, Zone};
use filter::{Reason, Reply};
use http::{HeaderValue, Method, StatusCode, Version, header};
use limit::Way;
use pingora_core::{
    connectors::{TransportConnector, http::Connector},
    protocols::http::{client::HttpSession, v1::client::HttpSession as Http1},
    upstreams::peer::{HttpPeer, Peer},
};
use pingora_http::{RequestHeader, ResponseHeader};
use telemetry::Record;
use tokio::sync::oneshot;
use upstream::{Pick, Reading};

use crate::{
    ask::{self, Ask, Heard, name_authority},
    consult,
    context::Context,
    dispatch,
    engine::{Origin, Pool},
    finish,
    keyed::Shown,
    line::Line,
    mirror, relay,
    throttle::Flows,
};

/// How long who has not taken what was fetched yet may take to do so.
const HAND_OVER: Duration = Duration::from_millis(5);

/// How the cache comes to origins: over HTTP/1 by the connections that all requests use.
pub(crate) struct Fetches {
    transport: Arc<TransportConnector>,
    pool: Arc<Pool>,
    /// For HTTP/2. Made when it is first needed: it reads all the authorities that the system trusts.
    connector: OnceLock<Arc<Connector<()>>>,
}

/// What is to be fetched.
pub(crate) struct Order {
    /// A context of its own: it outlives the request that began it.
    pub(crate) ctx: Context,
    pub(crate) zone: Arc<Zone>,
    /// The request as the client sent it.
    pub(crate) client: RequestHeader,
    /// It as the origin is shown it, where that is another one.
    pub(crate) shown: Shown,
    /// The way of the answer into the cache.
    pub(crate) course: Arc<Course>,
    pub(crate) flight: Arc<Flight>,
    /// What is kept already and has to be asked for anew.
    pub(crate) stale: Option<Arc<Stored>>,
    /// Whether it goes on though nobody waits.
    pub(crate) background: bool,
}

impl Order {
    /// The request as kept answers are told apart by it.
    fn known(&self) -> &RequestHeader {
        self.shown.as_deref().unwrap_or(&self.client)
    }

    /// Whether what is kept does where the origin fails.
    fn stale_does(&self) -> bool {
        self.stale.as_ref().is_some_and(|stale| self.background || stale.does_on_error(cache::now()))
    }
}

/// What came of it, for who began it.
pub(crate) struct Fetched {
    pub(crate) landed: Result<Arrived, Reply>,
    /// What there is to tell of the last attempt.
    pub(crate) record: Record,
    pub(crate) backend: Option<Arc<str>>,
}

/// An answer whose head is there.
pub(crate) struct Arrived {
    pub(crate) stored: Arc<Stored>,
    pub(crate) reader: Option<Reader>,
    /// Whether it is kept, or why it is not.
    pub(crate) kept: Result<(), Unkept>,
    /// Whether the origin said that what was kept is still good.
    pub(crate) revalidated: bool,
    /// Fields that are for who has caused the fetch, and are not kept.
    pub(crate) withheld: Withheld,
}

/// An attempt that came to nothing.
enum Failed {
    /// What was kept is about something else by now, or purged: the origin has to be asked without conditions.
    Other,
    For(Reason),
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self::For(reason)
    }
}

impl Fetches {
    /// With the connections of `pool`, and those that `transport` makes.
    pub(crate) fn new(transport: Arc<TransportConnector>, pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { transport, pool, connector: OnceLock::new() })
    }

    fn connector(&self) -> Arc<Connector<()>> {
        self.connector.get_or_init(|| Arc::new(Connector::new(None))).clone()
    }

    /// A connection to the `peer` of `pick`, and whether it was used before.
    pub(crate) async fn connect(&self, pick: &Pick, peer: &HttpPeer) -> pingora_core::Result<(Line, bool)> {
        if speaks_h2(peer) {
            return Line::of_pool(self.connector(), peer).await;
        }
        let ((stream, counted), reused) = match self.pool.take(peer.reuse_hash(), pick.counter(), Instant::now()) {
            Some(origin) => (origin.into_parts(), true),
            None => ((self.transport.new_stream(peer).await?, pick.counter().connection()), false),
        };
        let session = HttpSession::H1(Http1::new_with_options(stream, peer));
        Ok((Line::own(session, counted), reused))
    }

    /// Gives a connection back that is done with its answer.
    pub(crate) async fn give_back(&self, line: Line, peer: &HttpPeer) {
        if let Some((HttpSession::H1(mut h1), counted)) = line.give_back().await {
            h1.respect_keepalive();
            if let Some(stream) = h1.reuse().await {
                self.pool.put(peer.reuse_hash(), Origin::new(stream, counted), peer.idle_timeout());
            }
        }
    }

    /// Begins a fetch of its own. What it gives is ready once the head is there; dropping it ends nothing.
    pub(crate) fn begin(self: &Arc<Self>, order: Order) -> impl Future<Output = Option<Fetched>> + use<> {
        let (tell, told) = oneshot::channel();
        // From here on, so that whoever waits hears of its end even where it is never run.
        let (fetches, closing) = (self.clone(), order.flight.closing());
        tokio::spawn(async move { Box::pin(fetches.fetch(order, tell, closing)).await });
        async { told.await.ok() }
    }

    async fn fetch(&self, mut order: Order, tell: oneshot::Sender<Fetched>, _closing: Closing) {
        let flight = order.flight.clone();
        let background = order.background;
        let arrived = tokio::select! {
            biased;
            arrived = self.arrive(&mut order) => arrived,
            () = flight.abandoned(), if !background => return,
        };
        let (landed, heard) = match arrived {
            Ok((arrived, heard)) => (Ok(arrived), Some(heard)),
            Err(reason) => {
                // A limit of the upstream may have said more than the reason does.
                let reply = order.ctx.proofs.answer(reason);
                flight.land(Landed::Failed(reply.clone()));
                (Err(reply), None)
            }
        };
        let arrived = landed.as_ref().ok().filter(|arrived| !arrived.revalidated);
        let stored = arrived.map(|arrived| (arrived.stored.clone(), arrived.kept.is_ok()));
        // Whoever began it may have left; then its reader goes with it.
        finish::last_try(&mut order.ctx, landed.as_ref().err().map(|reply| reply.reason).unwrap_or_default());
        let backend = order.ctx.attempt.pick.as_ref().map(|pick| pick.label().clone());
        let backend = backend.or_else(|| order.ctx.attempt.last.clone());
        drop(tell.send(Fetched { landed, record: order.ctx.record.clone(), backend }));
        match (heard, stored) {
            (Some(heard), Some((stored, is_kept))) => {
                order.zone.prepare(order.course.key(), &stored).await;
                self.carry(heard, stored, is_kept, &mut order).await;
            }
            (Some(heard), None) => self.release(heard).await,
            _ => {}
        }
    }

    /// Asks, and takes in what is answered.
    async fn arrive(&self, order: &mut Order) -> Result<(Arrived, Heard), Reason> {
        loop {
            let Order { ctx, client, stale, .. } = &mut *order;
            let what = Fetch { client, stale: stale.as_deref() };
            let mut heard = ask::ask(self, ctx, &what).await?;
            match take_in(order, &mut heard) {
                Ok(arrived) => return Ok((arrived, heard)),
                Err(Failed::Other) => {
                    order.stale = None;
                    // The backend has done nothing wrong, and what is asked now is another request, with all its retries.
                    order.ctx.attempt.answered = false;
                    dispatch::leave(&mut order.ctx, Reason::None);
                    self.release(heard).await;
                }
                Err(Failed::For(reason)) => return Err(reason),
            }
        }
    }

    /// Takes the content in, to its end, or until nobody wants it.
    async fn carry(&self, heard: Heard, stored: Arc<Stored>, is_kept: bool, order: &mut Order) {
        let Heard { mut line, peer, .. } = heard;
        let content = stored.content();
        loop {
            let piece = tokio::select! {
                biased;
                piece = line.next_piece() => piece,
                () = unwanted(content, &order.flight) => {
                    content.finish(Err(Reason::ClientClosed));
                    return;
                }
            };
            match piece {
                Ok(Some(piece)) => {
                    mirror::answer_chunk(&mut order.ctx, Some(&piece));
                    tokio::select! {
                        () = async {
                            Flows::of(&order.ctx).hold(Way::Down, piece.len()).await;
                            content.push(piece).await;
                        } => {}
                        () = unwanted(content, &order.flight) => {
                            content.finish(Err(Reason::ClientClosed));
                            return;
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let reading = Reading::of(&error);
                    dispatch::count_failure(&mut order.ctx, reading);
                    content.finish(Err(reading.reason));
                    return;
                }
            }
        }
        content.finish(Ok(()));
        mirror::conclude(&mut order.ctx, Reason::None);
        if is_kept {
            order.zone.keep_fetched(&order.course, stored.clone(), &order.known().headers).await;
        }
        self.give_back(line, &peer).await;
    }

    /// Gives a connection back whose answer has no content.
    async fn release(&self, heard: Heard) {
        let Heard { mut line, peer, .. } = heard;
        if let Ok(None) = line.next_piece().await {
            self.give_back(line, &peer).await;
        }
    }
}

/// What a head means: that what is kept is good, or that something new comes.
fn take_in(order: &mut Order, heard: &mut Heard) -> Result<Arrived, Failed> {
    if let Err(error) = relay::upstream_response(&mut order.ctx, &mut heard.head, Version::HTTP_11, false) {
        let reading = Reading::of(&error);
        dispatch::count_failure(&mut order.ctx, reading);
        return Err(reading.reason.into());
    }
    let Some(policy) = policy_of(&order.ctx) else { return Err(Reason::Internal.into()) };
    let Some(view) = order.ctx.view(order.known()) else { return Err(Reason::Internal.into()) };
    let times = heard.times;
    let fetched = |head| cache::Fetched { head, request: &view, times };
    if heard.head.status == StatusCode::NOT_MODIFIED
        && let Some(stale) = &order.stale
    {
        // A 304 does not bring back what was purged after it had been looked up.
        if order.zone.was_purged(stale, order.course.began()) {
            return Err(Failed::Other);
        }
        let (stored, kept) = stale.freshened(fetched(heard.head.clone()), policy).ok_or(Failed::Other)?;
        let stored = Arc::new(stored);
        if kept.is_ok() {
            order.zone.keep(&order.course, stored.clone(), &order.known().headers);
        }
        let reader = stored.content().reader();
        return Ok(land(order, stored, reader, kept, true));
    }
    let length = length(&heard.head);
    // What nobody says the length of is kept in memory, or not.
    let most =
        if length.is_some() { policy.max_object() } else { policy.max_object().min(order.zone.most_in_memory()) };
    let content = order.zone.content(length, most);
    let (stored, kept) = Stored::new(fetched(heard.head.clone()), content.clone(), policy);
    let kept = kept.and_then(|withheld| {
        if consult::is_failure(stored.status()) && order.stale_does() {
            // What does in its place stays.
            Err(Unkept::Status)
        } else if !order.zone.has_room(&stored) {
            Err(Unkept::TooLarge)
        } else {
            Ok(withheld)
        }
    });
    let stored = Arc::new(stored);
    let reader = content.reader();
    if kept.is_err() {
        content.pass();
    } else if order.background {
        // Nobody reads it.
        content.want();
    }
    Ok(land(order, stored, reader, kept, false))
}

/// Tells who waits.
fn land(
    order: &Order,
    stored: Arc<Stored>,
    reader: Option<Reader>,
    kept: Result<Withheld, Unkept>,
    revalidated: bool,
) -> Arrived {
    let (kept, withheld) = match kept {
        Ok(withheld) => {
            order.course.bring(&stored);
            // Where each use is to be asked for, so is this one by everybody who waits (RFC 9111 section 5.2.2.4).
            if stored.does_while_revalidating(cache::now()) {
                order.flight.land(Landed::Shared(stored.clone()));
            } else {
                order.zone.leave_alone(order.course.key(), cache::now());
                order.flight.land(Landed::Alone);
            }
            (Ok(()), withheld)
        }
        Err(why) => {
            // An origin that fails says nothing of what it gave before, and neither does one that refuses this request.
            let fails = !revalidated && consult::is_failure(stored.status());
            let refuses = !revalidated && cache::is_about_the_request(stored.status());
            if !fails && !refuses {
                order.zone.let_go_of_older(&order.course, &stored, &order.known().headers);
            }
            // While it does it is still asked once for all whom a stale answer does, or one that is not for this request.
            let does = (fails || refuses) && order.stale.is_some() || refuses && order.zone.has(order.course.key());
            if !does {
                order.zone.leave_alone(order.course.key(), cache::now());
            }
            order.flight.land(Landed::Alone);
            (Err(why), Vec::new())
        }
    };
    Arrived { stored, reader, kept, revalidated, withheld }
}

/// Ready once nobody reads the content and nobody is about to.
async fn unwanted(content: &Content, flight: &Flight) {
    loop {
        content.deserted().await;
        if flight.passengers() == 0 {
            return;
        }
        tokio::time::sleep(HAND_OVER).await;
    }
}

fn policy_of(ctx: &Context) -> Option<&Policy> {
    ctx.route()?.cache.as_ref()
}

fn length(head: &ResponseHeader) -> Option<u64> {
    if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Some(0);
    }
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// What the cache asks an origin.
struct Fetch<'f> {
    /// The request as the client sent it.
    client: &'f RequestHeader,
    /// What is kept already and has to be asked for anew.
    stale: Option<&'f Stored>,
}

impl Ask for Fetch<'_> {
    /// All of the answer, whatever the client asked for of it, if it has changed.
    fn head(
        &self,
        ctx: &Context,
        pick: Option<&Pick>,
        peer: &HttpPeer,
        is_h2: bool,
    ) -> pingora_core::Result<RequestHeader> {
        let mut from = self.client.clone();
        from.set_method(Method::GET);
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE] {
            from.remove_header(&name);
        }
        if let Some(policy) = policy_of(ctx) {
            narrow(ctx, self.client, policy, &mut from)?;
        }
        for (name, value) in self.stale.iter().flat_map(|stale| stale.conditions()) {
            from.insert_header(name, value)?;
        }
        let mut to = from.clone();
        to.set_version(if is_h2 { Version::HTTP_2 } else { Version::HTTP_11 });
        relay::request_by(ctx, pick, relay::Told::Among, &from, &mut to)?;
        if is_h2 {
            name_authority(&mut to, peer)?;
        }
        Ok(to)
    }

    fn client(&self) -> &RequestHeader {
        self.client
    }

    fn method(&self) -> &Method {
        &Method::GET
    }
}

/// What tells no answers apart does not reach the origin: the parameters that are not part of the key, and the hundred ways
/// of saying which codings a client takes.
fn narrow(
    ctx: &Context,
    client: &RequestHeader,
    policy: &Policy,
    from: &mut RequestHeader,
) -> pingora_core::Result<()> {
    if from.headers.contains_key(header::ACCEPT_ENCODING) {
        let accepted = cache::encoding::accepted(&from.headers);
        let named =
            if policy.asks_plain() || accepted.is_empty() { None } else { HeaderValue::try_from(accepted).ok() };
        // Nothing at all would mean anything (RFC 9110 section 12.5.3).
        from.insert_header(header::ACCEPT_ENCODING, named.unwrap_or(HeaderValue::from_static("identity")))?;
    }
    let hidden: Vec<_> = from.headers.keys().filter(|name| policy.hides(name)).cloned().collect();
    hidden.iter().for_each(|name| drop(from.remove_header(name)));
    let query = ctx.view(client).and_then(|view| policy.query(&view));
    if let Some(query) = query {
        let path = from.uri.path().to_owned();
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let uri = http::Uri::try_from(target.as_str());
        match (from.uri.authority(), uri) {
            (None, Ok(_)) => from.set_raw_path(target.as_bytes())?,
            (Some(authority), Ok(_)) => {
                let scheme = from.uri.scheme_str().unwrap_or("http").to_owned();
                let whole = format!("{scheme}://{authority}{target}");
                if let Ok(uri) = whole.parse() {
                    from.set_uri(uri);
                }
            }
            (_, Err(_)) => {}
        }
    }
    Ok(())
}

/// Whether more than HTTP/1 is spoken with it.
fn speaks_h2(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_max_http_version() > 1
}
