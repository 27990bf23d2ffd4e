//! What is written of a limit that counts bytes, and of one that estimates.

use document::{At, ByteRate, Code, Diagnostic, Report, Size};
use smallvec::SmallVec;

use super::excludes;
use crate::{
    config::{Align, Config, Place},
    rule::Rule,
    throughput::{Throughput, Way},
};

/// The slowest and the fastest.
const RATES: [ByteRate; 2] = [ByteRate(1 << 10), ByteRate(64 << 30)];

/// The smallest and the largest burst.
const BURSTS: [Size; 2] = [Size(1 << 10), Size(64 << 30)];

/// The burst where nothing is said is so much of what passes in a second, and no less than the second one.
const BURST: (u64, u64) = (4, 4 << 10);

/// A rule for each way that is limited.
pub(super) fn rules(config: &Config, at: &At, report: &mut Report) -> Option<SmallVec<[Rule; 1]>> {
    let written = config.bandwidth.as_ref()?;
    let errors = report.errors();
    only_bytes(config, at, report);
    let at = at.key("bandwidth");
    if written.down.is_none() && written.up.is_none() {
        report.push(
            Diagnostic::new(Code::E0106, "a bandwidth has a way and a rate")
                .label(&at, "expected `down`, `up` or both")
                .help("write for example `bandwidth = \"1MiB/s\"`"),
        );
    }
    // In the short form the rate stands at the key itself, which is where the report looks then.
    for (key, rate) in [("down", written.down), ("up", written.up)] {
        if let Some(rate) = rate.filter(|rate| !(RATES[0]..=RATES[1]).contains(rate)) {
            let label = format!("from \"{}\" to \"{}\"", RATES[0], RATES[1]);
            report.add(Code::E0103, &at.key(key), format!("a bandwidth cannot be \"{rate}\""), label);
        }
    }
    if let Some(burst) = written.burst.filter(|burst| !(BURSTS[0].0..=BURSTS[1].0).contains(&burst.0)) {
        let label = format!("from \"{}\" to \"{}\"", BURSTS[0], BURSTS[1]);
        report.add(Code::E0103, &at.key("burst"), format!("a burst cannot be \"{burst}\""), label);
    }
    if report.errors() > errors {
        return None;
    }
    let rule = |(way, rate): (Way, Option<ByteRate>)| {
        let rate = rate?.0;
        let burst = written.burst.map_or((rate / BURST.0).max(BURST.1), |burst| burst.0);
        Some(Rule::Bandwidth(Throughput::new(way, rate, burst)))
    };
    Some([(Way::Down, written.down), (Way::Up, written.up)].into_iter().filter_map(rule).collect())
}

/// What is said of requests says nothing of bytes.
fn only_bytes(config: &Config, at: &At, report: &mut Report) {
    let redis = config.store == Some(Place::Redis);
    for (key, given, why) in [
        (
            "burst",
            config.burst.is_some(),
            "a burst of bytes is written `bandwidth = { down = \"1MiB/s\", burst = \"4MiB\" }`",
        ),
        ("align", config.align.is_some(), "there is no window that could be one of the calendar"),
        ("cost", config.cost.is_some(), "bytes count, not requests"),
        ("count", config.count.is_some(), "bytes have passed before anybody knows of a failure"),
        ("over", config.over.is_some(), "what is too fast is always held back"),
        ("ban", config.ban.is_some(), "what is too fast is held back, and not refused"),
        ("store", redis, "each process counts bytes by itself"),
        ("headers", config.headers.is_some(), "answers tell nothing of bandwidth"),
        ("x_headers", config.x_headers.is_some(), "answers tell nothing of bandwidth"),
    ] {
        if given {
            excludes(key, "bandwidth", why, at, report);
        }
    }
}

/// Whether the limit estimates, which only a sliding window of this process can.
pub(super) fn estimates(config: &Config, at: &At, report: &mut Report) -> bool {
    if config.estimate != Some(true) {
        return false;
    }
    if config.requests.is_none() {
        report.push(
            Diagnostic::new(Code::E0107, "`estimate` without `requests`")
                .label(at.key("estimate"), "requests in a window can be estimated, and nothing else")
                .help("write `requests` and `window`, or delete `estimate`"),
        );
        return false;
    }
    let redis = config.store == Some(Place::Redis);
    for (key, given, why) in [
        ("align", config.align == Some(Align::Calendar), "what a contract says is counted"),
        ("burst", config.burst.is_some(), "a burst is counted"),
        ("store", redis, "each process estimates by itself"),
    ] {
        if given {
            excludes(key, "estimate", why, at, report);
        }
    }
    let plans = config.plans.iter().flatten();
    for (name, _) in plans.filter(|(_, amount)| amount.burst.is_some()) {
        let of = at.key("plans").key(name);
        report.push(
            Diagnostic::new(Code::E0107, format!("the `burst` of the plan `{name}` and `estimate` do not go together"))
                .label(of.key("burst"), "a burst is counted")
                .label(at.key("estimate").name(), "with this")
                .help("keep one of them"),
        );
    }
    true
}
