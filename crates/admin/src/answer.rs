//! An answer of the admin listener.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_http::ResponseHeader;
use serde::Serialize;
use serde_json::{Value, json};

/// The type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is done once an answer is written.
pub(crate) type After = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer of the admin listener.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: &'static str,
    pub(crate) body: Bytes,
    extra: Vec<(HeaderName, HeaderValue)>,
    /// What came of a change, in a word for the audit log.
    pub(crate) outcome: &'static str,
    /// What would take the connection away with it.
    pub(crate) after: Option<After>,
}

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let outcome = if status.is_success() { "done" } else { "failed" };
        Self { status, content_type, body: body.into(), extra: Vec::new(), outcome, after: None }
    }

    /// Metrics as Prometheus reads them.
    pub(crate) fn prometheus(text: String) -> Self {
        Self::new(StatusCode::OK, PROMETHEUS, text)
    }

    /// A text of this type.
    pub(crate) fn text(content_type: &'static str, text: String) -> Self {
        Self::new(StatusCode::OK, content_type, text)
    }

    /// A JSON document.
    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(text) => Self::new(status, "application/json", text + "\n"),
            Err(error) => {
                log::error!("an answer of the admin listener cannot be written as JSON: {error}");
                Self::problem(StatusCode::INTERNAL_SERVER_ERROR, "a fault in maitred itself")
            }
        }
    }

    /// A JSON document, and all is well.
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// The client has it already.
    pub(crate) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "", Bytes::new())
    }

    /// A problem document (RFC 9457) whose type is the status alone.
    pub(crate) fn problem(status: StatusCode, detail: &str) -> Self {
        Self::problem_with(status, detail, &Value::Null)
    }

    /// A problem document with the members of `more` besides.
    pub(crate) fn problem_with(status: StatusCode, detail: &str, more: &impl Serialize) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let mut body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        if let (Value::Object(body), Ok(Value::Object(more))) = (&mut body, serde_json::to_value(more)) {
            body.extend(more);
        }
        Self { content_type: "application/problem+json", ..Self::json(status, &body) }
    }

    /// Adds a header field.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.extra.push((name, value));
        self
    }

    /// Says what came of a change, in a word.
    pub(crate) fn outcome(self, outcome: &'static str) -> Self {
        Self { outcome, ..self }
    }

    /// Does this once the answer is written.
    pub(crate) fn then(self, after: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { after: Some(Box::pin(after)), ..self }
    }

    /// The head of the answer.
    pub(crate) fn head(&self) -> pingora_core::Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, Some(8))?;
        if self.status != StatusCode::NOT_MODIFIED {
            head.insert_header(header::CONTENT_TYPE, self.content_type)?;
            head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        }
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        for (name, value) in &self.extra {
            head.insert_header(name.clone(), value.clone())?;
        }
        Ok(head)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("body", &self.body).finish_non_exhaustive()
    }
}
