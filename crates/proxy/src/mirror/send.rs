//! Sends one copy, and reads what is answered.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use filter::Reason;
use http::{HeaderValue, StatusCode, Version, header};
use pingora_core::{Error, ErrorType, protocols::http::client::HttpSession, upstreams::peer::HttpPeer};
use pingora_http::ResponseHeader;
use tokio::time::timeout;
use upstream::{MirrorAnswer, Pick, Reading, Timeouts, Wish};

use super::{Order, settle};
use crate::{
    ask::{final_head, is_closed, name_authority},
    dispatch,
    line::Line,
};

/// Sends a copy, waits for its answer as long as the configuration says, and counts what came of it.
pub(super) async fn carry(mut order: Order) {
    let mirror = order.place.mirror().clone();
    let (meters, limit) = (mirror.meters(), mirror.timeout());
    let content = order.content.split().freeze();
    let theirs = match timeout(limit, send(&order, content)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(reason)) => {
            log::debug!("a copy for `{}` came to nothing: {}", mirror.upstream().name(), reason.word());
            return meters.failed();
        }
        Err(_) => return meters.timeout(),
    };
    let ours = match order.original.take() {
        Some(original) => timeout(limit, original).await.ok().and_then(Result::ok),
        None => None,
    };
    settle(&mirror, &order, ours, theirs);
}

async fn send(order: &Order, content: Bytes) -> Result<MirrorAnswer, Reason> {
    let upstream = order.place.mirror().upstream();
    let pick = upstream.choose(&Wish { key: order.key, ..Wish::default() }).map_err(dispatch::reason_of)?;
    let connector = upstream.connector().ok_or(Reason::Internal)?;
    if let Some(credentials) = upstream.credentials()
        && !credentials.ready().await
    {
        return Err(Reason::UpstreamCredentials);
    }
    let mut peer = pick.peer(&Timeouts { connect: None, read: upstream.timeout(), upload: None });
    upstream.announce(&mut peer, || order.ends);
    pick.count(&mut peer);
    let mut spare = order.head.method.is_idempotent();
    loop {
        let began = Instant::now();
        let failed = |error: &Error| {
            let reading = Reading::of(error);
            pick.failed(reading, began.elapsed(), true);
            reading.reason
        };
        let (mut line, reused) = Line::of_pool(connector.clone(), &peer).await.map_err(|error| failed(&error))?;
        match exchange(order, &mut line, &peer, &pick, content.clone()).await {
            Ok(head) => {
                pick.answered(head.status.as_u16(), began.elapsed());
                if head.status == StatusCode::UNAUTHORIZED
                    && let Some(credentials) = upstream.credentials()
                {
                    credentials.spurned();
                }
                let content = read(order, line).await.map_err(|error| failed(&error))?;
                return Ok(MirrorAnswer { status: head.status.as_u16(), headers: head.headers.clone(), content });
            }
            // The origin may have closed a connection that nobody used; a fresh one gets the request.
            Err(error) if std::mem::take(&mut spare) && reused && is_closed(&error) => {}
            Err(error) => {
                line.doubt(&error);
                return Err(failed(&error));
            }
        }
    }
}

/// Sends the request and reads the final head.
async fn exchange(
    order: &Order,
    line: &mut Line,
    peer: &HttpPeer,
    pick: &Pick,
    content: Bytes,
) -> pingora_core::Result<ResponseHeader> {
    let last = line.is_over();
    let session = line.session()?;
    session.set_read_timeout(peer.options.read_timeout);
    session.set_write_timeout(peer.options.write_timeout.or(Some(order.place.mirror().timeout())));
    let mut head = order.head.clone();
    if order.names_backend {
        head.insert_header(header::HOST, pick.host().clone())?;
    }
    if last {
        head.insert_header(header::CONNECTION, HeaderValue::from_static("close"))?;
    }
    if order.uploads {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(content.len()))?;
    }
    // Last, as for a request: what the copied upstream, or `remove`, has there is not what this one wants to see.
    if let Some(credentials) = order.place.mirror().upstream().credentials()
        && !credentials.show(&mut head)
    {
        return Err(Error::explain(ErrorType::InternalError, "no credentials"));
    }
    if matches!(session, HttpSession::H2(_)) {
        head.set_version(Version::HTTP_2);
        name_authority(&mut head, peer)?;
    }
    session.write_request_header(Box::new(head)).await?;
    if !content.is_empty() {
        session.write_request_body(content, false).await?;
    }
    session.finish_request_body().await?;
    final_head(session, peer.options.read_timeout).await
}

/// The content, unless it is longer than is wanted: then the connection ends with it.
async fn read(order: &Order, mut line: Line) -> pingora_core::Result<Option<Bytes>> {
    let mirror = order.place.mirror();
    let (mut content, mut length) = (BytesMut::new(), 0);
    while let Some(piece) = line.next_piece().await? {
        length += piece.len();
        if length > mirror.max_body() {
            return Ok(None);
        }
        if mirror.compare().is_some() {
            content.extend_from_slice(&piece);
        }
    }
    line.give_back().await;
    Ok(Some(content.freeze()))
}
