//! What is expected of a text: this very one, or one that a regular expression finds something in.

use document::{At, Code, Diagnostic, Report};
use http::HeaderMap;
use regex::Regex;

use crate::Field;

/// What a text has to be.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Is(Box<str>),
    Like(Regex),
}

/// What a header field has to be.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Value(Text),
    Present,
    Absent,
}

impl Text {
    /// Reads a value, or `~` and a regular expression.
    pub fn compile(written: &str, at: &At, report: &mut Report) -> Option<Self> {
        let Some(pattern) = written.strip_prefix('~') else { return Some(Self::Is(written.into())) };
        match Regex::new(pattern) {
            Ok(regex) => Some(Self::Like(regex)),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                report.push(Diagnostic::new(Code::E0108, "this regular expression cannot be read").label(at, why));
                None
            }
        }
    }

    pub fn holds(&self, found: &str) -> bool {
        match self {
            Self::Is(text) => **text == *found,
            Self::Like(regex) => regex.is_match(found),
        }
    }
}

impl Test {
    pub fn compile(written: &Field, at: &At, report: &mut Report) -> Option<Self> {
        match written {
            Field::Text(text) => Text::compile(text, at, report).map(Self::Value),
            Field::Present(true) => Some(Self::Present),
            Field::Present(false) => Some(Self::Absent),
        }
    }

    /// Whether it holds of the values that the field has; of several one is enough.
    pub fn holds(&self, values: &[&str]) -> bool {
        match self {
            Self::Value(text) => values.iter().any(|value| text.holds(value)),
            Self::Present => !values.is_empty(),
            Self::Absent => values.is_empty(),
        }
    }
}

/// The values of a field, as far as they are text.
pub(crate) fn values<'h>(fields: &'h HeaderMap, name: &http::HeaderName) -> Vec<&'h str> {
    fields.get_all(name).iter().map(|value| value.to_str().unwrap_or("(not text)")).collect()
}
