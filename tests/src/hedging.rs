//! Another backend is asked as well where the first takes its time.

use std::time::Duration;

use serde_json::Value;
use testkit::{Answer, Gate, Origin, Proxy, Request, Response, Seen, within};

use crate::setting::{BOTH, upstream};

/// Every request but the first few hundred goes to `first`, and what is asked twice to `second` as well.
async fn raced(first: &Origin, second: &Origin, lines: &str, route: &str) -> Proxy {
    Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [{{ url = \"{first}\", weight = 1000 }}, \"{second}\"]\n{lines}\n\
         [routes.app]\npath = \"/*\"\nupstream = \"app\"\n{route}\n"
    ))
    .await
}

/// Says its name where it is asked for `/`, and stands at the gate before it says so elsewhere.
async fn stands(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |seen| match seen.target.as_str() {
        "/" => Answer::text(name),
        _ => Answer::text(name).after(&gate),
    })
    .await
}

async fn fetch(proxy: &Proxy, request: Request, h2: bool) -> Response {
    if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await }
}

async fn hedged(proxy: &Proxy, result: &str, count: f64) {
    proxy.until_metric("upstream_hedges_total", &[("upstream", "app"), ("result", result)], count).await;
}

/// After the lines of a route.
const ONE_WORKER: &str = "[server]\nthreads = 1";

/// Waits until `dying` has closed all its connections, and the proxy's one worker has come by since.
async fn until_seen(dying: &Origin, proxy: &Proxy) {
    dying.until_open(0).await;
    proxy.admin("/ready").await.expect(200);
}

fn errors(line: &Value) -> Vec<&Value> {
    line["tries"].as_array().unwrap_or_else(|| panic!("{line}")).iter().map(|one| &one["error"]).collect()
}

#[tokio::test]
async fn the_first_answer_is_the_clients_and_the_other_request_ends() {
    let gate = Gate::new();
    let (slow, fast) = (stands("slow", &gate).await, Origin::echo().await);
    for (n, (h2, method)) in
        [(false, "GET"), (true, "GET"), (false, "PUT"), (true, "PUT"), (false, "DELETE")].into_iter().enumerate()
    {
        let proxy = raced(&slow, &fast, "hedge = \"50ms\"", "").await;
        let mut request = Request::new(method, "/asked?twice=1").header("X-Told", "all");
        if method == "PUT" {
            request = request.body("content");
        }
        let answer = fetch(&proxy, request, h2).await.expect(200);
        let told: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((&told["method"], &told["target"]), (&method.into(), &"/asked?twice=1".into()), "{told}");
        let (ours, theirs) = (slow.nth(2 * n).await, fast.nth(n).await);
        assert_eq!((ours.header("x-told"), theirs.header("x-told")), (Some("all"), Some("all")));
        assert_eq!(ours.header("x-request-id"), theirs.header("x-request-id"));
        assert_eq!(theirs.body.length, if method == "PUT" { 7 } else { 0 });
        slow.until_open(0).await;
        let line = proxy.logged("/asked").await;
        assert_eq!(errors(&line), [&Value::from("outrun"), &Value::Null], "{line}");
        assert_eq!((&line["attempts"], &line["backend"]), (&2.into(), &fast.socket().to_string().into()));
        hedged(&proxy, "won", 1.0).await;
        // What was asked of one that lost is not asked of the connection that won.
        assert_eq!(fetch(&proxy, Request::get("/"), h2).await.expect(200).text(), "slow");
    }
}

#[tokio::test]
async fn a_first_that_answers_in_time_after_all_wins() {
    for h2 in [false, true] {
        let (first, second) = (Gate::new(), Gate::new());
        let (one, two) = (stands("one", &first).await, stands("two", &second).await);
        let proxy = raced(&one, &two, "hedge = \"50ms\"", "").await;
        let opens = async {
            second.reached().await;
            first.open();
        };
        let (answer, ()) = tokio::join!(fetch(&proxy, Request::get("/late"), h2), opens);
        assert_eq!(answer.expect(200).text(), "one");
        two.until_open(0).await;
        hedged(&proxy, "lost", 1.0).await;
        let line = proxy.logged("/late").await;
        assert_eq!((&line["attempts"], &line["backend"]), (&2.into(), &one.socket().to_string().into()));
    }
}

#[tokio::test]
async fn nothing_is_asked_twice_that_may_not_be() {
    let gate = Gate::new();
    let (slow, fast) = (stands("slow", &gate).await, Origin::text("fast").await);
    let ask = async |request: Request, lines: &str, route: &str| {
        let proxy = raced(&slow, &fast, lines, route).await;
        let before = slow.requests().len();
        let mut connection = proxy.connect().await;
        connection.start(&request).await;
        slow.nth(before).await;
        // As long as it takes to be answered a few times, which is longer than the wait.
        for _ in 0..20 {
            proxy.get("/").await.expect(200);
        }
        (proxy, connection)
    };
    let hedge = "hedge = { after = \"1ms\", budget = \"100%\" }";
    let cases = [
        (Request::post("/x", "content"), hedge, ""),
        (Request::new("PATCH", "/x"), hedge, ""),
        (Request::new("PUT", "/x").generated(200_000), hedge, ""),
        (Request::get("/x").header("Accept", "text/event-stream"), hedge, ""),
        (Request::get("/x"), hedge, "hedge = false"),
        (Request::get("/x"), hedge, "limit = { requests = 100, window = \"1m\", key = \"upstream\" }"),
        (Request::get("/x"), "hedge = \"p95\"", ""),
    ];
    let mut held = Vec::new();
    for (request, lines, route) in cases {
        held.push(ask(request, lines, route).await);
    }
    gate.open();
    for (_, connection) in &mut held {
        assert_eq!(connection.answer("GET").await.expect(200).text(), "slow");
    }
    let twice: Vec<_> = fast.requests().into_iter().filter(|seen| seen.target != "/").map(|seen| seen.method).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test]
async fn a_second_that_fails_leaves_the_first_and_the_other_way_round() {
    let bad: [fn(&Seen) -> Answer; 3] =
        [|_| Answer::status(503), |_| Answer::raw("nonsense\r\n\r\n").closing(), |_| Answer::raw("").resetting()];
    for fails in bad {
        let gate = Gate::new();
        let (slow, broken) = (stands("slow", &gate).await, Origin::start(fails).await);
        let proxy = raced(&slow, &broken, "hedge = \"30ms\"\nretries = 0", "").await;
        let opens = async {
            hedged(&proxy, "failed", 1.0).await;
            gate.open();
        };
        let (answer, ()) = tokio::join!(proxy.get("/x"), opens);
        assert_eq!(answer.expect(200).text(), "slow");
    }
    // The first dies once the second has been asked; no retry is allowed, and none is needed.
    for h2 in [false, true] {
        let (dies, answers) = (Gate::new(), Gate::new());
        let of_first = dies.clone();
        let first = Origin::start(move |_| Answer::raw("").after(&of_first).resetting()).await;
        let second = stands("second", &answers).await;
        let proxy = raced(&first, &second, "hedge = \"30ms\"\nretries = 0", ONE_WORKER).await;
        let opens = async {
            answers.reached().await;
            dies.open();
            until_seen(&first, &proxy).await;
            answers.open();
        };
        let (answer, ()) = tokio::join!(fetch(&proxy, Request::get("/x"), h2), opens);
        assert_eq!(answer.expect(200).text(), "second");
        let line = proxy.logged("/x").await;
        assert_eq!(errors(&line), [&Value::from("upstream_reset"), &Value::Null], "{line}");
    }
}

#[tokio::test]
async fn where_all_fail_the_client_hears_it_and_a_retry_goes_on() {
    let (one, two) = (Gate::new(), Gate::new());
    let dying = async |gate: &Gate| {
        let gate = gate.clone();
        Origin::start(move |_| Answer::raw("").after(&gate).resetting()).await
    };
    let (first, second) = (dying(&one).await, dying(&two).await);
    let proxy = raced(&first, &second, "hedge = \"30ms\"\nretries = 0", ONE_WORKER).await;
    let opens = async {
        two.reached().await;
        one.open();
        until_seen(&first, &proxy).await;
        two.open();
    };
    let (answer, ()) = tokio::join!(proxy.get("/x"), opens);
    answer.expect_problem(502, "upstream_reset");
    let line = proxy.logged("/x").await;
    assert_eq!(line["attempts"], 2, "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let gate = Gate::new();
    let (one, two) = (stands("one", &gate).await, stands("two", &gate).await);
    let proxy = raced(&one, &two, "hedge = \"30ms\"", "").await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/x")).await;
    gate.reached_by(2).await;
    drop(connection);
    one.until_open(0).await;
    two.until_open(0).await;
    within("nothing to be under way", async {
        loop {
            let told = proxy.admin("/api/v1/status").await.expect(200).json();
            let backends = told["upstreams"][0]["backends"].as_array().unwrap().clone();
            if backends.iter().all(|backend| backend["in_flight"] == 0) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn so_many_are_asked_twice_and_no_more() {
    let gate = Gate::new();
    let (slow, also) = (stands("slow", &gate).await, stands("also", &gate).await);
    let proxy = raced(&slow, &also, "hedge = { after = \"30ms\", budget = \"25%\" }", "").await;
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/x")).await;
        connections.push(connection);
    }
    // Eight and two of them once more: a quarter of ten is not above two.
    also.nth(1).await;
    gate.reached_by(10).await;
    proxy.get("/").await.expect(200);
    gate.open();
    for connection in &mut connections {
        connection.answer("GET").await.expect(200);
    }
    assert!((2..=3).contains(&also.requests().len()), "{}", also.requests().len());
}

#[tokio::test]
async fn a_backup_is_not_asked_for_speed() {
    let gate = Gate::new();
    let (slow, backup) = (stands("slow", &gate).await, Origin::text("backup").await);
    let proxy = Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [\"{slow}\", {{ url = \"{backup}\", backup = true }}]\nhedge = \"1ms\"\n\
         [routes]\n\"/*\" = \"app\"\n"
    ))
    .await;
    let opens = async {
        gate.reached().await;
        for _ in 0..20 {
            proxy.get("/").await.expect(200);
        }
        gate.open();
    };
    let (answer, ()) = tokio::join!(proxy.get("/x"), opens);
    assert_eq!((answer.expect(200).text().as_str(), backup.requests().len()), ("slow", 0));
}

#[tokio::test]
async fn how_long_is_long_is_learnt_from_the_answers() {
    let gate = Gate::new();
    let (slow, fast) = (stands("slow", &gate).await, Origin::text("fast").await);
    let proxy = raced(&slow, &fast, "hedge = \"p95\"", "").await;
    // What most answers take is known a moment after the fiftieth.
    within("one to be asked twice", async {
        loop {
            for _ in 0..60 {
                proxy.get("/").await.expect(200);
            }
            let mut connection = proxy.connect().await;
            connection.start(&Request::get("/x")).await;
            let answered = tokio::time::timeout(std::time::Duration::from_millis(700), connection.answer("GET")).await;
            if let Ok(answer) = answered {
                assert_eq!(answer.expect(200).text(), "fast");
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn explain_says_when_it_is_asked_twice() {
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    for (lines, route, told) in [
        ("hedge = { max = 2 }", "", "after p95, at most 2"),
        ("hedge = \"100ms\"", "", "after 100ms, at most 1"),
        ("hedge = \"p95\"", "hedge = false", "never"),
    ] {
        let proxy = raced(&one, &two, lines, route).await;
        let said = proxy.command(["explain", "GET", "/"]).await.expect(0).stdout;
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_is_refused_with_every_mistake() {
    let origin = Origin::text("x").await;
    for (lines, told) in [
        ("hedge = \"soon\"", "`soon` is not how long a backend can be waited for"),
        ("hedge = { after = \"0s\" }", "`0s` is not how long"),
        ("hedge = { max = 4 }", "`max` is a number from 1 to 3"),
        ("hedge = { budget = \"x\" }", "`x` is not a share"),
        ("hedge = \"p95\"\nsticky = \"cookie:at\"", "an upstream has either `sticky` or `hedge`"),
    ] {
        let exit = Proxy::with(upstream(&origin, lines)).refused().await;
        assert!(exit.stderr.contains(told), "{}", exit.stderr);
    }
}

/// The same as [`stands`], spoken to in HTTP/2; `/large` has content to look at.
async fn stands_h2(name: &'static str, gate: Option<&Gate>) -> Origin {
    let gate = gate.cloned();
    let answer = move |seen: &Seen| {
        let answer = match seen.target.as_str() {
            "/large" => Answer::generated(300_000),
            _ => Answer::text(name),
        };
        match &gate {
            Some(gate) if seen.target != "/" => answer.after(gate),
            _ => answer,
        }
    };
    Origin::builder().h2c().start(answer).await
}

#[tokio::test]
async fn origins_of_http2_are_raced_as_well() {
    for h2 in [false, true] {
        let gate = Gate::new();
        let (slow, fast) = (stands_h2("slow", Some(&gate)).await, stands_h2("fast", None).await);
        let proxy = raced(&slow, &fast, "hedge = \"50ms\"", "").await;
        for (n, method) in ["GET", "HEAD", "PUT"].into_iter().enumerate() {
            let mut request = Request::new(method, &format!("/asked/{n}"));
            if method == "PUT" {
                request = request.body("content");
            }
            let answer = fetch(&proxy, request, h2).await.expect(200);
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "fast" });
            assert_eq!(fast.nth(n).await.body.length, if method == "PUT" { 7 } else { 0 });
            slow.ended(n).await;
            let line = proxy.logged(&format!("/asked/{n}")).await;
            assert_eq!(errors(&line), [&Value::from("outrun"), &Value::Null], "{line}");
            assert_eq!((&line["attempts"], &line["backend"]), (&2.into(), &fast.socket().to_string().into()));
        }
        hedged(&proxy, "won", 3.0).await;
        let large = fetch(&proxy, Request::get("/large"), h2).await.expect(200);
        assert!(large.body.complete && large.body.is_pattern && large.body.length == 300_000);
        assert_eq!(fetch(&proxy, Request::get("/"), h2).await.expect(200).text(), "slow");
        // A POST reaches one of them.
        let before = fast.requests().len();
        let opens = async {
            slow.until("the post", |seen| seen.iter().any(|seen| seen.method == "POST")).await;
            gate.open();
        };
        let (answer, ()) = tokio::join!(fetch(&proxy, Request::post("/post", "x"), h2), opens);
        assert_eq!(answer.expect(200).text(), "slow");
        assert_eq!(fast.requests().len(), before);
    }
}

#[tokio::test]
async fn what_the_cache_fetches_is_raced_as_well() {
    for h2_origin in [false, true] {
        let gate = Gate::new();
        let (slow, fast) = match h2_origin {
            true => (stands_h2("slow", Some(&gate)).await, stands_h2("fast", None).await),
            false => (stands("slow", &gate).await, Origin::text("fast").await),
        };
        let proxy = raced(&slow, &fast, "hedge = \"50ms\"", "cache = \"1m\"").await;
        assert_eq!(proxy.get("/kept").await.expect(200).text(), "fast");
        let line = proxy.logged("/kept").await;
        assert_eq!(proxy.get("/kept").await.expect(200).text(), "fast");
        slow.ended(0).await;
        assert_eq!(fast.requests().len(), 1);
        hedged(&proxy, "won", 1.0).await;
        assert_eq!(errors(&line), [&Value::from("outrun"), &Value::Null], "{line}");
    }
}

#[tokio::test]
async fn an_answer_of_a_second_has_no_end_because_the_first_has_told_of_progress() {
    let first = Origin::start(|_| Answer::hang().interim(103, &[("Link", "</a>; rel=preload")])).await;
    let gates: Vec<Gate> = (0..5).map(|_| Gate::new()).collect();
    let script = gates.clone();
    let pieces =
        move |_: &Seen| script.iter().fold(Answer::status(200).chunk("x"), |said, gate| said.wait(gate).chunk("x"));
    let second = Origin::start(pieces).await;
    let proxy = raced(&first, &second, "hedge = \"50ms\"", "timeout = \"1s\"").await;
    let mut client = proxy.connect().await;
    client.start(&Request::get("/long")).await;
    // The answer lasts for longer than its head may take, and is never silent for so long.
    let mut beat = tokio::time::interval(Duration::from_millis(300));
    for gate in gates {
        gate.reached().await;
        beat.tick().await;
        gate.open();
    }
    assert_eq!(client.answer("GET").await.expect(200).text(), "xxxxxx");
}
