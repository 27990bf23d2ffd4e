//! One request on a connection: read, checked, carried out, answered.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::{
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use tokio::time::timeout;

use crate::{
    Admin, Who,
    answer::Answer,
    bind::Reach,
    call::Call,
    follow::{self, Source},
    guard,
    operations::{Body, Found, Operation, Run, find},
};

/// How long a client may take to send a body, and to read an answer.
const BODY: Duration = Duration::from_secs(30);

/// How long a body that nobody asked for is read, so that the client gets to see the answer.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a connection is kept for the next request, in seconds.
const IDLE: u64 = 10;

/// Where requests come from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) who: Who,
    pub(crate) reach: Reach,
}

/// What a request comes to.
enum Outcome {
    Answer(Answer),
    Follow(Source),
}

/// Answers one request whose head is read; gives the connection back when it can be used for another.
pub(crate) async fn exchange(
    mut session: ServerSession,
    admin: &Arc<Admin>,
    origin: &Origin,
    stop: &mut ShutdownWatch,
) -> pingora_core::Result<Option<Stream>> {
    session.set_keepalive(Some(IDLE));
    let has_body = session.req_header().method != Method::HEAD;
    let outcome = match received(&mut session, admin, origin).await {
        Ok((operation, call)) => carry_out(admin, operation, call).await,
        Err(refusal) => Outcome::Answer(refusal),
    };
    match outcome {
        Outcome::Answer(answer) => {
            let after = respond(&mut session, answer, has_body).await?;
            let reusable = session.finish().await;
            if let Some(after) = after {
                after.await;
            }
            Ok(reusable?.map(|reusable| reusable.into_parts().0))
        }
        Outcome::Follow(source) => {
            let Ok(_place) = Arc::clone(&admin.followers).try_acquire_owned() else {
                let answer = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "too many others follow already");
                respond(&mut session, answer, true).await?;
                return Ok(None);
            };
            follow::tell(&mut session, source, stop).await?;
            Ok(None)
        }
    }
}

/// Passes the request through every check, and reads its body.
async fn received(
    session: &mut ServerSession,
    admin: &Admin,
    origin: &Origin,
) -> Result<(&'static Operation, Call), Answer> {
    let bare = session.is_body_empty();
    if !bare {
        // Unless the body turns out to be wanted and is read to its end.
        session.set_keepalive(None);
    }
    let head = session.req_header();
    if head.version >= Version::HTTP_11 && !head.headers.contains_key(header::HOST) {
        // RFC 9112 section 3.2.
        return Err(Answer::problem(StatusCode::BAD_REQUEST, "the Host field is missing"));
    }
    let found = find(&head.method, head.uri.path());
    let probe = matches!(&found, Found::Operation(operation, _) if operation.is_probe());
    guard::admit(&head.headers, probe, &origin.reach)?;
    let (operation, [name, part]) = match found {
        Found::Operation(operation, names) => (operation, names),
        Found::OtherMethods(allowed) => return Err(other_method(&head.headers, &allowed)),
        Found::Nothing => {
            let detail = "there is nothing here; `/api/v1/openapi.json` says what there is";
            return Err(Answer::problem(StatusCode::NOT_FOUND, detail));
        }
    };
    if operation.verb != crate::operations::Verb::Get {
        guard::same_site(&head.headers)?;
    }
    if operation.is_guarded()
        && let Err(refusal) = guard::admit_change(&head.headers, &origin.reach)
    {
        admin.denied(&origin.who, operation.name);
        return Err(refusal);
    }
    let query = query(operation, head.uri.query().unwrap_or(""))?;
    let headers = head.headers.clone();
    let body = match &operation.body {
        Some(body) if !bare => read(session, body).await?,
        Some(body) if body.required => return Err(Answer::problem(StatusCode::BAD_REQUEST, "a body is needed")),
        _ => Bytes::new(),
    };
    Ok((operation, Call { who: origin.who.clone(), name, part, query, headers, body }))
}

fn other_method(headers: &http::HeaderMap, allowed: &str) -> Answer {
    if let Err(refusal) = guard::same_site(headers) {
        return refusal;
    }
    let answer = Answer::problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this answers {allowed}"));
    match HeaderValue::from_str(allowed) {
        Ok(allowed) => answer.with(header::ALLOW, allowed),
        Err(_) => answer,
    }
}

/// The query, in which nothing may stand that nobody knows.
fn query(operation: &Operation, text: &str) -> Result<Vec<(String, String)>, Answer> {
    let query: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let known = |name: &str| operation.query.iter().any(|parameter| parameter.name == name);
    match query.iter().find(|(name, _)| operation.is_strict() && !known(name)) {
        None => Ok(query),
        Some((name, _)) => {
            Err(Answer::problem(StatusCode::BAD_REQUEST, &format!("`{name}` is not a parameter of {}", operation.path)))
        }
    }
}

/// Reads a body to its end, as long as it is not too long.
async fn read(session: &mut ServerSession, body: &Body) -> Result<Bytes, Answer> {
    let too_long = || {
        let detail = format!("a body has at most {} bytes here", body.limit);
        Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &detail)
    };
    let cut = |_| Answer::problem(StatusCode::BAD_REQUEST, "the body did not come to its end");
    let field = |name| session.get_header(name).and_then(|value| value.to_str().ok());
    if field(header::CONTENT_LENGTH)
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| length > body.limit)
    {
        return Err(too_long());
    }
    if field(header::EXPECT).is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue")) {
        session.write_continue_response().await.map_err(cut)?;
    }
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(piece) = session.read_request_body().await.map_err(cut)? {
            if bytes.len() + piece.len() > body.limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    match timeout(BODY, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(Answer::problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
    session.set_keepalive(Some(IDLE));
    Ok(bytes.freeze())
}

/// Carries it out in a task of its own: it is not left halfway when the client goes.
async fn carry_out(admin: &Arc<Admin>, operation: &'static Operation, call: Call) -> Outcome {
    let admin = Arc::clone(admin);
    let done = match operation.run {
        Run::Change(change) | Run::Order(change) => {
            let order = serde_json::from_slice(&call.body).unwrap_or_default();
            tokio::spawn(async move {
                let (who, before) = (call.who.clone(), admin.generation());
                let answer = match operation.run {
                    Run::Order(_) => admin.order(change(Arc::clone(&admin), call)).await,
                    _ => change(Arc::clone(&admin), call).await,
                };
                admin.record(who, operation.name, order, answer.outcome, before);
                answer
            })
            .await
        }
        Run::Follow(follow) => return following(follow(&admin, &call)),
        Run::LookOrFollow(_, follow) if call.wants_events() => return following(follow(&admin, &call)),
        // Thousands of routes make a page that takes a while to write.
        Run::Look(look) | Run::LookInside(look) | Run::LookOrFollow(look, _) => {
            tokio::task::spawn_blocking(move || look(&admin, &call)).await
        }
    };
    Outcome::Answer(done.unwrap_or_else(|error| {
        log::error!("the admin listener failed: {error}");
        Answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "a fault in maitred itself")
    }))
}

fn following(source: Result<Source, Answer>) -> Outcome {
    source.map_or_else(Outcome::Answer, Outcome::Follow)
}

/// Writes an answer, and gives back what is to be done when it has gone.
async fn respond(
    session: &mut ServerSession,
    mut answer: Answer,
    has_body: bool,
) -> pingora_core::Result<Option<crate::answer::After>> {
    let (head, after) = (answer.head()?, answer.after.take());
    let body = if has_body { answer.body } else { Bytes::new() };
    let written = timeout(BODY, async {
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(body, true).await
    });
    match written.await {
        Ok(written) => written?,
        // What is to follow follows all the same, and the connection is of no use.
        Err(_) => session.set_keepalive(None),
    }
    if session.get_keepalive().is_none() {
        // Whether or not it could be read to its end, the connection is closed.
        let _ = timeout(DRAIN, session.drain_request_body()).await;
    }
    Ok(after)
}
