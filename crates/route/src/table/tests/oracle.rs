//! The tree against a naive reading of the rules, and against another router.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::pattern::{Pattern, Segment};

/// Looks at every rule and sorts what matches by the rules of the manual, word for word.
fn naive(rules: &[Rule], view: &View<'_>) -> Option<usize> {
    let path = Spelling::of(view.path);
    let matching = rules.iter().enumerate().filter(|(_, rule)| rule.takes(view, path.as_str()));
    let best = matching.min_by(|(_, one), (_, other)| {
        let key = |rule: &Rule| {
            let (segments, text) = match &rule.pattern {
                Pattern::Segments { segments, .. } => (segments.to_vec(), String::new()),
                Pattern::Regex { regex, .. } => (Vec::new(), regex.to_string()),
            };
            let length = segments.len().max(text.len());
            let text_first: Vec<bool> = segments.iter().map(|segment| *segment == Segment::Any).collect();
            (rule.host(view.host).map(crate::host::Host::rank), rule.pattern.kind(), Reverse(length), text_first, text)
        };
        key(one).cmp(&key(other)).then_with(|| one.order(other))
    });
    best.map(|(index, _)| index)
}

/// What the pattern captures, read off segment by segment.
fn naive_captures<'p>(pattern: &Pattern, path: &'p str) -> Vec<&'p str> {
    let Pattern::Segments { segments, below, .. } = pattern else { return Vec::new() };
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let any = segments.iter().zip(&parts).filter(|(segment, _)| **segment == Segment::Any).map(|(_, part)| *part);
    let used: usize = parts[..segments.len()].iter().map(|part| part.len() + 1).sum();
    any.chain(below.then(|| &path[used..])).collect()
}

fn path_pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "{}"]);
    let segments = prop::collection::vec(segment, 0..4).prop_map(|parts| {
        let named = parts.iter().enumerate().map(|(n, part)| part.replace("{}", &format!("{{p{n}}}")));
        named.map(|part| format!("/{part}")).collect::<String>()
    });
    let end = prop::sample::select(vec!["", "", "/", "/*", "/*"]);
    let segments =
        (segments, end).prop_map(|(path, end)| if path.is_empty() && end.is_empty() { "/".into() } else { path + end });
    let regex = prop::sample::select(vec!["~^/a", "~b$", "~^/(a|b)/", "~/a/b"]).prop_map(String::from);
    prop_oneof![9 => segments, 1 => regex]
}

fn route() -> impl Strategy<Value = Match> {
    let host = prop::sample::select(vec![
        None,
        None,
        list(&["a.b"]),
        list(&["*.b"]),
        list(&["x.a.b", "a.b"]),
        list(&["*.a.b"]),
        list(&["*.a.b", "*.b"]),
    ]);
    let method = prop::sample::select(vec![None, None, list(&["GET"]), list(&["POST", "PUT"])]);
    let condition =
        || prop::sample::select(vec![text("1"), text("~2"), Condition::Present(true), Condition::Present(false)]);
    let header = prop::option::weighted(0.3, prop::collection::btree_map("[xy]", condition(), 1..3));
    let query = prop::option::weighted(0.2, prop::collection::btree_map("[xy]", condition(), 1..3));
    let cookie = prop::option::weighted(0.1, prop::collection::btree_map("[xy]", condition(), 1..2));
    let listener = prop::sample::select(vec![None, None, None, list(&["internal"]), list(&["public"])]);
    let scheme = prop::sample::select(vec![None, None, None, Some(Scheme::Http), Some(Scheme::Https)]);
    (host, prop::option::weighted(0.95, path_pattern()), method, header, query, cookie, listener, scheme).prop_map(
        |(host, path, method, header, query, cookie, listener, scheme)| Match {
            host,
            path,
            method,
            header,
            query,
            cookie,
            listener,
            scheme,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let segment = prop::sample::select(vec!["a", "a", "b", "c", "a;v", "%40"]);
    let path = (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(parts, slash)| {
        let path: String = parts.iter().map(|part| format!("/{part}")).collect();
        if slash || path.is_empty() { path + "/" } else { path }
    });
    let host = prop::sample::select(vec!["a.b", "b", "c.b", "x.a.b", "y.x.a.b", "other"]);
    let method = prop::sample::select(vec!["GET", "POST", "DELETE"]);
    let header = prop::collection::vec((prop::sample::select(vec!["x", "y", "cookie"]), "[12]"), 0..3);
    let query = prop::option::of(prop::sample::select(vec!["x=1", "x=2&y=1", "y", "x=%31"]));
    let listener = prop::sample::select(vec!["public", "internal"]);
    let scheme = prop::sample::select(vec![filter::Scheme::Http, filter::Scheme::Https]);
    (path, host, method, header, query, listener, scheme).prop_map(
        |(path, host, method, header, query, listener, scheme)| {
            let named = |(name, value): (&'static str, String)| {
                (name, if name == "cookie" { format!("x={value}") } else { value })
            };
            let headers = header.into_iter().map(named).collect();
            let query = query.map(String::from);
            Request { method, host: host.into(), path, query, headers, listener, scheme }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_tree_finds_what_the_rules_say(
        matches in prop::collection::vec(route(), 1..14),
        requests in prop::collection::vec(request(), 1..24),
    ) {
        let names: Vec<_> = (0..matches.len()).map(|n| format!("r{n:02}")).collect();
        // Leave out what the compiler refuses, as an operator would.
        let mut kept: Vec<(&str, Match)> = Vec::new();
        for (name, written) in names.iter().zip(matches) {
            kept.push((name, written));
            if compile(&kept, &mut Report::new()).is_none() {
                kept.pop();
            }
        }
        let table = compile(&kept, &mut Report::new()).unwrap();
        for request in requests {
            request.view(|view| {
                let mut captures = Captures::new();
                let found = table.find(view, &mut captures).map(|id| id.0 as usize);
                prop_assert_eq!(found, naive(&table.rules, view), "{:?} among {:#?}", request, kept);
                if let Some(pattern) = found.map(|index| &table.rules[index].pattern)
                    && matches!(pattern, Pattern::Segments { .. })
                {
                    let taken: Vec<_> = (0..captures.len()).map(|index| captures.get(index, view.path)).collect();
                    prop_assert_eq!(taken, naive_captures(pattern, view.path));
                }
                let told = table.explain(view);
                prop_assert_eq!(told.len(), kept.len());
                prop_assert_eq!(told.iter().position(|candidate| candidate.won), found.map(|_| 0));
                prop_assert!(told.iter().all(|candidate| candidate.why != "not asked"));
                Ok(())
            })?;
        }
    }

    #[test]
    fn exact_paths_and_templates_agree_with_matchit(
        patterns in prop::collection::vec(path_pattern(), 1..20),
        requests in prop::collection::vec(request(), 1..24),
    ) {
        let plain = |pattern: &&String| !pattern.starts_with('~') && !pattern.ends_with('*');
        agree(patterns.iter().filter(plain).cloned().collect(), &requests)?;
    }

    #[test]
    fn exact_paths_and_prefixes_agree_with_matchit(
        patterns in prop::collection::vec(path_pattern(), 1..20),
        requests in prop::collection::vec(request(), 1..24),
    ) {
        let literal = |pattern: &&String| !pattern.starts_with('~') && !pattern.contains('{');
        agree(patterns.iter().filter(literal).cloned().collect(), &requests)?;
    }
}

/// Asks matchit and the table for the same paths among the same patterns.
fn agree(mut patterns: Vec<String>, requests: &[Request]) -> Result<(), TestCaseError> {
    patterns.sort();
    patterns.dedup();
    let routes: Vec<_> = patterns.iter().map(|pattern| (pattern.as_str(), Match::from_key(pattern))).collect();
    let table = compile(&routes, &mut Report::new()).unwrap();
    let mut oracle = matchit::Router::new();
    for (index, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| !pattern.ends_with('*')) {
        oracle.insert(pattern.as_str(), index).unwrap();
    }
    // Its catch-all takes one character at least, so the prefix itself is said apart; an exact route goes before it.
    for (index, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| pattern.ends_with('*')) {
        let prefix = pattern.trim_end_matches('*');
        oracle.insert(format!("{prefix}{{*rest}}"), index).unwrap();
        let _ = oracle.insert(prefix, index);
        if let Some(bare) = prefix.strip_suffix('/').filter(|bare| !bare.is_empty()) {
            let _ = oracle.insert(bare, index);
        }
    }
    for request in requests {
        let path = request.path.replace(";v", "");
        let request = Request { path: path.clone(), ..request.clone() };
        let found = request.view(|view| table.find(view, &mut Captures::new())).map(|id| id.0 as usize);
        let expected = oracle.at(&path.replace("%40", "@")).ok().map(|found| *found.value);
        prop_assert_eq!(found, expected, "{} among {:?}", path, patterns);
    }
    Ok(())
}
