//! What is answered to which question.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_http::ResponseHeader;
use serde_json::{Value, json};

use crate::{
    Admin, Phase,
    bind::Reach,
    guard::{self, Question},
    status,
};

/// The type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An answer of the admin listener.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: &'static str,
    pub(crate) body: Bytes,
    extra: Option<(HeaderName, HeaderValue)>,
}

/// Answers `question`, which came by a socket with this `reach`.
pub(crate) fn answer(admin: &Admin, question: &Question<'_>, reach: &Reach) -> Answer {
    if let Err(refusal) = guard::admit(question, reach) {
        return refusal;
    }
    match question.path {
        "/health" => health(admin),
        "/ready" => ready(admin.phase()),
        "/metrics" => Answer { content_type: PROMETHEUS, ..Answer::text(admin.metrics.encode()) },
        "/api/v1/status" => Answer::json(StatusCode::OK, &status::document(admin)),
        _ => {
            let detail = "there is `/health`, `/ready`, `/metrics` and `/api/v1/status`";
            Answer::problem(StatusCode::NOT_FOUND, detail)
        }
    }
}

fn health(admin: &Admin) -> Answer {
    let timestamp = status::timestamp(SystemTime::now());
    let body = json!({ "status": "healthy", "timestamp": timestamp, "version": admin.build.version });
    Answer::json(StatusCode::OK, &body)
}

fn ready(phase: Phase) -> Answer {
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &json!({ "status": phase.as_str() }))
}

impl Answer {
    fn text(text: String) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: text.into(), extra: None }
    }

    fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, content_type: "application/json", ..Self::text(format!("{body}\n")) }
    }

    /// A problem document (RFC 9457) whose type is the status alone.
    pub(crate) fn problem(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        Self { content_type: "application/problem+json", ..Self::json(status, &body) }
    }

    /// Adds a header field.
    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.extra = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// The head of the answer.
    pub(crate) fn head(&self) -> pingora_core::Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, Some(6))?;
        head.insert_header(header::CONTENT_TYPE, self.content_type)?;
        head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        if let Some((name, value)) = &self.extra {
            head.insert_header(name.clone(), value.clone())?;
        }
        Ok(head)
    }
}
