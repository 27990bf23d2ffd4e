//! What is counted is exposed, in valid text, under bounded labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use filter::Reason;
use http::Method;

use super::*;
use crate::{Cached, Handshake, Hedged, Protocol, ROWS, Record};

fn metrics() -> Metrics {
    Metrics::new(&Build { version: "1.2.3", revision: "abc", rustc: "1.90.0", tls: "rustls" })
}

fn record(status: u16) -> Record {
    let mut record = Record::new(Instant::now());
    record.status = status;
    record
}

/// One of every metric.
fn busy() -> Metrics {
    let metrics = metrics();
    metrics.config_loaded();
    metrics.config_reloaded(false);
    metrics.generation(3);
    metrics.certificates([("api", 1_800_000_000)]);
    metrics.certificates_reloaded("https", true);
    let listener = metrics.listener("https");
    listener.handshake(Some("TLSv1.3"), Handshake::Ok);
    std::mem::forget(listener.open(Protocol::H2));
    listener.passed(3, 5);
    listener.stream_error(Reason::UpstreamRefused);
    let route = metrics.route("products");
    let mut told = record(502);
    told.reason = Reason::UpstreamRefused;
    (told.bytes_in, told.bytes_out, told.duration) = (3, 5, Duration::from_millis(20));
    told.cache = Some(Cached::Miss);
    told.shadow = Reason::BodyTooLarge;
    route.finish(&listener, Some(&Method::GET), &told);
    metrics
        .watch_cache(|| vec![("memory", CacheReading { bytes: 7, entries: 1, evictions: 2, dropped: 0, broken: 0 })]);
    let upstream = metrics.upstream("products");
    upstream.connect(Duration::from_millis(1));
    upstream.first_byte(Duration::from_millis(2));
    upstream.retry(Reason::UpstreamRefused);
    upstream.hedged(Hedged::Won);
    upstream.concurrency_limit(20);
    upstream.panics(true);
    metrics.auth("customers", "jwt", &["ok", "missing"]).count(1);
    metrics.limit("partners", "limited").inc();
    metrics.limit_short("partners").inc();
    metrics.limit_throttled("partners").inc_by(0.5);
    metrics.mirror("products").answered();
    upstream.discovery("file").found(Some(2));
    upstream.discovery("file").found(None);
    let backend = upstream.backend("10.0.0.1:80");
    backend.weight(3);
    backend.up(true);
    backend.circuit(0);
    backend.checked(true);
    backend.ejected();
    backend.answered(200);
    backend.failed(Reason::ConnectTimeout);
    metrics
}

/// Reads the text format; panics at the first line that is not of it. Returns the samples.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut types = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            assert!(matches!(kind, "HELP" | "TYPE"), "{line}");
            assert!(kind != "TYPE" || types.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'), "{line}");
        let labels = labels.strip_suffix('}').unwrap();
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            assert!(!value.contains('\n'));
        }
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(types.contains(family) || types.contains(name), "no type before {line}");
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn every_row_of_the_table_is_exposed_as_valid_text() {
    let text = busy().encode();
    let samples = parse(&text);
    for row in ROWS {
        assert!(text.contains(&format!("# TYPE {} {}\n", row.name, row.kind.as_str())), "{}", row.name);
        assert!(samples.keys().any(|series| series.starts_with(row.name)), "{}", row.name);
    }
    assert!(samples.contains_key("process_start_time_seconds"));
    assert_eq!(samples[r#"maitred_build_info{revision="abc",rustc="1.90.0",tls="rustls",version="1.2.3"}"#], 1.0);
    let requests = r#"maitred_http_requests_total{code="502",listener="https",method="GET",route="products"}"#;
    assert_eq!(samples[requests], 1.0);
    let errors = r#"maitred_http_errors_total{listener="https",reason="upstream_refused",route="products"}"#;
    assert_eq!(samples[errors], 1.0);
    let shadowed = r#"maitred_http_shadowed_total{listener="https",reason="body_too_large",route="products"}"#;
    assert_eq!(samples[shadowed], 1.0);
    let failed = r#"maitred_upstream_requests_total{backend="10.0.0.1:80",code="connect_timeout",upstream="products"}"#;
    assert_eq!(samples[failed], 1.0);
    let within = r#"maitred_http_request_duration_seconds_bucket{code_class="5xx",route="products",le="0.025"}"#;
    assert_eq!(samples[within], 1.0);
    assert_eq!(samples["maitred_config_last_reload_successful"], 0.0);
    assert!(samples["maitred_config_last_reload_success_timestamp_seconds"] > 1.7e9);
}

#[test]
fn counters_survive_a_reload_and_handles_are_found_by_name() {
    let metrics = metrics();
    for _ in 0..2 {
        let (listener, route) = (metrics.listener("a"), metrics.route("r"));
        route.finish(&listener, Some(&Method::GET), &record(200));
        metrics.upstream("u").backend("b").answered(200);
        metrics.upstream("u").retain_backends(&["b"]);
    }
    let samples = parse(&metrics.encode());
    assert_eq!(samples[r#"maitred_http_requests_total{code="200",listener="a",method="GET",route="r"}"#], 2.0);
    assert_eq!(samples[r#"maitred_upstream_requests_total{backend="b",code="200",upstream="u"}"#], 2.0);
    // What no longer stands in the configuration is no longer told of.
    metrics.upstream("u").retain_backends(&[]);
    assert!(!metrics.encode().contains("backend=\"b\""));
    assert_eq!(metrics.requests_total(), 2);
}

#[test]
fn labels_stay_bounded_whatever_is_sent() {
    let metrics = metrics();
    let (listener, route) = (metrics.listener("a"), metrics.unmatched());
    for number in 0..500_u16 {
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        route.finish(&listener, Some(&method), &record(404));
        route.finish(&listener, None, &record(number * 100));
    }
    let samples = parse(&metrics.encode());
    let requests = samples.keys().filter(|series| series.starts_with("maitred_http_requests_total")).count();
    assert_eq!(requests, 7, "100, 200, 300, 400, 404, 500 and none, all of them _OTHER: {samples:#?}");
}

#[test]
fn more_listeners_and_codes_than_there_is_room_for_are_still_counted() {
    let metrics = metrics();
    let route = metrics.route("r");
    for index in 0..40 {
        let listener = metrics.listener(&format!("l{index}"));
        for status in 100..200 {
            route.finish(&listener, Some(&Method::PUT), &record(status));
        }
    }
    assert_eq!(metrics.requests_total(), 4000);
}

#[test]
fn guards_count_down_when_they_are_dropped() {
    let metrics = metrics();
    let (route, listener) = (metrics.route("r"), metrics.listener("a"));
    let guards = (route.enter(), route.enter(), listener.open(Protocol::H1));
    assert_eq!(metrics.in_flight(), 2);
    drop(guards);
    assert_eq!(metrics.in_flight(), 0);
    let samples = parse(&metrics.encode());
    assert_eq!(samples[r#"maitred_connections{listener="a",protocol="h1"}"#], 0.0);
    assert_eq!(samples[r#"maitred_connections_total{listener="a",protocol="h1"}"#], 1.0);
}

#[test]
fn workers_count_at_the_same_time_without_losing_any() {
    let metrics = metrics();
    let (route, listener) = (metrics.route("r"), metrics.listener("a"));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for status in (200..240).cycle().take(4000) {
                    route.finish(&listener, Some(&Method::GET), &record(status));
                }
            });
        }
    });
    assert_eq!(metrics.requests_total(), 16_000);
}

#[test]
fn certificates_that_are_gone_are_forgotten() {
    let metrics = metrics();
    metrics.certificates([("old", 1), ("kept", 2)]);
    metrics.certificates([("kept", 3)]);
    let samples = parse(&metrics.encode());
    let family = "maitred_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(samples[&format!(r#"{family}{{name="kept"}}"#)], 3.0);
    assert!(!samples.contains_key(&format!(r#"{family}{{name="old"}}"#)));
}

#[test]
fn what_is_gone_is_forgotten_even_when_it_is_counted_once_more() {
    let metrics = metrics();
    let (old, kept) = (metrics.listener("old"), metrics.listener("kept"));
    let (old_route, route) = (metrics.route("gone"), metrics.route("r"));
    let count = |listener: &ListenerMeters, route: &RouteMeters, status| {
        route.finish(listener, Some(&Method::GET), &record(status));
        drop(listener.open(Protocol::H1));
    };
    count(&old, &route, 200);
    count(&kept, &old_route, 200);
    count(&kept, &route, 200);
    let named = |metrics: &Metrics| {
        let text = metrics.encode();
        ["\"old\"", "\"gone\""].map(|name| text.contains(name))
    };
    assert_eq!(named(&metrics), [true, true]);
    metrics.retain(["kept"], ["r"], [], [], []);
    assert_eq!(named(&metrics), [false, false]);
    // A request that was under way ends with a code that was not seen before.
    count(&old, &route, 500);
    count(&kept, &old_route, 500);
    metrics.retain(["kept"], ["r"], [], [], []);
    assert_eq!(named(&metrics), [false, false]);
    // One that comes back begins anew, and takes nothing for another's.
    count(&metrics.listener("new"), &route, 200);
    let samples = parse(&metrics.encode());
    for (listener, expected) in [("kept", 1.0), ("new", 1.0)] {
        let series =
            format!(r#"maitred_http_requests_total{{code="200",listener="{listener}",method="GET",route="r"}}"#);
        assert_eq!(samples[&series], expected, "{listener}");
    }
}
