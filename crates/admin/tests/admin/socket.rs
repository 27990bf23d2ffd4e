//! Connections, probes and refusals.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use maitred_admin::Phase;
use serde_json::Value;

use crate::running::{DEADLINE, Running};

#[test]
fn health_says_alive_in_every_phase() {
    let server = Running::start();
    for phase in [Phase::Starting, Phase::Ready, Phase::Draining] {
        server.admin.set_phase(phase);
        let (status, body) = server.json("/health");
        assert_eq!((status, &body["status"], &body["version"]), (200, &"healthy".into(), &"1.2.3".into()));
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn ready_says_no_while_starting_and_while_draining() {
    let server = Running::start();
    assert_eq!(server.json("/ready"), (503, serde_json::json!({ "status": "starting" })));
    server.admin.set_phase(Phase::Ready);
    assert_eq!(server.json("/ready"), (200, serde_json::json!({ "status": "ready" })));
    server.admin.set_phase(Phase::Draining);
    assert_eq!(server.json("/ready"), (503, serde_json::json!({ "status": "draining" })));
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Running::start();
    let (status, head, body) = server.ask("GET", "/metrics?format=any");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("# TYPE maitred_build_info gauge\n"));
    assert!(body.ends_with('\n'));
}

#[test]
fn status_tells_what_the_binary_knows() {
    let server = Running::start();
    let (code, body) = server.json("/api/v1/status");
    assert_eq!(code, 200);
    assert_eq!((&body["phase"], &body["pid"]), (&"starting".into(), &std::process::id().into()));
    assert_eq!((&body["requests_total"], &body["in_flight"], &body["threads"]), (&0.into(), &0.into(), &2.into()));
    assert_eq!(body["last_reload"]["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(body["upstreams"][0]["backends"][0]["weight"], 3);
    assert_eq!(body["listeners"][0]["addresses"][0], "127.0.0.1:8080");
}

#[test]
fn head_is_get_without_the_body() {
    let server = Running::start();
    for path in ["/health", "/metrics", "/nothing"] {
        let (status, head, body) = server.ask("HEAD", path);
        assert_eq!((status, body.as_str()), (server.ask("GET", path).0, ""));
        assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
    }
}

#[test]
fn refusals_are_problem_documents() {
    let server = Running::start();
    for (method, path, expected) in
        [("GET", "/nothing", 404), ("POST", "/health", 405), ("DELETE", "/ready", 405), ("DELETE", "/", 404)]
    {
        let (status, head, body) = server.ask(method, path);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"]), (expected, &expected.into()));
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(expected != 405 || head.contains("allow: get, head"), "{head}");
    }
    let rebound = server.raw("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
    let nameless = server.raw("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(nameless.starts_with("HTTP/1.1 400 "), "{nameless}");
    let garbage = server.raw("GET\0/ HTTP/1.1\r\n:\r\n\r\n");
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
}

#[test]
fn a_body_that_nobody_asked_for_does_not_hide_the_answer() {
    let server = Running::start();
    let body = "x".repeat(100_000);
    let answer =
        server.raw(&format!("POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{body}"));
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[test]
fn a_connection_is_used_for_several_requests() {
    let server = Running::start();
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"}\n") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed");
            seen.extend_from_slice(&buffer[..count]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 503 "));
    }
}

#[test]
fn the_unix_socket_answers_too_and_asks_for_no_name() {
    let server = Running::start();
    let mut stream = UnixStream::connect(&server.unix).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: maitred\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[test]
fn more_clients_than_there_is_room_for_wait_and_are_answered() {
    let server = Running::start();
    let idle: Vec<_> = (0..64).map(|_| server.connect()).collect();
    let late = thread::scope(|scope| {
        let late = scope.spawn(|| server.ask("GET", "/health").0);
        drop(idle);
        late.join().unwrap()
    });
    assert_eq!(late, 200);
}
