//! Tests written in the configuration: what `check` says of them, that a start refuses what they refuse, and that what
//! they expect is what really happens.

use serde_json::Value;
use testkit::{Authority, Exit, Origin, Proxy, Request, maitred};

/// Runs `check --offline` with `arguments` on this configuration.
async fn check(text: &str, arguments: &[&str]) -> Exit {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    maitred(folder.path(), ["check", "--offline"].iter().chain(arguments).copied()).await
}

const SHOP: &str = r#"
listen = ":8080"

[upstreams.orders]
backends = "http://10.0.0.1:8080"

[routes.orders]
host     = "api.example.com"
path     = "/orders/*"
upstream = "orders"
max_body = "1KiB"
cors     = { origins = ["https://app.example.com"] }
request  = { rewrite = "/v1{path}", set = { X-Client-IP = "{client_ip}" }, remove = ["Cookie"] }
response = { set = { Cache-Control = "no-store" } }

[routes.orders-next]
host     = "api.example.com"
path     = "/orders/*"
header   = { X-Next = true }
upstream = "http://10.0.0.2:8080"

[routes.legacy]
path     = "/legacy/*"
redirect = "https://new.example.com{path}"

[routes.closed]
path    = "/closed/*"
respond = { status = 410 }
"#;

/// A test for each thing that can be expected.
const HOLDS: &str = r#"
[tests]
"GET /legacy/7"               = 308
"POST api.example.com/orders" = "orders"

[tests.sent]
request = ["GET http://api.example.com/orders/7?x=1", "/orders/7?x=1"]
headers = { Cookie = "a=b", Origin = "https://app.example.com" }
from    = "203.0.113.7"

[tests.sent.expect]
route    = "orders"
upstream = "http://10.0.0.1:8080"
path     = "/v1/orders/7"
query    = "x=1"
host     = "api.example.com"
request  = { X-Client-IP = "203.0.113.7", X-Forwarded-For = "203.0.113.7", Cookie = false, X-Request-Id = true }
response = { Access-Control-Allow-Origin = "https://app.example.com", Cache-Control = "no-store" }

[tests.too-large]
request = "POST /orders"
headers = { Content-Length = "2000" }
expect  = { route = "orders", status = 413, reason = "body_too_large" }

[tests.moved]
request = "GET /legacy/7?x=1"
expect  = { route = "legacy", location = "~^https://new[.]example[.]com/legacy/7[?]x=1$" }

[tests.nowhere]
request = "GET /nowhere"
expect  = { status = 404, reason = "no_route" }

[tests.preflight]
request = "OPTIONS /orders/7"
headers = { Origin = "https://app.example.com", Access-Control-Request-Method = "GET" }
expect  = { route = "orders", status = 204, response = { Access-Control-Allow-Origin = true } }
"#;

#[tokio::test]
async fn check_runs_them_and_says_what_they_have_been_through() {
    let text = format!("{SHOP}{HOLDS}");
    let exit = check(&text, &[]).await.expect(0);
    let line = exit.stdout.lines().find(|line| line.starts_with("tests:")).unwrap_or_else(|| panic!("{}", exit.stdout));
    assert_eq!(
        line,
        "tests: 7 passed   coverage: 2 of 4 routes (not: closed, orders-next)   \
         policies: cors 1 of 1, redirect 1 of 1, respond 0 of 1, rewrite 1 of 1, request 1 of 1"
    );
    assert_eq!(check(&text, &["--quiet"]).await.expect(0).stdout, "");
    let json: Value = serde_json::from_str(&check(&text, &["--json"]).await.expect(0).stdout).unwrap();
    assert_eq!(json["tests"], serde_json::json!({ "passed": 7, "failed": 0 }));
    assert_eq!(json["coverage"]["routes"]["not"], serde_json::json!(["closed", "orders-next"]));
    assert_eq!(check(SHOP, &["--json"]).await.expect(0).stdout, "", "nothing is said where there are none");
}

/// Four requests that end otherwise than expected, and one that does not.
const FAILS: &str = r#"
[tests]
"GET /legacy/7" = "orders"

[tests.next]
request = ["/orders/7", "/orders/8"]
headers = { X-Next = "1" }
expect  = { route = "orders", path = "/v1/orders/7" }

[tests.answer]
request = "/orders/7"
expect  = { status = 200 }

[tests.holds]
request = "/closed/7"
expect  = 410
"#;

#[tokio::test]
async fn every_failing_one_is_shown_with_what_happens_instead() {
    let text = format!("{SHOP}{FAILS}");
    let exit = check(&text, &[]).await.expect(3);
    let shown = &exit.stdout[exit.stdout.find("error[").unwrap_or(0)..];
    insta::assert_snapshot!(shown, @r##"
error[E0801]: test `GET /legacy/7` fails
  --> maitred.toml:31:19
   |
 7 | [routes.orders]
   |         ------ does not take it: path differs
...
22 | [routes.legacy]
   |         ------ takes it: path prefix
...
31 | "GET /legacy/7" = "orders"
   | ---------------   ^^^^^^^^ route `legacy` takes it
   | |
   | route `legacy` answers 308 → https://new.example.com/legacy/7 (asked of `api.example.com`)

error[E0801]: test `next` fails for `GET /orders/7`
  --> maitred.toml:36:21
   |
 7 | [routes.orders]
   |         ------ does not take it: same path, fewer headers
...
16 | [routes.orders-next]
   |         ----------- takes it: path prefix + 1 header
...
34 | request = ["/orders/7", "/orders/8"]
   |            ----------- route `orders-next` sends it to upstream `10-0-0-2-8080` (asked of `api.example.com`)
35 | headers = { X-Next = "1" }
36 | expect  = { route = "orders", path = "/v1/orders/7" }
   |                     ^^^^^^^^         -------------- the path is `/orders/7`
   |                     |
   |                     route `orders-next` takes it

error[E0801]: test `next` fails for `GET /orders/8`
  --> maitred.toml:36:21
   |
 7 | [routes.orders]
   |         ------ does not take it: same path, fewer headers
...
16 | [routes.orders-next]
   |         ----------- takes it: path prefix + 1 header
...
34 | request = ["/orders/7", "/orders/8"]
   |                         ----------- route `orders-next` sends it to upstream `10-0-0-2-8080` (asked of `api.example.com`)
35 | headers = { X-Next = "1" }
36 | expect  = { route = "orders", path = "/v1/orders/7" }
   |                     ^^^^^^^^         -------------- the path is `/orders/8`
   |                     |
   |                     route `orders-next` takes it

error[E0801]: test `answer` fails
  --> maitred.toml:40:22
   |
39 | request = "/orders/7"
   |           ----------- no route matches: 404 no_route (asked of `localhost`)
40 | expect  = { status = 200 }
   |                      ^^^ the status is 404
tests: 1 passed, 3 failed   coverage: 3 of 4 routes (not: orders)   policies: cors 0 of 1, redirect 1 of 1, respond 1 of 1, rewrite 0 of 1, request 0 of 1
"##);
    assert!(exit.stderr.contains("4 errors"), "{}", exit.stderr);
}

#[tokio::test]
async fn programs_are_told_of_every_failing_one() {
    let json = check(&format!("{SHOP}{FAILS}"), &["--json"]).await.expect(3).stdout;
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["code"] == "E0801").count(), 4, "{json}");
    assert_eq!(lines.last().unwrap()["tests"], serde_json::json!({ "passed": 1, "failed": 3 }));
}

#[tokio::test]
async fn a_start_refuses_what_they_refuse() {
    let exit =
        Proxy::with("[routes]\n\"/a/*\" = \"http://127.0.0.1:1\"\n[tests]\n\"GET /b\" = \"/a/*\"\n").refused().await;
    assert_eq!(exit.code, Some(3), "{}", exit.stderr);
    assert!(exit.stderr.contains("error[E0801]: test `GET /b` fails"), "{}", exit.stderr);
    assert!(exit.stderr.contains("no route matches: 404 no_route"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_reload_refuses_what_they_refuse() {
    let test = "[tests]\n\"GET /a\" = { expect = { route = \"a\", response = { X-Which = true } } }\n";
    let answers = |body: &str, header: &str| {
        format!(
            "[routes.a]\npath = \"/a\"\nrespond = {{ body = \"{body}\" }}\nresponse = {{ set = {{ {header} = \"1\" }} }}\n{test}"
        )
    };
    let proxy = Proxy::start(answers("one", "X-Which")).await;
    proxy.configure(answers("two", "X-Witch"));
    let refused = proxy.command(["reload"]).await.expect(1);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(told.contains("error[E0801]: test `GET /a` fails") && told.contains("the field is not there"), "{told}");
    assert_eq!(proxy.get("/a").await.expect(200).text(), "one");
    proxy.configure(answers("three", "X-Which"));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(proxy.get("/a").await.expect(200).text(), "three");
}

#[tokio::test]
async fn what_they_name_must_exist() {
    let text = format!("{SHOP}[tests.wrong]\nrequest = \"orders\"\nlistener = \"htp\"\nexpect = \"oders\"\n");
    let exit = check(&text, &[]).await.expect(3);
    for part in [
        "error[E0108]: `orders` is not a request",
        "error[E0201]: a test names a listener that does not exist",
        "did you mean `orders`?",
    ] {
        assert!(exit.stdout.contains(part), "{part} is missing in\n{}", exit.stdout);
    }
}

/// Three listeners: the plain one sends to https, the secure one asks for certificates, the inner one trusts a balancer.
const DOORS: &str = r#"
[listeners.a-plain]
address  = ":8080"
redirect = "https"

[listeners.b-secure]
address     = ":8443"
tls         = { cert = "CERT", key = "KEY" }
client_ca   = "CA"
client_auth = "optional"

[listeners.c-inner]
address         = ":9000"
trusted_proxies = "10.0.0.0/8"

[routes.public]
path     = "/*"
upstream = "http://10.0.0.1:8080"

[routes.staff]
path     = "/staff"
listener = "c-inner"
upstream = "http://10.0.0.1:8080"

[tests]
"GET http://a.test/x"                            = 308
"GET https://a.test/x"                           = "public"
"GET http://a.test:9000/x"                       = "public"
"GET /staff"                                     = "staff"
"GET https://a.test./staff"                      = "public"
"GET https://127.0.0.1/x"                        = "public"

[tests.named]
request  = "GET /x"
listener = "b-secure"
expect   = { route = "public", request = { X-Forwarded-Proto = "https", X-Forwarded-Port = "8443" } }

[tests.misdirected]
request = "GET https://a.test/x"
headers = { Host = "b.test" }
expect  = { status = 421, reason = "misdirected" }

[tests.behind]
request = "GET http://a.test:9000/x"
from    = "10.0.0.2"
headers = { X-Forwarded-For = "203.0.113.7", X-Forwarded-Proto = "https" }
expect  = { route = "public", request = { X-Forwarded-For = "203.0.113.7, 10.0.0.2", X-Forwarded-Proto = "https" } }
"#;

#[tokio::test]
async fn a_request_comes_in_where_it_would() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.test"]);
    let path = |file: &std::path::Path| file.display().to_string();
    let doors = DOORS
        .replace("CERT", &path(&certificate.cert_file))
        .replace("KEY", &path(&certificate.key_file))
        .replace("CA\"", &format!("{}\"", path(&authority.file())));
    let exit = check(&doors, &[]).await.expect(0);
    assert!(exit.stdout.contains("tests: 9 passed"), "{}", exit.stdout);
    let wrong = "[tests.none]\nrequest = \"http://a.test/x\"\nlistener = \"b-secure\"\nexpect = \"public\"\n";
    let exit = check(&format!("{doors}{wrong}"), &[]).await.expect(3);
    assert!(exit.stdout.contains("test `none` comes by a listener that speaks https"), "{}", exit.stdout);
    let exit = check("listen = \":80\"\n[tests]\n\"https://a.test/\" = 404\n", &[]).await.expect(3);
    assert!(exit.stdout.contains("comes by https, which no listener speaks"), "{}", exit.stdout);
}

/// The judge walks the steps of a real request: here it is held against real requests.
#[tokio::test]
async fn what_they_expect_is_what_happens() {
    let origin = Origin::echo().await;
    let shop = SHOP.replace("listen = \":8080\"", "").replace("http://10.0.0.1:8080", &origin.to_string());
    let tests = HOLDS.replace("http://10.0.0.1:8080", &origin.to_string()).replace("http://api", "api");
    // It starts only if every test holds.
    let proxy = Proxy::start(format!("{shop}{tests}")).await;
    let asked = |method: &str, target: &str| Request::new(method, target).header("Host", "api.example.com");
    let sent = asked("GET", "/orders/7?x=1").header("Cookie", "a=b").header("Origin", "https://app.example.com");
    let answer = proxy.fetch(sent).await.expect(200);
    assert_eq!(answer.target(), "/v1/orders/7?x=1");
    assert_eq!(answer.headers.get("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(answer.headers.get("cache-control"), Some("no-store"));
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.host(), seen.header("cookie")), (Some("api.example.com"), None));
    assert_eq!((seen.header("x-client-ip"), seen.header("x-forwarded-for")), (Some("127.0.0.1"), Some("127.0.0.1")));
    proxy.fetch(asked("POST", "/orders").body("x".repeat(2000))).await.expect(413);
    let moved = proxy.get("/legacy/7?x=1").await.expect(308);
    assert_eq!(moved.headers.get("location"), Some("https://new.example.com/legacy/7?x=1"));
    proxy.get("/nowhere").await.expect(404);
    let preflight = asked("OPTIONS", "/orders/7").header("Origin", "https://app.example.com");
    let preflight = proxy.fetch(preflight.header("Access-Control-Request-Method", "GET")).await.expect(204);
    assert!(preflight.headers.get("access-control-allow-origin").is_some());
}

#[tokio::test]
async fn explain_walks_the_same_steps() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[listeners.public]\naddress = \":8080\"\nredirect = \"https\"\n[listeners.internal]\naddress = \":9000\"\n{}",
        SHOP.replace("listen = \":8080\"", "")
    );
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    let explain = |arguments: &'static [&'static str]| {
        let path = folder.path().to_owned();
        async move { maitred(&path, ["explain"].iter().chain(arguments).copied()).await.expect(0).stdout }
    };
    let redirected = explain(&["http://api.example.com:8080/orders/7"]).await;
    assert!(redirected.contains("listener `public` answers 308 → https://api.example.com/orders/7"), "{redirected}");
    let inside = explain(&["http://API.example.com.:9000//orders/./7"]).await;
    assert!(inside.starts_with("GET http://api.example.com/orders/7\n  → orders "), "{inside}");
    assert!(inside.contains("rewrite   /v1/orders/7"), "{inside}");
    let health = explain(&["http://localhost:9000/health"]).await;
    assert!(health.contains("no route matches: maitred answers 200"), "{health}");
    let climbing = explain(&["http://localhost:9000/%2e%2e/x"]).await;
    assert!(climbing.contains("refused before a route has it: 400 bad_path"), "{climbing}");
}
