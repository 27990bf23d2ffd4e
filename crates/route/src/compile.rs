//! From the matches as written to rules, with every mistake reported.

use std::collections::BTreeMap;

use document::{At, Code, Diagnostic, Report, nearest};
use http::{HeaderName, Method};
use regex::Regex;

use crate::{
    Match,
    condition::{Conditions, Test},
    config::Condition,
    conflict,
    host::Host,
    pattern::{Mistake, Pattern, last_line},
    plant,
    rule::Rule,
    tree::Tree,
};

/// The rules of all routes; `None` when one of them cannot be read or two cannot be told apart.
pub(crate) fn rules(routes: &[(&str, &Match, At)], listeners: &[&str], report: &mut Report) -> Option<Vec<Rule>> {
    let errors = report.errors();
    let compiled = routes
        .iter()
        .enumerate()
        .filter_map(|(index, (name, written, at))| Some((index, rule(name, written, at, listeners, report)?)));
    let compiled: Vec<_> = compiled.collect();
    conflict::check(&compiled, routes, report);
    (report.errors() == errors).then(|| compiled.into_iter().map(|(_, rule)| rule).collect())
}

/// The tree of all rules.
pub(crate) fn tree(rules: &[Rule], routes: &[(&str, &Match, At)], report: &mut Report) -> Option<Tree> {
    let tree = plant::tree(rules);
    if tree.is_none() {
        let message = "the regular expressions of one host are too large together";
        let mut diagnostic = Diagnostic::new(Code::E0301, message);
        let longest = rules.iter().zip(routes).filter(|(rule, _)| matches!(rule.pattern, Pattern::Regex { .. }));
        if let Some((_, (_, _, at))) = longest.max_by_key(|(rule, _)| rule.pattern.length()) {
            diagnostic = diagnostic.label(at.key("path"), "this is the longest");
        }
        report.push(diagnostic.help("write some of them as templates or prefixes"));
    }
    tree
}

/// One route's rule. Everything that is wrong with it is reported before it is given up.
pub(crate) fn rule(name: &str, written: &Match, at: &At, listeners: &[&str], report: &mut Report) -> Option<Rule> {
    let pattern = pattern(name, written, at, report);
    let hosts = hosts(name, written, at, report);
    let methods = methods(name, written, at, report);
    let listeners = named_listeners(name, written, at, listeners, report);
    let headers = headers(name, written, at, report);
    let cookies = tests(name, "cookie", &written.cookie, at, report);
    let query = tests(name, "query", &written.query, at, report);
    let conditions = Conditions {
        methods: methods?.into(),
        headers: headers?,
        cookies: cookies?,
        query: query?,
        listeners: listeners?,
        scheme: written.scheme.map(Into::into),
    };
    Some(Rule { name: name.into(), hosts: hosts?, pattern: pattern?, conditions })
}

fn pattern(name: &str, written: &Match, at: &At, report: &mut Report) -> Option<Pattern> {
    let Some(path) = &written.path else { return Some(Pattern::everything()) };
    let refused = |mistake: Mistake| {
        let message = format!("the path of route `{name}` is not a pattern");
        report.push(Diagnostic::new(Code::E0301, message).label(at.key("path"), mistake.label).help(mistake.help));
    };
    Pattern::parse(path).map_err(refused).ok()
}

fn hosts(name: &str, written: &Match, at: &At, report: &mut Report) -> Option<Vec<Host>> {
    let Some(list) = &written.host else { return Some(vec![Host::Any]) };
    let at = at.key("host");
    if list.is_empty() {
        empty(name, &at, Code::E0303, "host", report);
        return None;
    }
    all(list.iter().enumerate().map(|(index, text)| {
        let refused = |mistake: Mistake| {
            let message = format!("a host of route `{name}` is not a host pattern");
            let diagnostic = Diagnostic::new(Code::E0303, message).label(at.index(index), mistake.label);
            report.push(diagnostic.help(mistake.help));
        };
        Host::parse(text).map_err(refused).ok()
    }))
}

fn methods(name: &str, written: &Match, at: &At, report: &mut Report) -> Option<Vec<Method>> {
    let Some(list) = &written.method else { return Some(Vec::new()) };
    let at = at.key("method");
    if list.is_empty() {
        empty(name, &at, Code::E0304, "method", report);
        return None;
    }
    all(list.iter().enumerate().map(|(index, text)| {
        let place = at.index(index);
        let upper = text.to_ascii_uppercase();
        let Ok(method) = Method::from_bytes(text.as_bytes()) else {
            let message = format!("`{text}` is not a method");
            report.add(Code::E0304, &place, message, "expected a method such as \"GET\"");
            return None;
        };
        if upper != *text {
            // RFC 9110 section 9.1: methods are case-sensitive, and all registered ones are in capitals.
            let diagnostic = Diagnostic::new(Code::E0304, format!("methods are written in capitals, found `{text}`"));
            report.push(diagnostic.label(&place, "no client sends this").patch(&place, format!("{upper:?}")));
            return None;
        }
        Some(method)
    }))
}

fn named_listeners(name: &str, written: &Match, at: &At, known: &[&str], report: &mut Report) -> Option<Vec<Box<str>>> {
    let Some(list) = &written.listener else { return Some(Vec::new()) };
    let at = at.key("listener");
    if list.is_empty() {
        empty(name, &at, Code::E0304, "listener", report);
        return None;
    }
    all(list.iter().enumerate().map(|(index, text)| {
        if known.contains(&text.as_str()) {
            return Some(text.as_str().into());
        }
        let place = at.index(index);
        let message = format!("route `{name}` refers to a listener that does not exist");
        let mut diagnostic =
            Diagnostic::new(Code::E0201, message).label(&place, format!("no listener is named `{text}`"));
        if let Some(near) = nearest(text, known.iter().copied()) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?")).patch(&place, format!("{near:?}"));
        }
        report.push(diagnostic);
        None
    }))
}

fn headers(name: &str, written: &Match, at: &At, report: &mut Report) -> Option<Vec<(HeaderName, Test)>> {
    let tests = tests(name, "header", &written.header, at, report)?;
    let mut headers: Vec<(HeaderName, Test)> = Vec::with_capacity(tests.len());
    let mut sound = true;
    for (text, test) in tests {
        let place = at.key("header").key(&*text).name();
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(header) if headers.iter().any(|(other, _)| *other == header) => {
                let message = format!("route `{name}` has two conditions on the header `{header}`");
                report.add(Code::E0304, &place, message, "header names do not differ by case");
                sound = false;
            }
            Ok(header) => headers.push((header, test)),
            Err(_) => {
                report.add(Code::E0304, &place, format!("`{text}` is not a header name"), "no request has it");
                sound = false;
            }
        }
    }
    headers.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    sound.then_some(headers)
}

fn tests(
    name: &str,
    kind: &str,
    written: &Option<BTreeMap<String, Condition>>,
    at: &At,
    report: &mut Report,
) -> Option<Vec<(Box<str>, Test)>> {
    let at = at.key(kind);
    all(written.iter().flatten().map(|(key, condition)| {
        let place = at.key(key);
        if key.is_empty() {
            report.add(Code::E0304, &place.name(), format!("a {kind} condition of route `{name}` has no name"), "");
            return None;
        }
        let test = match condition {
            Condition::Present(true) => Test::Present,
            Condition::Present(false) => Test::Absent,
            Condition::Text(text) => match text.strip_prefix('~') {
                None => Test::Is(text.as_str().into()),
                Some(expression) => match Regex::new(expression) {
                    Ok(regex) => Test::Like(regex),
                    Err(error) => {
                        let message = format!("the condition on `{key}` is not a regular expression");
                        report.add(Code::E0304, &place, message, last_line(&error.to_string()));
                        return None;
                    }
                },
            },
        };
        Some((key.as_str().into(), test))
    }))
}

fn empty(name: &str, at: &At, code: Code, key: &str, report: &mut Report) {
    let diagnostic = Diagnostic::new(code, format!("route `{name}` matches nothing"));
    let diagnostic = diagnostic.label(at, "an empty list allows no value");
    report.push(diagnostic.help(format!("leave `{key}` out to match every {key}")));
}

/// All items, or nothing where one is missing; each is looked at, so that each is reported.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let found: Vec<_> = items.collect();
    found.into_iter().collect()
}
