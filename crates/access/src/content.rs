//! Which types the content of requests may have.

use document::{At, Code, Report};
use filter::Mode;
use http::{HeaderMap, Method, header};

use crate::ContentTypes;

/// The types that may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kinds {
    list: Box<[Kind]>,
    mode: Mode,
}

/// A type, in lower case: `application/json`, `image/*`, `application/*+json`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exact(Box<str>),
    /// What begins and ends so, with something between.
    Between(Box<str>, Box<str>),
}

impl Kinds {
    /// Compiles the list at `at`, or in its table.
    pub(crate) fn compile(written: &ContentTypes, at: &At, report: &mut Report) -> Option<Self> {
        let ContentTypes { allow, mode } = written;
        // Found as well where it is written without a table around it.
        let (at, errors) = (&at.key("allow"), report.errors());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&byte);
        let kinds = allow.iter().enumerate().map(|(index, text)| {
            let halves = text.split_once('/');
            let plain = halves.is_some_and(|(kind, sub)| {
                [kind, sub].iter().all(|half| !half.is_empty() && half.bytes().all(token)) && !kind.contains('*')
            });
            if !plain || text.matches('*').count() > 1 {
                let label = "expected for example \"application/json\", \"image/*\" or \"application/*+json\"";
                report.add(Code::E0108, &at.index(index), format!("{text:?} is not a type of content"), label);
            }
            let lower = text.to_ascii_lowercase();
            match lower.split_once('*') {
                Some((start, end)) => Kind::Between(start.into(), end.into()),
                None => Kind::Exact(lower.into()),
            }
        });
        let kinds = kinds.collect();
        if allow.is_empty() {
            report.add(Code::E0108, at, "no content may enter at all", "write `max_body = \"0B\"` for that");
        }
        (report.errors() == errors).then_some(Self { list: kinds, mode: *mode })
    }

    /// Whether others are only told of.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a request with these fields may enter. One that says what it brings is held to it, and one that may bring
    /// something has to say so.
    pub(crate) fn admit(&self, method: &Method, fields: &HeaderMap, length: Option<u64>) -> bool {
        let mut lines = fields.get_all(header::CONTENT_TYPE).into_iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().is_ok_and(|line| self.take(line)),
            // Of two readers each might take the other one.
            (Some(_), Some(_)) => false,
            (None, _) => match length {
                Some(length) => length == 0,
                None => {
                    let brings = [Method::POST, Method::PUT, Method::PATCH].contains(method);
                    !brings && !fields.contains_key(header::TRANSFER_ENCODING)
                }
            },
        }
    }

    fn take(&self, line: &str) -> bool {
        let kind = line.split(';').next().unwrap_or("").trim();
        self.list.iter().any(|own| match own {
            Kind::Exact(own) => own.eq_ignore_ascii_case(kind),
            Kind::Between(start, end) => {
                let (head, tail) =
                    (kind.get(..start.len()), kind.len().checked_sub(end.len()).and_then(|at| kind.get(at..)));
                kind.len() > start.len() + end.len()
                    && head.is_some_and(|head| head.eq_ignore_ascii_case(start))
                    && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
            }
        })
    }
}
