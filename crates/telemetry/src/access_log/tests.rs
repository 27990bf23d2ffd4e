//! The access log as operators read it: through files and pipes.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::IpAddr,
    path::Path,
    time::Instant,
};

use document::Toggle;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Access, Build, Logging, compile};

const DEADLINE: Duration = Duration::from_secs(20);

fn metrics() -> Metrics {
    Metrics::new(&Build { version: "1", revision: "-", rustc: "-", tls: "-" })
}

fn policy(format: Format, path: &Path) -> Policy {
    let output = Some(path.to_str().unwrap().to_owned());
    let access = Access { format: Some(format), output, ..Access::default() };
    let logging = Logging { level: None, access: Some(Toggle::On(access)) };
    compile(&logging, &At::root(), &mut Report::new()).unwrap().access.unwrap()
}

fn open(policy: Policy, metrics: &Metrics) -> AccessLog {
    AccessLog::open(policy, metrics, &At::root(), &mut Report::new()).unwrap()
}

fn record() -> Record {
    let mut record = Record::new(Instant::now());
    record.attempt();
    record.status = 200;
    record.upstream_status = 200;
    record.bytes_out = 1834;
    record.reused = Some(true);
    record.connect = Some(Duration::ZERO);
    record.first_byte = Some(Duration::from_micros(2900));
    record.duration = Duration::from_micros(3412);
    record
}

fn request<'a>() -> LoggedRequest<'a> {
    LoggedRequest {
        upstream: Some("products"),
        backend: Some("10.0.2.11:8080"),
        client_ip: Some(IpAddr::from([203, 0, 113, 7])),
        request_id: Some("01JD8Z"),
        trace_id: Some("4bf92f"),
        protocol: Some(Version::HTTP_2),
        tls: Some("TLSv1.3"),
        scheme: Some(Scheme::Https),
        method: Some(b"GET"),
        host: Some(b"api.example.com"),
        path: Some(b"/products/7"),
        user_agent: Some(b"curl/8.5"),
        generation: 3,
        country: Some(*b"DE"),
        ..LoggedRequest::new("https", "products")
    }
}

/// The lines made of one request.
fn line(format: Format, record: &Record, request: &LoggedRequest<'_>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(policy(format, &path), &metrics());
    log.write(record, request);
    assert!(log.flush(DEADLINE));
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_line_has_the_fields_of_the_manual_in_their_order() {
    let text = line(Format::Json, &record(), &request());
    let Value::Object(fields) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
    assert_eq!(fields.keys().collect::<Vec<_>>(), FIELDS.iter().map(|(name, ..)| name).collect::<Vec<_>>());
    for (name, kind, _) in FIELDS {
        let found = match &fields[*name] {
            Value::Null => continue,
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::Array(_) => "array",
            _ => "string",
        };
        assert_eq!(found, *kind, "{name}");
    }
    let (_, after_time) = text.split_once("Z\",").unwrap();
    assert_eq!(
        after_time,
        concat!(
            r#""request_id":"01JD8Z","trace_id":"4bf92f","listener":"https","client_ip":"203.0.113.7","#,
            r#""protocol":"HTTP/2","tls":"TLSv1.3","scheme":"https","method":"GET","host":"api.example.com","#,
            r#""path":"/products/7","query":"","status":200,"bytes_in":0,"bytes_out":1834,"duration_ms":3.412,"#,
            r#""route":"products","upstream":"products","backend":"10.0.2.11:8080","upstream_status":200,"#,
            r#""connect_ms":0,"upstream_ms":2.9,"attempts":1,"reused":true,"cache":null,"auth":null,"user":null,"#,
            r#""key":null,"limit":null,"limit_remaining":null,"variant":null,"waf_score":null,"country":"DE","#,
            r#""referer":null,"user_agent":"curl/8.5","error":null,"shadow":null,"tries":null,"circuit":null,"#,
            r#""generation":3}"#,
            "\n"
        )
    );
}

#[test]
fn attempts_stand_in_the_line_where_there_is_something_to_tell() {
    let mut told = Record::new(Instant::now());
    told.attempt();
    told.circuit = Some(crate::Circuit::Open);
    told.note("10.0.2.11:8080".into(), Reason::UpstreamRefused);
    told.attempt();
    (told.upstream_status, told.connect) = (200, Some(Duration::from_micros(1500)));
    told.first_byte = Some(Duration::from_millis(7));
    told.note("10.0.2.12:8080".into(), Reason::None);
    let fields: Value = serde_json::from_str(&line(Format::Json, &told, &request())).unwrap();
    assert_eq!(
        fields["tries"],
        serde_json::json!([
            {"backend": "10.0.2.11:8080", "error": "upstream_refused", "status": null, "connect_ms": null,
             "upstream_ms": null, "circuit": "open"},
            {"backend": "10.0.2.12:8080", "error": null, "status": 200, "connect_ms": 1.5,
             "upstream_ms": 7, "circuit": null},
        ])
    );
    let names: Vec<&str> = json::TRY_FIELDS.iter().map(|(name, ..)| *name).collect();
    let Value::Object(first) = &fields["tries"][0] else { panic!("{fields}") };
    assert_eq!(first.keys().collect::<Vec<_>>(), names);
}

#[test]
fn who_called_stands_in_the_line() {
    let identity = filter::Identity {
        user: Some("Ada \"x\" L".into()),
        key: Some("7f3a".into()),
        ..filter::Identity::new("partners".into(), filter::Credential::ApiKey)
    };
    let mut told = record();
    told.shadow = Reason::NoRoute;
    let request = LoggedRequest { identity: Some(&identity), ..request() };
    let fields: Value = serde_json::from_str(&line(Format::Json, &told, &request)).unwrap();
    let found = ["auth", "user", "key", "shadow"].map(|name| fields[name].as_str().unwrap());
    assert_eq!(found, ["partners", "Ada \"x\" L", "7f3a", "no_route"]);
    let combined = line(Format::Combined, &told, &request);
    assert!(combined.starts_with("203.0.113.7 - Ada%20\\\"x\\\"%20L ["), "{combined}");
}

#[test]
fn a_request_that_could_not_be_read_has_a_line_too() {
    let mut refused = Record::new(Instant::now());
    (refused.status, refused.reason) = (400, Reason::BadRequest);
    let fields: Value = serde_json::from_str(&line(Format::Json, &refused, &LoggedRequest::new("http", "-"))).unwrap();
    assert_eq!(
        (&fields["error"], &fields["status"], &fields["route"]),
        (&"bad_request".into(), &400.into(), &"-".into())
    );
    assert!(fields["method"].is_null() && fields["query"].is_null() && fields["attempts"] == 0);
    let combined = line(Format::Combined, &refused, &LoggedRequest::new("http", "-"));
    assert!(combined.starts_with("- - - [") && combined.ends_with("] \"-\" 400 - \"-\" \"-\"\n"), "{combined}");
}

#[test]
fn combined_is_what_apache_writes() {
    let mut request = request();
    request.query = Some(b"token=secret&q=\"x\"");
    request.referer = Some(b"https://u:p@a.example/?token=secret");
    let text = line(Format::Combined, &record(), &request);
    let (before, after) = text.split_once('[').unwrap();
    assert_eq!(before, "203.0.113.7 - - ");
    assert_eq!(
        after.split_once("] ").unwrap().1,
        concat!(
            r#""GET /products/7?token=***&q=\"x\" HTTP/2.0" 200 1834 "https://***@a.example/?token=***" "curl/8.5""#,
            "\n"
        )
    );
}

#[test]
fn a_log_that_nobody_reads_drops_and_counts_and_never_makes_a_worker_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let metrics = metrics();
    let log = open(policy(Format::Json, &path), &metrics);
    let agent = vec![b'x'; 8000];
    let request = LoggedRequest { user_agent: Some(&agent), ..request() };
    let written = 10_000;
    let started = Instant::now();
    for _ in 0..written {
        log.write(&record(), &request);
    }
    assert!(started.elapsed() < DEADLINE, "the pipe holds 64 KiB: a worker that waited would wait for ever");
    let dropped = metrics.access_log_dropped();
    assert!(dropped.get() > 0 && dropped.get() < written, "{}", dropped.get());
    assert!(!log.flush(Duration::from_millis(20)));

    // Whoever reads at last finds whole lines, and every line was either written or counted.
    let mut reader = BufReader::new(fs::File::open(&path).unwrap());
    let mut text = String::new();
    for _ in 0..written - dropped.get() {
        text.clear();
        reader.read_line(&mut text).unwrap();
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
    assert!(log.flush(DEADLINE));
}

#[test]
fn a_full_disk_is_counted() {
    let metrics = metrics();
    let log = open(policy(Format::Json, Path::new("/dev/full")), &metrics);
    for _ in 0..7 {
        log.write(&record(), &request());
    }
    assert!(log.flush(DEADLINE));
    assert_eq!(metrics.access_log_dropped().get(), 7);
}

#[test]
fn a_file_moved_away_is_opened_again_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = open(policy(Format::Json, &path), &metrics());
    log.write(&record(), &request());
    assert!(log.flush(DEADLINE));
    fs::rename(&path, &moved).unwrap();
    log.reopen();
    assert!(log.flush(DEADLINE));
    log.write(&record(), &request());
    assert!(log.flush(DEADLINE));
    for path in [path, moved] {
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 1);
    }
}

#[test]
fn dropping_the_log_writes_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(policy(Format::Json, &path), &metrics());
    for _ in 0..1000 {
        log.write(&record(), &request());
    }
    drop(log);
    let deadline = Instant::now() + DEADLINE;
    while fs::read_to_string(&path).unwrap().lines().count() < 1000 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn lines_of_many_workers_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let metrics = metrics();
    let log = open(policy(Format::Json, &path), &metrics);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2500).for_each(|_| log.write(&record(), &request())));
        }
    });
    assert!(log.flush(DEADLINE));
    let text = fs::read_to_string(path).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert_eq!(text.lines().count() as u64 + metrics.access_log_dropped().get(), 10_000);
}

#[test]
fn a_sample_leaves_out_only_what_went_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(Policy { sample: 0.0, ..policy(Format::Json, &path) }, &metrics());
    log.write(&record(), &request());
    log.write(&Record { status: 500, ..record() }, &request());
    log.write(&Record { reason: Reason::NoRoute, status: 404, ..record() }, &request());
    assert!(log.flush(DEADLINE));
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_reported() {
    let mut report = Report::new();
    let policy =
        Policy { output: Output::File("/nowhere/at/all".into()), ..policy(Format::Json, Path::new("/dev/null")) };
    assert!(AccessLog::open(policy, &metrics(), &At::root(), &mut report).is_none());
    assert_eq!(report.diagnostics()[0].code, Code::E0601);
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_one_line_of_json(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 6)) {
        let request = LoggedRequest {
            method: Some(&parts[0]),
            host: Some(&parts[1]),
            path: Some(&parts[2]),
            query: Some(&parts[3]),
            referer: Some(&parts[4]),
            user_agent: Some(&parts[5]),
            ..request()
        };
        let mut out = Vec::new();
        json::write(&mut out, SystemTime::now(), &record(), &request, &["token".into()]);
        let text = String::from_utf8(out).unwrap();
        prop_assert_eq!(text.matches('\n').count(), 1);
        let fields: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&fields["path"], &Value::from(String::from_utf8_lossy(&parts[2])));
        prop_assert_eq!(&fields["error"], &Value::Null);

        let mut out = Vec::new();
        combined::write(&mut out, SystemTime::now(), &record(), &request, &[]);
        prop_assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
    }
}
