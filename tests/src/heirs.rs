//! What the old process has learnt and what operators have ordered, in the new one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::{Value, json};
use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, Response, within};

use crate::{setting::BOTH, shared_limits::Redis, shared_resets};

/// What the admin API says of the backends of an upstream: their state by address.
async fn states(proxy: &Proxy, upstream: &str) -> Value {
    let told = proxy.admin(&format!("/api/v1/upstreams/{upstream}")).await.expect(200).json();
    let backends = told["backends"].as_array().unwrap_or_else(|| panic!("no backends in {told}"));
    backends.iter().map(|backend| (backend["address"].as_str().unwrap().to_owned(), backend["state"].clone())).collect()
}

/// A new process in the place of the old one, which goes on draining what is under way.
async fn succeed(proxy: &mut Proxy) {
    let before = proxy.lines().iter().filter(|line| line.contains(" serves; draining")).count();
    proxy.signal("USR2").await;
    within("a new process to serve", async {
        loop {
            let lines = proxy.lines();
            let said = lines.iter().filter(|line| line.contains(" serves; draining")).nth(before);
            if let Some((_, rest)) = said.and_then(|line| line.split_once(" (pid ")) {
                proxy.succeeded_by(rest.split_once(')').unwrap().0.parse().unwrap());
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn health_ejections_and_orders_go_over_an_upgrade() {
    let silent = Arc::new(AtomicBool::new(false));
    let ill = silent.clone();
    let never = Gate::new();
    // Its checks fail, and have no answer at all once the new process asks.
    let failing = Origin::start(move |seen| match (seen.target.as_str(), ill.load(Relaxed)) {
        ("/health", false) => Answer::status(500).body("ill"),
        ("/health", true) => Answer::text("late").after(&never),
        _ => Answer::text("failing"),
    })
    .await;
    let bad = Origin::start(|_| Answer::status(503).body("bad")).await;
    let good = async |name: &'static str| Origin::start(move |_| Answer::text(name)).await;
    let (drained, heavy, last) = (good("drained").await, good("heavy").await, good("last").await);
    let backends: Vec<String> = [&bad, &drained, &heavy, &last].map(|origin| format!("\"{origin}\"")).into();
    let check = "health_check = { path = \"/health\", interval = \"1s\", timeout = \"60s\" }";
    let mut proxy = Proxy::start(format!(
        "{BOTH}[upstreams.checked]\nbackends = [\"{failing}\", \"{heavy}\"]\n{check}\n\
         [upstreams.app]\nbackends = [{}]\npanic_threshold = \"0%\"\n\
         outlier = {{ consecutive_errors = 2, eject_for = \"10m\" }}\n\
         [routes]\n\"/checked\" = \"checked\"\n\"/*\" = {{ upstream = \"app\", retries = 0 }}\n",
        backends.join(", ")
    ))
    .await;
    for (word, origin, rest) in
        [("drain", &drained, &["--for", "1h"][..]), ("weight", &heavy, &["3"]), ("down", &last, &[])]
    {
        let label = format!("app/{}", origin.socket());
        let arguments = ["backend", word, &label].into_iter().chain(rest.iter().copied());
        proxy.command(arguments).await.expect(0);
    }
    let label = |origin: &Origin| origin.socket().to_string();
    let ejected = async {
        while states(&proxy, "app").await[label(&bad)] != "ejected" {
            proxy.get("/").await;
        }
    };
    within("the bad one to be ejected", ejected).await;
    let expected =
        json!({ label(&bad): "ejected", label(&drained): "drain", label(&heavy): "up", label(&last): "down" });
    let checked = json!({ label(&failing): "failing", label(&heavy): "up" });
    assert_eq!(states(&proxy, "checked").await, checked);
    assert_eq!(states(&proxy, "app").await, expected);
    silent.store(true, Relaxed);
    for _ in 0..2 {
        proxy.upgrade(&[]).await;
        assert_eq!(states(&proxy, "app").await, expected, "in process {}", proxy.pid());
        assert_eq!(states(&proxy, "checked").await, checked);
        assert_eq!(proxy.get("/checked").await.expect(200).text(), "heavy");
        let weight = proxy.metric("backend_weight", &[("upstream", "app"), ("backend", &label(&heavy))]).await;
        assert_eq!(weight, 3.0);
        for _ in 0..10 {
            assert_eq!(proxy.get("/").await.expect(200).text(), "heavy");
        }
    }
    // An order is taken back in the new process as in the old one.
    proxy.command(["backend", "ready", &format!("app/{}", label(&last))]).await.expect(0);
    assert_eq!(states(&proxy, "app").await[label(&last)], "up");
    // A start is no upgrade: nothing is ordered any more.
    let pid = proxy.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let again = proxy.beside().start().await;
    assert_eq!(states(&again, "app").await[label(&drained)], "up");
}

/// The second of the day until which an order holds.
fn until(told: &Value) -> u32 {
    let time = told["until"].as_str().unwrap().split_once('T').unwrap().1;
    time[..8].split(':').fold(0, |seconds, part| seconds * 60 + part.parse::<u32>().unwrap())
}

#[tokio::test]
async fn the_level_of_the_log_goes_over_an_upgrade_with_what_is_left_of_its_time() {
    let mut proxy = Proxy::start(format!("{BOTH}[routes]\n\"/*\" = {{ respond = {{ status = 204 }} }}\n")).await;
    let level = async |proxy: &Proxy| proxy.admin("/api/v1/log-level").await.expect(200).json();
    let configured = level(&proxy).await;
    proxy.command(["log", "level", "debug", "--for", "1h"]).await.expect(0);
    let ordered = level(&proxy).await;
    assert_eq!(ordered["level"], "debug");
    for _ in 0..2 {
        proxy.upgrade(&[]).await;
        let now = level(&proxy).await;
        assert_eq!(now["level"], "debug", "in process {}", proxy.pid());
        assert!(until(&now).abs_diff(until(&ordered)) <= 2, "{ordered} {now}");
    }
    proxy.command(["log", "level", "--reset"]).await.expect(0);
    proxy.upgrade(&[]).await;
    assert_eq!(level(&proxy).await, configured);
    proxy.command(["log", "level", "trace", "--for", "1s"]).await.expect(0);
    proxy.upgrade(&[]).await;
    within("the time of the order to end in the new process", async {
        while level(&proxy).await != configured {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn ask(proxy: &Proxy, path: &str) -> impl Future<Output = Response> + use<> {
    let (address, request) = (proxy.address().clone(), Request::get(path));
    async move { Connection::to(&address).await.fetch(request).await }
}

/// A proxy with this limit, before an origin that answers what is asked for under `/held` when the gate opens.
async fn limited(limit: &str) -> (Origin, Proxy, Gate) {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.starts_with("/held") {
        true => Answer::text("held").after(&script),
        false => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::start(format!("{BOTH}{}", crate::setting::route(&origin, limit))).await;
    (origin, proxy, gate)
}

#[tokio::test]
async fn places_that_the_old_process_holds_count_until_they_are_free() {
    let (_origin, mut proxy, gate) = limited("limit = { concurrent = 2, key = \"route\" }").await;
    let held = [tokio::spawn(ask(&proxy, "/held/1")), tokio::spawn(ask(&proxy, "/held/2"))];
    gate.reached_by(2).await;
    proxy.get("/").await.expect(429);
    succeed(&mut proxy).await;
    proxy.get("/").await.expect(429);
    // The next process counts them as well, though it has taken over from one that holds nothing itself.
    succeed(&mut proxy).await;
    proxy.get("/").await.expect(429);
    gate.open();
    for answer in held {
        assert_eq!(answer.await.unwrap().expect(200).text(), "held");
    }
    // The new process hears of it a little later; then nothing is counted of the old one any more.
    let both = async || tokio::join!(ask(&proxy, "/"), ask(&proxy, "/"));
    within("both places to be free", async {
        loop {
            let (one, two) = both().await;
            if (one.status, two.status) == (200, 200) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_in_the_new_process_gets_the_place_that_the_old_one_gives_back() {
    let limit = "limit = { concurrent = 1, key = \"route\", over = \"delay\", max_delay = \"25s\" }";
    let (_origin, mut proxy, gate) = limited(limit).await;
    let held = tokio::spawn(ask(&proxy, "/held"));
    gate.reached().await;
    succeed(&mut proxy).await;
    let waits = tokio::spawn(ask(&proxy, "/next"));
    within("it to wait", async {
        while proxy.admin("/api/v1/limits/app/keys/app").await.expect(200).json()["rules"][0]["waiting"] != 1 {}
    })
    .await;
    gate.open();
    held.await.unwrap().expect(200);
    waits.await.unwrap().expect(200);
}

#[tokio::test]
async fn places_of_an_old_process_that_is_killed_are_free() {
    let (_origin, mut proxy, gate) = limited("limit = { concurrent = 1, key = \"route\" }").await;
    let held = tokio::spawn(ask(&proxy, "/held"));
    gate.reached().await;
    let old = proxy.pid().to_string();
    succeed(&mut proxy).await;
    proxy.get("/").await.expect(429);
    assert!(std::process::Command::new("kill").args(["-9", &old]).status().unwrap().success());
    within("its place to be free", async { while proxy.get("/").await.status != 200 {} }).await;
    held.abort();
}

/// What is left of a limit by the route, in the process that serves.
async fn left(proxy: &Proxy) -> Value {
    proxy.admin("/api/v1/limits/app/keys/app").await.expect(200).json()["rules"][0]["remaining"].clone()
}

#[tokio::test]
async fn every_charge_of_the_old_process_is_known_to_the_new_one() {
    for limit in ["requests = 1000000, window = \"1h\"", "requests = 1000000, window = \"7d\", align = \"calendar\""] {
        let (_origin, mut proxy, _gate) = limited(&format!("limit = {{ {limit}, key = \"route\" }}")).await;
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (address, stop) = (proxy.address().clone(), stop.clone());
            tokio::spawn(async move {
                let (mut passed, mut kept) = (0, None);
                while !stop.load(Relaxed) {
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::to(&address).await,
                    };
                    let answer = connection.fetch(Request::get("/")).await.expect(200);
                    passed += 1;
                    kept = (!answer.headers.has_token("connection", "close")).then_some(connection);
                }
                passed
            })
        };
        let clients: Vec<_> = (0..8).map(client).collect();
        for _ in 0..2 {
            let before = left(&proxy).await.as_u64().unwrap();
            within("some requests", async { while left(&proxy).await.as_u64().unwrap() + 100 > before {} }).await;
            succeed(&mut proxy).await;
        }
        stop.store(true, Relaxed);
        let mut passed = 0;
        for client in clients {
            passed += client.await.unwrap();
        }
        within("the new process to know of all", async { while left(&proxy).await != 1_000_000 - passed {} }).await;
    }
}

#[tokio::test]
async fn what_the_old_process_forgives_is_known_to_the_new_one() {
    let limit = "limit = { requests = 5, window = \"1h\", count = \"failures\", key = \"route\" }";
    let (_origin, mut proxy, gate) = limited(limit).await;
    let held = [tokio::spawn(ask(&proxy, "/held/1")), tokio::spawn(ask(&proxy, "/held/2"))];
    gate.reached_by(2).await;
    succeed(&mut proxy).await;
    assert_eq!(left(&proxy).await, 3);
    gate.open();
    for answer in held {
        answer.await.unwrap().expect(200);
    }
    within("good answers to be forgiven", async { while left(&proxy).await != 5 {} }).await;
}

#[tokio::test]
async fn what_is_on_lease_is_not_used_up_by_two_processes() {
    const LIMIT: u64 = 5_000;
    let redis = Redis::start().await;
    let limit = format!("{{ requests = {LIMIT}, window = \"1h\", key = \"route\", store = \"redis\", lease = 500 }}");
    let url = format!("url = \"unix:{}\"", redis.socket().display());
    let mut proxy = shared_resets::found(&url, &limit).await;
    let client = |_| {
        let address = proxy.address().clone();
        tokio::spawn(async move {
            let (mut passed, mut kept) = (0_u64, None);
            loop {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => Connection::to(&address).await,
                };
                let answer = connection.fetch(Request::get("/")).await;
                if answer.status == 429 {
                    return passed;
                }
                passed += 1;
                kept = (!answer.headers.has_token("connection", "close")).then_some(connection);
            }
        })
    };
    let clients: Vec<_> = (0..8).map(client).collect();
    within("large leases", async { while left(&proxy).await.as_u64().unwrap() + 1_500 > LIMIT {} }).await;
    succeed(&mut proxy).await;
    let mut passed = 0;
    for client in clients {
        passed += client.await.unwrap();
    }
    assert!(passed <= LIMIT, "{passed} of {LIMIT}");
}
