//! Step 6: a [`Reply`] becomes bytes. The only writer of local answers.

use std::{fmt::Write as _, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use filter::{Body, Reason, Reply, RequestId, write_line};
use http::{HeaderName, HeaderValue, Version, header};
use pingora_core::{Result, protocols::http::HttpTask};
use pingora_http::{RequestHeader, ResponseHeader};

/// How a problem is told, which the request decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// A page for a person.
    Html,
    /// A trailers-only gRPC response.
    Grpc,
}

impl Form {
    /// gRPC for gRPC, HTML for who prefers it, a problem document for everybody else.
    pub fn of(head: &RequestHeader) -> Self {
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc")) {
            return Form::Grpc;
        }
        match text(header::ACCEPT) {
            Some(accept) if accept.trim_start().starts_with("text/html") => Form::Html,
            _ => Form::Problem,
        }
    }
}

/// A finished local answer.
pub struct Answer {
    /// Its head, with Content-Length.
    pub head: Box<ResponseHeader>,
    /// Its content; empty for HEAD as well, whose head still says how long it would be.
    pub content: Bytes,
}

/// Makes the answer for `reply`, as the request's `form` and method want it, and `tells` in `Proxy-Status` why it is
/// not an origin's where that is wanted.
pub fn answer(reply: &Reply, form: Form, id: Option<&RequestId>, is_head: bool, tells: bool) -> Result<Answer> {
    let told = matches!(reply.body, Body::Problem | Body::Detail(_) | Body::Limits(_));
    if told && form == Form::Grpc {
        return grpc(reply, id, tells);
    }
    let (kind, content) = match &reply.body {
        Body::Empty => (None, Bytes::new()),
        Body::Bytes(bytes) => (None, bytes.clone()),
        Body::Problem | Body::Limits(_) => document(reply, reply.reason.sentence(), form, id),
        Body::Detail(detail) => document(reply, detail, form, id),
    };
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    if let Some(kind) = kind {
        head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static(kind))?;
        head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    }
    finish(&mut head, reply, id, tells)?;
    if !matches!(reply.status.as_u16(), 204 | 304) {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(content.len()))?;
    }
    let content = if is_head { Bytes::new() } else { content };
    Ok(Answer { head: Box::new(head), content })
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What `Proxy-Status` says (RFC 9209), by the index of the reason: nothing that the answer itself does not.
static STATUSES: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let text = |reason: &Reason| format!("maitred; error={}; details=\"{}\"", reason.proxy_error(), reason.word());
    let value = |reason| HeaderValue::try_from(text(reason)).unwrap_or(HeaderValue::from_static("maitred"));
    Reason::ALL.iter().map(value).collect()
});

fn finish(head: &mut ResponseHeader, reply: &Reply, id: Option<&RequestId>, tells: bool) -> Result<()> {
    for (name, value) in &reply.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    if reply.reason == Reason::UpstreamOverloaded {
        // The limit follows what the upstream can do within a second.
        head.insert_header(header::RETRY_AFTER, HeaderValue::from_static("1"))?;
    }
    if tells && let Some(status) = reply.reason.index().and_then(|index| STATUSES.get(index)) {
        head.insert_header(PROXY_STATUS, status.clone())?;
    }
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        head.insert_header(X_REQUEST_ID, id)?;
    }
    Ok(())
}

fn document(reply: &Reply, detail: &str, form: Form, id: Option<&RequestId>) -> (Option<&'static str>, Bytes) {
    match form {
        Form::Html => (Some("text/html; charset=utf-8"), html(reply, detail, id)),
        _ => (Some("application/problem+json"), problem(reply, detail, id)),
    }
}

/// RFC 9457, with the members that clients of API gateways look for (`error`, `message`) beside the standard ones.
fn problem(reply: &Reply, detail: &str, id: Option<&RequestId>) -> Bytes {
    let title = title(reply);
    let mut text = String::with_capacity(320);
    match &reply.body {
        Body::Limits(_) => text.push_str(r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded""#),
        _ => drop(write!(text, r#"{{"type":"urn:maitred:problem:{}""#, reply.reason.word())),
    }
    text.push_str(r#","title":"#);
    json_string(&mut text, title);
    let _ = write!(text, r#","status":{},"detail":"#, reply.status.as_u16());
    json_string(&mut text, detail);
    text.push_str(r#","error":"#);
    json_string(&mut text, title);
    text.push_str(r#","message":"#);
    json_string(&mut text, detail);
    if let Body::Limits(limits) = &reply.body {
        text.push_str(r#","violated-policies":"#);
        for (index, limit) in limits.iter().enumerate() {
            text.push(if index == 0 { '[' } else { ',' });
            json_string(&mut text, limit);
        }
        text.push(']');
    }
    if let Some(id) = id {
        text.push_str(r#","request_id":"#);
        json_string(&mut text, id.as_str());
    }
    text.push_str("}\n");
    Bytes::from(text)
}

fn title(reply: &Reply) -> &'static str {
    match reply.reason.title() {
        "" => reply.status.canonical_reason().unwrap_or("Answer"),
        title => title,
    }
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn html(reply: &Reply, detail: &str, id: Option<&RequestId>) -> Bytes {
    let (status, title) = (reply.status.as_u16(), title(reply));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em;\
         color-scheme:light dark}}small{{opacity:.6}}</style>\n<h1>{status} {title}</h1>\n<p>"
    );
    for c in detail.chars() {
        match c {
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '&' => page.push_str("&amp;"),
            c => page.push(c),
        }
    }
    page.push_str("</p>\n<p><small>");
    page.push_str(reply.reason.word());
    if let Some(id) = id {
        // An id is visible ASCII, but may hold angle brackets.
        let shown = id.as_str().replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(page, " · request {shown}");
    }
    page.push_str("</small></p>\n</html>\n");
    Bytes::from(page)
}

/// A trailers-only response (gRPC over HTTP/2: the status travels in the head).
fn grpc(reply: &Reply, id: Option<&RequestId>, tells: bool) -> Result<Answer> {
    let mut head = ResponseHeader::build(200, Some(reply.headers.len() + 4))?;
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    head.insert_header("grpc-status", HeaderValue::from(grpc_code(reply.reason, reply.status.as_u16())))?;
    head.insert_header("grpc-message", HeaderValue::from_static(reply.reason.word()))?;
    finish(&mut head, reply, id, tells)?;
    Ok(Answer { head: Box::new(head), content: Bytes::new() })
}

/// The mapping that gRPC itself gives for HTTP statuses, with the codes that say more where a reason does.
fn grpc_code(reason: Reason, status: u16) -> u16 {
    match (reason, status) {
        (Reason::BodyTooLarge | Reason::HeaderTooLarge, _) | (_, 429) => 8,
        (Reason::UpstreamTimeout | Reason::ConnectTimeout, _) => 4,
        (Reason::ClientClosed, _) => 1,
        (_, 401) => 16,
        (_, 403) => 7,
        (_, 404) => 12,
        (_, 502..=504) => 14,
        (_, 400) => 13,
        _ => 2,
    }
}

/// The answer as HTTP/1.1 bytes that end the connection: for a request that no engine has seen.
pub fn raw(answer: &Answer) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(512);
    let status = answer.head.status;
    let reason = status.canonical_reason().unwrap_or("");
    bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in &answer.head.headers {
        write_line(&mut bytes, name.as_str().as_bytes(), value.as_bytes());
    }
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    bytes.extend_from_slice(&answer.content);
    bytes
}

/// Writes the answer through the engine's session, whatever protocol it speaks.
pub async fn write(session: &mut pingora_proxy::Session, answer: Answer, version: Version) -> Result<()> {
    let Answer { mut head, content } = answer;
    head.set_version(version);
    if content.is_empty() {
        // The only way to end an HTTP/2 stream with its head, as a gRPC status has to.
        return session.write_response_tasks(vec![HttpTask::Header(head, true)]).await.map(|_| ());
    }
    session.write_response_header(head, false).await?;
    session.write_response_body(Some(content), true).await
}

#[cfg(test)]
mod tests;
