//! Listeners as written against listeners as run.

use document::Diagnostic;

use super::*;

fn at() -> At {
    At::root().key("listeners").key("web")
}

fn load(written: &str) -> (Option<Listener>, Report) {
    let mut report = Report::new();
    let listener = compile("web", &serde_json::from_str(written).unwrap(), &at(), &Default::default(), &mut report);
    (listener, report)
}

fn problems(written: &str) -> Vec<(Code, String)> {
    let (listener, report) = load(written);
    assert!(listener.is_none(), "{written}");
    let place = |one: &Diagnostic| match &one.labels[0].place {
        document::Place::At(at) => at.to_string(),
        document::Place::Span(_) => String::new(),
    };
    report.diagnostics().iter().map(|one| (one.code, place(one))).collect()
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let (listener, report) = load(r#"{ "address": ":8080" }"#);
    let listener = listener.unwrap();
    assert!(report.diagnostics().is_empty());
    assert_eq!((&*listener.name, listener.addresses.as_slice()), ("web", &[Address::Any(8080)][..]));
    assert_eq!((listener.h1, listener.h2, listener.h2c), (true, false, false));
    assert_eq!((listener.max_connections, listener.max_connections_per_ip), (100_000, None));
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Off);
    let seconds = Duration::from_secs;
    let min_rate = Some(MinRate { bytes: 100, grace: seconds(10) });
    let expected = Timeouts { header: seconds(10), body: seconds(30), idle: seconds(60), min_rate };
    assert_eq!(listener.timeouts, expected);
    assert!(!listener.trusts("127.0.0.1".parse().unwrap()) && !listener.trusts_unix());
    assert!(listener.certificates().is_none() && listener.redirect.is_none());
}

#[test]
fn every_key_is_heeded() {
    let (listener, report) = load(
        r#"{ "address": ["127.0.0.1:1", "unix:/run/a.sock"], "protocols": ["h1", "h2c"], "max_connections": 7,
             "trusted_proxies": ["10.0.0.0/8", "unix"], "redirect": "https", "timeouts": { "header": "1s", "idle": "2m" } }"#,
    );
    assert!(report.diagnostics().is_empty(), "{report:?}");
    let listener = listener.unwrap();
    assert_eq!(listener.addresses.len(), 2);
    assert!(listener.h1 && listener.h2c && !listener.h2);
    assert_eq!((listener.max_connections, listener.redirect), (7, Some(Redirect::Https)));
    assert!(listener.trusts("10.9.9.9".parse().unwrap()) && listener.trusts_unix());
    assert_eq!((listener.timeouts.header, listener.timeouts.body.as_secs()), (Duration::from_secs(1), 30));
    assert_eq!(listener.timeouts.idle, Duration::from_secs(120));
}

#[test]
fn every_mistake_is_reported_at_its_place() {
    let found = problems(
        r#"{ "address": [":80", "localhost:80"], "protocols": ["h1", "h2"], "max_connections": 0,
             "trusted_proxies": ["10.0.0.1/8", "192.0.2.1"], "timeouts": { "body": "0s" } }"#,
    );
    let expected = [
        (Code::E0108, "listeners.web.address.1"),
        (Code::E0107, "listeners.web.protocols.1"),
        (Code::E0108, "listeners.web.trusted_proxies.0"),
        (Code::E0103, "listeners.web.max_connections"),
        (Code::E0103, "listeners.web.timeouts.body"),
    ];
    assert_eq!(found, expected.map(|(code, place)| (code, place.to_owned())));
}

#[test]
fn what_tls_rules_out_is_refused() {
    let found = problems(
        r#"{ "address": ":443", "protocols": "h2c", "redirect": "https", "tls": { "cert": "/nowhere/a", "key": "/nowhere/b" } }"#,
    );
    let codes: Vec<Code> = found.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [Code::E0107, Code::E0107, Code::E0601, Code::E0601]);
    assert_eq!(problems(r#"{ "address": ":1", "protocols": [] }"#)[0].0, Code::E0103);
    assert_eq!(problems(r#"{ "address": ":1", "tls": [] }"#)[0].0, Code::E0106);
    assert_eq!(problems("{}"), [(Code::E0106, "listeners.web".to_owned())]);
}

#[test]
fn an_address_is_taken_once() {
    let listener = |name: &str, address: &str| {
        let mut report = Report::new();
        let config = serde_json::from_str(&format!(r#"{{ "address": {address} }}"#)).unwrap();
        (
            compile(name, &config, &at(), &Default::default(), &mut report).unwrap(),
            At::root().key("listeners").key(name),
        )
    };
    let listeners = [
        listener("one", r#"[":80", "127.0.0.1:81"]"#),
        listener("two", r#"["127.0.0.1:80", ":0"]"#),
        listener("three", r#"["[::1]:81", ":0", "127.0.0.1:82", "127.0.0.1:82"]"#),
    ];
    let mut report = Report::new();
    check_addresses(listeners.iter().map(|(listener, at)| (listener, at)), &mut report);
    let found: Vec<&str> = report.diagnostics().iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        found,
        ["listeners `one` and `two` both take `127.0.0.1:80`", "listener `three` takes `127.0.0.1:82` twice"]
    );
    assert!(report.diagnostics().iter().all(|one| one.code == Code::E0203));
}
