//! Bad routes, and exactly what is said about them.

use document::Place;

use super::*;

/// Every diagnostic, as lines of text.
fn told(routes: &[(&str, Match)]) -> Vec<String> {
    let mut report = Report::new();
    let table = compile(routes, &mut report);
    assert_eq!(table.is_none(), report.has_errors());
    let place = |place: &Place| match place {
        Place::At(at) => format!("{at}{}", if at.part() == document::Part::Key { " (key)" } else { "" }),
        Place::Span(span) => format!("{span:?}"),
    };
    let mut lines = Vec::new();
    for diagnostic in report.diagnostics() {
        lines.push(format!("{}: {}", diagnostic.code, diagnostic.message));
        lines.extend(diagnostic.labels.iter().map(|label| format!("  at {}: {}", place(&label.place), label.text)));
        lines.extend(diagnostic.notes.iter().map(|note| format!("  note: {note}")));
        lines.extend(diagnostic.help.iter().map(|help| format!("  help: {help}")));
        lines.extend(diagnostic.patch.iter().map(|patch| format!("  write: {}", patch.replacement)));
    }
    lines
}

#[test]
fn routes_that_nothing_tells_apart() {
    assert_eq!(
        told(&[("users", on("/users/{id}")), ("profile", on("/users/{name}"))]),
        [
            "E0302: routes `users` and `profile` match exactly the same requests",
            "  at routes.profile.path: this pattern has the same shape…",
            "  at routes.users.path: …as this one; parameter names do not count",
            "  note: order never decides between routes, so neither could win",
            "  help: tell them apart by `method`, `host`, `header` or `query`, or delete one",
        ]
    );
    assert_eq!(
        told(&[
            ("a", Match { host: list(&["x.y", "z"]), method: list(&["GET", "PUT"]), ..Match::default() }),
            ("b", Match { host: list(&["z"]), method: list(&["PUT"]), ..on("/*") }),
        ])[..3],
        [
            "E0302: routes `a` and `b` share requests that nothing tells apart",
            "  at routes.b.path: this path means the same…",
            "  at routes.a (key): …as this one",
        ]
    );
    for apart in [
        [on("/a"), on("/b")],
        [on("/a"), on("x.y/a")],
        [on("x.y/a"), on("*.y/a")],
        [Match { method: list(&["GET"]), ..on("/a") }, Match { method: list(&["PUT"]), ..on("/a") }],
        [Match { method: list(&["GET"]), ..on("/a") }, on("/a")],
        [Match { header: one("x", text("1")), ..on("/a") }, Match { header: one("x", text("2")), ..on("/a") }],
        [Match { listener: list(&["public"]), ..on("/a") }, Match { listener: list(&["internal"]), ..on("/a") }],
        [Match { scheme: Some(Scheme::Http), ..on("/a") }, on("/a")],
    ] {
        assert_eq!(told(&[("one", apart[0].clone()), ("two", apart[1].clone())]), Vec::<String>::new());
    }
}

#[test]
fn every_mistake_of_a_route_is_told_at_once() {
    let route = Match {
        host: list(&["a.b", "http://c"]),
        path: Some("/users/{user}".into()),
        method: list(&["get", "G T"]),
        header: Some([("a b".into(), text("1")), ("x".into(), text("~(")), ("X".into(), text("1"))].into()),
        listener: list(&["publik"]),
        ..Match::default()
    };
    assert_eq!(
        told(&[("r", route)]),
        [
            "E0301: the path of route `r` is not a pattern",
            "  at routes.r.path: `{user}` already means something of the request",
            "  help: call it `{user_id}` or the like",
            "E0303: a host of route `r` is not a host pattern",
            "  at routes.r.host.1: this is more than a host name",
            "  help: write the host here and the path under `path`",
            "E0304: methods are written in capitals, found `get`",
            "  at routes.r.method.0: no client sends this",
            "  write: \"GET\"",
            "E0304: `G T` is not a method",
            "  at routes.r.method.1: expected a method such as \"GET\"",
            "E0201: route `r` refers to a listener that does not exist",
            "  at routes.r.listener.0: no listener is named `publik`",
            "  help: did you mean `public`?",
            "  write: \"public\"",
            "E0304: the condition on `x` is not a regular expression",
            "  at routes.r.header.x: unclosed group",
        ]
    );
    let twice = Match { header: Some([("x".into(), text("2")), ("X".into(), text("1"))].into()), ..Match::default() };
    assert_eq!(told(&[("r", twice)])[0], "E0304: route `r` has two conditions on the header `x`");
    let nothing = Match { host: list(&[]), method: list(&[]), ..Match::default() };
    assert_eq!(
        told(&[("r", nothing)])[..3],
        [
            "E0303: route `r` matches nothing",
            "  at routes.r.host: an empty list allows no value",
            "  help: leave `host` out to match every host",
        ]
    );
}

#[test]
fn a_root_that_is_alone_is_warned_of() {
    assert_eq!(
        told(&[("home", on("/"))]),
        [
            "W0301: route `home` matches the path `/` alone",
            "  at routes.home.path: nothing below it is matched",
            "  help: to match everything below it as well, write",
            "  write: \"/*\"",
        ]
    );
    assert_eq!(told(&[("a.b/", on("a.b/"))]).last().unwrap(), "  write: \"a.b/*\"");
    assert_eq!(told(&[("home", on("/")), ("rest", on("/*"))]), Vec::<String>::new());
}

#[test]
fn a_regular_expression_under_a_prefix_is_warned_of() {
    assert_eq!(
        told(&[("all", on("/api/*")), ("versions", on("~^/api/v[0-9]+/"))]),
        [
            "W0302: route `versions` can never match",
            "  at routes.versions.path: no request gets as far as this",
            "  at routes.all.path: `all` takes them all: a prefix wins over a regular expression",
            "  help: write the regular expression as a template or prefix, or tell the two apart by `host` or `header`",
        ]
    );
    let shadowed = |prefix: Match, regex: Match| !told(&[("a", prefix), ("b", regex)]).is_empty();
    assert!(shadowed(on("/*"), on("~x$")));
    assert!(shadowed(on("/*"), Match { method: list(&["GET"]), ..on("~x$") }));
    assert!(!shadowed(Match { method: list(&["GET"]), ..on("/*") }, on("~x$")));
    assert!(!shadowed(on("/api/*"), on("~^/ap")));
    assert!(!shadowed(on("/api/*"), on("~^/api")));
    assert!(!shadowed(on("/api/*"), on("~^/api/?x")));
    assert!(!shadowed(on("/api/*"), on("~^/api/a|x")));
    assert!(!shadowed(on("/api/*"), on("~/api/x")));
    assert!(!shadowed(on("x.y/*"), on("~x$")));
    assert!(!shadowed(on("/*"), Match { host: list(&["x.y"]), ..on("~x$") }));
}
