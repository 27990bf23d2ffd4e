//! Requests to origins over maitred's own connections: those of the cache, and those of the general engine that may be sent
//! to another backend as well. Whatever the origin speaks, up to the head of its answer.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cache::Times;
use filter::Reason;
use futures::{StreamExt, stream::FuturesUnordered};
use http::Method;
use pingora_core::{Error, ErrorType, protocols::http::client::HttpSession, upstreams::peer::HttpPeer};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use upstream::{Pick, Reading};

use crate::{
    context::Context,
    dispatch,
    fetch::Fetches,
    finish,
    hedge::{self, Second},
    interims::Interims,
    line::Line,
    persist::is_interim,
    relay,
};

/// What an origin is to be asked.
pub(crate) trait Ask: Sync {
    /// The head for the endpoint of `pick`, in HTTP/2 or not.
    fn head(
        &self,
        ctx: &Context,
        pick: Option<&Pick>,
        peer: &HttpPeer,
        is_h2: bool,
    ) -> pingora_core::Result<RequestHeader>;

    /// The request as the client sent it.
    fn client(&self) -> &RequestHeader;

    /// The content of the request, where it has any.
    fn content(&self) -> Option<&Bytes> {
        None
    }

    /// How it is asked.
    fn method(&self) -> &Method;
}

/// A head that came, and the connection that its content comes by.
pub(crate) struct Heard {
    pub(crate) line: Line,
    pub(crate) peer: Box<HttpPeer>,
    pub(crate) head: ResponseHeader,
    pub(crate) times: Times,
}

type Came = (Line, ResponseHeader, Times);

/// Who was the first to answer.
enum First {
    /// The one that was asked first, or none.
    Own(pingora_core::Result<Came>),
    Second(Box<Second>, Came, Option<Reading>),
}

/// Attempt after attempt, until one answers or none is left.
pub(crate) async fn ask(fetches: &Fetches, ctx: &mut Context, what: &impl Ask) -> Result<Heard, Reason> {
    let mut spare = true;
    loop {
        let mut peer = dispatch::dispatch(ctx, what.client(), what.content().is_some()).await?;
        if let Some(content) = what.content() {
            relay::request_chunk(ctx, &mut Some(content.clone()), true).map_err(|reply| reply.reason)?;
        }
        let Some(pick) = &ctx.attempt.pick else { return Err(Reason::Internal) };
        let (line, reused) = match fetches.connect(pick, &peer).await {
            Ok(connected) => connected,
            Err(error) => {
                let reading = Reading::of(&error);
                if dispatch::after_connect_failure(ctx, reading) {
                    continue;
                }
                return Err(reading.reason);
            }
        };
        finish::connected(ctx, reused);
        let came = match race(fetches, ctx, what, line, &peer).await {
            First::Own(came) => came,
            First::Second(second, came, failed) => {
                peer = hedge::win(ctx, *second, failed);
                Ok(came)
            }
        };
        let error = match came {
            Ok((_, head, _)) if dispatch::after_answer(ctx, what.client(), &head, true) => continue,
            Ok((line, head, times)) => return Ok(Heard { line, peer, head, times }),
            Err(error) => error,
        };
        // The origin may have closed a connection that nobody used; a fresh one gets the request.
        if std::mem::take(&mut spare) && reused && is_closed(&error) {
            continue;
        }
        let reading = Reading::of(&error);
        if !dispatch::after_failure(ctx, reading, what.method(), true) {
            return Err(reading.reason);
        }
    }
}

/// Waits for the answer, and asks others where it takes its time.
async fn race(fetches: &Fetches, ctx: &mut Context, what: &impl Ask, line: Line, peer: &HttpPeer) -> First {
    let asked: &Context = ctx;
    let own = exchange(asked, asked.attempt.pick.as_ref(), what, line, peer, asked.attempt.deadline);
    let Some((after, most)) = hedge::after(asked, what.client()).filter(|_| what.method().is_idempotent()) else {
        return First::Own(own.await);
    };
    // In a box, since it is large and few want it.
    let raced = Box::pin(run(fetches, asked, what, own, after, most)).await;
    let Raced { own, won, failed, lost, seconds } = raced;
    let mut winner = None;
    for (index, second) in seconds.into_iter().enumerate() {
        // Whoever else held it is gone with the race.
        let Some(mut second) = Arc::into_inner(second) else { continue };
        if let Some((place, connect, _)) = &won
            && *place == index
        {
            second.connect = *connect;
            winner = Some(second);
            continue;
        }
        match lost.iter().find(|lost| lost.place == index) {
            Some(lost) => {
                second.connect = lost.connect;
                hedge::note(ctx, &second, lost.reason, lost.status);
            }
            None => hedge::lose(ctx, &second),
        }
    }
    match (won, winner) {
        (Some((_, _, came)), Some(second)) => First::Second(Box::new(second), came, failed),
        _ => First::Own(own.unwrap_or_else(|| Err(too_late()))),
    }
}

/// A second request of which nothing came.
struct Lost {
    /// Its place.
    place: usize,
    connect: Option<Duration>,
    reason: Reason,
    /// 0 where it was not answered.
    status: u16,
}

/// How a race has ended.
struct Raced {
    own: Option<pingora_core::Result<Came>>,
    /// The place of the second that has won, how long its connection took, and what came.
    won: Option<(usize, Option<Duration>, Came)>,
    /// What the first has died of before that.
    failed: Option<Reading>,
    lost: Vec<Lost>,
    seconds: Vec<Arc<Second>>,
}

async fn run(
    fetches: &Fetches,
    ctx: &Context,
    what: &impl Ask,
    own: impl Future<Output = pingora_core::Result<Came>>,
    after: Duration,
    most: u32,
) -> Raced {
    let mut raced = Raced { own: None, won: None, failed: None, lost: Vec::new(), seconds: Vec::new() };
    let (mut own, mut racing, mut left) = (pin!(own), FuturesUnordered::new(), most);
    let mut timer = pin!(sleep(after));
    loop {
        tokio::select! {
            biased;
            came = &mut own, if raced.own.is_none() => {
                let is_over = came.is_ok() || racing.is_empty();
                raced.failed = came.as_ref().err().map(|error| Reading::of(error));
                raced.own = Some(came);
                if is_over {
                    return raced;
                }
            }
            Some((place, connect, came)) = racing.next(), if !racing.is_empty() => {
                let came: pingora_core::Result<Came> = came;
                match came {
                    Ok(came) if hedge::is_wanted(status_of(&came)) => {
                        raced.won = Some((place, connect, came));
                        return raced;
                    }
                    came => {
                        let lost = give_up(ctx, &raced.seconds[place], came);
                        raced.lost.push(Lost { place, connect, ..lost });
                    }
                }
                if raced.own.is_some() && racing.is_empty() {
                    return raced;
                }
            }
            () = &mut timer, if left > 0 && raced.own.is_none() => {
                left -= 1;
                timer.as_mut().reset(tokio::time::Instant::now() + after);
                let asked = raced.seconds.iter().map(|second| second.pick.endpoint());
                let Some(second) = hedge::begin(ctx, what.client(), asked) else { continue };
                let (place, second) = (raced.seconds.len(), Arc::new(second));
                raced.seconds.push(Arc::clone(&second));
                racing.push(ask_too(fetches, ctx, what, second, place));
            }
        }
    }
}

/// Counts what came to nothing at once; it is told when the race is over.
fn give_up(ctx: &Context, second: &Second, came: pingora_core::Result<Came>) -> Lost {
    let (reason, status) = match came {
        Ok(came) => {
            let status = status_of(&came);
            hedge::pass_over(ctx, second, status);
            (Reason::UpstreamStatus, status)
        }
        Err(error) => {
            let reading = Reading::of(&error);
            hedge::fail(ctx, second, reading);
            (reading.reason, 0)
        }
    };
    Lost { place: 0, connect: None, reason, status }
}

fn status_of((_, head, _): &Came) -> u16 {
    head.status.as_u16()
}

/// Connects to the second and asks it. Says at which place it stands, and how long connecting took.
async fn ask_too(
    fetches: &Fetches,
    ctx: &Context,
    what: &impl Ask,
    second: Arc<Second>,
    place: usize,
) -> (usize, Option<Duration>, pingora_core::Result<Came>) {
    let until = hedge::until(ctx, &second);
    let mut connect = None;
    let asked = async {
        let mut spare = true;
        loop {
            let began = Instant::now();
            let (line, reused) = fetches.connect(&second.pick, &second.peer).await?;
            connect = Some(if reused { Duration::ZERO } else { began.elapsed() });
            match exchange(ctx, Some(&second.pick), what, line, &second.peer, Some(until)).await {
                Err(error) if std::mem::take(&mut spare) && reused && is_closed(&error) => {}
                done => return done,
            }
        }
    };
    let came = tokio::select! {
        biased;
        came = asked => came,
        () = sleep_until(until.into()) => Err(too_late()),
    };
    (place, connect, came)
}

/// Sends the request and reads the final head, which has to come by `until`.
async fn exchange(
    ctx: &Context,
    pick: Option<&Pick>,
    what: &impl Ask,
    mut line: Line,
    peer: &HttpPeer,
    until: Option<Instant>,
) -> pingora_core::Result<Came> {
    let asked = cache::now();
    let heard = talk(ctx, pick, what, &mut line, peer);
    let heard = match until {
        Some(until) => timeout_at(until.into(), heard).await.unwrap_or_else(|_| Err(too_late())),
        None => heard.await,
    };
    match heard {
        Ok(head) => Ok((line, head, Times { asked, answered: cache::now() })),
        Err(error) => {
            line.doubt(&error);
            Err(error)
        }
    }
}

async fn talk(
    ctx: &Context,
    pick: Option<&Pick>,
    what: &impl Ask,
    line: &mut Line,
    peer: &HttpPeer,
) -> pingora_core::Result<ResponseHeader> {
    let session = line.session()?;
    session.set_read_timeout(peer.options.read_timeout);
    session.set_write_timeout(peer.options.write_timeout);
    let is_h2 = matches!(session, HttpSession::H2(_));
    session.write_request_header(Box::new(what.head(ctx, pick, peer, is_h2)?)).await?;
    if let Some(content) = what.content().filter(|content| !content.is_empty()) {
        session.write_request_body(content.clone(), false).await?;
    }
    session.finish_request_body().await?;
    final_head(session, peer.options.read_timeout).await
}

fn too_late() -> Box<Error> {
    Error::new_up(ErrorType::ReadTimedout)
}

/// Reads up to the head of the answer itself, each head of which has `limit` as a whole: who drips one would have hours.
/// Whoever asks says how long all of them may take.
pub(crate) async fn final_head(
    session: &mut HttpSession<()>,
    limit: Option<Duration>,
) -> pingora_core::Result<ResponseHeader> {
    let (began, mut interims) = (Instant::now(), Interims::default());
    loop {
        let read = session.read_response_header();
        match limit {
            Some(limit) => timeout(limit, read).await.unwrap_or_else(|_| Err(too_late()))?,
            None => read.await?,
        }
        match session.response_header() {
            Some(head) if !is_interim(head.status) => return Ok(head.clone()),
            Some(head) if interims.admit(began.elapsed(), head) => {}
            _ => return Err(Error::explain(ErrorType::InvalidHTTPHeader, "no final answer").into_up()),
        }
    }
}

/// HTTP/2 has the host in its `:authority` (RFC 9113 section 8.3.1).
pub(crate) fn name_authority(to: &mut RequestHeader, peer: &HttpPeer) -> pingora_core::Result<()> {
    let wrong = || Error::explain(ErrorType::InvalidHTTPHeader, "no authority for HTTP/2");
    let host = to.remove_header(&http::header::HOST).ok_or_else(wrong)?;
    let scheme = if peer.is_tls() { "https" } else { "http" };
    let target = std::str::from_utf8(to.raw_path()).map_err(|_| wrong())?;
    let uri = http::Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build();
    to.set_uri(uri.map_err(|_| wrong())?);
    Ok(())
}

/// Whether the error is the end of a connection and nothing else.
pub(crate) fn is_closed(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}
