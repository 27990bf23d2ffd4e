//! An answer as a client got it.

use crate::{Body, Cut, Fields};

/// An answer, over HTTP/1 or HTTP/2.
#[derive(Debug, Clone)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Interim (1xx) answers before it.
    pub interim: Vec<(u16, Fields)>,
    /// The header fields.
    pub headers: Fields,
    /// The body and the trailers.
    pub body: Body,
    /// Why the body is not complete.
    pub cut: Option<Cut>,
}

impl Response {
    /// Fails the test when the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "an answer with headers {:?} and body {:?}", self.headers, self.text());
        self
    }

    /// Fails the test when the answer is not a refusal by maitred for `reason`: status, problem document, request id.
    #[track_caller]
    pub fn expect_problem(self, status: u16, reason: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.reason(), Some(reason.to_owned()), "the body is {:?}", answer.text());
        assert!(answer.request_id().is_some(), "no request id in {:?}", answer.headers);
        answer
    }

    /// The body as text.
    pub fn text(&self) -> String {
        self.body.text()
    }

    /// The body as JSON; fails the test when it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in the body {text:?}"))
    }

    /// The stable word of a problem document: the last part of its `type`.
    pub fn reason(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_str(&self.text()).ok()?;
        let kind = problem.get("type")?.as_str()?;
        Some(kind.rsplit(['/', ':', '#']).next()?.to_owned())
    }

    /// The first value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The header that an echoing origin saw, from its JSON answer.
    #[track_caller]
    pub fn seen(&self, name: &str) -> Option<String> {
        self.seen_all(name).into_iter().next()
    }

    /// All values of a header that an echoing origin saw, from its JSON answer.
    #[track_caller]
    pub fn seen_all(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let fields = json["headers"].as_array().unwrap_or_else(|| panic!("{json} is not what an echoing origin says"));
        let value = |field: &serde_json::Value| {
            let same = field[0].as_str()?.eq_ignore_ascii_case(name);
            same.then(|| field[1].as_str().unwrap_or_default().to_owned())
        };
        fields.iter().filter_map(value).collect()
    }

    /// The target that an echoing origin saw, from its JSON answer.
    #[track_caller]
    pub fn target(&self) -> String {
        self.json()["target"].as_str().unwrap_or_default().to_owned()
    }
}
