//! The file of keys, as written.

use std::collections::BTreeMap;

use document::OneOrMany;
use filter::Amounts;
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
    /// How much they may of what limits count, by the limit's name, where that is an amount of their own. What is no such number
    /// is refused with whose it is.
    #[serde(default)]
    pub limits: BTreeMap<String, toml::Value>,
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

impl Consumer {
    /// Their own amounts, as far as they are such.
    pub fn amounts(&self) -> BTreeMap<String, u32> {
        self.limits.iter().filter_map(|(name, written)| Some((name.clone(), amount(written)?))).collect()
    }
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

/// A caller's own amounts. The error prints nothing that is no number.
pub(crate) fn amounts(written: &BTreeMap<String, toml::Value>) -> Result<Amounts, String> {
    if written.len() > Amounts::MANY {
        return Err(format!("`limits` has {} amounts, and at most {} are taken", written.len(), Amounts::MANY));
    }
    let one = |(name, written): (&String, &toml::Value)| match amount(written) {
        Some(amount) => Ok((name.as_str().into(), amount)),
        None => {
            let found = written.as_integer().map(|number| format!(", and {number} is not")).unwrap_or_default();
            Err(format!("`limits.{name}` has to be a number from 1 to {}{found}", Amounts::MOST))
        }
    };
    written.iter().map(one).collect()
}

fn amount(written: &toml::Value) -> Option<u32> {
    let number = u32::try_from(written.as_integer()?).ok()?;
    (1..=Amounts::MOST).contains(&number).then_some(number)
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
