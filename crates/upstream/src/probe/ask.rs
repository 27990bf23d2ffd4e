//! One question to an endpoint, over a connection of its own.

use bytes::Bytes;
use http::{StatusCode, Version, header};
use pingora_core::{
    Error,
    connectors::http::Connector,
    protocols::http::client::HttpSession,
    upstreams::peer::{HttpPeer, Peer},
};
use pingora_http::RequestHeader;

use super::{Probe, Question};
use crate::reading::Reading;

/// How much of a body is looked at.
const MOST: usize = 64 * 1024;

/// What our questions are called in the backend's log.
const AGENT: &str = concat!("maitred/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Why an endpoint is not well.
pub(super) enum Failed {
    /// There was no answer.
    Attempt(Reading),
    /// It was not the right one.
    Answer(String),
}

impl From<Box<Error>> for Failed {
    fn from(error: Box<Error>) -> Self {
        Self::Attempt(Reading::of(&error.into_up()))
    }
}

pub(super) async fn ask(probe: &Probe, connector: &Connector) -> Result<(), Failed> {
    match &probe.check.question {
        Question::Tcp => crate::dial::dial(probe.peer.address()).await.map_err(Failed::Attempt),
        Question::Http { path, host, statuses, body } => {
            let mut head = head(probe, "GET", path)?;
            if let Some(host) = host {
                head.insert_header(header::HOST, host.clone())?;
            }
            let mut session = send(&probe.peer, connector, head, None).await?;
            let status = session.response_header().map_or(StatusCode::OK, |head| head.status);
            if !statuses.iter().any(|range| range.contains(&status.as_u16())) {
                return Err(Failed::Answer(format!("it answered {}", status.as_u16())));
            }
            match body {
                Some(wanted) => find(&mut session, wanted.as_bytes()).await,
                None => Ok(()),
            }
        }
        Question::Grpc { service } => grpc(probe, connector, service).await,
    }
}

fn head(probe: &Probe, method: &str, path: &str) -> Result<RequestHeader, Failed> {
    let mut head = RequestHeader::build(method, path.as_bytes(), None)?;
    if probe.protocol.is_h2() {
        head.set_version(Version::HTTP_2);
    }
    head.insert_header(header::HOST, probe.host.clone())?;
    head.insert_header(header::USER_AGENT, AGENT)?;
    Ok(head)
}

/// Sends a request and reads the head of its answer.
async fn send(
    peer: &HttpPeer,
    connector: &Connector,
    head: RequestHeader,
    body: Option<Bytes>,
) -> Result<HttpSession, Failed> {
    let (mut session, _) = connector.get_http_session(peer).await?;
    session.set_read_timeout(peer.options.read_timeout);
    session.set_write_timeout(peer.options.read_timeout);
    session.write_request_header(Box::new(head)).await?;
    if let Some(body) = body {
        session.write_request_body(body, false).await?;
    }
    session.finish_request_body().await?;
    session.read_response_header().await?;
    while session.response_header().is_some_and(|head| head.status.is_informational()) {
        session.read_response_header().await?;
    }
    Ok(session)
}

async fn read(session: &mut HttpSession) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while body.len() < MOST
        && let Some(chunk) = session.read_response_body().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn find(session: &mut HttpSession, wanted: &[u8]) -> Result<(), Failed> {
    let body = read(session).await?;
    let found = body.windows(wanted.len().max(1)).any(|window| window == wanted);
    found.then_some(()).ok_or_else(|| Failed::Answer("its answer does not say what it should".into()))
}

/// The protocol of `grpc.health.v1`: `HealthCheckRequest { string service = 1 }`, answered by
/// `HealthCheckResponse { ServingStatus status = 1 }`, where 1 is SERVING.
async fn grpc(probe: &Probe, connector: &Connector, service: &str) -> Result<(), Failed> {
    let mut head = head(probe, "POST", "/grpc.health.v1.Health/Check")?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    head.insert_header("te", "trailers")?;
    let mut session = send(&probe.peer, connector, head, Some(question(service))).await?;
    let body = read(&mut session).await?;
    // A prefix of five bytes; then field 1 as a varint.
    match body.get(5..).unwrap_or_default() {
        [0x08, 1, ..] => Ok(()),
        _ => Err(Failed::Answer("it does not say that it is serving".into())),
    }
}

fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // The compiler has refused names of more than 127 bytes, so that the length is one byte.
        message.extend_from_slice(&[0x0A, service.len() as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0, 0, 0, 0, message.len() as u8];
    framed.append(&mut message);
    framed.into()
}
