//! How many connections to backends are open, and how many of them carry something.

use std::time::{Duration, Instant};

use testkit::{Answer, Authority, Gate, Origin, Proxy, Request, within};

use crate::setting::{BOTH, upstream};

/// What `MAITRED_ENGINE` is for each.
const ENGINES: [&str; 2] = ["", "general"];

const NAME: &str = "upstream_connections";

/// Waits until so many carry something and so many wait for the next request.
async fn until(proxy: &Proxy, active: usize, idle: usize) {
    for (state, count) in [("active", active), ("idle", idle)] {
        proxy.until_metric_is(NAME, &[("upstream", "app"), ("state", state)], count as f64).await;
    }
}

/// An origin that answers at once, but for `/slow` not before the gate is open.
async fn origin(kind: &str, gate: &Gate) -> Origin {
    let builder = match kind {
        "h2c" => Origin::builder().h2c(),
        "https" => Origin::builder().tls(Authority::new().issue(&["127.0.0.1"])),
        _ => Origin::builder(),
    };
    let gate = gate.clone();
    let answer = move |seen: &testkit::Seen| match seen.target.as_str() {
        "/slow" => Answer::text("x").after(&gate),
        _ => Answer::text("x"),
    };
    builder.start(answer).await
}

#[tokio::test]
async fn a_connection_is_active_while_it_carries_something_and_idle_after() {
    for engine in ENGINES {
        for kind in ["http", "https", "h2c"] {
            let gate = Gate::new();
            let origin = origin(kind, &gate).await;
            let lines = if kind == "https" { "tls = { verify = false }" } else { "" };
            let proxy = Proxy::with(upstream(&origin, lines)).variable("MAITRED_ENGINE", engine).start().await;
            until(&proxy, 0, 0).await;
            proxy.get("/").await.expect(200);
            until(&proxy, 0, 1).await;
            let mut slow = proxy.connect().await;
            slow.start(&Request::get("/slow")).await;
            gate.reached().await;
            until(&proxy, 1, 0).await;
            proxy.get("/").await.expect(200);
            // Over HTTP/2 it is the same one.
            let second = usize::from(kind != "h2c");
            until(&proxy, 1, second).await;
            gate.open();
            slow.answer("GET").await.expect(200);
            until(&proxy, 0, 1 + second).await;
            assert_eq!(origin.connections(), 1 + second, "{engine} {kind}");
            origin.stop().await;
            until(&proxy, 0, 0).await;
        }
    }
}

#[tokio::test]
async fn who_leaves_leaves_nothing_active() {
    for engine in ENGINES {
        for kind in ["http", "h2c"] {
            let gate = Gate::new();
            let origin = origin(kind, &gate).await;
            let proxy = Proxy::with(upstream(&origin, "")).variable("MAITRED_ENGINE", engine).start().await;
            let mut client = proxy.connect().await;
            client.start(&Request::get("/slow")).await;
            gate.reached().await;
            until(&proxy, 1, 0).await;
            drop(client);
            proxy.until_metric_is(NAME, &[("state", "active")], 0.0).await;
        }
    }
}

#[tokio::test]
async fn an_upgraded_connection_and_a_stream_are_active() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let streams = "[listeners.streams]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\nupstream = \"app\"\n";
    let proxy = Proxy::start(format!("{}{streams}", upstream(&origin, ""))).await;
    let socket = proxy.websocket("/").await;
    until(&proxy, 1, 0).await;
    let stream = testkit::Connection::to(proxy.listener("streams")).await;
    until(&proxy, 2, 0).await;
    drop(stream);
    until(&proxy, 1, 0).await;
    drop(socket);
    until(&proxy, 0, 0).await;
}

#[tokio::test]
async fn what_the_cache_and_a_mirror_ask_for_is_counted_for_whom_it_is_asked_of() {
    for kind in ["http", "h2c"] {
        let (gate, other_gate) = (Gate::new(), Gate::new());
        let (app, copy) = (origin(kind, &gate).await, origin(kind, &other_gate).await);
        let text = format!(
            "{BOTH}[upstreams.app]\nbackends = \"{app}\"\n[upstreams.copy]\nbackends = \"{copy}\"\n\
             [routes.app]\npath = \"/*\"\nupstream = \"app\"\ncache = true\nmirror = \"copy\"\n"
        );
        let proxy = Proxy::start(text).await;
        let mut client = proxy.connect().await;
        client.start(&Request::get("/slow")).await;
        tokio::join!(gate.reached(), other_gate.reached());
        for upstream in ["app", "copy"] {
            proxy.until_metric_is(NAME, &[("upstream", upstream), ("state", "active")], 1.0).await;
        }
        gate.open();
        other_gate.open();
        client.answer("GET").await.expect(200);
        for upstream in ["app", "copy"] {
            proxy.until_metric_is(NAME, &[("upstream", upstream), ("state", "active")], 0.0).await;
            proxy.until_metric_is(NAME, &[("upstream", upstream), ("state", "idle")], 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_connection_of_http_2_whose_stream_was_given_up_ends_when_it_has_been_idle() {
    // The cache gives up a fetch that nobody waits for, and a mirror an answer that is longer than it wants.
    for policy in ["cache = true", "mirror = { upstream = \"copy\", compare = true, max_body = \"1KiB\" }"] {
        let gate = Gate::new();
        let slow = origin("h2c", &gate).await;
        let long = Origin::builder().h2c().start(|_| Answer::text("x".repeat(4096))).await;
        let (app, copy) = if policy.starts_with("cache") { (&slow, &long) } else { (&long, &long) };
        let pool = "pool = { idle = \"1s\" }";
        let text = format!(
            "{BOTH}[upstreams.app]\nbackends = \"{app}\"\n{pool}\n[upstreams.copy]\nbackends = \"{copy}\"\n{pool}\n\
             [routes.app]\npath = \"/*\"\nupstream = \"app\"\n{policy}\n"
        );
        let proxy = Proxy::start(text).await;
        if policy.starts_with("cache") {
            let mut client = proxy.connect().await;
            client.start(&Request::get("/slow")).await;
            gate.reached().await;
            proxy.until_metric_is(NAME, &[("state", "active")], 1.0).await;
            drop(client);
        } else {
            proxy.get("/").await.expect(200);
            within("the copy", async {
                while copy.requests().len() < 2 {
                    tokio::task::yield_now().await
                }
            })
            .await;
        }
        proxy.until_metric_is(NAME, &[("state", "active")], 0.0).await;
        proxy.until_metric_is(NAME, &[], 0.0).await;
    }
}

#[tokio::test]
async fn one_that_two_upstreams_share_counts_for_who_has_used_it_last() {
    // In Pingora's pools it cannot be told anew, so there each has its own.
    for (kind, engine, connections) in [("http", "", 1), ("http", "general", 2), ("h2c", "", 2)] {
        let origin = origin(kind, &Gate::new()).await;
        let text = format!(
            "{BOTH}[upstreams.one]\nbackends = \"{origin}\"\n[upstreams.two]\nbackends = \"{origin}\"\n\
             [routes]\n\"/one\" = \"one\"\n\"/two\" = \"two\"\n"
        );
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        for path in ["/one", "/two", "/one", "/two"] {
            proxy.get(path).await.expect(200);
            let last = &path[1..];
            proxy.until_metric_is(NAME, &[("upstream", last), ("state", "idle")], 1.0).await;
        }
        proxy.until_metric_is(NAME, &[], connections as f64).await;
        assert_eq!(origin.connections(), connections, "{kind} {engine}");
    }
}

#[tokio::test]
async fn a_backend_that_is_gone_is_not_told_of_and_what_was_kept_of_it_is_counted_when_it_is_back() {
    let (stays, goes) = (Origin::echo().await, Origin::echo().await);
    let with = |backends: &[&Origin]| {
        let urls: Vec<String> = backends.iter().map(ToString::to_string).collect();
        format!("{BOTH}[upstreams.app]\nbackends = {urls:?}\n[routes]\n\"/*\" = \"app\"\n")
    };
    let proxy = Proxy::start(with(&[&stays, &goes])).await;
    for _ in 0..2 {
        proxy.get("/").await.expect(200);
    }
    until(&proxy, 0, 2).await;
    let label = format!("backend=\"{}\"", goes.socket());
    proxy.hang_up(with(&[&stays])).await;
    proxy.get("/").await.expect(200);
    until(&proxy, 0, 1).await;
    assert!(!proxy.metrics().await.contains(&label), "nothing is left of it");
    proxy.hang_up(with(&[&stays, &goes])).await;
    until(&proxy, 0, 2).await;
    for _ in 0..2 {
        proxy.get("/").await.expect(200);
    }
    until(&proxy, 0, 2).await;
    assert_eq!((stays.connections(), goes.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_is_used_for_its_lifetime_and_what_it_carries_by_then_goes_on() {
    const LIFETIME: Duration = Duration::from_millis(300);
    for engine in ENGINES {
        for kind in ["http", "https", "h2c"] {
            let gate = Gate::new();
            let origin = origin(kind, &gate).await;
            let tls = if kind == "https" { "tls = { verify = false }" } else { "" };
            let lines = format!("pool = {{ lifetime = \"300ms\" }}\n{tls}");
            let proxy = Proxy::with(upstream(&origin, &lines)).variable("MAITRED_ENGINE", engine).start().await;
            let mut slow = proxy.connect().await;
            slow.start(&Request::get("/slow")).await;
            gate.reached().await;
            let mut asked: Vec<(Instant, Instant)> = Vec::new();
            within("connections that take the place of others", async {
                while origin.connections() < 4 {
                    let began = Instant::now();
                    proxy.get(&format!("/{}", asked.len())).await.expect(200);
                    asked.push((began, Instant::now()));
                }
            })
            .await;
            gate.open();
            slow.answer("GET").await.expect(200);

            let seen = origin.requests();
            let by = |n: usize| seen.iter().find(|seen| seen.target == format!("/{n}")).unwrap().connection;
            for connection in 0..4 {
                let on: Vec<usize> = (0..asked.len()).filter(|n| by(*n) == connection).collect();
                let Some(first) = on.first() else { continue };
                // It was made before the first answer that came by it.
                let ended = asked[*first].1 + LIFETIME;
                let late = on.iter().filter(|n| asked[**n].0 > ended).count();
                // Who is told that a request is the last gets one.
                let last = usize::from(engine == "general" && kind != "h2c");
                assert!(late <= last, "{late} requests came late on connection {connection}: {engine} {kind}");
            }
            until(&proxy, 0, 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_http2_end_with_their_time_whoever_asks_at_that_moment() {
    for engine in ENGINES {
        let gate = Gate::new();
        let origin = origin("h2c", &gate).await;
        let lines = "pool = { lifetime = \"300ms\" }";
        let proxy = Proxy::with(upstream(&origin, lines)).variable("MAITRED_ENGINE", engine).start().await;
        let mut slow = proxy.connect().await;
        slow.start(&Request::get("/slow")).await;
        gate.reached().await;
        // Streams begin and end on one connection all the time, and it is never without one.
        let ask = async || {
            while origin.connections() < 4 {
                proxy.get("/").await.expect(200);
            }
        };
        within("connections that take the place of others", async { tokio::join!(ask(), ask(), ask(), ask()) }).await;
        gate.open();
        slow.answer("GET").await.expect(200);
        until(&proxy, 0, 0).await;
    }
}

#[tokio::test]
async fn a_connection_of_http2_that_has_become_silent_is_not_used_again() {
    for lines in ["", "cache = true", "hedge = \"100ms\""] {
        // Whatever is asked second on a connection is not answered.
        let origin =
            Origin::builder().h2c().start(|seen| if seen.turn == 0 { Answer::text("x") } else { Answer::hang() }).await;
        let route = format!("[routes.app]\npath = \"/*\"\nupstream = \"app\"\ntimeout = \"300ms\"\n{lines}\n");
        let proxy = Proxy::start(format!("{BOTH}[upstreams.app]\nbackends = \"{origin}\"\n{route}")).await;
        proxy.get("/1").await.expect(200);
        proxy.get("/2").await.expect_problem(504, "upstream_timeout");
        proxy.get("/3").await.expect(200);
        assert_eq!(origin.connections(), 2, "{lines}");
    }
}
