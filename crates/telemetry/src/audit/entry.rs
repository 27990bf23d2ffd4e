//! What is written down of somebody who tried to get in.

use serde::Serialize;

/// The longest path, host or name that is written whole: a client must not fill the disk with one request.
const LONGEST: usize = 512;

/// Somebody tried to get in. No credential is part of it.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The policy that had the last word.
    pub auth: Box<str>,
    /// What came of it: `ok`, `missing`, `invalid`, `expired`, `forbidden`, `error`.
    pub result: &'static str,
    /// Whether the request passed all the same, because the policy is in shadow.
    pub shadow: bool,
    /// Who it was, where that is known.
    pub user: Option<Box<str>>,
    /// What tells the key apart from the user's others.
    pub key: Option<Box<str>>,
    /// Where from.
    pub client_ip: Option<String>,
    /// The route that it was about.
    pub route: Box<str>,
    /// The method.
    pub method: Box<str>,
    /// The host.
    pub host: Box<str>,
    /// The path, without the query.
    pub path: Box<str>,
    /// What finds the request in the access log.
    pub request_id: Box<str>,
    /// The configuration that it was judged by.
    pub generation: u64,
}

impl Attempt {
    /// A text of the client's, cut where it is too long.
    pub fn text(text: &str) -> Box<str> {
        if text.len() <= LONGEST {
            return text.into();
        }
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}…", &text[..end]).into()
    }
}
