//! Large request bodies, most of which the kernel moves without their coming by maitred: what is true of a small one holds.

use std::{io::Read, time::Duration};

use testkit::{Answer, Body, Origin, Outcome, Proxy, Request, Seen, pattern, within};

use crate::setting::route;

const LARGE: usize = 1 << 20;

/// What `MAITRED_ENGINE` is for each engine: what they carry in different ways is the same for client and origin.
const ENGINES: [&str; 2] = ["", "general"];

async fn by(engine: &str, origin: &Origin, timeouts: &str) -> Proxy {
    let listener = format!("[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = {{ {timeouts} }}\n");
    Proxy::with(format!("{listener}{}", route(origin, ""))).variable("MAITRED_ENGINE", engine).start().await
}

fn head(target: &str, length: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

fn content(length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend_from_slice(&pattern(all.len() as u64, (length - all.len()) as u64));
    }
    all
}

fn assert_whole(body: &Body, length: usize) {
    assert!(body.complete && body.is_pattern, "{} of {length} bytes", body.length);
    assert_eq!(body.length, length as u64);
}

/// How many ends of pipes a process holds.
fn pipes(proxy: &Proxy) -> usize {
    let links = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
}

#[tokio::test]
async fn what_comes_behind_a_large_body_is_the_next_request() {
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::text("thanks")).await;
        let proxy = by(engine, &origin, "").await;
        let mut client = proxy.connect().await;
        for number in 0..3 {
            // An odd length, and lengths at which the way of carrying it changes.
            let length = [LARGE + 13, 64 << 10, (80 << 10) - 1][number];
            let request = [head("/up", length).into_bytes(), content(length), head("/next", 5).into(), b"after".into()];
            client.send(request.concat()).await;
            assert_eq!(client.answer("POST").await.expect(200).text(), "thanks");
            assert_eq!(client.answer("POST").await.expect(200).text(), "thanks");
            assert_whole(&origin.ended(2 * number).await.body, length);
            assert_eq!(origin.ended(2 * number + 1).await.body.text(), "after");
        }
        let lines = proxy.access_log(6).await;
        let bytes: u64 = lines.iter().map(|line| line["bytes_in"].as_u64().unwrap()).sum();
        assert_eq!(bytes, (LARGE + 13 + (64 << 10) + (80 << 10) - 1 + 15) as u64, "{lines:?}");
    }
}

#[tokio::test]
async fn the_kernel_moves_it_and_what_that_needs_is_used_again() {
    let origin = Origin::start(|_| Answer::text("thanks")).await;
    let proxy = by("", &origin, "").await;
    proxy.get("/").await.expect(200);
    let before = pipes(&proxy);
    for _ in 0..20 {
        proxy.fetch(Request::new("POST", "/up").generated(LARGE as u64)).await.expect(200);
    }
    let after = pipes(&proxy) - before;
    // One for each worker at most, since they come one after the other.
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!((2..=2 * workers).contains(&after), "{after} ends of pipes");
}

#[tokio::test]
async fn an_answer_in_the_middle_of_it_is_passed_on() {
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::status(413).body("enough").reading(300_000).closing()).await;
        let proxy = by(engine, &origin, "").await;
        let mut client = proxy.connect().await;
        client.send(head("/up", LARGE)).await;
        client.send(content(400_000)).await;
        assert_eq!(client.answer("POST").await.expect(413).text(), "enough");
    }
}

#[tokio::test]
async fn an_origin_that_breaks_off_in_the_middle_of_it_is_told_as_such() {
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::raw("").reading(300_000).resetting()).await;
        let proxy = by(engine, &origin, "").await;
        proxy.fetch(Request::new("POST", "/up").generated(LARGE as u64)).await.expect(502);
        assert_eq!(origin.requests().len(), 1, "what was read of it is gone: it cannot be sent again");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_it_cancels_it() {
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::text("thanks")).await;
        let proxy = by(engine, &origin, "").await;
        let mut client = proxy.connect().await;
        client.send(head("/leaves", LARGE)).await;
        client.send(content(500_000)).await;
        origin.until("half of it", |seen| seen.first().is_some_and(|seen| seen.body.length == 500_000)).await;
        drop(client);
        let seen = origin.ended(0).await;
        assert!(seen.outcome == Outcome::Cancelled && !seen.body.complete && seen.body.is_pattern);
        assert_eq!(proxy.logged("/leaves").await["error"], "client_closed");
    }
}

#[tokio::test]
async fn one_that_stops_or_drips_in_the_middle_is_answered_408() {
    let origin = Origin::start(|_| Answer::text("thanks")).await;
    let stops = by("", &origin, "body = \"300ms\"").await;
    let mut client = stops.connect().await;
    client.send(head("/stops", LARGE)).await;
    client.send(content(500_000)).await;
    client.answer("POST").await.expect_problem(408, "body_timeout");

    let drips = by("", &origin, "body = \"600ms\", min_rate = \"100KiB/s\"").await;
    let mut client = drips.connect().await;
    client.send(head("/drips", LARGE)).await;
    client.send(content(300_000)).await;
    let trickle = async {
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = beat.tick() => client.wire().write(b"x").await.unwrap_or_default(),
                read = client.wire_ready() => if read { return },
            }
        }
    };
    within("the trickling body to be given up", trickle).await;
    client.answer("POST").await.expect_problem(408, "body_timeout");
}

#[tokio::test]
async fn sockets_of_this_machine_carry_it_as_well() {
    let origin = Origin::builder().unix().start(|_| Answer::text("thanks")).await;
    let proxy = by("", &origin, "").await;
    for number in 0..2 {
        proxy.fetch(Request::new("POST", "/up").generated(LARGE as u64)).await.expect(200);
        assert_whole(&origin.ended(number).await.body, LARGE);
    }
}

#[tokio::test]
async fn a_mirror_gets_it_whole() {
    let (origin, shadow) = (Origin::start(|_| Answer::text("a")).await, Origin::start(|_| Answer::text("b")).await);
    let mirror = format!(
        "mirror = {{ upstream = \"shadow\", max_body = \"1MiB\" }}\n[upstreams.shadow]\nbackends = \"{shadow}\""
    );
    let proxy = Proxy::start(route(&origin, &mirror)).await;
    proxy.fetch(Request::new("POST", "/up").generated(500_000)).await.expect(200);
    assert_whole(&origin.ended(0).await.body, 500_000);
    assert_whole(&shadow.ended(0).await.body, 500_000);
}

/// An origin that ends its first connection when the second request has come, without an answer.
async fn tired() -> Origin {
    let respond = |seen: &Seen| match (seen.connection, seen.turn) {
        (0, 1) => Answer::raw("").closing(),
        _ => Answer::text("thanks"),
    };
    Origin::start(respond).await
}

/// Has a connection to each of `origins` in the pool, where it comes a moment after the client has its answer.
async fn begin(proxy: &Proxy, origins: usize) {
    proxy.get("/first").await.expect(200);
    proxy.until_metric_is("upstream_connections", &[("state", "idle")], origins as f64).await;
}

#[tokio::test]
async fn what_a_connection_from_the_pool_has_swallowed_is_counted_and_copied_once() {
    const LENGTH: usize = 40 << 10;
    let (origin, shadow) = (tired().await, Origin::text("copied").await);
    let lines = format!("max_body = \"64KiB\"\nmirror = \"{shadow}\"");
    let proxy = Proxy::start(route(&origin, &lines)).await;
    begin(&proxy, 2).await;
    proxy.fetch(Request::new("PUT", "/second").body(content(LENGTH))).await.expect(200);
    assert_whole(&origin.ended(1).await.body, LENGTH);
    assert_whole(&origin.ended(2).await.body, LENGTH);
    shadow.until("the copy", |seen| seen.iter().any(|one| one.target == "/second" && one.body.complete)).await;
    let copy = shadow.requests().into_iter().find(|one| one.target == "/second").unwrap();
    assert_whole(&copy.body, LENGTH);
}

#[tokio::test]
async fn what_a_connection_from_the_pool_has_swallowed_is_unpacked_anew() {
    let origin = tired().await;
    let proxy = Proxy::start(route(&origin, "decompress = true")).await;
    begin(&proxy, 1).await;
    let mut packed = Vec::new();
    brotli::CompressorReader::new(&content(LARGE)[..40 << 10], 4096, 5, 20).read_to_end(&mut packed).unwrap();
    let request = Request::new("PUT", "/second").header("Content-Encoding", "br").body(packed);
    proxy.fetch(request).await.expect(200);
    assert_whole(&origin.ended(2).await.body, 40 << 10);
}
