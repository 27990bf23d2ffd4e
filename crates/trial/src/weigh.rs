//! What became of a request against what was expected.

use document::At;
use filter::Reason;
use http::{HeaderMap, header};

use crate::{
    Trial,
    compile::FieldTest,
    text::{Text, values},
};

/// What became of a request, in the words of a test.
#[derive(Debug, Clone)]
pub struct Came<'c> {
    /// The route that takes it.
    pub route: Option<&'c str>,
    /// How it ends.
    pub outcome: Outcome<'c>,
}

/// How a request ends.
#[derive(Debug, Clone)]
pub enum Outcome<'c> {
    /// maitred answers.
    Answered {
        /// The status.
        status: u16,
        /// Why; [`Reason::None`] for an answer that is no refusal.
        reason: Reason,
        /// The fields that the client gets.
        fields: &'c HeaderMap,
    },
    /// An upstream is asked.
    Forwarded {
        /// Its name.
        upstream: &'c str,
        /// Path and query that it is asked for.
        target: &'c str,
        /// The `Host` that it sees; several where each backend sees its own.
        hosts: Vec<&'c str>,
        /// The fields that it sees.
        request: &'c HeaderMap,
        /// The fields that the client gets whatever the upstream answers.
        response: &'c HeaderMap,
    },
}

/// An expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Where it is written.
    pub at: At,
    /// What is so instead.
    pub remark: String,
    /// What to do about it, where that is clear.
    pub help: Option<String>,
}

impl Trial {
    /// Every expectation that does not hold, in the order of the manual.
    pub fn weigh(&self, came: &Came<'_>) -> Vec<Miss> {
        let mut scale = Scale { at: self.at.key("expect"), misses: Vec::new() };
        if self.expect.route.is_some() && self.expect.route.as_deref() != came.route {
            scale.miss(
                "route",
                match came.route {
                    Some(name) => format!("route `{name}` takes it"),
                    None => "no route takes it".into(),
                },
            );
        }
        match &came.outcome {
            Outcome::Answered { status, reason, fields } => self.answered(*status, *reason, fields, &mut scale),
            Outcome::Forwarded { upstream, .. } => {
                self.not_answered(upstream, &mut scale);
                self.forwarded(&came.outcome, &mut scale);
            }
        }
        let response = match &came.outcome {
            Outcome::Answered { fields, .. } => fields,
            Outcome::Forwarded { response, .. } => response,
        };
        scale.fields("response", &self.expect.response, response);
        scale.misses
    }

    fn answered(&self, status: u16, reason: Reason, fields: &HeaderMap, scale: &mut Scale) {
        let expect = &self.expect;
        if expect.status.is_some_and(|expected| expected != status) {
            scale.miss("status", format!("the status is {status}"));
        }
        if expect.reason.is_some_and(|expected| expected != reason) {
            let word = reason.word();
            scale.miss(
                "reason",
                if word.is_empty() { "this is no refusal".into() } else { format!("the reason is `{word}`") },
            );
        }
        if let Some(location) = &expect.location {
            scale.text("location", "`Location`", location, values(fields, &header::LOCATION).first().copied());
        }
        for (key, given) in [
            ("upstream", expect.upstream.is_some()),
            ("path", expect.path.is_some()),
            ("query", expect.query.is_some()),
            ("host", expect.host.is_some()),
            ("request", !expect.request.is_empty()),
        ] {
            if given {
                scale.miss(key, "no upstream is asked".into());
            }
        }
    }

    fn not_answered(&self, upstream: &str, scale: &mut Scale) {
        let expect = &self.expect;
        for (key, given) in [
            ("status", expect.status.is_some()),
            ("reason", expect.reason.is_some()),
            ("location", expect.location.is_some()),
        ] {
            if given {
                scale.miss(key, format!("maitred does not answer: the request goes to upstream `{upstream}`"));
                scale.help(UNKNOWABLE);
            }
        }
    }

    fn forwarded(&self, outcome: &Outcome<'_>, scale: &mut Scale) {
        let Outcome::Forwarded { upstream, target, hosts, request, .. } = outcome else { return };
        let expect = &self.expect;
        if expect.upstream.as_deref().is_some_and(|expected| expected != *upstream) {
            scale.miss("upstream", format!("upstream `{upstream}` is asked"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if let Some(expected) = &expect.path {
            scale.text("path", "the path", expected, Some(path));
        }
        if let Some(expected) = &expect.query {
            scale.text("query", "the query", expected, Some(query));
        }
        if let Some(expected) = &expect.host {
            let other = hosts.iter().find(|host| !expected.holds(host)).copied();
            scale.text("host", "the host", expected, other.or(hosts.first().copied()));
        }
        scale.fields("request", &expect.request, request);
    }
}

const UNKNOWABLE: &str = "a test sends nothing, so that nobody knows what the upstream would answer: expect `upstream`, \
                          `path` or `request` instead";

/// Collects what does not hold.
struct Scale {
    at: At,
    misses: Vec<Miss>,
}

impl Scale {
    fn miss(&mut self, key: &str, remark: String) {
        self.misses.push(Miss { at: self.at.key(key), remark, help: None });
    }

    fn help(&mut self, text: &str) {
        if let Some(last) = self.misses.last_mut() {
            last.help = Some(text.into());
        }
    }

    fn text(&mut self, key: &str, what: &str, expected: &Text, found: Option<&str>) {
        match found {
            Some(found) if expected.holds(found) => {}
            Some("") => self.miss(key, format!("{what} is empty")),
            Some(found) => self.miss(key, format!("{what} is `{found}`")),
            None => self.miss(key, format!("there is no {what}")),
        }
    }

    fn fields(&mut self, key: &str, tests: &[FieldTest], fields: &HeaderMap) {
        for FieldTest { written, name, test } in tests {
            let found = values(fields, name);
            if test.holds(&found) {
                continue;
            }
            let remark = match &found[..] {
                [] => "the field is not there".to_owned(),
                [value] => format!("the field is there, with `{value}`"),
                several => format!("the field is there, with `{}`", several.join("`, `")),
            };
            self.misses.push(Miss { at: self.at.key(key).key(&**written), remark, help: None });
        }
    }
}

#[cfg(test)]
mod tests;
