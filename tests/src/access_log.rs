//! What is told of each request: JSON and combined, in order, escaped, redacted, in a file that can be moved away.

use serde_json::{Value, json};
use testkit::{Address, Origin, Proxy, Request, within};

use crate::setting::{echoing, route};

const FIELDS: &[&str] = &[
    "time",
    "request_id",
    "trace_id",
    "listener",
    "client_ip",
    "protocol",
    "tls",
    "scheme",
    "method",
    "host",
    "path",
    "query",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "route",
    "upstream",
    "backend",
    "upstream_status",
    "connect_ms",
    "upstream_ms",
    "attempts",
    "reused",
    "cache",
    "auth",
    "user",
    "key",
    "limit",
    "limit_remaining",
    "variant",
    "waf_score",
    "country",
    "referer",
    "user_agent",
    "error",
    "shadow",
    "tries",
    "circuit",
    "generation",
];

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_line_has_every_field_in_its_place() {
    let (origin, proxy) = echoing("").await;
    let request = Request::post("/orders/7?page=2", "hello")
        .host("shop.example.com:8080")
        .header("User-Agent", "tester/1.0")
        .header("Referer", "https://www.example.com/start");
    let answer = proxy.fetch(request).await.expect(200);
    let line = proxy.logged("/orders/7").await;
    assert_eq!(keys(&line), FIELDS);
    for (field, value) in [
        ("listener", json!("http")),
        ("client_ip", json!("127.0.0.1")),
        ("protocol", json!("HTTP/1.1")),
        ("tls", Value::Null),
        ("scheme", json!("http")),
        ("method", json!("POST")),
        ("host", json!("shop.example.com")),
        ("query", json!("page=2")),
        ("status", json!(200)),
        ("bytes_in", json!(5)),
        ("bytes_out", json!(answer.body.length)),
        ("route", json!("app")),
        ("backend", json!(origin.socket().to_string())),
        ("upstream_status", json!(200)),
        ("attempts", json!(1)),
        ("reused", json!(false)),
        ("referer", json!("https://www.example.com/start")),
        ("user_agent", json!("tester/1.0")),
        ("error", Value::Null),
        ("cache", Value::Null),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    for number in ["duration_ms", "connect_ms", "upstream_ms"] {
        assert!(line[number].as_f64().is_some_and(|number| number >= 0.0), "{number} in {line}");
    }
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
}

#[tokio::test]
async fn an_answer_of_our_own_names_no_upstream() {
    let proxy = Proxy::start("[routes.app]\nrespond = { body = \"x\" }\n").await;
    proxy.get("/own").await.expect(200);
    let line = proxy.logged("/own").await;
    assert_eq!(keys(&line), FIELDS);
    for field in ["upstream", "backend", "upstream_status", "connect_ms", "upstream_ms", "reused", "error"] {
        assert!(line[field].is_null(), "{field} in {line}");
    }
    assert_eq!(line["attempts"], 0);
}

#[tokio::test]
async fn nothing_that_a_client_sends_breaks_a_line() {
    let (_origin, proxy) = echoing("").await;
    let hostile = "quote\" backslash\\ tab\t end";
    let request = Request::get("/hostile?q=%22%0a").header("User-Agent", hostile).header("Referer", "\u{fc}ml\u{e4}ut");
    proxy.fetch(request).await.expect(200);
    let line = proxy.logged("/hostile").await;
    assert_eq!(line["user_agent"], hostile);
    assert_eq!(line["query"], "q=%22%0a");
    let latin: Vec<u8> =
        b"GET /latin HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\x80\r\nConnection: close\r\n\r\n".to_vec();
    proxy.exchange(latin).await;
    assert_eq!(keys(&proxy.logged("/latin").await), FIELDS);
}

#[tokio::test]
async fn credentials_are_not_written() {
    let (_origin, proxy) = echoing("").await;
    let target = "/secret?page=2&access_token=abc123&API_KEY=abc123&%70assword=abc123&code=abc123";
    let request = Request::get(target)
        .header("Referer", "https://user:abc123@www.example.com/?token=abc123")
        .header("Authorization", "Bearer abc123")
        .header("Cookie", "session=abc123");
    proxy.fetch(request).await.expect(200);
    let line = proxy.logged("/secret").await;
    assert!(!line.to_string().contains("abc123"), "{line}");
    assert!(line["query"].as_str().unwrap().starts_with("page=2&access_token=***"), "{line}");
}

#[tokio::test]
async fn the_combined_format_is_apaches() {
    let (_origin, proxy) = echoing("[logging]\naccess = { format = \"combined\" }").await;
    let request = Request::get("/a?b=c").header("User-Agent", "say \"hi\"").header("Referer", "https://r.example/");
    let answer = proxy.fetch(request).await.expect(200);
    let line = proxy.printed("GET /a?b=c").await;
    let (before, after) = line.split_once("] ").unwrap();
    assert!(before.starts_with("127.0.0.1 - - [") && before.ends_with("+0000"), "{line}");
    let expected =
        format!("\"GET /a?b=c HTTP/1.1\" 200 {} \"https://r.example/\" \"say \\\"hi\\\"\"", answer.body.length);
    assert_eq!(after, expected);
    proxy.exchange("nonsense\r\n\r\n").await;
    proxy.printed("\"-\" 400 ").await;
}

#[tokio::test]
async fn a_file_can_be_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let (file, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let (_origin, proxy) = echoing(&format!("[logging]\naccess = {{ output = {file:?} }}")).await;
    let until_told = async |file: &std::path::Path, text: &str| {
        let told = async {
            while !std::fs::read_to_string(file).is_ok_and(|log| log.contains(text)) {
                tokio::task::yield_now().await;
            }
        };
        within(format!("{} to tell of {text}", file.display()), told).await;
    };
    proxy.get("/first").await.expect(200);
    until_told(&file, "/first").await;
    std::fs::rename(&file, &moved).unwrap();
    proxy.get("/second").await.expect(200);
    until_told(&moved, "/second").await;
    proxy.signal("USR1").await;
    let opened = async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    };
    within("the file to be opened anew", opened).await;
    proxy.get("/third").await.expect(200);
    until_told(&file, "/third").await;
    assert!(!std::fs::read_to_string(&moved).unwrap().contains("/third"));
}

#[tokio::test]
async fn a_log_can_be_switched_off_and_sampled() {
    let (_origin, silent) = echoing("[logging]\naccess = false").await;
    silent.get("/silent").await.expect(200);
    silent.until_metric("http_requests_total", &[("code", "200")], 1.0).await;
    silent.signal("TERM").await;
    assert_eq!(silent.wait().await.expect(0).stdout, "");
    let text = format!(
        "[logging]\naccess = {{ sample = 0.0 }}\n[routes.fine]\npath = \"/fine\"\nrespond = {{ body = \"x\" }}\n\
         [routes.down]\npath = \"/down\"\nupstream = \"http://{}\"\n",
        Address::refusing()
    );
    let sampled = Proxy::start(text).await;
    sampled.get("/fine").await.expect(200);
    sampled.get("/down").await.expect(502);
    assert_eq!(sampled.logged("/down").await["error"], "upstream_refused");
    assert_eq!(sampled.access_log(1).await.len(), 1, "errors are always written, the rest never");
}

#[tokio::test]
async fn a_reader_that_stalls_costs_lines_and_no_time() {
    let origin = Origin::text("x").await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    // A reader that never reads: once the pipe is full, every write to it would block.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let proxy = Proxy::start(route(&origin, &format!("[logging]\naccess = {{ output = {pipe:?} }}"))).await;
    let long = format!("/{}", "x".repeat(4000));
    let mut connection = proxy.connect().await;
    let dropped = async {
        while proxy.metric("access_log_dropped_total", &[]).await < 1.0 {
            for _ in 0..500 {
                connection.fetch(Request::get(&long)).await.expect(200);
            }
        }
    };
    testkit::within_limit(std::time::Duration::from_secs(60), "lines to be dropped", dropped).await;
    drop(reader);
}
