//! How fast content may pass, both ways.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt, future::join_all};
use testkit::{Answer, Origin, Proxy, Request, Response, within};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{BOTH, route};

/// What `MAITRED_ENGINE` is for each.
const ENGINES: [&str; 2] = ["", "general"];

/// Two hundred a second and twenty at once.
const LIMIT: &str = "bandwidth = { down = \"200KiB/s\", up = \"200KiB/s\", burst = \"20KiB\" }";

/// Takes half a second at least.
const LENGTH: u64 = 120 * 1024;

/// How long so many kibibytes take at least, of which twenty pass at once.
fn least(kibibytes: u64) -> Duration {
    Duration::from_millis((kibibytes - 20) * 1000 / 200)
}

async fn origin() -> Origin {
    let script = |seen: &testkit::Seen| match seen.target.as_str() {
        "/up" => Answer::text("taken").read_body(),
        "/ws" => Answer::websocket(),
        "/kept" => Answer::generated(LENGTH).header("Cache-Control", "max-age=60"),
        _ => Answer::generated(LENGTH),
    };
    Origin::start(script).await
}

async fn limited(origin: &Origin, engine: &str, lines: &str) -> Proxy {
    let limit = format!("limit = {{ {LIMIT}, key = \"header:X-Who\" }}\n{lines}");
    Proxy::with(format!("{BOTH}{}", route(origin, &limit))).variable("MAITRED_ENGINE", engine).start().await
}

/// The answer, and how long it took.
async fn timed(answer: impl Future<Output = Response>) -> (Response, Duration) {
    let began = Instant::now();
    (answer.await, began.elapsed())
}

#[tokio::test]
async fn content_passes_at_its_rate_both_ways_whatever_the_version_and_the_engine() {
    let origin = origin().await;
    for engine in ENGINES {
        let proxy = limited(&origin, engine, "").await;
        let h2 = proxy.h2c().await;
        let down = |who: &str| Request::get("/down").header("X-Who", who);
        let up = |who: &str| Request::new("POST", "/up").generated(LENGTH).header("X-Who", who);
        let chunked = up("f").chunks(&[&[7; LENGTH as usize]]);
        let (one, two, three, four, five) = tokio::join!(
            timed(proxy.fetch(down("a"))),
            timed(h2.fetch(down("b"))),
            timed(proxy.fetch(up("c"))),
            timed(h2.fetch(up("d"))),
            timed(proxy.fetch(chunked)),
        );
        for (answer, took) in [one, two] {
            assert!(answer.body.is_pattern && answer.body.complete && answer.body.length == LENGTH, "{engine}");
            assert!(took >= least(120) && took < 20 * least(120), "{engine}: {took:?}");
        }
        for (answer, took) in [three, four, five] {
            answer.expect(200);
            assert!(took >= least(120) && took < 20 * least(120), "{engine}: {took:?}");
        }
        let slowed = [("limit", "app"), ("result", "delayed")];
        assert!(proxy.metric("limit_total", &slowed).await >= 5.0);
        assert!(proxy.metric("limit_throttled_seconds_total", &[("limit", "app")]).await >= 2.0);
        let uploads = origin.requests().into_iter().filter(|seen| seen.target == "/up");
        assert!(uploads.into_iter().all(|seen| seen.body.length == LENGTH && seen.body.complete));
    }
}

#[tokio::test]
async fn those_who_share_a_key_take_turns_and_others_do_not_wait_for_them() {
    let origin = origin().await;
    let proxy = limited(&origin, "", "").await;
    let began = Instant::now();
    let fetch = |who: &'static str| async {
        let answer = proxy.fetch(Request::get("/").header("X-Who", who)).await;
        (answer.body.length, began.elapsed())
    };
    let (shared, (_, alone)) = tokio::join!(join_all(["a", "a", "a"].map(fetch)), fetch("b"));
    let ends: Vec<Duration> = shared.iter().map(|(_, end)| *end).collect();
    let (first, last) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
    assert!(shared.iter().all(|(length, _)| *length == LENGTH));
    assert!(last >= least(360), "{last:?}");
    assert!(first.as_secs_f64() > last.as_secs_f64() * 0.7, "{ends:?}");
    assert!(alone < first, "{alone:?} {ends:?}");
}

#[tokio::test]
async fn a_stream_that_is_held_back_blocks_no_other_of_its_connection() {
    let origin = origin().await;
    let text = format!(
        "{BOTH}[routes.\"/slow\"]\nupstream = \"{origin}\"\nlimit = {{ {LIMIT} }}\n[routes.\"/free\"]\nupstream = \"{origin}\"\n"
    );
    for engine in ENGINES {
        let proxy = Proxy::with(&text).variable("MAITRED_ENGINE", engine).start().await;
        let h2 = proxy.h2c().await;
        let slow = || async {
            h2.fetch(Request::get("/slow")).await.expect(200);
            Instant::now()
        };
        let free = async {
            for _ in 0..5 {
                assert!(h2.fetch(Request::get("/free")).await.expect(200).body.complete);
            }
            Instant::now()
        };
        let (slow, slower, free) = tokio::join!(slow(), slow(), free);
        assert!(free < slow && free < slower, "{engine}");
    }
}

#[tokio::test]
async fn a_websocket_is_held_back_as_well() {
    let origin = origin().await;
    let proxy = limited(&origin, "", "").await;
    let mut socket = proxy.websocket("/ws").await;
    let began = Instant::now();
    socket.send(Message::binary(vec![7; 120 * 1024])).await.unwrap();
    let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
    let took = began.elapsed();
    assert_eq!(echoed.len(), 120 * 1024);
    // One way after the other: the origin echoes whole messages.
    assert!(took >= least(120) * 2, "{took:?}");
}

#[tokio::test]
async fn what_the_cache_has_and_what_maitred_says_itself_pass_at_the_same_rate() {
    let origin = origin().await;
    for engine in ENGINES {
        let proxy = limited(&origin, engine, "cache = {}").await;
        let kept = |who: &'static str| proxy.fetch(Request::get("/kept").header("X-Who", who));
        let filled = kept("a").await;
        assert!(filled.body.is_pattern && filled.body.length == LENGTH);
        let (hit, took) = timed(kept("b")).await;
        assert!(hit.header("cache-status").unwrap().contains("hit"), "{hit:?}");
        assert!(hit.body.is_pattern && took >= least(120), "{engine}: {took:?}");
    }
    let said = "x".repeat(60 * 1024);
    let own = format!("{BOTH}[routes.app]\npath = \"/*\"\nrespond = {{ body = \"{said}\" }}\nlimit = {{ {LIMIT} }}\n");
    // Pingora's engine, which has no such route outside of tests, gives what maitred says itself as one piece.
    let proxy = Proxy::with(own).variable("MAITRED_ENGINE", "").start().await;
    let (answer, took) = timed(proxy.get("/")).await;
    assert_eq!(answer.body.length, 60 * 1024);
    assert!(took >= least(60), "{took:?}");
}

#[tokio::test]
async fn an_upstream_is_sent_no_more_than_its_rate_whatever_the_route() {
    let origin = origin().await;
    let text = format!(
        "{BOTH}[upstreams.u]\nbackends = \"{origin}\"\n[limits.wire]\n{LIMIT}\nkey = \"upstream\"\n[defaults]\nlimit = \"wire\"\n\
         [routes]\n\"/a\" = \"u\"\n\"/b\" = {{ upstream = \"u\", cache = \"1h\" }}\n"
    );
    let proxy = Proxy::start(text).await;
    let (((a, _), (b, _)), took) = {
        let began = Instant::now();
        (tokio::join!(timed(proxy.get("/a")), timed(proxy.get("/b"))), began.elapsed())
    };
    assert!(a.body.is_pattern && b.body.is_pattern && took >= least(240), "{took:?}");
    // What is kept asks no upstream.
    let (_, took) = timed(proxy.get("/b")).await;
    assert!(took < least(120), "{took:?}");
}

#[tokio::test]
async fn a_reload_and_an_upgrade_give_no_burst_again() {
    let origin = Origin::start(|seen| Answer::generated(seen.target[1..].parse().unwrap_or(0))).await;
    let written = |more: &str| {
        let limit = "limit = { bandwidth = { down = \"200KiB/s\", burst = \"400KiB\" } }\n";
        format!("{BOTH}{}", route(&origin, &format!("{limit}{more}")))
    };
    let mut proxy = Proxy::start(written("")).await;
    let began = Instant::now();
    assert_eq!(proxy.get("/409600").await.body.length, 409_600);
    proxy.hang_up(written("timeout = \"50s\"")).await;
    assert_eq!(proxy.get("/102400").await.body.length, 102_400);
    proxy.upgrade(&[]).await;
    assert_eq!(proxy.get("/102400").await.body.length, 102_400);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_is_late_who_is_held_back() {
    let origin = origin().await;
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = {{ body = \"300ms\", min_rate = \"1MiB/s\" }}\n\
         [upstreams.u]\nbackends = \"{origin}\"\ntimeout = \"300ms\"\n[routes.app]\npath = \"/*\"\nupstream = \"u\"\n\
         limit = {{ bandwidth = {{ up = \"1KiB/s\", down = \"200KiB/s\", burst = \"1KiB\" }} }}\n"
    );
    // Pingora's engine, which has no origin of HTTP/1 outside of tests, counts what waits for its turn as the origin's time.
    let proxy = Proxy::with(text).variable("MAITRED_ENGINE", "").start().await;
    // A piece of it waits for half a second.
    let (answer, took) = timed(proxy.fetch(Request::new("POST", "/up").generated(2048))).await;
    assert!(answer.status == 200 && took >= Duration::from_secs(1), "{took:?}");
    let down = proxy.get("/down").await;
    assert!(down.body.is_pattern && down.body.complete && down.body.length == LENGTH);
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_waits_for_its_turns_like_any_other() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/kept" => Answer::generated(1536).header("Cache-Control", "max-age=60"),
        _ => Answer::generated(1536),
    })
    .await;
    // A piece of it passes in half a second, and three take turns: longer than a client that has closed its side waits for
    // an answer that does not move.
    let text = format!(
        "{BOTH}[limits.line]\nbandwidth = {{ down = \"1KiB/s\", burst = \"1KiB\" }}\nkey = \"header:X-Who\"\n\
         [defaults]\nlimit = \"line\"\n[routes]\n\"/asked\" = \"{origin}\"\n\
         \"/kept\" = {{ upstream = \"{origin}\", cache = \"1h\" }}\n"
    );
    let proxy = Proxy::with(text).variable("MAITRED_ENGINE", "").start().await;
    proxy.fetch(Request::get("/kept").header("X-Who", "a")).await.expect(200);
    let closing = async |target: &str| {
        let mut client = proxy.connect().await;
        client.start(&Request::get(target).header("X-Who", "b")).await;
        client.half_close().await;
        client.answer("GET").await.expect(200)
    };
    let (kept, asked, also) = tokio::join!(closing("/kept"), closing("/asked"), closing("/asked"));
    assert!(kept.header("cache-status").unwrap().contains("hit"), "{kept:?}");
    for answer in [kept, asked, also] {
        assert!(answer.body.complete && answer.body.length == 1536, "{answer:?}");
    }
}

#[tokio::test]
async fn in_shadow_nothing_is_held_back_and_an_operator_sees_where_a_key_stands() {
    let origin = origin().await;
    let shadow = format!("limit = {{ {LIMIT}, mode = \"shadow\" }}");
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, &shadow))).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.body.length, LENGTH);
    }
    let counted = async |result: &str| proxy.metric("limit_total", &[("limit", "app"), ("result", result)]).await;
    assert_eq!((counted("shadowed").await, counted("delayed").await), (3.0, 0.0));
    let stands = proxy.admin("/api/v1/limits/app/keys/127.0.0.1").await.expect(200).json();
    let (down, up) = (&stands["rules"][0], &stands["rules"][1]);
    assert_eq!((&down["kind"], &down["limit"], &up["remaining"]), (&"down".into(), &204_800.into(), &20_480.into()));
    let explained = proxy.command(["explain", "GET", "/", "--live"]).await.expect(0).stdout;
    assert!(explained.contains("200KiB/s to clients, of which "), "{explained}");
}
