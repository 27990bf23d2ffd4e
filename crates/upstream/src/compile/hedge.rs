//! When a second backend is asked as well, with every mistake reported.

use std::{ops::RangeInclusive, time::Duration};

use document::{At, Code, Diagnostic, Report};

use super::share::share;
use crate::{
    config,
    hedge::{After, Hedge, PERCENTILES},
};

/// The place of `p95`.
const DEFAULT: After = After::Percentile(3);
const DEFAULT_MAX: u32 = 1;
const DEFAULT_BUDGET: f32 = 0.1;
const MAX: RangeInclusive<u32> = 1..=3;

/// Compiles an upstream's `hedge`, or a route's. `at` is the key's place.
pub fn hedge(written: &config::Hedge, at: &At, report: &mut Report) -> Option<Hedge> {
    let key = |key: &str| if written.is_table { at.key(key) } else { at.clone() };
    let max = written.max.unwrap_or(DEFAULT_MAX);
    if !MAX.contains(&max) {
        let text = format!("`max` is a number from {} to {}", MAX.start(), MAX.end());
        report.add(Code::E0103, &key("max"), text, "more would multiply the load on backends that are slow already");
    }
    let budget = written.budget.as_deref().map_or(Some(DEFAULT_BUDGET), |text| share(text, &key("budget"), report));
    let after = written.after.as_deref().map_or(Some(DEFAULT), |text| after(text, &key("after"), report));
    Some(Hedge { after: after?, max, budget: Some(budget?).filter(|budget| *budget < 1.0) })
}

fn after(text: &str, at: &At, report: &mut Report) -> Option<After> {
    if let Some(place) = PERCENTILES.iter().position(|(name, _)| *name == text) {
        return Some(After::Percentile(place));
    }
    match text.parse::<document::Duration>() {
        Ok(document::Duration(time)) if time > Duration::ZERO => Some(After::Time(time)),
        _ => {
            let words = PERCENTILES.map(|(name, _)| name).join("`, `");
            report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not how long a backend can be waited for"))
                    .label(at, "neither a duration nor a percentile")
                    .help(format!("write a duration such as `100ms`, or one of `{words}`")),
            );
            None
        }
    }
}
