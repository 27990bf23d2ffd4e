//! The table against a naive matcher and against matchit.

mod diagnostics;
mod oracle;

use filter::Client;
use pingora_http::RequestHeader;

use super::*;
use crate::{Condition, Scheme};

/// A request, as short as a test needs it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub method: &'static str,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    pub listener: &'static str,
    pub scheme: filter::Scheme,
}

impl Request {
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_string())));
        Self {
            method: "GET",
            host: "localhost".into(),
            path: path.into(),
            query,
            headers: Vec::new(),
            listener: "public",
            scheme: filter::Scheme::Http,
        }
    }

    pub fn to(method: &'static str, path: &str) -> Self {
        Self { method, ..Self::get(path) }
    }

    pub fn host(self, host: &str) -> Self {
        Self { host: host.into(), ..self }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn view<T>(&self, use_it: impl FnOnce(&View<'_>) -> T) -> T {
        let mut head = RequestHeader::build(self.method, b"/", None).unwrap();
        for (name, value) in &self.headers {
            head.append_header(*name, value).unwrap();
        }
        let client = Client { scheme: self.scheme, ..Client::local(self.listener.into()) };
        let (path, query) = (self.path.as_str(), self.query.as_deref());
        use_it(&View {
            generation: 1,
            identity: None,
            head: &head,
            client: &client,
            host: &self.host,
            path,
            query,
            captures: &Captures::new(),
        })
    }
}

/// Compiles routes given by name.
pub(crate) fn compile(routes: &[(&str, Match)], report: &mut Report) -> Option<Table> {
    let at = At::root().key("routes");
    let routes: Vec<_> = routes.iter().map(|(name, written)| (*name, written, at.key(*name))).collect();
    Table::compile(&routes, &["public", "internal"], report)
}

/// A table of routes that are in order, named by themselves.
struct Routes {
    names: Vec<String>,
    table: Table,
}

impl Routes {
    fn new(routes: &[(&str, Match)]) -> Self {
        let mut report = Report::new();
        let table = compile(routes, &mut report);
        assert!(!report.has_errors(), "{report:#?}");
        Self { names: routes.iter().map(|(name, _)| (*name).into()).collect(), table: table.unwrap() }
    }

    /// Routes that are nothing but a key such as `api.example.com/users/*`.
    fn of(keys: &[&str]) -> Self {
        Self::new(&keys.iter().map(|key| (*key, Match::from_key(key))).collect::<Vec<_>>())
    }

    /// The name of the route that the request takes, or a dash.
    fn find(&self, request: &Request) -> &str {
        let found = request.view(|view| self.table.find(view, &mut Captures::new()));
        found.map_or("-", |id| &self.names[id.0 as usize])
    }

    fn path(&self, path: &str) -> &str {
        self.find(&Request::get(path))
    }
}

/// What `pattern` captures from `path`, if it matches.
pub(crate) fn captured<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let Routes { table, .. } = Routes::new(&[("r", Match { path: Some(pattern.into()), ..Match::default() })]);
    let mut captures = Captures::new();
    let id = Request::get(path).view(|view| table.find(view, &mut captures))?;
    assert_eq!(captures.len(), table.capture_names(id).len());
    Some((0..captures.len()).map(|index| captures.get(index, path)).collect())
}

fn on(path: &str) -> Match {
    Match::from_key(path)
}

fn text(value: &str) -> Condition {
    Condition::Text(value.into())
}

fn one<K: Into<String>>(key: K, condition: Condition) -> Option<std::collections::BTreeMap<String, Condition>> {
    Some([(key.into(), condition)].into())
}

fn list(values: &[&str]) -> Option<document::OneOrMany<String>> {
    Some(document::OneOrMany(values.iter().map(|value| (*value).into()).collect()))
}

#[test]
fn exact_beats_template_beats_longest_prefix_beats_regex() {
    let routes = Routes::of(&["/a/b", "/a/{x}", "/{x}/b", "/a/*", "/*", "/a/b/*", "~^/"]);
    assert_eq!(routes.path("/a/b"), "/a/b");
    assert_eq!(routes.path("/a/c"), "/a/{x}");
    assert_eq!(routes.path("/z/b"), "/{x}/b");
    assert_eq!(routes.path("/a/b/c"), "/a/b/*");
    assert_eq!(routes.path("/a/b/"), "/a/b/*");
    assert_eq!(routes.path("/a/c/d"), "/a/*");
    assert_eq!(routes.path("/a"), "/a/*");
    assert_eq!(routes.path("/ab"), "/*");
    assert_eq!(Routes::of(&["/a", "~^/[a-z]$", "~^/."]).path("/b"), "~^/[a-z]$");
}

#[test]
fn a_template_beats_a_prefix_even_where_text_leads_to_the_prefix() {
    let routes = Routes::of(&["/a/*", "/{x}/b", "/a/{x}/*"]);
    assert_eq!(routes.path("/a/b"), "/{x}/b");
    assert_eq!(routes.path("/a/b/c"), "/a/{x}/*");
    assert_eq!(routes.path("/a/b/"), "/a/{x}/*");
}

#[test]
fn exact_hosts_beat_wildcards_and_fall_back_to_them() {
    let routes = Routes::of(&["api.example.com/x", "*.example.com/*", "*.b.example.com/*", "example.com/*", "/y"]);
    let find = |host: &str, path: &str| routes.find(&Request::get(path).host(host)).to_string();
    assert_eq!(find("api.example.com", "/x"), "api.example.com/x");
    assert_eq!(find("api.example.com", "/y"), "*.example.com/*");
    assert_eq!(find("a.b.example.com", "/y"), "*.b.example.com/*");
    assert_eq!(find("b.example.com", "/y"), "*.example.com/*");
    assert_eq!(find("example.com", "/y"), "example.com/*");
    assert_eq!(find("example.com.", "/"), "example.com/*");
    assert_eq!(find("other", "/y"), "/y");
    assert_eq!(find("other", "/x"), "-");
}

#[test]
fn a_condition_that_does_not_hold_makes_way_for_the_next() {
    let routes = Routes::new(&[
        ("read", Match { method: list(&["GET", "HEAD"]), ..on("/p/{id}") }),
        ("preview", Match { method: list(&["GET"]), header: one("X-API-Version", text("v2")), ..on("/p/{id}") }),
        ("plain", Match { header: one("X-API-Version", text("v2")), ..on("/p/{id}") }),
        ("beta", Match { query: one("beta", text("1")), ..on("/p/*") }),
        ("rest", on("/p/*")),
    ]);
    assert_eq!(routes.path("/p/7"), "read");
    assert_eq!(routes.find(&Request::get("/p/7").header("x-api-version", "v2")), "preview");
    assert_eq!(routes.find(&Request::to("POST", "/p/7").header("x-api-version", "v2")), "plain");
    assert_eq!(routes.find(&Request::to("POST", "/p/7")), "rest");
    assert_eq!(routes.find(&Request::to("POST", "/p/7?beta=1")), "beta");
    assert_eq!(routes.find(&Request::get("/p/7?beta=1")), "read");
}

#[test]
fn conditions_compare_exactly_by_regex_and_by_presence() {
    let asks = |condition: Condition| Routes::new(&[("r", Match { header: one("x", condition), ..Match::default() })]);
    let value = |value: &str| Request::get("/").header("x", value);
    assert_eq!(asks(text("a")).find(&value("a")), "r");
    assert_eq!(asks(text("a")).find(&value("ab")), "-");
    assert_eq!(asks(text("a")).find(&value("b").header("x", "a")), "r");
    assert_eq!(asks(text("~^a")).find(&value("ab")), "r");
    assert_eq!(asks(text("~^a")).find(&value("ba")), "-");
    assert_eq!(asks(Condition::Present(true)).find(&value("")), "r");
    assert_eq!(asks(Condition::Present(true)).find(&Request::get("/")), "-");
    assert_eq!(asks(Condition::Present(false)).find(&value("")), "-");
    assert_eq!(asks(Condition::Present(false)).find(&Request::get("/")), "r");

    let routes = Routes::new(&[
        ("cookie", Match { cookie: one("plan", text("~^pro")), ..Match::default() }),
        ("inside", Match { listener: list(&["internal"]), ..Match::default() }),
        ("secure", Match { scheme: Some(Scheme::Https), ..Match::default() }),
    ]);
    assert_eq!(routes.find(&Request::get("/").header("cookie", "a=b; plan=pro-2")), "cookie");
    assert_eq!(routes.find(&Request { listener: "internal", ..Request::get("/") }), "inside");
    assert_eq!(routes.find(&Request { scheme: filter::Scheme::Https, ..Request::get("/") }), "secure");
    assert_eq!(routes.path("/"), "-");
}

#[test]
fn order_in_the_file_never_counts() {
    let one = [
        ("b", Match { header: self::one("x", text("1")), ..on("/") }),
        ("a", Match { header: self::one("y", text("1")), ..on("/") }),
    ];
    let mut other = one.clone();
    other.reverse();
    let request = Request::get("/").header("x", "1").header("y", "1");
    assert_eq!(Routes::new(&one).find(&request), "a");
    assert_eq!(Routes::new(&other).find(&request), "a");
}

#[test]
fn explaining_says_why_each_route_won_or_lost() {
    let method = list(&["GET", "HEAD"]);
    let routes = Routes::new(&[
        ("users", on("/users/*")),
        ("products", Match { method: method.clone(), ..on("/products/{id}") }),
        ("preview", Match { method, header: one("X-API-Version", text("v2")), ..on("/products/{id}") }),
        ("edit", Match { method: list(&["PUT"]), ..on("/products/{id}") }),
        ("any", on("/products/{id}")),
        ("all", on("/*")),
        ("far", on("other.example.com/*")),
        ("beta", Match { query: one("beta", text("1")), ..on("/products/{id}") }),
    ]);
    let request = Request::get("/products/7").header("X-API-Version", "v2");
    let told = request.view(|view| routes.table.explain(view));
    let told: Vec<_> = told.iter().map(|c| (routes.names[c.id.0 as usize].as_str(), c.won, c.why.as_str())).collect();
    assert_eq!(
        told,
        [
            ("preview", true, "path template + 1 header"),
            ("all", false, "path prefix, less specific than path template"),
            ("any", false, "same path, names no method"),
            ("products", false, "same path, fewer headers"),
            ("beta", false, "query parameter `beta` differs"),
            ("edit", false, "method differs"),
            ("far", false, "host differs"),
            ("users", false, "path differs"),
        ]
    );
}

#[test]
fn a_match_reads_every_form() {
    let written: Match = serde_json::from_str(
        r#"{ "host": "a.b", "path": "/x", "method": ["GET"], "header": { "X": "v", "Y": true, "Z": false }, "scheme": "https" }"#,
    )
    .unwrap();
    assert_eq!(written.host.as_deref(), Some(&["a.b".to_string()][..]));
    assert_eq!(written.header.unwrap()["Z"], Condition::Present(false));
    assert_eq!(written.scheme, Some(Scheme::Https));
    assert_eq!(Match::from_key("~^/v[0-9]+/").path.as_deref(), Some("~^/v[0-9]+/"));
    assert_eq!(Match::from_key("a.b/c"), Match { host: list(&["a.b"]), ..on("/c") });
}
