//! An answer that maitred gives itself.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use crate::Reason;

/// An answer, not an error: small, and without an allocation for the common refusals, because refusal is the hot path
/// of an attack. Only `refuse` in the proxy writes it to the client.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status to answer with.
    pub status: StatusCode,
    /// Why: the word that log, metric and problem document share. [`Reason::None`] for an answer that is no refusal.
    pub reason: Reason,
    /// Fields to add to the head.
    pub headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    /// What follows the head.
    pub body: Body,
}

/// The content of a [`Reply`].
#[derive(Debug, Clone)]
pub enum Body {
    /// A problem document (RFC 9457), HTML for a browser or a gRPC status, made from the reason.
    Problem,
    /// A problem document with this sentence instead of the reason's own.
    Detail(Box<str>),
    /// A problem document that names the limits which are used up (draft-ietf-httpapi-ratelimit-headers-11 section 6.2).
    Limits(SmallVec<[Arc<str>; 1]>),
    /// Nothing: a redirect or a preflight answer.
    Empty,
    /// These bytes; their type is among the reply's headers.
    Bytes(Bytes),
}

impl Reply {
    /// A refusal for `reason`, with the status that the table of reasons gives it.
    pub fn refuse(reason: Reason) -> Self {
        Self { status: reason.status(), reason, headers: SmallVec::new(), body: Body::Problem }
    }

    /// A local answer that is no refusal.
    pub fn answer(status: StatusCode, body: Body) -> Self {
        Self { status, reason: Reason::None, headers: SmallVec::new(), body }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says more than the reason's own sentence does.
    #[must_use]
    pub fn detail(mut self, sentence: impl Into<Box<str>>) -> Self {
        self.body = Body::Detail(sentence.into());
        self
    }
}

impl From<Reason> for Reply {
    fn from(reason: Reason) -> Self {
        Self::refuse(reason)
    }
}
