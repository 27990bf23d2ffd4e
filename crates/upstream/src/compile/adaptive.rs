//! A limit that follows what an upstream can do, with every mistake reported.

use document::{At, Code, Diagnostic, Report};

use super::health::at_least_one;
use crate::{adaptive::Rules, config::AdaptiveConcurrency};

const MIN: u32 = 5;
const MAX: u32 = 1000;
const TOLERANCE: f32 = 0.5;
/// Answers that may take longer than this times the best say nothing any more.
const MOST: f32 = 10.0;

/// The rules as run. `at` is the key's place.
pub(super) fn adaptive(written: Option<&AdaptiveConcurrency>, at: &At, report: &mut Report) -> Option<Rules> {
    let written = written?;
    let key = |key: &str| if written.is_table { at.key(key) } else { at.clone() };
    let min = at_least_one(written.min, MIN, &key("min"), report);
    let max = at_least_one(written.max, MAX.max(min), &key("max"), report);
    if min > max {
        report.push(
            Diagnostic::new(Code::E0103, "`min` is more than `max`")
                .label(key("min"), "the least that the limit may be")
                .label(key("max"), "the most"),
        );
    }
    let tolerance = written.tolerance.as_deref().map_or(Some(TOLERANCE), |text| {
        let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<f32>().ok());
        let part = number.map(|number| number / 100.0).filter(|part| *part > 0.0 && *part <= MOST);
        if part.is_none() {
            let message = format!("`{text}` is not how much longer answers may take");
            report.add(Code::E0108, &key("tolerance"), message, "above \"0%\" and at most \"1000%\", such as \"50%\"");
        }
        part
    });
    Some(Rules { min, max, tolerance: tolerance? })
}
