//! Backends that fail and come back: when they are used and when they are not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use testkit::{Address, Answer, Origin, Proxy, Request, within};

use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::setting::BOTH;

async fn balanced(backends: &[&dyn std::fmt::Display], lines: &str) -> Proxy {
    let list: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes]\n\"/*\" = \"app\"\n",
        list.join(", ")
    ))
    .await
}

/// An origin whose answer to `/health` can be changed, and which answers everything else with `name`.
async fn watched(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let told = status.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/health" => Answer::status(told.load(Relaxed)).body("health"),
        _ => Answer::text(name),
    })
    .await;
    (origin, status)
}

const OFTEN: &str = "health_check = { path = \"/health\", interval = \"50ms\", timeout = \"1s\" }";

/// Waits until the metric says so.
async fn until_up(proxy: &Proxy, origin: &dyn std::fmt::Display, up: bool) {
    let label = origin.to_string().replace("http://", "").replace("h2c://", "");
    proxy.until_metric_is("backend_up", &[("backend", &label)], f64::from(u8::from(up))).await;
}

async fn answers(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(proxy.get("/").await.expect(200).text());
    }
    answers
}

#[tokio::test]
async fn a_backend_that_fails_its_check_gets_nothing_until_it_passes_again() {
    let (one, health) = watched("one").await;
    let (two, _) = watched("two").await;
    let proxy = balanced(&[&one, &two], OFTEN).await;
    assert_eq!(answers(&proxy, 4).await, ["one", "two", "one", "two"]);
    health.store(500, Relaxed);
    until_up(&proxy, &one, false).await;
    assert_eq!(answers(&proxy, 10).await, ["two"; 10]);
    let status = proxy.command(["status"]).await.expect(0).stdout;
    assert!(status.contains("1/2 up") && status.contains("failing: it answered 500"), "{status}");
    health.store(200, Relaxed);
    until_up(&proxy, &one, true).await;
    assert!(answers(&proxy, 4).await.contains(&"one".to_owned()));
    let label = one.socket().to_string();
    for (result, least) in [("ok", 3.0), ("failed", 3.0)] {
        let labels = [("backend", label.as_str()), ("result", result)];
        assert!(proxy.metric("backend_health_checks_total", &labels).await >= least);
    }
}

#[tokio::test]
async fn the_first_answer_decides_before_anybody_asks() {
    let (one, health) = watched("one").await;
    let (two, _) = watched("two").await;
    health.store(503, Relaxed);
    let proxy = balanced(&[&one, &two], "health_check = { path = \"/health\", interval = \"1h\" }").await;
    assert_eq!(answers(&proxy, 6).await, ["two"; 6]);
}

#[tokio::test]
async fn the_question_is_as_configured() {
    let (one, _) = watched("one").await;
    let check =
        "health_check = { path = \"/health\", host = \"h.example\", body = \"heal\", status = [\"200\", \"4xx\"] }";
    let proxy = balanced(&[&one], check).await;
    until_up(&proxy, &one, true).await;
    let seen = one.request().await;
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/health"));
    assert_eq!(seen.header("host"), Some("h.example"));
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("maitred/")), "{seen:?}");
    let proxy = balanced(&[&one], "health_check = { path = \"/health\", body = \"never\" }").await;
    until_up(&proxy, &one, false).await;
    let told = proxy.admin("/api/v1/upstreams/app").await.expect(200).json();
    assert_eq!(told["backends"][0]["trouble"], "its answer does not say what it should");
    // It is the only one: rather it than none.
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn a_tcp_check_knows_who_listens() {
    let nobody = Address::refusing();
    let origin = Origin::text("x").await;
    let proxy = balanced(&[&format!("http://{nobody}"), &origin], "health_check = \"tcp\"").await;
    until_up(&proxy, &nobody, false).await;
    until_up(&proxy, &origin, true).await;
    assert_eq!(answers(&proxy, 4).await, ["x"; 4]);
    assert_eq!(proxy.metric("upstream_retries_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_grpc_check_asks_the_health_service() {
    let serving = |status: u8| {
        move |seen: &testkit::Seen| match seen.target.as_str() {
            "/grpc.health.v1.Health/Check" => Answer::status(200)
                .header("Content-Type", "application/grpc")
                .chunk([0, 0, 0, 0, 2, 0x08, status].to_vec())
                .trailer("grpc-status", "0"),
            _ => Answer::text("x"),
        }
    };
    let well = Origin::builder().h2c().start(serving(1)).await;
    let ill = Origin::builder().h2c().start(serving(2)).await;
    let proxy = balanced(&[&well, &ill], "health_check = { type = \"grpc\", service = \"shop\" }").await;
    until_up(&proxy, &well, true).await;
    until_up(&proxy, &ill, false).await;
    let seen = well.request().await;
    assert_eq!(&seen.body.start[..], b"\0\0\0\0\x06\x0a\x04shop");
}

#[tokio::test]
async fn what_is_known_of_a_backend_outlives_a_reload() {
    let (one, health) = watched("one").await;
    let (two, _) = watched("two").await;
    let text = |timeout: &str| {
        let check = "health_check = { path = \"/health\", interval = \"1h\" }";
        format!(
            "{BOTH}[upstreams.app]\nbackends = [\"{one}\", \"{two}\"]\n{check}\ntimeout = \"{timeout}\"\n[routes]\n\"/*\" = \"app\"\n"
        )
    };
    health.store(503, Relaxed);
    let proxy = Proxy::start(text("5s")).await;
    assert_eq!(answers(&proxy, 4).await, ["two"; 4]);
    let asked = two.requests().iter().filter(|seen| seen.target == "/health").count();
    proxy.configure(text("6s"));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(answers(&proxy, 4).await, ["two"; 4]);
    let again = two.requests().iter().filter(|seen| seen.target == "/health").count();
    assert_eq!(asked, again, "nobody asked anew");
}

#[tokio::test]
async fn a_backend_that_answers_nonsense_is_ejected_and_comes_back() {
    let sane = Arc::new(AtomicU16::new(0));
    let told = sane.clone();
    let one = Origin::start(move |_| match told.load(Relaxed) {
        0 => Answer::raw("nonsense\r\n\r\n").closing(),
        _ => Answer::text("one"),
    })
    .await;
    let two = Origin::text("two").await;
    let lines = "outlier = { consecutive_errors = 3, eject_for = \"2s\" }";
    let proxy = balanced(&[&one, &two], lines).await;
    // Each of them is tried again at the other one.
    for _ in 0..20 {
        proxy.get("/").await.expect(200);
    }
    assert_eq!(one.requests().len(), 3, "three strikes");
    let label = one.socket().to_string();
    assert_eq!(proxy.metric("backend_ejections_total", &[("backend", &label)]).await, 1.0);
    let began = Instant::now();
    sane.store(1, Relaxed);
    within("the backend to be back", async { while proxy.get("/").await.expect(200).text() != "one" {} }).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    proxy.printed("is ejected for 2s").await;
    proxy.printed("is back").await;
}

#[tokio::test]
async fn a_client_alone_does_not_get_backends_ejected() {
    let origins = [Origin::start(|_| Answer::hang()).await, Origin::start(|_| Answer::hang()).await];
    let proxy = balanced(&[&origins[0], &origins[1]], "outlier = { consecutive_errors = 1 }").await;
    for n in 1..=6 {
        // A deadline that the client chose.
        let call = Request::get("/").header("Content-Type", "application/grpc").header("grpc-timeout", "100m");
        proxy.h2c().await.fetch(call).await;
        // A client that leaves.
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/")).await;
        within("a backend to have it", async {
            while origins.iter().map(|origin| origin.requests().len()).sum::<usize>() < 2 * n {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(connection);
    }
    assert_eq!(proxy.metric("backend_ejections_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_circuit_breaker_opens_fails_fast_and_closes() {
    let status = Arc::new(AtomicU16::new(500));
    let told = status.clone();
    let origin = Origin::start(move |_| Answer::status(told.load(Relaxed))).await;
    let breaker = "circuit_breaker = { failures = 3, within = \"1m\", open_for = \"1s\" }";
    let proxy = balanced(&[&origin], breaker).await;
    for _ in 0..3 {
        proxy.get("/").await.expect(500);
    }
    proxy.get("/open").await.expect_problem(503, "circuit_open");
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(proxy.logged("/open").await["error"], "circuit_open");
    proxy.until_metric("circuit_breaker_state", &[], 2.0).await;
    status.store(200, Relaxed);
    within("the breaker to close", async { while proxy.get("/").await.status != 200 {} }).await;
    for _ in 0..5 {
        proxy.get("/").await.expect(200);
    }
    proxy.until_metric_is("circuit_breaker_state", &[], 0.0).await;
}

#[tokio::test]
async fn a_breaker_that_a_reload_takes_away_holds_nothing_back() {
    let origin = Origin::start(|seen| Answer::status(if seen.target == "/bad" { 500 } else { 200 })).await;
    let text =
        |lines: &str| format!("{BOTH}[upstreams.app]\nbackends = \"{origin}\"\n{lines}\n[routes]\n\"/*\" = \"app\"\n");
    let breaker = "circuit_breaker = { failures = 2, within = \"1m\", open_for = \"1h\" }";
    let proxy = Proxy::start(text(breaker)).await;
    for _ in 0..2 {
        proxy.get("/bad").await.expect(500);
    }
    proxy.get("/").await.expect_problem(503, "circuit_open");
    proxy.until_metric("circuit_breaker_state", &[], 2.0).await;
    proxy.hang_up(text("")).await;
    within("requests to be answered", async { while proxy.get("/").await.status != 200 {} }).await;
    proxy.until_metric_is("circuit_breaker_state", &[], 0.0).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn a_full_upstream_makes_clients_wait_in_a_bounded_line() {
    let gate = testkit::Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Answer::text("x").after(&held)).await;
    let proxy = balanced(&[&origin], "pool = { max_connections = 2, queue = \"20s\" }").await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/")).await;
        connections.push(connection);
    }
    within("two to wait", async {
        loop {
            let told = proxy.admin("/api/v1/status").await.expect(200).json();
            let upstream = &told["upstreams"][0];
            if upstream["waiting"] == 2 && upstream["backends"][0]["in_flight"] == 2 {
                break;
            }
        }
    })
    .await;
    proxy.get("/full").await.expect_problem(503, "upstream_busy");
    origin.nth(1).await;
    assert_eq!(origin.requests().len(), 2);
    gate.open();
    for connection in &mut connections {
        connection.answer("GET").await.expect(200);
    }
    assert_eq!(origin.requests().len(), 4);
    assert!(origin.connections() <= 2);
}

#[tokio::test]
async fn a_process_that_is_killed_or_stopped_costs_what_it_held() {
    let respond = |name: &str| {
        format!(
            "[listeners.http]\naddress = \"127.0.0.1:0\"\n[routes.all]\npath = \"/*\"\nrespond = {{ body = \"{name}\" }}\n"
        )
    };
    let backends =
        [Proxy::start(respond("a")).await, Proxy::start(respond("b")).await, Proxy::start(respond("c")).await];
    let urls: Vec<String> = backends.iter().map(|backend| format!("http://{}", backend.address())).collect();
    let lines =
        "timeout = \"1s\"\nhealth_check = { path = \"/\", interval = \"300ms\", timeout = \"300ms\", unhealthy = 2 }";
    let proxy = balanced(&[&urls[0], &urls[1], &urls[2]], lines).await;
    answers(&proxy, 6).await;
    backends[0].signal("KILL").await;
    backends[0].until_refusing().await;
    // Nothing was under way: nothing is lost, whatever the method.
    for n in 0..20 {
        let request = if n % 2 == 0 { Request::get("/") } else { Request::post("/", "x") };
        proxy.fetch(request).await.expect(200);
    }
    backends[1].signal("STOP").await;
    let url = &urls[1];
    until_up(&proxy, url, false).await;
    assert_eq!(answers(&proxy, 20).await, ["c"; 20]);
    let began = Instant::now();
    backends[1].signal("CONT").await;
    until_up(&proxy, url, true).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(answers(&proxy, 20).await.contains(&"b".to_owned()));
}

#[tokio::test]
async fn an_operator_drains_a_backend_and_takes_it_back() {
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    let text = |timeout: &str| {
        format!(
            "{BOTH}[upstreams.app]\nbackends = [\"{one}\", \"{two}\"]\ntimeout = \"{timeout}\"\n[routes]\n\"/*\" = \"app\"\n"
        )
    };
    let proxy = Proxy::start(text("5s")).await;
    let backend = format!("app/{}", one.socket());
    let told = proxy.command(["backend", "drain", &backend]).await.expect(0).stdout;
    assert!(told.contains(&format!("{backend}: drain, weight 1, 0 in flight")), "{told}");
    assert_eq!(answers(&proxy, 6).await, ["two"; 6]);
    proxy.configure(text("6s"));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(answers(&proxy, 6).await, ["two"; 6], "over a reload");
    let status = proxy.command(["status"]).await.expect(0).stdout;
    assert!(status.contains("1/2 up") && status.contains("drain"), "{status}");
    proxy.command(["backend", "ready", &backend]).await.expect(0);
    proxy.command(["backend", "weight", &backend, "3"]).await.expect(0);
    let ones = answers(&proxy, 12).await.into_iter().filter(|answer| answer == "one").count();
    assert_eq!(ones, 9);
    proxy.command(["backend", "weight", &backend, "0", "--for", "300ms"]).await.expect(0);
    assert_eq!(answers(&proxy, 3).await, ["two"; 3]);
    within("the order's time to be over", async { while proxy.get("/").await.text() != "one" {} }).await;
    let nobody = proxy.command(["backend", "down", "app/10.0.0.1:1"]).await.expect(1).stderr;
    assert!(nobody.contains("there is no backend `10.0.0.1:1` of an upstream `app`"), "{nobody}");
    proxy.command(["backend", "weight", &backend, "1001"]).await.expect(1);
    proxy.printed("order_backend").await;
}

#[tokio::test]
async fn checking_a_configuration_asks_no_backend() {
    let (one, _) = watched("one").await;
    let text = |more: &str| {
        let check = "health_check = { path = \"/health\", interval = \"50ms\" }";
        format!("{BOTH}[upstreams.app]\nbackends = \"{one}\"\n{check}\n{more}[routes]\n\"/*\" = \"app\"\n")
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), text("")).unwrap();
    testkit::maitred(folder.path(), ["check"]).await.expect(0);
    assert_eq!(one.connections(), 0);
    let proxy = Proxy::start(format!("{BOTH}[routes.a]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\n")).await;
    proxy.configure(text(""));
    proxy.command(["reload", "--dry-run"]).await.expect(0);
    assert_eq!(one.connections(), 0, "what is only tried out asks nobody");
    proxy.command(["reload"]).await.expect(0);
    assert!(one.connections() > 0);
}

#[tokio::test]
async fn a_backend_that_fails_every_other_time_is_found_out() {
    let seen = Arc::new(AtomicU16::new(0));
    let half =
        Origin::start(move |_| Answer::status(if seen.fetch_add(1, Relaxed).is_multiple_of(2) { 503 } else { 200 }))
            .await;
    let others = futures::future::join_all((0..4).map(|_| Origin::text("well"))).await;
    let mut backends: Vec<&dyn std::fmt::Display> =
        others.iter().map(|origin| origin as &dyn std::fmt::Display).collect();
    backends.push(&half);
    let proxy = balanced(
        &backends,
        "outlier = { success_rate = { requests = 20, interval = \"500ms\" }, eject_for = \"60s\" }",
    )
    .await;
    let address = half.socket().to_string();
    let ejected = [("upstream", "app"), ("backend", address.as_str())];
    while proxy.metric("backend_ejections_total", &ejected).await < 1.0 {
        futures::future::join_all((0..50).map(|_| proxy.get("/"))).await;
    }
    proxy.printed("requests failed, far more than elsewhere").await;
    let before = half.requests().len();
    for _ in 0..10 {
        proxy.get("/").await.expect(200);
    }
    assert_eq!(half.requests().len(), before);
}

#[tokio::test]
async fn each_question_over_http2_has_a_connection_of_its_own() {
    // One that has answered once is silent from then on.
    let origin =
        Origin::builder().h2c().start(|seen| if seen.turn == 0 { Answer::text("well") } else { Answer::hang() }).await;
    let check = "health_check = { path = \"/health\", interval = \"300ms\", timeout = \"200ms\" }";
    let proxy = balanced(&[&origin], check).await;
    origin.nth(2).await;
    until_up(&proxy, &origin, true).await;
    assert!(origin.requests().iter().all(|seen| seen.turn == 0), "{:?}", origin.requests());
    origin.until_open(0).await;
}

/// A tunnel or a stream goes on with its backend, and not with whatever else its configuration did.
#[tokio::test]
async fn what_outlives_its_configuration_has_nobody_else_checked() {
    let checked = || Origin::start(|_| Answer::text("well"));
    let (origin, peer) = (Origin::start(|_| Answer::websocket()).await, checked().await);
    let (gone, unused, stays) = (checked().await, checked().await, checked().await);
    let with = |upstreams: &str, routes: &str, peers: &str| {
        format!(
            "[listeners.http]\naddress = \"127.0.0.1:0\"\n\
             [listeners.stream]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\nupstream = \"peers\"\n\
             [upstreams.peers]\nbackends = [\"tcp://{}\"{peers}]\nhealth_check = {{ type = \"tcp\", interval = \"50ms\", timeout = \"1s\" }}\n\
             [upstreams.app]\nbackends = \"{origin}\"\n[upstreams.stays]\nbackends = \"{stays}\"\n{OFTEN}\n\
             {upstreams}[routes]\n\"/ws\" = \"app\"\n{routes}\"/*\" = \"stays\"\n",
            peer.socket()
        )
    };
    let other = format!("[upstreams.gone]\nbackends = \"{gone}\"\n{OFTEN}\n");
    let spare = format!(", {{ url = \"tcp://{}\", backup = true }}", unused.socket());
    let proxy = Proxy::start(with(&other, "\"/gone\" = \"gone\"\n", &spare)).await;
    let mut socket = proxy.websocket("/ws").await;
    let mut stream = proxy.listener("stream").connect().await;
    stream.write_all(b"GET").await.unwrap();
    within("its beginning to reach the backend", async {
        while proxy.metric("stream_bytes_total", &[("direction", "in")]).await < 3.0 {}
    })
    .await;
    gone.nth(1).await;
    unused.until_connections(1).await;
    proxy.hang_up(with("", "", "")).await;
    // What is under way when the configuration goes may still arrive.
    let before = (gone.requests().len() + 1, unused.connections() + 1);
    let asked = stays.requests().len();
    stays.nth(asked + 20).await;
    let after = (gone.requests().len(), unused.connections());
    assert!(after.0 <= before.0 && after.1 <= before.1, "{before:?}, and then {after:?}");
    socket.send(Message::text("still")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("still"));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    let logged = proxy.logged("/ws").await;
    assert_eq!(
        (&logged["generation"], &logged["upstream"], &logged["status"], &logged["route"]),
        (&1.into(), &"app".into(), &101.into(), &"/ws".into())
    );
    assert_eq!(logged["backend"], origin.socket().to_string());
}
