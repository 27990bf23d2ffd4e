//! Expectations that hold, and what is said of those that do not.

use document::Report;
use http::{HeaderName, HeaderValue};

use super::*;
use crate::{Known, compile};

fn trial(json: &str) -> Trial {
    let written = serde_json::from_str(json).unwrap();
    let upstreams = [("orders", vec!["http://10.0.0.1:80"]), ("next", vec![])];
    let known = Known { routes: &["orders", "old"], upstreams: &upstreams, listeners: &["http"] };
    let mut report = Report::new();
    let trial = compile("t", &written, &At::root().key("tests").key("t"), &known, &mut report);
    trial.unwrap_or_else(|| panic!("{:?}", report.diagnostics()))
}

fn expecting(expect: &str) -> Trial {
    trial(&format!(r#"{{ "request": "/orders", "expect": {expect} }}"#))
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
    };
    fields.iter().map(pair).collect()
}

/// The expectations that do not hold, each as `key: remark`.
fn missed(expect: &str, came: &Came<'_>) -> Vec<String> {
    let told = |miss: Miss| format!("{}: {}", miss.at.to_string().trim_start_matches("tests.t.expect."), miss.remark);
    expecting(expect).weigh(came).into_iter().map(told).collect()
}

#[test]
fn everything_written_about_an_answer_must_hold() {
    let sent = fields(&[("location", "/new/7"), ("vary", "a"), ("vary", "b")]);
    let came =
        Came { route: Some("old"), outcome: Outcome::Answered { status: 308, reason: Reason::None, fields: &sent } };
    for holds in [
        "\"old\"",
        r#"{ "status": 308 }"#,
        r#"{ "route": "old", "status": 308, "location": "~^/new/" }"#,
        r#"{ "response": { "Vary": "b", "Location": true, "X-Debug": false, "vary": "~^a$" } }"#,
    ] {
        assert_eq!(missed(holds, &came), [""; 0], "{holds}");
    }
    assert_eq!(missed("\"orders\"", &came), ["route: route `old` takes it"]);
    assert_eq!(missed(r#"{ "status": 404 }"#, &came), ["status: the status is 308"]);
    assert_eq!(missed(r#"{ "reason": "no_route" }"#, &came), ["reason: this is no refusal"]);
    assert_eq!(missed(r#"{ "location": "/new" }"#, &came), ["location: `Location` is `/new/7`"]);
    assert_eq!(
        missed(r#"{ "response": { "Vary": false, "X-Debug": true, "Location": "~^x" } }"#, &came),
        [
            "response.Location: the field is there, with `/new/7`",
            "response.Vary: the field is there, with `a`, `b`",
            "response.X-Debug: the field is not there"
        ]
    );
    assert_eq!(
        missed(r#"{ "upstream": "orders", "path": "/x" }"#, &came),
        ["upstream: no upstream is asked", "path: no upstream is asked"]
    );
}

#[test]
fn everything_written_about_what_the_origin_sees_must_hold() {
    let (request, response) = (fields(&[("x-client-ip", "203.0.113.7")]), fields(&[("x-added", "1")]));
    let came = |hosts: &[&'static str]| Came {
        route: Some("orders"),
        outcome: Outcome::Forwarded {
            upstream: "orders",
            target: "/v1/orders?x=1",
            hosts: hosts.to_vec(),
            request: &request,
            response: &response,
        },
    };
    let one = came(&["a.test"]);
    for holds in [
        r#"{ "upstream": "orders", "path": "/v1/orders", "query": "x=1", "host": "a.test" }"#,
        r#"{ "upstream": "http://10.0.0.1:80" }"#,
        r#"{ "request": { "X-Client-IP": "203.0.113.7", "Cookie": false }, "response": { "X-Added": true } }"#,
    ] {
        assert_eq!(missed(holds, &one), [""; 0], "{holds}");
    }
    assert_eq!(
        missed(r#"{ "upstream": "next", "path": "/orders", "query": "", "host": "b.test" }"#, &one),
        [
            "upstream: upstream `orders` is asked",
            "path: the path is `/v1/orders`",
            "query: the query is `x=1`",
            "host: the host is `a.test`"
        ]
    );
    assert_eq!(missed(r#"{ "request": { "X-Client-IP": "::1" } }"#, &one).len(), 1);
    // Whichever backend is picked, it has to be true.
    assert_eq!(missed(r#"{ "host": "a.test" }"#, &came(&["a.test", "b.test"])), ["host: the host is `b.test`"]);
    let misses = expecting(r#"{ "status": 401 }"#).weigh(&one);
    assert_eq!(misses[0].remark, "maitred does not answer: the request goes to upstream `orders`");
    assert!(misses[0].help.as_deref().unwrap().contains("nobody knows"));
}

#[test]
fn where_no_route_takes_it() {
    let nothing = HeaderMap::new();
    let outcome = Outcome::Answered { status: 404, reason: Reason::NoRoute, fields: &nothing };
    let came = Came { route: None, outcome };
    assert_eq!(missed(r#"{ "status": 404, "reason": "no_route" }"#, &came), [""; 0]);
    assert_eq!(missed("\"orders\"", &came), ["route: no route takes it"]);
    assert_eq!(missed(r#"{ "reason": "bad_path" }"#, &came), ["reason: the reason is `no_route`"]);
}
