//! Why a route won or lost, in words.

use filter::View;

use crate::{Candidate, RouteId, host, pattern::Kind, rule::Rule, spelling::Spelling};

/// The winner first, then those that could have taken the request, then the rest in the order of their names.
pub(crate) fn candidates(rules: &[Rule], winner: Option<RouteId>, view: &View<'_>) -> Vec<Candidate> {
    let (host, path) = (host::plain(view.host), Spelling::of(view.path));
    let won = winner.map(|RouteId(index)| &rules[index as usize]);
    let candidate = |(index, rule): (usize, &Rule)| {
        let id = RouteId(index as u32);
        if Some(id) == winner {
            return (0, Candidate { id, won: true, why: merits(rule) });
        }
        match (rule.refusal(view, host, path.as_str()), won) {
            (Some(why), _) => {
                let far = if why == "host differs" || why == "path differs" { 3 } else { 2 };
                (far, Candidate { id, won: false, why })
            }
            (None, Some(won)) => (1, Candidate { id, won: false, why: defeat(rule, won, host) }),
            // A route that takes the request has won, or lost to another.
            (None, None) => (1, Candidate { id, won: false, why: "not asked".into() }),
        }
    };
    let mut all: Vec<_> = rules.iter().enumerate().map(candidate).collect();
    all.sort_by_key(|(far, candidate)| (*far, &rules[candidate.id.0 as usize].name));
    all.into_iter().map(|(_, candidate)| candidate).collect()
}

/// What makes a route as specific as it is: `path template + 1 header`.
fn merits(rule: &Rule) -> String {
    let conditions = &rule.conditions;
    let mut text = rule.pattern.kind().words().to_string();
    for (count, one) in [
        (conditions.headers.len(), "header"),
        (conditions.cookies.len(), "cookie"),
        (conditions.query.len(), "query parameter"),
    ] {
        if count > 0 {
            text += &format!(" + {count} {one}{}", if count == 1 { "" } else { "s" });
        }
    }
    text
}

/// The first thing in which `lost`, which takes the request too, is less specific than `won`.
fn defeat(lost: &Rule, won: &Rule, host: &str) -> String {
    let rank = |rule: &Rule| rule.host(host).map(crate::host::Host::rank);
    if rank(lost) != rank(won) {
        return "less specific host".into();
    }
    let (kind, better) = (lost.pattern.kind(), won.pattern.kind());
    if kind != better {
        return format!("{}, less specific than {}", kind.words(), better.words());
    }
    if lost.pattern.shape() != won.pattern.shape() {
        let shorter = lost.pattern.length() < won.pattern.length();
        return format!("{} {}", if shorter { "shorter" } else { "less specific" }, kind.words());
    }
    let (lost, won) = (lost.conditions.weight(), won.conditions.weight());
    let why = match (won.0 != lost.0, won.1 != lost.1, won.2 != lost.2, won.3 != lost.3) {
        (true, ..) => "names no method",
        (_, true, ..) => "fewer headers",
        (_, _, true, _) => "fewer query parameters",
        (_, _, _, true) => "names no listener or scheme",
        _ => "its name sorts later",
    };
    format!("same path, {why}")
}

impl Kind {
    /// The kind as a person calls it.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Exact => "exact path",
            Kind::Template => "path template",
            Kind::Prefix => "path prefix",
            Kind::Regex => "path regex",
        }
    }
}
