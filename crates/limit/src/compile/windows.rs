//! What is written of requests in a window.

use std::time::Duration;

use document::{At, Code, Diagnostic, Report, Span};
use smallvec::{SmallVec, smallvec};

use super::{WINDOWS, number};
use crate::{
    bucket::Bucket,
    config::{Align, Config},
    quota::{DAY, Quota},
    rule::Rule,
    window::Window,
};

/// What a burst comes back over in a month: whatever the month, the whole quota may pass.
pub(super) const SHORTEST_MONTH: Duration = Duration::from_secs(28 * DAY);

/// A window that slides or is one of the calendar, and a burst within it.
pub(super) fn rules(config: &Config, at: &At, report: &mut Report) -> Option<SmallVec<[Rule; 1]>> {
    let (Some(_), Some(window)) = (config.requests, config.window) else {
        let (has, lacks, example) = match config.requests {
            Some(_) => ("requests", "window", "window = \"1m\""),
            None => ("window", "requests", "requests = 100"),
        };
        report.push(
            Diagnostic::new(Code::E0106, format!("`{has}` without `{lacks}`"))
                .label(at.key(has), format!("`{lacks}` is missing"))
                .help(format!("add `{example}`")),
        );
        return None;
    };
    let requests = number(config.requests, "requests", 1, at, report)?;
    let (first, length) = match (window, config.align.unwrap_or_default()) {
        (Span::Month, Align::Calendar) => (Rule::Quota(Quota::monthly(requests)), SHORTEST_MONTH),
        (Span::Month, Align::Sliding) => return slides(at, report),
        (Span::Time(window), align) => {
            let length = length(window, at, report)?;
            match align {
                Align::Sliding => (Rule::Window(Window::new(requests, length)), length),
                Align::Calendar => (Rule::Quota(Quota::new(requests, period(length, at, report)?)), length),
            }
        }
    };
    let mut rules: SmallVec<[Rule; 1]> = smallvec![first];
    if config.burst.is_some() {
        let burst = number(config.burst, "burst", 1, at, report)?;
        rules.push(Rule::Bucket(Bucket::new(u64::from(requests), length, burst)));
    }
    Some(rules)
}

/// A month that slides is no time that anybody could tell.
fn slides(at: &At, report: &mut Report) -> Option<SmallVec<[Rule; 1]>> {
    report.push(
        Diagnostic::new(Code::E0107, "a month is of the calendar, and this window slides")
            .label(at.key("window"), "months are not of one length")
            .help("add `align = \"calendar\"`, or write for example `window = \"30d\"`"),
    );
    None
}

fn length(window: document::Duration, at: &At, report: &mut Report) -> Option<Duration> {
    let [shortest, longest] = WINDOWS;
    if (shortest..=longest).contains(&window.0) {
        return Some(window.0);
    }
    let label = format!("from \"{}\" to \"{}\"", document::Duration(shortest), document::Duration(longest));
    report.add(Code::E0103, &at.key("window"), format!("a window cannot be {window} long"), label);
    None
}

/// A part of the calendar: a day, what divides one, or a week.
fn period(length: Duration, at: &At, report: &mut Report) -> Option<u64> {
    let seconds = length.as_secs();
    let whole = length.subsec_nanos() == 0 && seconds > 0;
    if whole && (DAY.is_multiple_of(seconds) || seconds == 7 * DAY) {
        return Some(seconds);
    }
    report.push(
        Diagnostic::new(Code::E0103, format!("the calendar has no period of {}", document::Duration(length)))
            .label(at.key("window"), "expected what divides a day, a day, a week, or a month")
            .help("write \"1h\", \"6h\", \"1d\", \"7d\" or \"1mo\", or delete `align`"),
    );
    None
}
