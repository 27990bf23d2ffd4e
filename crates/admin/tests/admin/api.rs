//! What can be asked and ordered: the answers, who may, and what is written down of it.

use std::{
    io::{Read, Write},
    thread,
    time::Instant,
};

use maitred_admin::{Phase, Who};
use serde_json::{Value, json};

use crate::running::{DEADLINE, Running, TOKEN};

const JSON: &str = "Content-Type: application/json";

#[test]
fn a_reload_is_ordered_and_its_outcome_told() {
    let running = Running::start();
    let order = json!({ "dry_run": false, "confirm": 300, "abort_if": "5xx>1%" });
    let applied = running.order("/api/v1/reload", &order);
    assert_eq!(applied.status, 200, "{applied:?}");
    assert_eq!((&applied.json()["outcome"], &applied.json()["generation"]["id"]), (&"applied".into(), &2.into()));
    let heard = running.server.heard().join(" ");
    assert!(heard.contains("Seconds(300)") && heard.contains("5xx>1%"), "{heard}");

    let refused = running.order("/api/v1/reload", &json!({ "abort_if": "refuse" }));
    assert_eq!(refused.status, 422);
    assert!(refused.head.contains("content-type: application/problem+json"), "{}", refused.head);
    let body = refused.json();
    assert_eq!(
        (&body["status"], &body["outcome"], &body["diagnostics"][0]["code"]),
        (&422.into(), &"refused".into(), &"E0201".into())
    );
    assert!(body["detail"].as_str().unwrap().contains("still serving generation 2"), "{body}");

    assert_eq!(running.over_unix("POST /api/v1/reload", &[], "").json()["outcome"], "applied", "no body, no wishes");
}

#[test]
fn an_order_that_is_not_understood_changes_nothing() {
    let running = Running::start();
    for (order, status) in [(json!({ "dryrun": true }), 400), (json!("now"), 400), (json!({ "confirm": "5m" }), 400)] {
        assert_eq!(running.order("/api/v1/reload", &order).status, status, "{order}");
    }
    assert_eq!(running.over_unix("POST /api/v1/reload", &["Content-Type: text/plain"], "{}").status, 415);
    assert_eq!(running.over_unix("POST /api/v1/reload?now", &[], "").status, 400);
    assert_eq!(running.over_unix("POST /api/v1/config/rollback/x", &[], "").status, 400);
    let long = "x".repeat(70_000);
    assert_eq!(running.over_unix("POST /api/v1/reload", &[JSON], &long).status, 413);
    let chunked = format!("11170\r\n{long}\r\n0\r\n\r\n");
    let text = running.raw(&format!(
        "POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
    ));
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(running.server.heard().is_empty());
}

#[test]
fn a_generation_that_the_client_has_not_seen_is_not_replaced() {
    let running = Running::start();
    let config = running.over_unix("GET /api/v1/config", &[], "");
    let tag = config.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(running.over_unix("GET /api/v1/config", &[&format!("If-None-Match: {tag}")], "").status, 304);
    let with = |tag: &str| running.over_unix("POST /api/v1/reload", &[&format!("If-Match: {tag}")], "").status;
    assert_eq!(with("\"other\""), 412);
    assert_eq!(with(&tag), 200);
    assert_eq!(with(&tag), 412, "that one is in force no more");
    assert_eq!(running.over_unix("GET /api/v1/config", &[&format!("If-None-Match: {tag}")], "").status, 200);
}

#[test]
fn the_configuration_is_shown_whole_or_in_part() {
    let running = Running::start();
    let get = |target: &str| running.over_unix(&format!("GET {target}"), &[], "");
    assert_eq!(get("/api/v1/config").json()["routes"]["users"]["path"], "/users/*");
    assert_eq!(get("/api/v1/config?path=routes.users").json()["path"], "/users/*");
    let toml = get("/api/v1/config?format=toml&path=routes");
    assert!(toml.head.contains("content-type: application/toml") && toml.body.contains("[users]"), "{toml:?}");
    assert_eq!(get("/api/v1/config?path=routes.nobody").status, 404);
    assert_eq!(get("/api/v1/config?format=yaml").status, 400);
    assert_eq!(get("/api/v1/config/source").json()[0]["path"], "/etc/maitred/maitred.toml");
    assert_eq!(get("/api/v1/config/history").json()[0]["id"], 1);
    let check = |text: &str| running.over_unix("POST /api/v1/config/check", &[], text);
    assert_eq!(check("listen = 1").json()["valid"], true);
    assert_eq!(check("wrong").json()["valid"], false);
    assert_eq!(check("").status, 400);
    assert_eq!(check(&"#".repeat(2 << 20)).status, 413);
}

#[test]
fn a_request_is_explained() {
    let running = Running::start();
    let explained = running.order("/api/v1/explain", &json!({ "url": "/users/7" }));
    assert_eq!(explained.json()["route"], "users");
    let refused = running.order("/api/v1/explain", &json!({ "url": "users" }));
    assert_eq!((refused.status, refused.json()["detail"].clone()), (422, "that is no URL".into()));
    assert_eq!(running.order("/api/v1/explain", &json!({ "method": "GET" })).status, 400);
}

#[test]
fn what_cannot_be_done_is_a_conflict() {
    let running = Running::start();
    let upgrade = running.order("/api/v1/upgrade", &json!({ "timeout": 1 }));
    assert_eq!(upgrade.status, 409);
    assert!(upgrade.json()["detail"].as_str().unwrap().contains("did not become ready"));
    assert_eq!(running.over_unix("POST /api/v1/confirm", &[], "").status, 409);
    assert_eq!(running.over_unix("POST /api/v1/config/rollback/previous", &[], "").status, 200);
    assert_eq!(running.over_unix("POST /api/v1/config/rollback/7", &[], "").status, 200);
    assert_eq!(running.server.heard()[2..], ["rollback None", "rollback Some(7)"]);
}

#[test]
fn stop_answers_before_it_is_carried_out() {
    let running = Running::start();
    let stopping = running.order("/api/v1/stop", &json!({ "now": true }));
    assert_eq!((stopping.status, stopping.json()["pid"].clone()), (202, std::process::id().into()));
    let began = Instant::now();
    while running.server.heard().is_empty() {
        assert!(began.elapsed() < DEADLINE, "nobody was told to stop");
        thread::yield_now();
    }
    assert_eq!(running.server.heard(), ["stop true"]);
}

#[test]
fn drain_turns_load_balancers_away_and_back() {
    let running = Running::start();
    running.admin.set_phase(Phase::Ready);
    assert_eq!(running.json("/ready").0, 200);
    assert_eq!(running.over_unix("POST /api/v1/drain", &[], "").json()["status"], "draining");
    assert_eq!(running.json("/ready"), (503, json!({ "status": "draining" })));
    assert_eq!(running.json("/health").0, 200);
    running.order("/api/v1/drain", &json!({ "undo": true }));
    assert_eq!(running.json("/ready").0, 200);
}

#[test]
fn changes_over_tcp_need_a_token_and_looking_does_not() {
    let without = Running::start();
    let refused = without.over_tcp("POST /api/v1/reload", &[], "");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["detail"].as_str().unwrap().contains("admin.token"), "{refused:?}");

    let running = Running::with(Some(TOKEN));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(running.over_tcp("POST /api/v1/reload", &[], "").status, 401);
    assert_eq!(running.over_tcp("POST /api/v1/config/check", &[], "listen = 1").status, 401, "it reads files");
    assert_eq!(running.over_tcp("POST /api/v1/reload", &["Authorization: Bearer wrong"], "").status, 401);
    assert!(running.server.heard().is_empty());
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/events", "/metrics"] {
        assert_eq!(running.over_tcp(&format!("GET {path}"), &[], "").status, 200, "{path}");
    }
    assert_eq!(running.over_tcp("POST /api/v1/explain", &[JSON], "{\"url\":\"/\"}").status, 200, "it only looks");
    assert_eq!(running.over_tcp("POST /api/v1/reload", &[&bearer], "").status, 200);
    assert_eq!(running.over_tcp("POST /api/v1/reload", &[&bearer, "Sec-Fetch-Site: cross-site"], "").status, 403);
    assert_eq!(running.over_tcp("POST /api/v1/explain", &[JSON, "Origin: https://evil.example"], "{}").status, 403);
    assert_eq!(running.server.heard().len(), 1);
}

#[test]
fn every_change_is_an_event_and_so_is_what_was_denied() {
    let running = Running::start();
    running.order("/api/v1/reload", &json!({ "confirm": 60 }));
    running.order("/api/v1/reload", &json!({ "abort_if": "refuse" }));
    running.over_tcp("POST /api/v1/stop", &[], "");
    running.admin.record(Who::Signal("HUP".into()), "reload", Value::Null, "applied", Some(1));
    running.admin.events().tell("backend", "`users` has lost 10.0.0.1:80");
    let (_, events) = running.json("/api/v1/events");
    let acts: Vec<String> =
        events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    let pid = std::process::id();
    assert!(acts[0].starts_with("reload by uid ") && acts[0].contains(&format!("(pid {pid})")), "{acts:?}");
    assert!(acts[0].ends_with("applied, generation 1 → 2"), "{acts:?}");
    assert!(acts[1].ends_with("refused"), "{acts:?}");
    assert!(acts[2].starts_with("stop by 127.0.0.1:") && acts[2].ends_with("denied"), "{acts:?}");
    assert_eq!(acts[3], "reload by signal HUP: applied, generation 1 → 2");
    assert_eq!(
        (&events[0]["act"]["order"]["confirm"], &events[0]["act"]["who"]["process"]["pid"]),
        (&60.into(), &pid.into())
    );
    assert_eq!((&events[4]["kind"], &events[4]["id"]), (&"backend".into(), &5.into()));
    let audited = running.audited();
    let outcomes: Vec<&str> = audited.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied", "refused", "denied", "applied"]);
    assert_eq!(
        (&audited[0]["before"], &audited[0]["after"], &audited[0]["what"]),
        (&1.into(), &2.into(), &"reload".into())
    );
    assert_eq!(running.json("/api/v1/events?after=4").1.as_array().unwrap().len(), 1);
    assert_eq!(running.json("/api/v1/events?after=x").0, 400);
}

#[test]
fn events_are_told_as_they_happen_and_end_with_the_server() {
    let running = Running::start();
    running.admin.events().tell("phase", "one");
    running.admin.events().tell("phase", "two");
    let mut lines = running.follow("/api/v1/events", &["Last-Event-ID: 1"]);
    let mut until = |text: &str| {
        let found = lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("the stream ended before {text:?}"))
    };
    until("text/event-stream");
    let two = until("data: ");
    assert!(two.contains("\"two\""), "{two}");
    running.admin.events().tell("phase", "three");
    until("id: 3");
    until("event: phase");
    until("\"three\"");
    let began = Instant::now();
    running.stop();
    assert_eq!(lines.last().as_deref(), Some(""), "the last chunk, and not a cut");
    assert!(began.elapsed() < DEADLINE / 2);
}

#[test]
fn those_who_follow_are_bounded_and_leave_room_for_others() {
    let running = Running::start();
    let following: Vec<_> = (0..16)
        .map(|_| {
            let mut lines = running.follow("/api/v1/events", &[]);
            assert!(lines.next().unwrap().starts_with("HTTP/1.1 200 "));
            lines
        })
        .collect();
    let one_more = running.follow("/api/v1/events", &[]).next().unwrap();
    assert!(one_more.starts_with("HTTP/1.1 503 "), "{one_more}");
    assert_eq!(running.over_unix("GET /api/v1/events", &[], "").status, 200);
    drop(following);
    let began = Instant::now();
    while !running.follow("/api/v1/events", &[]).next().unwrap().starts_with("HTTP/1.1 200 ") {
        assert!(began.elapsed() < DEADLINE, "the places of those who went are not given back");
        thread::yield_now();
    }
}

/// An access log, and a request that it tells of.
fn access_log(running: &Running, access: &str) -> Option<telemetry::AccessLog> {
    let at = document::At::root();
    let mut report = document::Report::new();
    let written = match access {
        "" => telemetry::Logging { level: None, access: Some(document::Toggle::Off) },
        output => telemetry::Logging {
            level: None,
            access: Some(document::Toggle::On(telemetry::Access { output: Some(output.into()), ..Default::default() })),
        },
    };
    let policy = telemetry::compile(&written, &at, &mut report).unwrap().access?;
    Some(telemetry::AccessLog::open(policy, running.metrics(), &at, &mut report).unwrap())
}

fn tell(log: &telemetry::AccessLog, route: &str, status: u16) {
    let mut record = telemetry::Record::new(Instant::now());
    record.status = status;
    record.close(Instant::now());
    log.write(&record, &telemetry::LoggedRequest::new("http", route));
}

#[test]
fn the_access_log_is_followed_as_it_is_written() {
    let running = Running::start();
    assert_eq!(running.over_unix("GET /api/v1/log", &[], "").status, 409, "there is none");
    assert!(access_log(&running, "").is_none());
    let log = access_log(&running, "/dev/null").unwrap();
    assert_eq!(running.over_unix("GET /api/v1/log?status=9xx", &[], "").status, 400);
    let mut lines = running.follow("/api/v1/log?route=users&status=5xx", &[]);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200 "));
    // A follower is there as soon as its answer's head is.
    for (route, status) in [("users", 200), ("orders", 503), ("users", 503)] {
        tell(&log, route, status);
    }
    let told = lines.find(|line| line.starts_with("data: ")).unwrap();
    let told: Value = serde_json::from_str(told.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&told["route"], &told["status"]), (&"users".into(), &503.into()));
    drop(log);
    assert_eq!(running.over_unix("GET /api/v1/log", &[], "").status, 409, "it was closed");
}

#[test]
fn a_follower_that_does_not_read_loses_lines_and_is_told_how_many() {
    let running = Running::start();
    let log = access_log(&running, "/dev/null").unwrap();
    let mut lines = running.follow("/api/v1/log", &[]);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200 "));
    let written = 100_000;
    for _ in 0..written {
        tell(&log, "users", 200);
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < written {
        let line = lines.next().unwrap();
        if let Some(told) = line.strip_prefix("data: {\"lines\":") {
            lost += told.trim_end_matches('}').parse::<usize>().unwrap();
        } else if line.starts_with("data: ") {
            seen += 1;
        }
    }
    assert_eq!(seen + lost, written);
    assert!(lost > 0, "nothing was bounded");
}

#[test]
fn routes_and_upstreams_say_what_went_through_them() {
    let running = Running::start();
    let (metrics, http) = (running.metrics(), running.metrics().listener("http"));
    let get = http::Method::GET;
    let request = |route: &str, status: u16| {
        let mut record = telemetry::Record::new(Instant::now());
        record.status = status;
        record.bytes_out = 10;
        record.close(Instant::now());
        metrics.route(route).finish(&http, Some(&get), &record);
    };
    request("users", 200);
    request("users", 503);
    request("a.b/*", 200);
    metrics.upstream("users").backend("u:80").answered(503);
    metrics.upstream("users").backend("gone:80").answered(200);
    let (_, routes) = running.json("/api/v1/routes");
    let names: Vec<&str> = routes.as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.b/*", "users"]);
    let (_, users) = running.json("/api/v1/routes/users");
    assert_eq!((&users["requests_total"], &users["classes"]), (&2.into(), &json!({ "2xx": 1, "5xx": 1 })));
    assert_eq!((&users["bytes_out"], &users["latency"]["count"]), (&20.into(), &2.into()));
    assert!(users["latency"]["p99"].as_f64().unwrap() <= 0.005, "{users}");
    assert_eq!(users["config"]["path"], "/users/*");
    assert_eq!(running.json("/api/v1/routes/a.b%2F*").1["requests_total"], 1);
    assert_eq!(running.json("/api/v1/routes/nobody").0, 404);

    let (_, upstreams) = running.json("/api/v1/upstreams");
    let backend = &upstreams[0]["backends"][0];
    assert_eq!((&backend["address"], &backend["attempts_total"]), (&"u:80".into(), &1.into()));
    assert_eq!((&backend["answers"], &backend["weight"]), (&json!({ "503": 1 }), &3.into()));
    assert_eq!(upstreams[0]["backends"].as_array().unwrap().len(), 1, "what is no backend any more is not shown");
    assert_eq!(running.json("/api/v1/upstreams/users").0, 200);
    assert_eq!(running.json("/api/v1/upstreams/nobody").0, 404);
}

#[test]
fn certificates_say_when_they_end() {
    let (_, certificates) = Running::start().json("/api/v1/certificates");
    let first = &certificates[0];
    assert_eq!((&first["listener"], &first["names"][0]), (&"http".into(), &"example.com".into()));
    assert_eq!(first["not_after"], "2100-01-01T00:00:00Z");
    assert!(first["days_left"].as_i64().unwrap() > 20_000);
}

#[test]
fn the_log_level_changes_and_comes_back_by_itself() {
    let running = Running::start();
    let put = |order: &Value| running.over_unix("PUT /api/v1/log-level", &[JSON], &order.to_string());
    let level = || running.over_unix("GET /api/v1/log-level", &[], "").json();
    assert_eq!(level(), json!({ "level": "info", "until": null }));
    assert_eq!(put(&json!({ "level": "loud" })).status, 422);
    assert_eq!(put(&json!({})).json()["level"], "info", "null and nothing are the same");
    assert_eq!(put(&json!({ "level": "debug", "for": 5 })).status, 400);
    let debug = put(&json!({ "level": "debug", "for": "1h" })).json();
    assert_eq!(debug["level"], "debug");
    assert!(debug["until"].as_str().unwrap().ends_with('Z'), "{debug}");
    // A later change holds, whatever was foreseen before.
    assert_eq!(put(&json!({ "level": "trace", "for": "1ms" })).status, 200);
    let began = Instant::now();
    while level()["level"] != "info" {
        assert!(began.elapsed() < DEADLINE, "it stays at {}", level());
        thread::yield_now();
    }
    assert_eq!(level()["until"], Value::Null);
    let last = running.audited().pop().unwrap();
    assert_eq!((&last["who"], &last["what"]), (&"itself".into(), &"set_log_level".into()));
}

#[test]
fn the_interface_describes_itself() {
    let running = Running::start();
    let (status, document) = running.json("/api/v1/openapi.json");
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    assert!(document["paths"]["/api/v1/reload"]["post"]["requestBody"].is_object());
}

#[test]
fn before_the_server_is_there_it_can_only_be_looked_at() {
    let running = Running::unattached();
    assert_eq!(running.over_unix("POST /api/v1/reload", &[], "").status, 503);
    assert_eq!(running.over_unix("GET /api/v1/config", &[], "").status, 503);
    assert_eq!(running.json("/api/v1/status").1["generation"], Value::Null);
}

#[test]
fn idle_connections_end_at_once_when_all_is_over() {
    let running = Running::start();
    let mut connection = running.connect_unix();
    connection.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    assert!(connection.read(&mut buffer).unwrap() > 0);
    let began = Instant::now();
    running.stop();
    while connection.read(&mut buffer).unwrap() > 0 {}
    assert!(began.elapsed() < DEADLINE / 4);
}
