//! Routes that nothing tells apart, that no request reaches, or that say less than was meant.

use std::collections::{HashMap, HashSet};

use document::{At, Code, Diagnostic, Report};

use crate::{
    Match,
    host::Host,
    pattern::{Pattern, Segment, Shape},
    rule::Rule,
};

type Routes<'r> = &'r [(&'r str, &'r Match, At)];

/// Looks at all rules together; each comes with the index of its route.
pub(crate) fn check(rules: &[(usize, Rule)], routes: Routes<'_>, report: &mut Report) {
    ties(rules, routes, report);
    exact_roots(rules, routes, report);
    shadows(rules, routes, report);
}

/// E0302: two routes with the same host, path and conditions.
fn ties(rules: &[(usize, Rule)], routes: Routes<'_>, report: &mut Report) {
    let mut places: HashMap<(&Host, Shape<'_>), Vec<usize>> = HashMap::new();
    let mut told = HashSet::new();
    for (index, (_, rule)) in rules.iter().enumerate() {
        for host in &rule.hosts {
            let place = places.entry((host, rule.pattern.shape())).or_default();
            let tied = place.iter().find(|&&other| rules[other].1.conditions.tie_with(&rule.conditions));
            if let Some(&other) = tied
                && other != index
                && told.insert((other, index))
            {
                report.push(tie(&routes[rules[other].0], &routes[rules[index].0], &rules[other].1, rule));
            }
            place.push(index);
        }
    }
}

fn tie(first: &(&str, &Match, At), second: &(&str, &Match, At), one: &Rule, other: &Rule) -> Diagnostic {
    let (first_name, first_match, first_at) = first;
    let (second_name, second_match, second_at) = second;
    let same = one.conditions == other.conditions && one.hosts == other.hosts;
    let message = if same {
        format!("routes `{first_name}` and `{second_name}` match exactly the same requests")
    } else {
        format!("routes `{first_name}` and `{second_name}` share requests that nothing tells apart")
    };
    let (here, there) = if first_match.path == second_match.path {
        ("this path is the same…", "…as this one")
    } else if one.pattern.taken() != 0 {
        ("this pattern has the same shape…", "…as this one; parameter names do not count")
    } else {
        ("this path means the same…", "…as this one")
    };
    Diagnostic::new(Code::E0302, message)
        .label(path_of(second_match, second_at), here)
        .label(path_of(first_match, first_at), there)
        .note("order never decides between routes, so neither could win")
        .help("tell them apart by `method`, `host`, `header` or `query`, or delete one")
}

/// Where a route says which paths it takes.
fn path_of(written: &Match, at: &At) -> At {
    if written.path.is_some() { at.key("path") } else { at.name() }
}

/// W0301: `/` alone, where nothing takes the rest.
fn exact_roots(rules: &[(usize, Rule)], routes: Routes<'_>, report: &mut Report) {
    let takes_all = |rule: &Rule| matches!(rule.pattern.shape(), Shape::Segments([], true));
    let covered: HashSet<&Host> =
        rules.iter().filter(|(_, rule)| takes_all(rule)).flat_map(|(_, rule)| &rule.hosts).collect();
    for (index, rule) in rules {
        let root = matches!(rule.pattern.shape(), Shape::Segments([Segment::Literal(text)], false) if text.is_empty());
        if !root || rule.hosts.iter().all(|host| covered.contains(host)) {
            continue;
        }
        let (name, _, at) = &routes[*index];
        let place = at.key("path");
        // In a shorthand route the key is the path, with the host before it.
        let (key, written) =
            if name.contains('/') { (at.name(), format!("{name}*")) } else { (place.clone(), "/*".into()) };
        let diagnostic = Diagnostic::new(Code::W0301, format!("route `{name}` matches the path `/` alone"));
        let diagnostic = diagnostic.label(place, "nothing below it is matched");
        report.push(diagnostic.help("to match everything below it as well, write").patch(key, format!("{written:?}")));
    }
}

/// W0302: a regular expression whose every path a prefix of the same host takes first.
fn shadows(rules: &[(usize, Rule)], routes: Routes<'_>, report: &mut Report) {
    let mut prefixes: HashMap<&Host, Vec<usize>> = HashMap::new();
    for (index, (_, rule)) in rules.iter().enumerate() {
        if literal_prefix(rule).is_some() {
            for host in &rule.hosts {
                prefixes.entry(host).or_default().push(index);
            }
        }
    }
    for (index, rule) in rules {
        let Pattern::Regex { regex, .. } = &rule.pattern else { continue };
        let stem = stem(regex.as_str());
        let shadow = |host| {
            let above = prefixes.get(host)?;
            above.iter().copied().find(|&other| {
                let (_, prefix) = &rules[other];
                literal_prefix(prefix).is_some_and(|text| stem.starts_with(&text))
                    && prefix.conditions.include(&rule.conditions)
            })
        };
        let found: Option<Vec<_>> = rule.hosts.iter().map(shadow).collect();
        let Some(other) = found.and_then(|found| found.first().copied()) else { continue };
        let ((name, written, at), (above, above_written, above_at)) = (&routes[*index], &routes[rules[other].0]);
        report.push(
            Diagnostic::new(Code::W0302, format!("route `{name}` can never match"))
                .label(path_of(written, at), "no request gets as far as this")
                .label(
                    path_of(above_written, above_at),
                    format!("`{above}` takes them all: a prefix wins over a regular expression"),
                )
                .help(
                    "write the regular expression as a template or prefix, or tell the two apart by `host` or `header`",
                ),
        );
    }
}

/// The text that everything below a prefix route begins with: empty for `/*`, `/api/` for `/api/*`.
fn literal_prefix(rule: &Rule) -> Option<String> {
    let Shape::Segments(segments, true) = rule.pattern.shape() else { return None };
    let mut text = String::new();
    for segment in segments {
        let Segment::Literal(literal) = segment else { return None };
        text = text + "/" + literal;
    }
    Some(if text.is_empty() { text } else { text + "/" })
}

/// The text that every match of an anchored expression certainly begins with.
fn stem(expression: &str) -> &str {
    let Some(rest) = expression.strip_prefix('^').filter(|rest| !rest.contains('|')) else { return "" };
    let end =
        rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '~' | '@' | '%' | ':' | '=')));
    match end {
        None => rest,
        // A quantifier belongs to the character before it.
        Some(end) if rest[end..].starts_with(['?', '*', '+', '{']) => &rest[..end.saturating_sub(1)],
        Some(end) => &rest[..end],
    }
}
