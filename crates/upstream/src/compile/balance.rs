//! How a backend is chosen.

use balance::Kind;
use document::{At, Code, Diagnostic, Report, nearest};

use crate::key::Key;

/// The policies that have a word of their own.
const KINDS: [(&str, Kind); 5] = [
    ("round_robin", Kind::RoundRobin),
    ("random", Kind::Random),
    ("least_requests", Kind::LeastRequests),
    ("p2c", Kind::TwoChoices),
    ("ewma", Kind::Latency),
];

/// The words of other programs, with ours.
const OTHERS: [(&str, &str); 14] = [
    ("roundrobin", "round_robin"),
    ("rr", "round_robin"),
    ("wrr", "round_robin"),
    ("least_conn", "least_requests"),
    ("leastconn", "least_requests"),
    ("least_connections", "least_requests"),
    ("least_request", "least_requests"),
    ("least_time", "ewma"),
    ("peak_ewma", "ewma"),
    ("power_of_two_choices", "p2c"),
    ("ip_hash", "hash:ip"),
    ("source", "hash:ip"),
    ("uri", "hash:path"),
    ("uri_hash", "hash:path"),
];

/// Reads the policy, and what it goes by where that is a key.
pub(super) fn balance(text: Option<&str>, at: &At, report: &mut Report) -> (Kind, Option<Key>) {
    let text = text.unwrap_or("round_robin");
    if let Some((_, kind)) = KINDS.iter().find(|(word, _)| *word == text) {
        return (*kind, None);
    }
    let key = text.strip_prefix("hash:").and_then(Key::parse);
    if key.is_none() {
        report.push(unknown(text, at));
    }
    (Kind::Hash, key)
}

fn unknown(text: &str, at: &At) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::E0108, format!("`{text}` is not a balancing policy"));
    if text == "hash" || text.starts_with("hash:") {
        return diagnostic
            .label(at, "by what?")
            .help("write `hash:ip`, `hash:header:X-User`, `hash:cookie:visitor`, `hash:user` or `hash:path`");
    }
    let word = text.to_ascii_lowercase().replace(['-', ' '], "_");
    let other = OTHERS.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours);
    let diagnostic = diagnostic.label(at, "not known");
    match other.or_else(|| nearest(&word, KINDS.iter().map(|(word, _)| *word))) {
        Some(ours) => diagnostic.help(format!("did you mean `{ours}`?")).patch(at, format!("{ours:?}")),
        None => diagnostic.help("one of `round_robin`, `random`, `least_requests`, `p2c`, `ewma` and `hash:…`"),
    }
}
