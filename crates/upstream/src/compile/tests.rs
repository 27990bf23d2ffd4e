//! Upstreams as written, and what is reported of those that cannot run.

use std::{fs, path::Path};

use pingora_core::upstreams::peer::{ALPN, Peer};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use telemetry::Build;
use tempfile::TempDir;

use super::*;
use crate::{backend::Timeouts, config::BackendTable, peer};

fn metrics() -> Metrics {
    Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" })
}

fn compiled(written: Value) -> (Option<Upstream>, Report) {
    let config: Config = serde_json::from_value(written).unwrap();
    let mut report = Report::new();
    let at = At::root().key("upstreams").key("users");
    let upstream = compile(&config, "users", &at, &State::default(), &metrics(), &mut report);
    assert_eq!(upstream.is_none(), report.has_errors());
    (upstream, report)
}

/// The codes reported, each with the place of its first label.
fn findings(written: Value) -> Vec<String> {
    let (_, report) = compiled(written);
    let place = |place: &document::Place| match place {
        document::Place::At(at) => at.to_string().replace("upstreams.users.", ""),
        document::Place::Span(_) => unreachable!(),
    };
    report.diagnostics().iter().map(|d| format!("{} {}", d.code, place(&d.labels[0].place))).collect()
}

fn sound(written: Value) -> Upstream {
    let (upstream, report) = compiled(written);
    assert_eq!(report.diagnostics(), []);
    upstream.unwrap()
}

/// A self-signed certificate for `name`, written as `name.pem` and `name.key`.
fn certificate(folder: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_string()]).unwrap();
    change(&mut params);
    fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let key_file = folder.join(format!("{name}.key"));
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn files() -> (TempDir, impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    (folder, move |name: &str| root.join(name).to_str().unwrap().to_owned())
}

#[test]
fn the_shortest_upstream_has_every_default() {
    let upstream = sound(json!({ "backends": "http://10.0.0.1:8080" }));
    assert_eq!((upstream.timeout(), upstream.retries().attempts), (DEFAULT_TIMEOUT, 1));
    let pick = upstream.pick(&[]).unwrap();
    assert_eq!(&**pick.label(), "10.0.0.1:8080");
    assert_eq!(pick.host(), "10.0.0.1:8080");
    let peer = pick.peer(&Timeouts { connect: None, read: upstream.timeout(), upload: None });
    let options = &peer.options;
    for timeout in [
        options.connection_timeout,
        options.total_connection_timeout,
        options.read_timeout,
        options.write_timeout,
        options.idle_timeout,
    ] {
        assert!(timeout.is_some(), "no timeout is infinite");
    }
    assert!(options.tcp_keepalive.is_some());
    assert_eq!(options.alpn, ALPN::H1);
}

#[test]
fn every_key_arrives() {
    let upstream = sound(json!({
        "backends": [{ "url": "h2c://10.0.0.1", "weight": 3 }, "h2c://10.0.0.2:8080"],
        "balance": "round_robin",
        "timeout": "5s",
        "pool": { "idle": "7s", "connect": "1s" },
        "retries": 4,
    }));
    assert_eq!((upstream.timeout(), upstream.retries().attempts), (Duration::from_secs(5), 4));
    let picked: Vec<_> = (0..4).map(|_| upstream.pick(&[]).unwrap().label().to_string()).collect();
    assert_eq!(picked, ["10.0.0.1:80", "10.0.0.1:80", "10.0.0.2:8080", "10.0.0.1:80"]);
    let pick = upstream.pick(&[]).unwrap();
    let short = Timeouts { connect: Some(Duration::from_millis(3)), read: Duration::from_secs(9), upload: None };
    let peer = pick.peer(&short);
    assert_eq!(peer.options.idle_timeout, Some(Duration::from_secs(7)));
    assert_eq!(peer.options.connection_timeout, Some(Duration::from_secs(1)));
    assert_eq!(peer.options.total_connection_timeout, Some(Duration::from_millis(3)));
    assert_eq!(peer.options.read_timeout, Some(Duration::from_secs(9)));
    assert_eq!((peer.options.alpn.clone(), peer.options.max_h2_streams), (ALPN::H2, 100));
    let upload = pick.peer(&Timeouts { upload: Some(Duration::from_secs(60)), ..short });
    assert_eq!(upload.options.read_timeout, Some(Duration::from_secs(60)), "over HTTP/2 an upload counts as silence");
}

#[test]
fn what_has_been_tried_is_left_out_while_there_is_something_else() {
    let upstream = sound(json!({ "backends": ["http://10.0.0.1", "http://10.0.0.2"] }));
    let first = upstream.pick(&[]).unwrap();
    for _ in 0..10 {
        assert_ne!(upstream.pick(&[first.endpoint()]).unwrap().endpoint(), first.endpoint());
    }
    let second = upstream.pick(&[first.endpoint()]).unwrap();
    assert!(upstream.pick(&[first.endpoint(), second.endpoint()]).is_some());
    assert!(!upstream.has_another_address(&[first.endpoint()]));
}

#[test]
fn a_name_that_is_not_resolved_has_no_endpoint() {
    let upstream = sound(json!({ "backends": ["http://users.internal"] }));
    assert!(upstream.pick(&[]).is_none());
    assert!(upstream.backends().all(|backend| !backend.is_resolved()));
}

#[test]
fn every_mistake_is_reported() {
    let found = findings(json!({
        "backends": ["10.0.0.1:8080", { "weight": 1 }, { "url": "http://10.0.0.2", "weight": 1001 }, "http://a", "http://A:80/"],
        "timeout": "0s",
        "pool": { "connect": "0s" },
        "retries": 11,
        "tls": { "sni": "", "key": "/nowhere.key" },
    }));
    assert_eq!(
        found,
        [
            "E0108 backends.0",
            "E0106 backends.1",
            "E0103 backends.2.weight",
            "E0202 backends.4",
            "E0103 timeout",
            "E0103 pool.connect",
            "E0103 retries",
            "E0107 tls",
            "E0106 tls.key",
            "E0108 tls.sni",
        ]
    );
}

#[test]
fn an_upstream_needs_a_backend_that_gets_requests() {
    assert_eq!(findings(json!({})), ["E0106 upstreams.users"]);
    assert_eq!(findings(json!({ "backends": [] })), ["E0106 backends"]);
    assert_eq!(findings(json!({ "backends": { "url": "http://10.0.0.1", "weight": 0 } })), ["E0103 backends"]);
}

#[test]
fn plaintext_to_a_public_address_is_warned_of() {
    assert_eq!(findings(json!({ "backends": ["http://8.8.8.8", "https://8.8.8.8"] })), ["W0701 backends.0"]);
    for private in ["10.1.1.1", "127.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]", "[::1]"] {
        assert_eq!(findings(json!({ "backends": format!("h2c://{private}") })), [""; 0], "{private}");
    }
    assert_eq!(findings(json!({ "backends": "h2c://[2606:4700::1]" })), ["W0701 backends.0"]);
}

#[test]
fn the_table_is_what_the_short_form_stands_for() {
    let table = BackendTable { url: Some("http://a".into()), weight: None, backup: None, zone: None, labels: None };
    let short: config::Backend = serde_json::from_value(json!("http://a")).unwrap();
    assert_eq!(config::Backend { is_table: true, ..short }, table.into());
}

#[test]
fn the_server_name_is_never_empty_and_never_resolved() {
    for (url, name) in
        [("https://crm.internal.:8443", "crm.internal"), ("h2://10.0.0.1", "10.0.0.1"), ("https://[::1]", "::1")]
    {
        let peer = peer::template(&Target::parse(url).unwrap(), &Trust::default(), TIMES).unwrap();
        assert_eq!(peer.sni(), name);
        assert!(peer.verify_cert() && peer.verify_hostname() && peer.is_tls());
    }
}

const TIMES: Times = Times {
    connect: DEFAULT_CONNECT,
    idle: DEFAULT_IDLE,
    first_byte: DEFAULT_TIMEOUT,
    lifetime: Some(DEFAULT_LIFETIME),
};

#[test]
fn tls_files_are_read() {
    let (folder, file) = files();
    certificate(folder.path(), "a.test", |_| ());
    let upstream = sound(json!({
        "backends": "https://10.0.0.1",
        "tls": { "ca": file("a.test.pem"), "sni": "A.test", "cert": file("a.test.pem"), "key": file("a.test.key") },
    }));
    let pick = upstream.pick(&[]).unwrap();
    let peer = pick.peer(&Timeouts { connect: None, read: upstream.timeout(), upload: None });
    assert_eq!(peer.sni(), "a.test");
    assert!(peer.get_ca().is_some() && peer.get_client_cert_key().is_some());
}

#[test]
fn connections_are_shared_only_where_the_certificates_agree() {
    let (folder, file) = files();
    certificate(folder.path(), "a.test", |_| ());
    certificate(folder.path(), "b.test", |_| ());
    let key = |tls: Value| {
        let upstream = sound(json!({ "backends": "https://10.0.0.1", "tls": tls }));
        upstream.pick(&[]).unwrap().peer(&Timeouts { connect: None, read: DEFAULT_TIMEOUT, upload: None }).reuse_hash()
    };
    let a = json!({ "ca": file("a.test.pem") });
    let b = json!({ "ca": file("b.test.pem") });
    let client = json!({ "ca": file("a.test.pem"), "cert": file("b.test.pem"), "key": file("b.test.key") });
    assert_eq!(key(a.clone()), key(a.clone()), "a reload finds its connections again");
    assert_ne!(key(a.clone()), key(b));
    assert_ne!(key(a.clone()), key(client));
    assert_ne!(key(a), key(json!({})));
}

#[test]
fn tls_files_that_cannot_be_used_are_refused() {
    let (folder, file) = files();
    certificate(folder.path(), "a.test", |_| ());
    certificate(folder.path(), "b.test", |_| ());
    certificate(folder.path(), "old.test", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    fs::write(file("empty.pem"), "").unwrap();
    fs::write(file("torn.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    fs::write(file("junk.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let with = |tls: Value| findings(json!({ "backends": "https://10.0.0.1", "tls": tls }));
    assert_eq!(with(json!({ "ca": file("none.pem") })), ["E0601 tls.ca"]);
    for bad in ["empty.pem", "torn.pem", "junk.pem", "a.test.key"] {
        assert_eq!(with(json!({ "ca": file(bad) })), ["E0401 tls.ca"], "{bad}");
    }
    let pair = |cert: &str, key: &str| with(json!({ "cert": file(cert), "key": file(key) }));
    assert_eq!(pair("a.test.pem", "b.test.key"), ["E0401 tls.key"]);
    assert_eq!(pair("a.test.pem", "a.test.pem"), ["E0401 tls.key"]);
    assert_eq!(pair("old.test.pem", "old.test.key"), ["E0401 tls.cert"]);
    assert_eq!(pair("none.pem", "none.key"), ["E0601 tls.cert", "E0601 tls.key"]);
    assert_eq!(with(json!({ "verify": false })), ["W0402 tls.verify"]);
    assert_eq!(with(json!({ "verify": false, "ca": file("a.test.pem") })), ["E0107 tls.ca"]);
    fs::set_permissions(file("a.test.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(pair("a.test.pem", "a.test.key"), ["W0602 tls.key"]);
}

#[test]
fn weights_are_told_when_the_upstream_goes_live() {
    let metrics = metrics();
    let config = Config {
        backends: Some(OneOrMany(vec![config::Backend {
            url: Some("http://10.0.0.1".into()),
            weight: Some(7),
            is_table: true,
            ..config::Backend::default()
        }])),
        ..Config::default()
    };
    let upstream = compile(&config, "users", &At::root(), &State::default(), &metrics, &mut Report::new()).unwrap();
    upstream.goes_live();
    assert!(metrics.encode().contains("maitred_backend_weight{backend=\"10.0.0.1:80\",upstream=\"users\"} 7"));
}

#[test]
fn what_streams_have_no_use_for_is_refused() {
    let written = json!({ "backends": "tcp://10.0.0.1:5432", "timeout": "5s", "pool": { "idle": "1m", "connect": "1s", "lifetime": "1h" } });
    assert_eq!(findings(written), ["E0107 timeout", "E0107 pool.idle", "E0107 pool.lifetime"]);
    sound(json!({ "backends": ["tcp://10.0.0.1:5432", "unix:/run/db.sock"], "timeout": "5s" }));
    let upstream = sound(json!({ "backends": "tcp://10.0.0.1:5432", "pool": { "connect": "1s" }, "retries": 2 }));
    assert_eq!((upstream.connect_timeout(), upstream.retries().attempts), (Duration::from_secs(1), 2));
}

#[test]
fn every_mistake_about_health_and_retries_is_reported() {
    let found = findings(json!({
        "backends": ["http://10.0.0.1"],
        "balance": "least-conn",
        "prefer_zone": "a",
        "panic_threshold": "half",
        "pool": { "queue": "1s", "max_connections": 0 },
        "retries": { "attempts": 11, "on": ["conect", "503", "200"], "budget": "120%", "backoff": "0s" },
        "health_check": { "path": "health", "host": "", "status": ["2xx", "6xx"], "service": "x", "interval": "0s", "healthy": 0 },
        "outlier": { "consecutive_errors": 0, "eject_for": "0s", "max_ejected": "50" },
        "circuit_breaker": { "failures": 0, "within": "0s", "open_for": "0s" },
    }));
    assert_eq!(
        found,
        [
            "E0103 retries.attempts",
            "E0108 retries.budget",
            "E0108 retries.on.0",
            "E0108 retries.on.2",
            "E0103 retries.backoff",
            "E0108 balance",
            "E0107 health_check.service",
            "E0108 health_check.path",
            "E0108 health_check.host",
            "E0108 health_check.status.1",
            "E0103 health_check.interval",
            "E0103 health_check.healthy",
            "E0103 outlier.consecutive_errors",
            "E0103 outlier.eject_for",
            "E0108 outlier.max_ejected",
            "E0103 circuit_breaker.failures",
            "E0103 circuit_breaker.within",
            "E0103 circuit_breaker.open_for",
            "E0108 panic_threshold",
            "E0103 pool.max_connections",
            "E0107 prefer_zone",
        ]
    );
}

#[test]
fn short_forms_and_words_of_other_programs_are_understood() {
    for balance in
        ["random", "least_requests", "p2c", "ewma", "hash:ip", "hash:header:X-User", "hash:cookie:c", "hash:path"]
    {
        assert!(sound(json!({ "backends": "http://10.0.0.1", "balance": balance })).pick(&[]).is_some());
    }
    for (balance, ours) in
        [("ip_hash", "\"hash:ip\""), ("leastconn", "\"least_requests\""), ("round-robin", "\"round_robin\"")]
    {
        let (_, report) = compiled(json!({ "backends": "http://10.0.0.1", "balance": balance }));
        assert_eq!(report.diagnostics()[0].patch.as_ref().unwrap().replacement, ours);
    }
    for check in [json!("tcp"), json!("/health"), json!({ "type": "tcp", "interval": "1s" })] {
        sound(json!({ "backends": "http://10.0.0.1", "health_check": check }));
    }
    sound(json!({ "backends": "h2c://10.0.0.1", "health_check": "grpc" }));
    assert_eq!(findings(json!({ "backends": "http://10.0.0.1", "health_check": "grpc" })), ["E0107 health_check"]);
    assert_eq!(
        findings(json!({ "backends": "http://10.0.0.1", "health_check": { "interval": "1s" } })),
        ["E0106 health_check"]
    );
    assert!(serde_json::from_value::<Config>(json!({ "health_check": "http" })).is_err());
}
