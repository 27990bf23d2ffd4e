//! The file of keys, as written.

use std::collections::BTreeMap;

use document::OneOrMany;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

/// `keys.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Keys by the letters that they are shown by.
    #[serde(default)]
    pub keys: BTreeMap<String, Key>,
    /// What is known of their owners.
    #[serde(default)]
    pub consumers: BTreeMap<String, Consumer>,
}

/// One key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose it is.
    pub consumer: String,
    /// The SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// When it was made.
    pub created: Option<String>,
    /// When it ends: a date, or a time in UTC.
    pub expires: Option<String>,
    /// What it is good for, where that is less than what its owner may do.
    pub scopes: Option<Vec<String>>,
}

/// Who has keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// What they have subscribed to.
    pub plan: Option<String>,
    /// What their keys are good for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What they are.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What else is vouched for.
    #[serde(default)]
    pub claims: BTreeMap<String, OneOrMany<String>>,
}

impl File {
    /// Reads the text. The error names the line, and prints nothing of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml(text)
    }
}

/// Reads TOML whose errors print nothing of it.
pub(crate) fn toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        // What is of the wrong type would be shown: `invalid type: string "…"`.
        let message = match error.message().split_once(": string ") {
            Some((before, _)) => format!("{before}: a string, where a table is expected"),
            None => error.message().to_owned(),
        };
        format!("{place}{message}")
    })
}

/// When a key ends, in seconds since 1970: a date ends with its day in UTC.
pub fn expiry(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    let end = text.parse::<Date>().ok().and_then(|date| date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok());
    end.map(|end| end.timestamp().as_second()).ok_or_else(|| {
        format!("{text:?} is neither a date such as \"2027-01-31\" nor a time such as \"2027-01-31T12:00:00Z\"")
    })
}
