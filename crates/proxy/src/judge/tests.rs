//! Verdicts on small configurations.

use std::path::Path;

use super::*;

struct Court {
    snapshot: Arc<Snapshot>,
    listeners: Vec<Arc<Listener>>,
}

fn court(text: &str) -> Court {
    let mut loaded = config::load_text("maitred.toml", text, Path::new("."));
    let mut report = std::mem::take(&mut loaded.report);
    let build = Build { version: "-", revision: "-", rustc: "-", tls: "-" };
    let state = snapshot::State::new(Arc::new(Metrics::new(&build)));
    let compiled = snapshot::compile(&loaded.config.unwrap(), &state, &mut report);
    let compiled = compiled.unwrap_or_else(|| panic!("{}", loaded.document.render(&report, false)));
    Court { snapshot: Arc::new(compiled.snapshot), listeners: compiled.listeners }
}

impl Court {
    fn judge(&self, request: &str, fields: &[(&'static str, &str)]) -> Verdict {
        let (method, target) = request.split_once(' ').unwrap();
        let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        if !fields.iter().any(|(name, _)| *name == "Host") {
            head.insert_header("Host", "api.example.com").unwrap();
        }
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        let from = "203.0.113.7".parse().unwrap();
        let host = "api.example.com".to_owned();
        Judge::new().judge(
            &self.snapshot,
            Asked { listener: self.listeners[0].clone(), from, host, port: 80, head, user: None },
        )
    }
}

fn answered(verdict: &Verdict) -> (Step, u16, &'static str) {
    match verdict.outcome() {
        Outcome::Answered(answered) => (answered.by, answered.status.as_u16(), answered.reason.word()),
        Outcome::Forwarded(forwarded) => panic!("sent to {}", forwarded.upstream.name()),
    }
}

fn sent(verdict: &Verdict) -> &Forwarded {
    match verdict.outcome() {
        Outcome::Forwarded(forwarded) => forwarded,
        Outcome::Answered(answered) => panic!("answered {} {}", answered.status, answered.reason.word()),
    }
}

const WORKED: &str = r#"
listen = ":8080"
[upstreams.orders]
backends = ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]
[routes.orders]
path     = "/orders/*"
upstream = "orders"
max_body = "1KiB"
cors     = { origins = ["https://app.example.com"] }
request  = { rewrite = "/v1{path}", set = { X-Client-IP = "{client_ip}" }, remove = ["Cookie"] }
[routes.owned]
path     = "/owned/*"
upstream = "orders"
request  = { host = "upstream" }
[routes.old]
path     = "/old/*"
redirect = "https://new.example.com{path}"
"#;

#[test]
fn a_request_is_shown_as_the_origin_would_get_it() {
    let court = court(WORKED);
    let verdict = court.judge("GET /orders/7/../8?x=1", &[("Cookie", "a=b"), ("X-Forwarded-For", "10.9.9.9")]);
    let sent = sent(&verdict);
    assert_eq!((&*verdict.route().unwrap().name, &**sent.upstream.name()), ("orders", "orders"));
    assert_eq!(sent.target, "/v1/orders/8?x=1");
    assert_eq!(sent.fields["x-client-ip"], "203.0.113.7");
    assert_eq!(sent.fields["x-forwarded-for"], "203.0.113.7");
    assert!(!sent.fields.contains_key("cookie"));
    assert_eq!(sent.hosts, ["api.example.com"]);
    assert!(verdict.candidates()[0].won);
    let owned = court.judge("GET /owned/1", &[]);
    let Outcome::Forwarded(owned) = owned.outcome() else { panic!("answered") };
    assert_eq!(owned.hosts, ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn every_step_may_answer() {
    let court = court(WORKED);
    let asked = |request: &str, fields: &[(&'static str, &str)]| answered(&court.judge(request, fields));
    assert_eq!(asked("GET /", &[("Host", "a"), ("Host", "b")]), (Step::Front, 400, "bad_host"));
    let smuggled = [("Content-Length", "1"), ("Transfer-Encoding", "chunked")];
    assert_eq!(asked("POST /orders/1", &smuggled), (Step::Front, 400, "bad_request"));
    assert_eq!(asked("GET /orders/..%2fadmin", &[]), (Step::Arrive, 400, "bad_path"));
    assert_eq!(asked("GET /nowhere", &[]), (Step::Arrive, 404, "no_route"));
    assert_eq!(asked("GET /health", &[]), (Step::Arrive, 200, ""));
    assert_eq!(asked("POST /orders/1", &[("Content-Length", "2000")]), (Step::Access, 413, "body_too_large"));
    let verdict = court.judge("GET /old/7?x=1", &[]);
    assert_eq!(answered(&verdict), (Step::Redirect, 308, ""));
    let Outcome::Answered(redirect) = verdict.outcome() else { panic!("sent") };
    assert_eq!(redirect.fields["location"], "https://new.example.com/old/7?x=1");
}

#[test]
fn a_preflight_is_answered_by_the_route_that_it_asks_about() {
    let court = court(WORKED);
    let fields = [("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "POST")];
    let verdict = court.judge("OPTIONS /orders/1", &fields);
    assert_eq!(answered(&verdict), (Step::Cors, 204, ""));
    assert_eq!(verdict.candidates().iter().filter(|candidate| candidate.won).count(), 1);
    let seen = court.judge("GET /orders/1", &fields[..1]);
    assert_eq!(sent(&seen).response["access-control-allow-origin"], "https://app.example.com");
}

#[test]
fn a_listener_that_sends_everybody_to_https_answers_first() {
    let court =
        court("[listeners.a]\naddress = \":8080\"\nredirect = \"https\"\n[routes]\n\"/*\" = \"http://10.0.0.1\"\n");
    let verdict = court.judge("GET /orders?x=1", &[]);
    assert_eq!(answered(&verdict), (Step::Arrive, 308, ""));
    assert!(verdict.route().is_none() && verdict.candidates().is_empty());
}

#[test]
fn judging_does_not_move_what_is_in_force() {
    let court = court(WORKED);
    let first = |court: &Court| court.snapshot.upstreams["orders"].pick(&[]).map(|pick| pick.label().clone());
    for _ in 0..3 {
        court.judge("GET /orders/1", &[]);
    }
    assert_eq!(first(&court).as_deref(), Some("10.0.0.1:8080"));
    assert_eq!(first(&court).as_deref(), Some("10.0.0.2:8080"));
}
