//! When a request is tried again.

use std::{ops::RangeInclusive, time::Duration};

use document::{At, Code, Diagnostic, Report};

use super::{positive, share::share};
use crate::{
    config,
    retry::{Conditions, GRPC, Retries, WORDS},
};

const DEFAULT_ATTEMPTS: u32 = 1;
const DEFAULT_BUDGET: f32 = 0.2;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

const ATTEMPTS: RangeInclusive<u32> = 0..=10;

/// Compiles an upstream's `retries`, or a route's. `at` is the key's place.
pub fn retries(written: Option<&config::Retries>, at: &At, report: &mut Report) -> Retries {
    let empty = config::Retries::default();
    let written = written.unwrap_or(&empty);
    let key = |key: &str| if written.is_table { at.key(key) } else { at.clone() };
    let attempts = written.attempts.unwrap_or(DEFAULT_ATTEMPTS);
    if !ATTEMPTS.contains(&attempts) {
        let text = format!("`retries` is a number from {} to {}", ATTEMPTS.start(), ATTEMPTS.end());
        let label = "more would multiply the load on backends that already fail";
        report.add(Code::E0103, &key("attempts"), text, label);
    }
    let budget = written.budget.as_deref().map_or(Some(DEFAULT_BUDGET), |text| share(text, &key("budget"), report));
    Retries {
        attempts,
        on: written.on.as_ref().map_or_else(Conditions::default, |on| conditions(on, &key("on"), report)),
        budget: budget.filter(|budget| *budget < 1.0),
        backoff: positive(written.backoff, DEFAULT_BACKOFF, key("backoff"), report),
    }
}

fn conditions(written: &[String], at: &At, report: &mut Report) -> Conditions {
    let mut on = Conditions { connect: false, reset: false, ..Conditions::default() };
    let mut statuses = Vec::new();
    for (index, word) in written.iter().enumerate() {
        match word.as_str() {
            "connect" => on.connect = true,
            "reset" => on.reset = true,
            "timeout" => on.timeout = true,
            _ => match (GRPC.iter().find(|(name, _)| name == word), word.parse()) {
                (Some((_, code)), _) => on.grpc |= 1 << code,
                (None, Ok(status @ 400..=599)) => statuses.push(status),
                _ => report.push(unknown(word, &at.index(index))),
            },
        }
    }
    on.statuses = statuses.into();
    on
}

fn unknown(word: &str, at: &At) -> Diagnostic {
    let words = || WORDS.into_iter().chain(GRPC.map(|(name, _)| name));
    let diagnostic = Diagnostic::new(Code::E0108, format!("`{word}` is nothing to retry on"));
    let diagnostic = diagnostic.label(at, "neither a condition nor a status from 400 to 599");
    match document::nearest(word, words()) {
        Some(ours) => diagnostic.help(format!("did you mean `{ours}`?")).patch(at, format!("{ours:?}")),
        None => {
            diagnostic.help(format!("one of `{}`, or a status such as `503`", words().collect::<Vec<_>>().join("`, `")))
        }
    }
}
