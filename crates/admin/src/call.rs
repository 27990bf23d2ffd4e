//! A request to the admin listener that has passed the checks.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{Who, answer::Answer};

/// A request to the admin listener that has passed the checks.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) who: Who,
    /// What stands for the braces of the operation's path.
    pub(crate) name: String,
    /// What stands for the second ones.
    pub(crate) part: String,
    /// The query, decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// What stands for the first braces.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What stands for the second ones.
    pub(crate) fn key(&self) -> &str {
        &self.part
    }

    /// The first value of this name in the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; what it means where there is none is up to the type.
    pub(crate) fn order<T: DeserializeOwned + Default>(&self) -> Result<T, Answer> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        // What a form of another site's page can send has one of the three old types.
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
            let detail = "the body must have the Content-Type `application/json`";
            return Err(Answer::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Answer::problem(StatusCode::BAD_REQUEST, &format!("the body is not understood: {error}")))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> Result<&str, Answer> {
        std::str::from_utf8(&self.body)
            .map_err(|error| Answer::problem(StatusCode::BAD_REQUEST, &format!("the body is not UTF-8: {error}")))
    }

    /// Whether the client wants to be told of what comes (Server-Sent Events).
    pub(crate) fn wants_events(&self) -> bool {
        let accepted = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        accepted.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
    }
}
