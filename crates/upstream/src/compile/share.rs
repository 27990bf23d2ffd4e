//! Shares: `"20%"`.

use document::{At, Code, Report};

/// Reads a share between nothing and everything, as a part of 1.
pub(super) fn share(text: &str, at: &At, report: &mut Report) -> Option<f32> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<f32>().ok());
    let share = number.filter(|number| (0.0..=100.0).contains(number)).map(|number| number / 100.0);
    if share.is_none() {
        let message = format!("`{text}` is not a share");
        report.add(Code::E0108, at, message, "expected a share from \"0%\" to \"100%\", such as \"20%\"");
    }
    share
}
