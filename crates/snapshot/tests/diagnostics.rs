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
    for part in ["ftp://a", "E0301", "credentials", "max_url", "`retries` cannot be 99", "Content-Length"] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
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
