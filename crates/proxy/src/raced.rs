//! Requests of the general engine that another backend may be asked as well: that engine has no room for a second attempt
//! beside the first, so these are carried by maitred's own connections, and what comes goes to its session.

use bytes::{Bytes, BytesMut};
use filter::Reason;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::{Result, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use upstream::{Pick, Reading};

use crate::{
    ask::{self, Ask, Heard, name_authority},
    context::Context,
    dispatch,
    fetch::Fetches,
    front::pulse,
    gateway::{self, gone, keep_pace, left},
    hedge, persist, relay,
};

/// The longest content that is waited for and kept, as in our own engine.
const KEPT: usize = 64 * 1024;

/// A request, as the client sent it.
struct Question {
    head: RequestHeader,
    content: Option<Bytes>,
}

impl Ask for Question {
    fn head(&self, ctx: &Context, pick: Option<&Pick>, peer: &HttpPeer, is_h2: bool) -> Result<RequestHeader> {
        let mut to = self.head.clone();
        to.set_version(if is_h2 { Version::HTTP_2 } else { Version::HTTP_11 });
        relay::request_by(ctx, pick, relay::Told::Among, &self.head, &mut to)?;
        if is_h2 {
            name_authority(&mut to, peer)?;
        }
        Ok(to)
    }

    fn client(&self) -> &RequestHeader {
        &self.head
    }

    fn content(&self) -> Option<&Bytes> {
        self.content.as_ref()
    }

    fn method(&self) -> &Method {
        &self.head.method
    }
}

/// Whether the request is carried here.
pub(crate) fn takes(session: &mut Session, ctx: &Context) -> bool {
    if hedge::after(ctx, session.req_header()).is_none() {
        return false;
    }
    let fields = &session.req_header().headers;
    let length =
        fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse::<usize>().ok());
    // What is unpacked on its way is not what was kept of it.
    let is_unpacked = ctx.route().is_some_and(|route| route.decompress.is_some());
    let is_short = !is_unpacked && length.is_some_and(|length| length <= KEPT) && !fields.contains_key(header::EXPECT);
    is_short || session.is_body_empty()
}

/// All of the request's content, for as long as the client keeps its pace.
async fn content(session: &mut Session) -> Result<Option<Bytes>> {
    if session.is_body_empty() {
        return Ok(None);
    }
    let mut content = BytesMut::new();
    while let Some(piece) = session.read_request_body().await? {
        content.extend_from_slice(&piece);
        if !pulse::beat(piece.len(), session.is_body_done()) {
            let mut error = gateway::carry(Reason::BodyTimeout);
            error.as_down();
            return Err(error);
        }
    }
    Ok(Some(content.freeze()))
}

/// Asks, and passes on what is answered. The error is a reason to refuse the request for.
pub(crate) async fn carry(
    fetches: &Fetches,
    session: &mut Session,
    ctx: &mut Context,
) -> Result<std::result::Result<(), Reason>> {
    let content = content(session).await?;
    let question = Question { head: session.req_header().clone(), content };
    let heard = tokio::select! {
        biased;
        heard = Box::pin(ask::ask(fetches, ctx, &question)) => heard,
        () = left(session) => return Err(gone()),
    };
    let mut heard = match heard {
        Ok(heard) => heard,
        Err(reason) => return Ok(Err(reason)),
    };
    let version = session.req_header().version;
    let has_content = frame(&mut heard, session.req_header());
    if let Err(error) = relay::upstream_response(ctx, &mut heard.head, version, false) {
        let reading = Reading::of(&error);
        dispatch::count_failure(ctx, reading);
        return Ok(Err(reading.reason));
    }
    relay::encode(ctx, session.req_header(), &mut heard.head);
    relay::response(ctx, relay::Told::Among, session.req_header(), &mut heard.head);
    if has_content && version != Version::HTTP_2 && !heard.head.headers.contains_key(header::CONTENT_LENGTH) {
        heard.head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    heard.head.set_version(if version == Version::HTTP_2 { version } else { Version::HTTP_11 });
    persist::settle(session, &mut heard.head);
    session.write_response_header(Box::new(heard.head.clone()), !has_content).await?;
    if has_content {
        pass(session, ctx, &mut heard).await?;
    }
    let Heard { mut line, peer, .. } = heard;
    if has_content || matches!(line.next_piece().await, Ok(None)) {
        fetches.give_back(line, &peer).await;
    }
    Ok(Ok(()))
}

/// Whether content follows. How the origin marks its end is between it and us; but for a client that asked for the head alone.
fn frame(heard: &mut Heard, asked: &RequestHeader) -> bool {
    let head = &mut heard.head;
    let is_empty = head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
    let without = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let has_content = asked.method != Method::HEAD && !without && !is_empty;
    if has_content && head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.remove_header(&header::CONTENT_LENGTH);
    }
    has_content
}

async fn pass(session: &mut Session, ctx: &mut Context, heard: &mut Heard) -> Result<()> {
    loop {
        let mut piece = tokio::select! {
            biased;
            piece = heard.line.next_piece() => piece.map_err(|error| {
                let error = error.into_up();
                dispatch::count_failure(ctx, Reading::of(&error));
                error
            })?,
            () = left(session) => return Err(gone()),
        };
        let last = piece.is_none();
        relay::response_chunk(ctx, &mut piece, last).map_err(|reply| gateway::carry(reply.reason))?;
        let piece = piece.unwrap_or_default();
        keep_pace(session, ctx, piece.len());
        if !piece.is_empty() || last {
            session.write_response_body(Some(piece), last).await?;
        }
        if last {
            return Ok(());
        }
    }
}
