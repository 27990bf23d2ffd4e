//! How often clients may come, and how many at once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use testkit::{Answer, Gate, Origin, Proxy, Request, Response, within};

use crate::setting::{BOTH, TRUSTING, route};

/// A proxy with one route that answers by itself under these limits.
async fn limited(lines: &str) -> Proxy {
    Proxy::start(configuration(lines)).await
}

fn configuration(lines: &str) -> String {
    format!("{BOTH}[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\n{lines}\n")
}

/// How many of `count` requests were refused, sent over so many connections at once.
async fn refused_of(proxy: &Proxy, count: usize, connections: usize, h2: bool) -> usize {
    let share = |number: usize| count / connections + usize::from(number < count % connections);
    let client = |number: usize| async move {
        let mut refused = 0;
        let passes = |answer: &Response| match answer.status {
            200 => 0,
            429 => 1,
            other => panic!("{other}"),
        };
        if h2 {
            let connection = proxy.h2c().await;
            for _ in 0..share(number) {
                refused += passes(&connection.fetch(Request::get("/")).await);
            }
        } else {
            let mut connection = proxy.connect().await;
            for _ in 0..share(number) {
                refused += passes(&connection.fetch(Request::get("/")).await);
            }
        }
        refused
    };
    join_all((0..connections).map(client)).await.into_iter().sum()
}

#[tokio::test]
async fn of_a_hundred_and_ten_exactly_ten_are_refused() {
    for (connections, h2) in [(1, false), (16, false), (256, false), (1, true), (16, true), (256, true)] {
        let proxy = limited("limit = \"100/m per ip\"").await;
        assert_eq!(refused_of(&proxy, 110, connections, h2).await, 10, "{connections} connections, h2: {h2}");
        assert_eq!(proxy.metric("limit_total", &[("limit", "app"), ("result", "allowed")]).await, 100.0);
        assert_eq!(proxy.metric("limit_total", &[("limit", "app"), ("result", "limited")]).await, 10.0);
    }
}

#[tokio::test]
async fn a_limit_goes_on_over_a_reload_and_over_an_upgrade() {
    for (connections, h2) in [(1, false), (16, false), (256, false), (1, true), (16, true), (256, true)] {
        let mut proxy = limited("limit = \"100/m per ip\"").await;
        assert_eq!(refused_of(&proxy, 40, connections, h2).await, 0);
        proxy.hang_up(configuration("limit = \"100/m per ip\"\ntimeout = \"5s\"")).await;
        assert_eq!(refused_of(&proxy, 30, connections, h2).await, 0);
        proxy.upgrade(&[]).await;
        assert_eq!(refused_of(&proxy, 40, connections, h2).await, 10, "{connections} connections, h2: {h2}");
        // Who is raised goes on from where it was.
        proxy.hang_up(configuration("limit = \"103/m per ip\"")).await;
        assert_eq!(refused_of(&proxy, 10, connections, h2).await, 7);
    }
}

#[tokio::test]
async fn an_estimate_goes_on_over_a_reload_and_over_an_upgrade_and_can_be_forgiven() {
    let written = "limit = { requests = 100, window = \"1h\", estimate = true }";
    let mut proxy = limited(written).await;
    assert_eq!(refused_of(&proxy, 40, 16, false).await, 0);
    proxy.hang_up(configuration(&format!("{written}\ntimeout = \"5s\""))).await;
    assert_eq!(refused_of(&proxy, 30, 16, true).await, 0);
    proxy.upgrade(&[]).await;
    // One more where a window of the clock has ended meanwhile.
    let refused = refused_of(&proxy, 40, 16, false).await;
    assert!((10..=11).contains(&refused), "{refused}");
    let told = proxy.get("/").await.expect_problem(429, "quota-exceeded");
    let wait: u64 = told.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7200).contains(&wait), "{wait}");
    let limits = proxy.admin("/api/v1/limits").await.expect(200).json();
    assert_eq!(limits[0]["limited"][0]["key"], "127.0.0.1");
    let live = proxy.command(["explain", "GET", "/", "--live"]).await.expect(0).stdout;
    assert!(live.contains("app: used up for "), "{live}");
    let mut admin = testkit::Connection::to(&proxy.admin_socket()).await;
    admin.fetch(Request::new("DELETE", "/api/v1/limits/app/keys/127.0.0.1")).await.expect(200);
    assert_eq!(refused_of(&proxy, 100, 16, false).await, 0);
}

#[tokio::test]
async fn answers_tell_where_the_client_stands() {
    let proxy = limited("limit = { requests = 2, window = \"1h\", x_headers = true }").await;
    let first = proxy.get("/first").await.expect(200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"app\";q=2;w=3600"));
    assert_eq!(first.header("ratelimit"), Some("\"app\";r=1;t=3600"));
    assert_eq!(first.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    proxy.get("/").await.expect(200);
    let refused = proxy.get("/refused").await.expect_problem(429, "quota-exceeded");
    let problem = refused.json();
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated-policies"][0], "app");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"app\";r=0;t={wait}").as_str()));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let line = proxy.logged("/refused").await;
    assert_eq!((&line["error"], &line["limit"]), (&"limited".into(), &"app".into()));
    assert_eq!(line["limit_remaining"], 0);
    let passed = proxy.logged("/first").await;
    assert_eq!((&passed["limit"], &passed["limit_remaining"]), (&"app".into(), &1.into()));
}

#[tokio::test]
async fn who_waits_as_long_as_told_passes() {
    for limit in [
        "requests = 3, window = \"1500ms\"",
        "rate = \"2/s\", burst = 3",
        "requests = 3, window = \"2s\", align = \"calendar\"",
        "requests = 3, window = \"1500ms\", estimate = true",
    ] {
        waits_as_long_as_told(limit).await;
    }
}

async fn waits_as_long_as_told(limit: &str) {
    let proxy = limited(&format!("limit = {{ {limit} }}")).await;
    // However often that is: the calendar may turn a page in between.
    let refused = async {
        loop {
            let answer = proxy.get("/").await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let wait: u64 = within("a refusal", refused).await.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{limit}: {wait}");
    let told = Instant::now();
    within("the time to be over", async { while proxy.get("/").await.status == 429 {} }).await;
    assert!(told.elapsed() <= Duration::from_secs(wait + 1), "{limit}: {:?}", told.elapsed());
}

#[tokio::test]
async fn clients_are_told_apart_by_what_the_key_says() {
    let lines = "limit = { requests = 2, window = \"1h\", key = \"header:X-Tenant\", on_missing = \"deny\" }";
    let proxy = Proxy::start(configuration(lines)).await;
    for tenant in ["a", "b"] {
        for status in [200, 200, 429] {
            proxy.fetch(Request::get("/").header("X-Tenant", tenant)).await.expect(status);
        }
    }
    proxy.get("/").await.expect_problem(400, "limit_key_missing");
    // Addresses are seen through trusted proxies only, and IPv6 clients count by their network.
    let open = "[routes.app]\npath = \"/*\"\nrespond = { body = \"x\" }\nlimit = \"1/h\"\n";
    let trusting = Proxy::start(format!("{TRUSTING}{open}")).await;
    for (address, status) in [("2001:db8::1", 200), ("2001:db8::2", 429), ("2001:db8:0:1::1", 200), ("10.0.0.1", 200)] {
        trusting.fetch(Request::get("/").header("X-Forwarded-For", address)).await.expect(status);
    }
    let suspicious = Proxy::start(format!("{BOTH}{open}")).await;
    for (address, status) in [("10.0.0.1", 200), ("10.0.0.2", 429)] {
        suspicious.fetch(Request::get("/").header("X-Forwarded-For", address)).await.expect(status);
    }
}

#[tokio::test]
async fn callers_are_told_apart_by_what_authentication_has_found_out() {
    let origin = Origin::text("x").await;
    let text = format!(
        "{BOTH}[auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\n[defaults]\nauth = \"partners\"\nupstream = \"{origin}\"\n\
         [routes]\n\"/user\" = {{ limit = \"2/h per user\" }}\n\"/key\" = {{ limit = \"2/h per api_key\" }}\n\
         \"/claim\" = {{ limit = \"2/h per claim:sub\" }}\n\"/cookie\" = {{ limit = \"2/h per cookie:visitor\" }}\n"
    );
    let starter = Proxy::with(text);
    let mut keys = Vec::new();
    // Two keys of one consumer, and one of another.
    for consumer in ["acme", "acme", "globex"] {
        let arguments = ["key", "add", consumer, "--file", "keys.toml"];
        let told = testkit::maitred(starter.folder(), arguments).await.expect(0);
        keys.push(told.stdout.trim().to_owned());
    }
    let proxy = starter.start().await;
    let ask = |path: &'static str, key: usize| {
        let request = Request::get(path).header("X-API-Key", &keys[key]).header("Cookie", &format!("visitor={key}"));
        async { proxy.fetch(request).await.status }
    };
    for (path, key, status) in [
        ("/user", 0, 200),
        ("/user", 1, 200),
        ("/user", 0, 429),
        ("/user", 1, 429),
        ("/user", 2, 200),
        ("/key", 0, 200),
        ("/key", 0, 200),
        ("/key", 0, 429),
        ("/key", 1, 200),
        ("/key", 2, 200),
        ("/claim", 0, 200),
        ("/claim", 1, 200),
        ("/claim", 0, 429),
        ("/claim", 2, 200),
        ("/cookie", 0, 200),
        ("/cookie", 0, 200),
        ("/cookie", 0, 429),
        ("/cookie", 1, 200),
    ] {
        assert_eq!(ask(path, key).await, status, "{path} with key {key}");
    }
}

#[tokio::test]
async fn a_request_costs_what_its_route_says() {
    let text = format!(
        "{BOTH}[defaults]\nrespond = {{ body = \"x\" }}\n[limits]\ncheap = {{ requests = 10, window = \"1h\" }}\n\
         [routes]\n\"/dear\" = {{ limit = {{ requests = 10, window = \"1h\", cost = 4 }} }}\n\"/cheap\" = {{ limit = \"cheap\" }}\n"
    );
    let proxy = Proxy::start(text).await;
    for left in [6, 2] {
        let told = proxy.get("/dear").await.expect(200);
        assert!(told.header("ratelimit").unwrap().contains(&format!(";r={left};")), "{told:?}");
    }
    proxy.get("/dear").await.expect(429);
    proxy.get("/cheap").await.expect(200);
}

#[tokio::test]
async fn a_named_limit_counts_the_routes_that_use_it_together_and_an_inherited_one_each_by_itself() {
    let text = format!(
        "{BOTH}[limits]\nfair-use = \"3/h\"\n[defaults]\nlimit = \"fair-use\"\n[routes]\n\
         \"/a\" = {{ respond = {{ body = \"a\" }} }}\n\"/b\" = {{ respond = {{ body = \"b\" }} }}\n\
         \"/own\" = {{ respond = {{ body = \"c\" }}, limit = \"1/h\" }}\n\
         \"/free\" = {{ respond = {{ body = \"d\" }}, limit = false }}\n"
    );
    let proxy = Proxy::start(text).await;
    for (path, status) in [("/a", 200), ("/b", 200), ("/a", 200), ("/b", 429), ("/own", 200), ("/own", 429)] {
        proxy.get(path).await.expect(status);
    }
    for _ in 0..5 {
        let free = proxy.get("/free").await.expect(200);
        assert_eq!(free.header("ratelimit"), None);
    }
    let each = format!(
        "{BOTH}[defaults]\nlimit = \"1/h\"\n[routes]\n\"/a\" = {{ respond = {{ body = \"a\" }} }}\n\"/b\" = {{ respond = {{ body = \"b\" }} }}\n"
    );
    let proxy = Proxy::start(each).await;
    for (path, status) in [("/a", 200), ("/b", 200), ("/a", 429), ("/b", 429)] {
        proxy.get(path).await.expect(status);
    }
}

#[tokio::test]
async fn only_failures_count_against_who_guesses() {
    let origin = Origin::start(|seen| Answer::status(if seen.target == "/wrong" { 401 } else { 200 })).await;
    let lines = "limit = { requests = 2, window = \"1h\", count = \"failures\" }";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
    for (path, status) in [("/right", 200), ("/right", 200), ("/wrong", 401), ("/wrong", 401), ("/right", 429)] {
        proxy.get(path).await.expect(status);
    }
    assert_eq!(origin.requests().len(), 4);
    // Who has a good answer is forgiven before it can ask again, on a connection that another worker may serve.
    let strict = Proxy::start(format!("{BOTH}{}", route(&origin, &lines.replace("= 2", "= 1")))).await;
    for _ in 0..300 {
        strict.get("/right").await.expect(200);
    }
}

#[tokio::test]
async fn so_many_at_once_and_a_place_is_free_again_however_its_request_ended() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/ws" => Answer::websocket(),
        "/hold" => Answer::text("x").after(&script),
        _ => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "limit = { concurrent = 2 }"))).await;
    let h2 = proxy.h2c().await;
    let (_, held) = h2.stream(Request::get("/hold")).await;
    origin.request().await;
    let socket = proxy.websocket("/ws").await;
    let refused = proxy.get("/").await.expect_problem(429, "quota-exceeded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit"), None);
    // One client goes away in the middle of its request, one closes its tunnel.
    drop((held, h2));
    within("a place to be free", async { while proxy.get("/").await.status == 429 {} }).await;
    drop(socket);
    gate.open();
    let mut both = (proxy.connect().await, proxy.connect().await);
    within("both places to be free", async {
        loop {
            let (one, two) = tokio::join!(both.0.fetch(Request::get("/")), both.1.fetch(Request::get("/")));
            if one.status == 200 && two.status == 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_rate_holds_back_who_is_too_fast() {
    let proxy = limited("limit = { rate = \"20/s\", burst = 1, over = \"delay\", max_delay = \"2s\" }").await;
    let began = Instant::now();
    assert_eq!(refused_of(&proxy, 11, 11, false).await, 0);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(proxy.metric("limit_total", &[("limit", "app"), ("result", "delayed")]).await >= 9.0);
}

#[tokio::test]
async fn in_shadow_everybody_passes_and_it_is_told() {
    let proxy = limited("limit = { requests = 1, window = \"1h\", mode = \"shadow\" }").await;
    proxy.get("/first").await.expect(200);
    let second = proxy.get("/second").await.expect(200);
    assert_eq!(second.header("ratelimit-policy"), None);
    assert_eq!(proxy.logged("/second").await["shadow"], "limited");
    assert!(proxy.logged("/first").await["shadow"].is_null());
    assert_eq!(proxy.metric("limit_total", &[("limit", "app"), ("result", "shadowed")]).await, 1.0);
}

#[tokio::test]
async fn what_an_upstream_is_sent_is_limited_whatever_the_route() {
    let origin = Origin::text("x").await;
    let text = format!(
        "{BOTH}[upstreams.paid]\nbackends = \"{origin}\"\n[limits.calls]\nrequests = 3\nwindow = \"1h\"\nkey = \"upstream\"\n\
         [defaults]\nlimit = \"calls\"\n[routes]\n\"/a\" = \"paid\"\n\"/b\" = \"paid\"\n\"/c\" = {{ respond = {{ body = \"c\" }} }}\n"
    );
    let proxy = Proxy::start(text).await;
    for (path, status) in [("/a", 200), ("/b", 200), ("/c", 200), ("/a", 200)] {
        proxy.get(path).await.expect(status);
    }
    for path in ["/a", "/b"] {
        let refused = proxy.get(path).await.expect_problem(429, "quota-exceeded");
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(proxy.exchange("GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").await.get(..12), Some("HTTP/1.1 429"));
    proxy.get("/c").await.expect(200);
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn what_the_cache_may_not_fetch_is_told_when_it_may() {
    let origin = Origin::start(|_| Answer::text("x").header("cache-control", "max-age=60")).await;
    let limit = "limit = { requests = 2, window = \"1h\", key = \"upstream\" }";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, &format!("cache = {{}}\n{limit}")))).await;
    for path in ["/a", "/a", "/b", "/b"] {
        proxy.get(path).await.expect(200);
    }
    let refused = proxy.get("/c").await.expect_problem(429, "quota-exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(refused.json()["violated-policies"][0], "app");
    assert_eq!(proxy.logged("/c").await["limit"], "app");
    // What is there already costs nothing.
    proxy.get("/a").await.expect(200);
}

#[tokio::test]
async fn every_attempt_at_a_paid_service_counts() {
    let origin = Origin::text("x").await;
    let text = format!(
        "{BOTH}[upstreams.paid]\nbackends = [\"http://{}\", \"{origin}\"]\nretries = 1\n[routes.app]\npath = \"/*\"\nupstream = \"paid\"\n\
         limit = {{ requests = 4, window = \"1h\", key = \"upstream\" }}\n",
        testkit::Address::refusing()
    );
    let proxy = Proxy::start(text).await;
    let passed = join_all((0..4).map(|_| proxy.get("/"))).await.iter().filter(|answer| answer.status == 200).count();
    assert!(passed < 4, "{passed}");
}

#[tokio::test]
async fn upgrades_are_not_let_past_a_limit() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "limit = \"1/h\""))).await;
    let _first = proxy.websocket("/").await;
    let asks = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert_eq!(proxy.exchange(asks).await.get(..12), Some("HTTP/1.1 429"));
}

#[tokio::test]
async fn explain_looks_and_never_charges() {
    let proxy = limited("limit = [\"2/h per ip\", { concurrent = 5 }]").await;
    let said = async |live: bool| {
        let arguments = ["explain", "GET", "/", "--live"];
        proxy.command(arguments[..3 + usize::from(live)].iter().copied()).await.expect(0).stdout
    };
    for _ in 0..5 {
        let live = said(true).await;
        assert!(live.contains("app-1: 2 of 2 left for 127.0.0.1; app-2: 5 of 5 left"), "{live}");
        let offline = said(false).await;
        assert!(offline.contains("app-1: counts 1 for 127.0.0.1, at most 2 in any 1h; app-2: "), "{offline}");
    }
    assert_eq!(refused_of(&proxy, 1, 1, false).await, 0);
    assert!(said(true).await.contains("app-1: 1 of 2 left"));
    assert_eq!(refused_of(&proxy, 2, 1, false).await, 1);
    let live = said(true).await;
    assert!(live.contains("app-1: used up for ") && live.contains("refuses with 429"), "{live}");
}

#[tokio::test]
async fn a_wrong_limit_refuses_the_configuration_and_says_why() {
    let text = "listen = \"127.0.0.1:0\"\n[limits]\nfair = { requests = 100 }\n[routes.\"/a\"]\nlimit = \"fare\"\n\
                respond = { body = \"x\" }\n[routes.\"/b\"]\nlimit = [\"10/s per user\", { rate = 10 }, { reqests = 5 }]\nrespond = { body = \"x\" }\n";
    let refused = Proxy::with(text).refused().await.expect(3);
    for part in [
        "`requests` without `window`",
        "no limit is named `fare`",
        "did you mean `fair`?",
        "E0104",
        "unknown key `reqests`",
    ] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }
}

#[tokio::test]
async fn a_quota_survives_the_death_of_the_process() {
    let quota = "limit = { requests = 100, window = \"1d\", align = \"calendar\", key = \"route\" }";
    let proxy = limited(quota).await;
    assert_eq!(refused_of(&proxy, 60, 16, false).await, 0);
    let told = proxy.get("/").await.expect(200);
    assert_eq!(told.header("ratelimit-policy"), Some("\"app\";q=100;w=86400"));
    let beside = proxy.beside();
    proxy.signal("KILL").await;
    proxy.wait().await;
    let proxy = beside.start().await;
    assert_eq!(refused_of(&proxy, 20, 16, true).await, 0);
    proxy.printed("limit app: 80 of 100 are used up").await;
    assert_eq!(proxy.metric("limit_short_total", &[("limit", "app")]).await, 1.0);
    let events = proxy.admin("/api/v1/events").await.expect(200).text();
    assert!(events.contains("limit app: 80 of 100 are used up"), "{events}");
    // The process that takes over goes on, and so does one after it.
    let mut proxy = proxy;
    proxy.upgrade(&[]).await;
    assert_eq!(refused_of(&proxy, 9, 1, false).await, 0);
    let beside = proxy.beside();
    proxy.signal("KILL").await;
    drop(proxy);
    let proxy = beside.start().await;
    assert_eq!(refused_of(&proxy, 20, 16, false).await, 10);
}

#[tokio::test]
async fn an_operator_sees_who_is_limited_and_forgives() {
    let proxy = limited("limit = { requests = 2, window = \"1h\", key = \"header:X-Key\" }").await;
    let keyed = || Request::get("/").header("X-Key", "open/sesame");
    for status in [200, 200, 429, 429] {
        proxy.fetch(keyed()).await.expect(status);
    }
    let limits = proxy.admin("/api/v1/limits").await.expect(200).json();
    assert_eq!((&limits[0]["name"], &limits[0]["routes"][0]), (&"app".into(), &"app".into()));
    let limited = &limits[0]["limited"][0];
    assert_eq!(limited["refused"], 2);
    let shown = limited["key"].as_str().unwrap();
    assert!(shown.starts_with('#') && !shown.contains("sesame"), "{shown}");

    let status = proxy.admin("/api/v1/status").await.expect(200).json();
    assert_eq!(status["limits"], serde_json::json!([{ "name": "app", "limited": 1 }]));
    assert!(proxy.command(["status"]).await.expect(0).stdout.contains("app refuses 1"));

    let mut admin = testkit::Connection::to(&proxy.admin_socket()).await;
    let path = "/api/v1/limits/app/keys/open%2Fsesame";
    let stands = admin.fetch(Request::get(path)).await.expect(200).json();
    assert_eq!((&stands["rules"][0]["kind"], &stands["rules"][0]["remaining"]), (&"window".into(), &0.into()));
    let forgiven = admin.fetch(Request::new("DELETE", path)).await.expect(200).json();
    assert_eq!(forgiven["rules"][0]["remaining"], 2);
    proxy.printed("limit_key_reset").await;
    for status in [200, 200, 429] {
        proxy.fetch(keyed()).await.expect(status);
    }
    let by_sign = format!("/api/v1/limits/app/keys/{}", shown.replace('#', "%23"));
    admin.fetch(Request::new("DELETE", &by_sign)).await.expect(200);
    proxy.fetch(keyed()).await.expect(200);
    admin.fetch(Request::get("/api/v1/limits/none/keys/x")).await.expect(404);
    // Over TCP nothing is changed without a token.
    testkit::Connection::to(proxy.listener("admin")).await.fetch(Request::new("DELETE", path)).await.expect(403);
}

#[tokio::test]
async fn who_is_refused_too_often_is_banned_for_a_while() {
    let lines = "limit = { rate = \"1000/s\", burst = 1, cost = 1, key = \"header:X-Who\", ban = { after = 5, within = \"1m\", for = \"1500ms\" } }";
    let proxy = limited(lines).await;
    let ask = || proxy.fetch(Request::get("/").header("X-Who", "a"));
    within("a ban", async {
        // Five at once, of which not all can pass.
        while proxy.admin("/api/v1/limits/app/keys/a").await.json()["rules"][1]["remaining"] != 0 {
            join_all((0..8).map(|_| ask())).await;
        }
    })
    .await;
    assert!(ask().await.expect(429).header("retry-after").is_some());
    proxy.fetch(Request::get("/").header("X-Who", "b")).await.expect(200);
    within("the end of the ban", async { while ask().await.status != 200 {} }).await;
}
