//! What only the whole configuration shows to be wrong, as the user reads it.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{path::Path, sync::Arc};

use document::Report;
use maitred_snapshot::{self as snapshot, Compiled, State};
use telemetry::{Build, Metrics};

fn compile(text: &str) -> (Option<Compiled>, String) {
    let loaded = config::load_text("maitred.toml", text, Path::new("."));
    let mut report: Report = loaded.report.clone();
    let build = Build { version: "0", revision: "-", rustc: "-", tls: "-" };
    let state = State::new(Arc::new(Metrics::new(&build)));
    let compiled = snapshot::compile(loaded.config.as_ref().unwrap(), &state, &mut report);
    (compiled, loaded.document.render(&report, false))
}

#[track_caller]
fn refused(text: &str) -> String {
    let (compiled, report) = compile(text);
    assert!(compiled.is_none(), "compiled in spite of:\n{report}");
    report
}

#[test]
fn a_route_leads_to_exactly_one_place() {
    let report = refused("listen = \":0\"\n[routes.a]\npath = \"/a\"\n");
    assert!(report.contains("error[E0305]: route `a` leads nowhere"), "{report}");
    let both = "listen = \":0\"\n[routes.a]\npath = \"/a\"\nredirect = \"/b\"\nrespond = { status = 200 }\n";
    let report = refused(both);
    assert!(report.contains("error[E0305]: route `a` leads to two places"), "{report}");
}

#[test]
fn every_mistake_of_every_table_is_in_one_report() {
    let report = refused(
        r#"
listen = ":0"
[upstreams.u]
backends = "ftp://a"
[routes.a]
path     = "users"
upstream = "u"
[routes.b]
path     = "/b"
upstream = "u"
cors     = { origins = ["*"], credentials = true }
max_url  = "0B"
retries  = 99
request  = { set = { Content-Length = "1" } }
"#,
    );
    for part in ["ftp://a", "E0301", "credentials", "max_url", "`retries` is a number from 0 to 10", "Content-Length"] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
}

#[test]
fn a_mirror_has_an_upstream_and_keeps_within_bounds() {
    let report = refused(
        r#"
listen = ":0"
[routes.a]
path     = "/a"
upstream = "http://10.0.0.1"
mirror   = { percent = 10 }
[routes.b]
path     = "/b"
upstream = "http://10.0.0.1"
mirror   = { upstream = "http://10.0.0.2", percent = 101, max_body = "1GiB", concurrent = 0, remove = "a b", compare = { ignore = "id" } }
[routes.c]
path     = "/c"
respond  = { status = 204 }
mirror   = "http://10.0.0.2"
"#,
    );
    for part in [
        "error[E0106]: `mirror` has no `upstream`",
        "`percent` is a number above 0",
        "at most 16MiB",
        "`concurrent` is at least 1",
        "`a b` is not the name of a header field",
        "`id` is not a JSON pointer",
        "error[E0106]: `mirror` needs `upstream`",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
}

#[test]
fn what_defaults_say_of_splits_and_mirrors_is_for_routes_that_have_them() {
    let (compiled, report) = compile(
        r#"
listen = ":0"
[defaults]
sticky = "cookie:visitor"
mirror = "http://10.0.0.9"
[upstreams.a]
backends = "http://10.0.0.1"
[upstreams.b]
backends = "http://10.0.0.2"
[routes.split]
path  = "/split"
split = { a = 1, b = 1 }
[routes.plain]
path     = "/plain"
upstream = "a"
mirror   = false
[routes.gone]
path    = "/gone"
respond = { status = 410 }
"#,
    );
    let compiled = compiled.unwrap_or_else(|| panic!("{report}"));
    let mirrors = |name: &str| {
        let route = compiled.snapshot.routes.iter().find(|route| &*route.name == name).unwrap();
        route.mirror.is_some()
    };
    assert!(mirrors("split") && !mirrors("plain") && !mirrors("gone"));
    let report = refused("listen = \":0\"\n[routes.a]\npath = \"/a\"\nrespond = { status = 204 }\nsticky = \"ip\"\n");
    assert!(report.contains("`sticky` needs `split`"), "{report}");
    let report = refused(
        r#"
listen = ":0"
[routes.a]
path     = "/a"
upstream = "http://10.0.0.1"
mirror   = "nobody"
"#,
    );
    assert!(report.contains("the mirror of route `a` sends traffic to an upstream that does not exist"), "{report}");
}

#[test]
fn templates_know_what_the_path_captures() {
    let route = |rewrite: &str| {
        format!(
            "listen = \":0\"\n[routes.a]\npath = \"/users/{{id}}\"\nupstream = \"http://127.0.0.1:1\"\nrequest = {{ rewrite = \"{rewrite}\" }}\n"
        )
    };
    assert!(compile(&route("/u/{id}")).0.is_some());
    let report = refused(&route("/u/{name}"));
    assert!(report.contains("E0109"), "{report}");
}

#[test]
fn an_open_door_for_staff_is_a_warning() {
    let (compiled, report) = compile("listen = \":0\"\n[routes]\n\"/admin/*\" = \"http://127.0.0.1:1\"\n");
    assert!(compiled.is_some());
    assert!(report.contains("warning[W0204]") && report.contains("anyone can reach it"), "{report}");
    let (_, report) = compile("listen = \":0\"\n[routes]\n\"/shop/*\" = \"http://127.0.0.1:1\"\n");
    assert_eq!(report, "");
}

#[test]
fn a_route_that_no_listener_can_bring_a_request_to_is_a_warning() {
    let route = "[routes.a]\npath = \"/a\"\nscheme = \"https\"\nupstream = \"http://127.0.0.1:1\"\n";
    let (_, report) = compile(&format!("listen = \":0\"\n{route}"));
    assert!(
        report.contains("warning[W0302]: route `a` can never match") && report.contains("of this scheme"),
        "{report}"
    );
    let behind = "[listeners.http]\naddress = \":0\"\ntrusted_proxies = \"10.0.0.0/8\"\n";
    assert_eq!(compile(&format!("{behind}{route}")).1, "");
    let redirects = "[listeners.http]\naddress = \":0\"\nredirect = \"https\"\n";
    let (_, report) = compile(&format!("{redirects}[routes]\n\"/a\" = \"http://127.0.0.1:1\"\n"));
    assert!(report.contains("warning[W0302]") && report.contains("send every request to https"), "{report}");
}

#[test]
fn nobody_is_kept_together_where_nobody_asks_who_calls() {
    let upstream = "listen = \":0\"\n[upstreams.app]\nbackends = \"http://127.0.0.1:1\"\nbalance = \"hash:user\"\n";
    let route = |name: &str, lines: &str| format!("[routes.{name}]\npath = \"/{name}\"\n{lines}\n");
    let open = route("login", "upstream = \"app\"");
    insta::assert_snapshot!(refused(&format!("{upstream}{open}")), @r#"
error[E0107]: `balance = "hash:user"` needs `auth`
 --> maitred.toml:4:11
  |
4 | balance = "hash:user"
  |           ^^^^^^^^^^^ nobody is known on any route that leads here
5 | [routes.login]
  |         ----- has no `auth`
  |
  = help: add `auth` to the routes, or write `balance = "hash:ip"`
"#);
    let nobody = route("all", "split = { app = 1 }\nauth = \"anonymous\"");
    assert!(refused(&format!("{upstream}{nobody}")).contains("error[E0107]"));
    let policy = "[auth.keys]\ntype = \"forward\"\nurl = \"http://127.0.0.1:1/\"\n";
    let asks = route("app", "upstream = \"app\"\nauth = \"keys\"");
    let (compiled, report) = compile(&format!("{upstream}{policy}{open}{asks}"));
    assert!(compiled.is_some(), "{report}");
    insta::assert_snapshot!(report, @r#"
warning[W0303]: route `login` leads to an upstream balanced by user, and asks nobody who calls
 --> maitred.toml:8:9
  |
4 | balance = "hash:user"
  |           ----------- as this goes by the user
...
8 | [routes.login]
  |         ^^^^^ its requests go to any backend
  |
  = help: add `auth`, or send them to an upstream of their own
"#);
    assert_eq!(compile(&format!("{upstream}{policy}{asks}")).1, "");
    assert_eq!(
        compile(&format!("{upstream}{}", route("other", "respond = { status = 204 }"))).1,
        "",
        "nobody goes there"
    );
}

/// What is said of a route that keeps answers, with these lines in its table and these listeners.
fn said_of_cache(listeners: &str, lines: &str) -> String {
    let (compiled, report) =
        compile(&format!("{listeners}[routes.shop]\npath = \"/*\"\nupstream = \"http://127.0.0.1:1\"\n{lines}\n"));
    assert!(compiled.is_some(), "{report}");
    report
}

const PLAIN: &str = "[listeners.http]\naddress = \":0\"\n";

#[test]
fn what_an_origin_sees_and_no_key_holds_is_a_warning() {
    insta::assert_snapshot!(said_of_cache(
        "[listeners.http]\naddress = \":0\"\ntrusted_proxies = \"10.0.0.0/8\"\n",
        "cache = { ttl = \"5m\", key = \"path\" }\n\
         request = { rewrite = \"/{cookie.plan}{path}\", set = { X-Lang = \"{header.X-Language}\", X-Client = \"{client_ip}\" } }",
    ), @r#"
warning[W0503]: route `shop` keeps what its origin says nothing about, and the origin sees what does not tell answers apart: `Cookie`, `Accept-Language`, `Origin`
 --> maitred.toml:7:9
  |
7 | cache = { ttl = "5m", key = "path" }
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ an answer for one client could be given to all
  |
  = help: name in `vary` what answers depend on, keep sessions out with `bypass = "cookie:NAME"`, and take away what they do not: `request = { remove = ["Cookie"] }`

warning[W0503]: route `shop` keeps one answer for all hosts, and its origin sees which was asked for
 --> maitred.toml:7:29
  |
7 | cache = { ttl = "5m", key = "path" }
  |                             ^^^^^^ "host" is not part of it
  |
  = help: add "host" to `key`, or hide it: `request = { host = "upstream", remove = "X-Forwarded-Host" }`

warning[W0503]: route `shop` keeps one answer for HTTP and HTTPS, and its origin sees which it was (`X-Forwarded-Proto`)
 --> maitred.toml:7:29
  |
7 | cache = { ttl = "5m", key = "path" }
  |                             ^^^^^^ "scheme" is not part of it
  |
  = help: add "scheme" to `key`, or hide it: `request = { remove = "X-Forwarded-Proto" }`

warning[W0503]: the origin of route `shop` is told `{client_ip}`, which does not tell kept answers apart
 --> maitred.toml:8:11
  |
8 | request = { rewrite = "/{cookie.plan}{path}", set = { X-Lang = "{header.X-Language}", X-Client = "{client_ip}" } }
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ an answer by `{client_ip}` could be given to all
  |
  = help: leave it out, or write `cache = false`: a key cannot hold it

warning[W0503]: the origin of route `shop` is told `{header.x-language}`, which does not tell kept answers apart
 --> maitred.toml:8:11
  |
8 | request = { rewrite = "/{cookie.plan}{path}", set = { X-Lang = "{header.X-Language}", X-Client = "{client_ip}" } }
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ an answer by `{header.x-language}` could be given to all
  |
  = help: add `vary = "x-language"` to `cache`

warning[W0503]: the origin of route `shop` is told `{cookie.plan}`, which does not tell kept answers apart
 --> maitred.toml:8:11
  |
8 | request = { rewrite = "/{cookie.plan}{path}", set = { X-Lang = "{header.X-Language}", X-Client = "{client_ip}" } }
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ an answer by `{cookie.plan}` could be given to all
  |
  = help: add "cookie:plan" to `key`, or to `bypass`, of `cache`
"#);
}

#[test]
fn what_tells_answers_apart_or_is_not_seen_is_no_warning() {
    for lines in [
        // The origin says what it allows, and `Vary` with it.
        "cache = true",
        "cache = { key = [\"host\", \"path\"] }",
        "cache = { ttl = \"5m\", vary = [\"Cookie\", \"Accept-Language\", \"Origin\"] }",
        "cache = { ttl = \"5m\", key = [\"host\", \"path\", \"header:Cookie\"], vary = [\"Accept-Language\", \"Origin\"] }",
        "cache = { ttl = \"5m\", bypass = [\"cookie:session\", \"header:Accept-Language\", \"header:Origin\"] }",
        "cache = \"5m\"\nrequest = { remove = [\"Cookie\", \"Accept-Language\", \"Origin\"] }",
        "cache = \"5m\"\nrequest = { set = { Cookie = \"a=b\" }, remove = \"Accept-Language\" }\ncors = { origins = \"https://a.test\" }",
        // One host alone; its name hidden; only one scheme comes in.
        "cache = { key = \"path\" }\nhost = \"shop.test\"",
        "cache = { key = \"path\" }\nrequest = { host = \"upstream\", remove = \"X-Forwarded-Host\" }",
        // Parameters that are not part of the key do not reach the origin.
        "cache = { key = [\"host\", \"path\"] }\nrequest = { set = { X-Page = \"{query.page}\" } }",
        "cache = { vary = \"X-Language\" }\nrequest = { set = { X-Lang = \"{header.X-Language}\" } }",
    ] {
        assert_eq!(said_of_cache(PLAIN, lines), "", "{lines}");
    }
}

#[test]
fn each_thing_that_no_key_holds_is_named() {
    for (lines, named) in [
        ("cache = \"5m\"", "`Cookie`, `Accept-Language`, `Origin`"),
        ("cache = { status = { 404 = \"10s\" }, vary = \"Origin\" }", "`Cookie`, `Accept-Language`\n"),
        ("cache = { key = \"path\" }\nhost = \"*.shop.test\"", "keeps one answer for all hosts"),
        ("cache = { key = \"path\" }\nrequest = { host = \"upstream\" }", "keeps one answer for all hosts"),
        ("cache = true\nrequest = { set = { X-Plan = \"{cookie.plan}\" } }", "`{cookie.plan}`"),
    ] {
        let report = said_of_cache(PLAIN, lines);
        assert!(report.contains("warning[W0503]") && report.contains(named), "{lines}\n{report}");
    }
}

#[test]
fn defaults_reach_every_route_and_can_be_switched_off() {
    let (compiled, report) = compile(
        r#"
listen = ":0"
[defaults]
timeout          = "7s"
security_headers = true
[routes.a]
path     = "/a"
upstream = "http://127.0.0.1:1"
[routes.b]
path             = "/b"
upstream         = "http://127.0.0.1:1"
timeout          = false
security_headers = false
"#,
    );
    assert_eq!(report, "");
    let compiled = compiled.unwrap();
    let [a, b] = &compiled.snapshot.routes[..] else { panic!("two routes") };
    assert_eq!(a.timeout, Some(std::time::Duration::from_secs(7)));
    assert!(a.security.is_some());
    assert_eq!((b.timeout, b.security.is_some()), (None, false));
}

#[test]
fn upstreams_that_do_not_fit_a_stream() {
    insta::assert_snapshot!(refused(
        r#"
[listeners.stream]
address = ":2"
mode = "tcp"
upstream = "secure"
[listeners.tls]
address = ":3"
mode = "tls-passthrough"
upstream = "plain"
sni = { "a.example" = "secure", "b.example" = "any", "c.example" = "missing" }
[upstreams]
any = { backends = ["tcp://10.0.0.1:5432", "unix:/run/db.sock"] }
plain = { backends = ["tcp://10.0.0.2:80", "http://10.0.0.2"] }
secure = { backends = "https://10.0.0.3" }
"#
    ), @r##"
error[E0306]: listener `stream` passes on bytes as they come to an upstream that expects something else
 --> maitred.toml:5:12
  |
5 | upstream = "secure"
  |            ^^^^^^^^ `secure` has the backend `https://10.0.0.3:443`
  |
  = help: write `tcp://` in its backends' URLs; a stream is not encrypted on its way to them

error[E0306]: listener `tls` passes on TLS to an upstream that expects something else
 --> maitred.toml:9:12
  |
9 | upstream = "plain"
  |            ^^^^^^^ `plain` has the backend `http://10.0.0.2:80`
  |
  = help: write `tcp://` or `https://` in its backends' URLs if they speak TLS

error[E0201]: listener `tls` sends traffic to an upstream that does not exist
  --> maitred.toml:10:68
   |
10 | sni = { "a.example" = "secure", "b.example" = "any", "c.example" = "missing" }
   |                                                                    ^^^^^^^^^ no upstream is named `missing`
   |
   = help: define it as `[upstreams.missing]`, or write a URL in its place
"##);
}

#[test]
fn upstreams_and_listeners_that_do_not_fit_a_route() {
    insta::assert_snapshot!(refused(
        r#"
[listeners.http]
address = ":1"
[listeners.stream]
address = ":2"
mode = "tcp"
upstream = "any"
[upstreams]
any = { backends = ["tcp://10.0.0.1:5432", "http://10.0.0.1"] }
[routes]
"/any" = "any"
"/other" = { upstream = "http://10.0.0.2", listener = ["http", "stream"] }
"#
    ), @r##"
error[E0306]: route `/any` sends requests to an upstream that expects something else
  --> maitred.toml:11:10
   |
11 | "/any" = "any"
   |          ^^^^^ `any` has the backend `tcp://10.0.0.1:5432`
   |
   = help: write `http://` in its backends' URLs if they speak HTTP

error[E0306]: route `/other` is for a listener without requests
  --> maitred.toml:12:64
   |
 6 | mode = "tcp"
   |        ----- as this says
...
12 | "/other" = { upstream = "http://10.0.0.2", listener = ["http", "stream"] }
   |                                                                ^^^^^^^^ `stream` passes bytes on, whatever they mean
"##);
}
