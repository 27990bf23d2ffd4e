//! The cache in Redis: what processes share, and that nobody notices when Redis is away.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use futures::future::join_all;
use testkit::{Answer, Origin, Proxy, Request, Seen, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::{
    caching::{counting, numbered, status},
    setting::{BOTH, route},
    shared_limits::Redis,
};

pub fn configuration(redis: &Redis, origin: &Origin, timeout: &str) -> String {
    format!(
        "{BOTH}[redis]\nurl = \"unix:{}\"\ntimeout = \"{timeout}\"\n[cache]\nredis = true\n{}",
        redis.socket().display(),
        route(origin, "cache = { stale = \"1m\", key = [\"path\", \"query\"] }")
    )
}

pub fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

/// A proxy that uses what is in Redis.
pub async fn proxy(redis: &Redis, origin: &Origin) -> Proxy {
    let proxy = Proxy::start(configuration(redis, origin, "1s")).await;
    proxy.printed("what is in Redis is used").await;
    proxy
}

/// Waits until a request has been answered as the check wants it.
pub async fn until(proxy: &Proxy, request: impl Fn() -> Request, does: impl Fn(&testkit::Response) -> bool) {
    let asking = async { while !does(&proxy.fetch(request()).await) {} };
    within("an answer as awaited", asking).await;
}

#[tokio::test]
async fn what_one_has_fetched_the_others_have() {
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|seen, n| match seen.target.as_str() {
        "/vary" => keeps(numbered(n)).header("Vary", "X-A"),
        "/large" => keeps(Answer::text(vec![7; 300_000])),
        _ => keeps(numbered(n)),
    }))
    .await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    one.get("/a").await.expect(200);
    one.fetch(Request::get("/vary").header("X-A", "1")).await.expect(200);
    one.fetch(Request::get("/vary").header("X-A", "2")).await.expect(200);
    one.get("/large").await.expect(200);
    let stored = async { while redis.cli(&["--raw", "KEYS", "*:cache:*"]).lines().count() < 4 {} };
    within("the answers to be in Redis", stored).await;
    let asked = origin.requests().len();
    let again = other.get("/a").await.expect(200);
    assert_eq!(again.text(), "answer 0");
    assert!(status(&again).contains("; hit; ttl=") && status(&again).ends_with("; detail=redis"), "{}", status(&again));
    assert!(again.header("age").is_some());
    let h2 = other.h2c().await;
    assert_eq!(h2.fetch(Request::get("/vary").header("X-A", "2")).await.expect(200).text(), "answer 2");
    assert_eq!(h2.fetch(Request::get("/vary").header("X-A", "1")).await.expect(200).text(), "answer 1");
    assert_eq!(origin.requests().len(), asked, "the origin was not asked again");
    assert!(!status(&other.get("/large").await).contains("redis"), "what is large is not shared");
    let time: i64 = redis
        .cli(&["PTTL", redis.cli(&["--raw", "KEYS", "*:cache:*"]).lines().next().unwrap()])
        .trim()
        .parse()
        .unwrap();
    assert!((1..=660_000).contains(&time), "{time}");
}

/// Waits until so many answers, and lists of what they vary by, are in Redis.
pub async fn holds(redis: &Redis, count: usize) {
    let is_meant = |name: &&str| name.contains(":cache:") && !name.contains(":changed:");
    let names = || redis.cli(&["--raw", "KEYS", "*:cache:*"]).lines().filter(is_meant).count();
    let holds = async {
        while names() != count {
            tokio::task::yield_now().await;
        }
    };
    within(format!("{count} values to be in Redis"), holds).await;
}

/// A script that knows for each path whether it was asked before: the first answer of each can be shared.
pub fn then_otherwise(
    second: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Answer + Send + Sync {
    let turns = Mutex::new(HashMap::<String, usize>::new());
    move |seen| {
        let own = format!("{} {}", seen.target, seen.header("x-a").unwrap_or_default());
        let turn = {
            let mut turns = turns.lock().unwrap();
            let turn = turns.entry(own).or_default();
            *turn += 1;
            *turn
        };
        let answer = if turn == 1 { keeps(Answer::text("old")) } else { second(seen) };
        answer.header("Vary", "X-A")
    }
}

pub fn anew(path: &str) -> Request {
    Request::get(path).header("Cache-Control", "no-cache")
}

#[tokio::test]
async fn what_is_older_than_what_is_known_does_not_stay_in_redis() {
    let redis = Redis::start().await;
    let script = then_otherwise(|seen| match seen.target.as_str() {
        "/large" => keeps(Answer::text(vec![b'n'; 300_000])),
        "/cookie" => keeps(Answer::text("new")).header("Set-Cookie", "a=1"),
        "/private" => Answer::text("new").header("Cache-Control", "private"),
        "/each-time" => {
            Answer::text("new").header("Cache-Control", "max-age=0, must-revalidate").header("ETag", "\"n\"")
        }
        "/outgrown" => keeps(Answer::status(200)).chunk(vec![b'n'; 9 << 20]),
        "/fails" => Answer::status(503),
        "/forbidden" => Answer::status(403),
        _ => keeps(Answer::text("new")),
    });
    let origin = Origin::start(script).await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    let paths = ["/large", "/cookie", "/private", "/each-time", "/outgrown", "/refused", "/fails", "/forbidden"];
    for path in paths {
        assert_eq!(one.get(path).await.expect(200).text(), "old", "{path}");
    }
    // What it varies by, and the answer.
    holds(&redis, 2 * paths.len()).await;
    for path in paths.iter().filter(|path| !matches!(**path, "/refused" | "/fails" | "/forbidden")) {
        assert_ne!(one.fetch(anew(path)).await.expect(200).text(), "old", "{path}");
    }
    // What the large one varies by stays for the sake of those for other requests.
    holds(&redis, 2 * 3 + 1).await;
    // Redis has no room for the new one.
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(one.fetch(anew("/refused")).await.expect(200).text(), "new");
    holds(&redis, 2 * 2 + 1).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    // An origin that fails says nothing of what it gave before, nor one that refuses a request.
    one.fetch(anew("/fails")).await.expect(503);
    one.fetch(anew("/forbidden")).await.expect(403);
    for path in paths.iter().filter(|path| !matches!(**path, "/fails" | "/forbidden")) {
        let answer = other.get(path).await.expect(200);
        assert!(answer.body.start.starts_with(b"n") && !status(&answer).contains("hit"), "{path}: {}", status(&answer));
        assert_ne!(one.get(path).await.expect(200).text(), "old", "{path}");
    }
    for path in ["/fails", "/forbidden"] {
        assert_eq!(other.get(path).await.expect(200).text(), "old", "{path}");
    }
}

#[tokio::test]
async fn what_varies_is_taken_away_alone() {
    let redis = Redis::start().await;
    let origin = Origin::start(then_otherwise(|_| keeps(Answer::text(vec![b'n'; 300_000])))).await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    for value in ["1", "2"] {
        one.fetch(Request::get("/").header("X-A", value)).await.expect(200);
    }
    holds(&redis, 3).await;
    one.fetch(anew("/").header("X-A", "2")).await.expect(200);
    holds(&redis, 2).await;
    assert!(status(&other.fetch(Request::get("/").header("X-A", "1")).await).ends_with("; detail=redis"));
    assert!(!status(&other.fetch(Request::get("/").header("X-A", "2")).await).contains("hit"));
}

#[tokio::test]
async fn who_has_credentials_takes_nothing_away_from_those_who_have_none_rfc_9111_3_5() {
    let redis = Redis::start().await;
    let origin = Origin::start(|seen| match (seen.target.as_str(), seen.header("authorization")) {
        ("/own", None) => Answer::text("for all").header("Cache-Control", "public, max-age=600"),
        (_, None) => keeps(Answer::text("for all")),
        _ => keeps(Answer::text("mine")),
    })
    .await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    let credentials = |path: &str| anew(path).header("Authorization", "Bearer x");
    for path in ["/a", "/own"] {
        assert_eq!(one.get(path).await.expect(200).text(), "for all", "{path}");
    }
    holds(&redis, 2).await;
    assert_eq!(one.fetch(credentials("/a")).await.expect(200).text(), "mine");
    // What was for this request as well is taken away, and by then the other would have been too.
    assert_eq!(one.fetch(credentials("/own")).await.expect(200).text(), "mine");
    holds(&redis, 1).await;
    assert!(status(&one.get("/a").await.expect(200)).contains("hit"), "in memory");
    let elsewhere = other.get("/a").await.expect(200);
    assert_eq!(elsewhere.text(), "for all");
    assert!(status(&elsewhere).ends_with("; detail=redis"), "{}", status(&elsewhere));
    assert!(!status(&other.get("/own").await.expect(200)).contains("hit"));
}

#[tokio::test]
async fn what_is_older_is_taken_away_when_redis_is_back() {
    let redis = Redis::start().await;
    let origin = Origin::start(then_otherwise(|_| Answer::text("new").header("Cache-Control", "no-store"))).await;
    let one = Proxy::start(configuration(&redis, &origin, "20ms")).await;
    one.printed("redis: connected to").await;
    assert_eq!(one.get("/a").await.expect(200).text(), "old");
    holds(&redis, 2).await;
    redis.signal("STOP");
    assert_eq!(one.fetch(anew("/a")).await.expect(200).text(), "new");
    redis.signal("CONT");
    // It is not taken for an answer before Redis has been told, nor after.
    assert_eq!(one.get("/a").await.expect(200).text(), "new");
    holds(&redis, 0).await;
    let one = one.stop().await.start().await;
    one.printed("redis: connected to").await;
    assert_eq!(one.get("/a").await.expect(200).text(), "new");
}

#[tokio::test]
async fn what_one_changes_or_purges_is_so_for_all() {
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    one.get("/a").await.expect(200);
    one.get("/b").await.expect(200);
    let stored = async { while redis.cli(&["--raw", "KEYS", "*:cache:*"]).lines().count() < 2 {} };
    within("the answers to be in Redis", stored).await;
    // Both have it in memory, and the other hears of the purge.
    assert_eq!(one.get("/a").await.text(), "answer 0");
    assert_eq!(other.get("/a").await.text(), "answer 0");
    assert_eq!(one.command(["purge", "/a"]).await.expect(0).stdout, "1 answer purged\n");
    until(&other, || Request::get("/a"), |answer| answer.text() != "answer 0").await;
    // It does not have this one, and Redis says that it was changed since.
    one.fetch(Request::new("POST", "/b")).await.expect(200);
    let told = async { while !redis.cli(&["--raw", "KEYS", "*:cache:changed:*"]).contains("changed") {} };
    within("the change to be told", told).await;
    assert_ne!(other.get("/b").await.expect(200).text(), "answer 1");
    // A process that was not there yet when it was purged.
    let late = proxy(&redis, &origin).await;
    assert_ne!(late.get("/a").await.expect(200).text(), "answer 0");
}

/// Who was cut off when somebody else saw a later change, and is back.
#[tokio::test]
async fn an_earlier_change_does_not_take_the_place_of_a_later_one() {
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let one = proxy(&redis, &origin).await;
    one.get("/a").await.expect(200);
    holds(&redis, 1).await;
    one.fetch(Request::post("/a", "x")).await.expect(200);
    let names = || redis.cli(&["--raw", "KEYS", "*:cache:changed:*"]);
    let told = async { while names().trim().is_empty() {} };
    within("the change to be told", told).await;
    let (name, hour) = (names().trim().to_owned(), Duration::from_secs(3600));
    let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + hour;
    let later = format!("{:016}", later.as_millis());
    redis.cli(&["SET", &name, &later]);
    one.fetch(Request::post("/a", "x")).await.expect(200);
    // What is changed after that is told with it, or after it.
    one.fetch(Request::post("/z", "x")).await.expect(200);
    let told = async { while names().lines().count() != 2 {} };
    within("all to be told", told).await;
    assert_eq!(redis.cli(&["--raw", "GET", &name]).trim(), later);
}

/// A way to a Redis that takes a while for each answer, and at which address it is.
async fn slow(redis: &Redis, delay: Duration) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, socket) = (listener.local_addr().unwrap(), redis.socket());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut asks, mut told) = client.into_split();
            let (mut answers, mut takes) = UnixStream::connect(&socket).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut takes).await });
            tokio::spawn(async move {
                let mut piece = vec![0; 65_536];
                while let Ok(length @ 1..) = answers.read(&mut piece).await {
                    tokio::time::sleep(delay).await;
                    if told.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn however_much_is_changed_purges_are_heard_of_both_ways() {
    const CHANGES: usize = 3000;
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let address = slow(&redis, Duration::from_millis(8)).await;
    let there = format!("url = \"unix:{}\"", redis.socket().display());
    let slowly = configuration(&redis, &origin, "1s").replace(&there, &format!("url = \"redis://{address}\""));
    let (one, other) = (Proxy::start(slowly).await, proxy(&redis, &origin).await);
    one.printed("redis: connected to").await;
    let mut before = Vec::new();
    for (path, count) in [("/mine", 1), ("/theirs", 2)] {
        before.push(one.get(path).await.expect(200).text());
        holds(&redis, count).await;
        assert_eq!(other.get(path).await.expect(200).text(), *before.last().unwrap());
    }
    let clients = (0..8).map(async |client| {
        let mut connection = one.connect().await;
        for number in 0..CHANGES / 8 {
            connection.fetch(Request::post(&format!("/{client}/{number}"), "x")).await.expect(200);
        }
    });
    join_all(clients).await;
    let began = Instant::now();
    one.command(["purge", "/mine"]).await.expect(0);
    other.command(["purge", "/theirs"]).await.expect(0);
    until(&other, || Request::get("/mine"), |answer| answer.text() != before[0]).await;
    until(&one, || Request::get("/theirs"), |answer| answer.text() != before[1]).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Some paths share a place.
    let changed = || redis.cli(&["--raw", "KEYS", "*:cache:changed:*"]).lines().count();
    within("all that was changed to be told", async { while changed() < CHANGES * 9 / 10 {} }).await;
}

#[tokio::test]
async fn purges_that_redis_refuses_hold_up_nothing_and_are_told_once_they_may_be() {
    let redis = Redis::start().await;
    let origin = Origin::start(then_otherwise(|seen| match seen.target.as_str() {
        "/private" => Answer::text("new").header("Cache-Control", "private"),
        _ => keeps(Answer::text("new")),
    }))
    .await;
    let (one, other) = (proxy(&redis, &origin).await, proxy(&redis, &origin).await);
    for (count, path) in ["/a", "/private"].into_iter().enumerate() {
        assert_eq!(one.get(path).await.expect(200).text(), "old");
        holds(&redis, 2 * (count + 1)).await;
    }
    assert_eq!(other.get("/a").await.expect(200).text(), "old");
    redis.cli(&["ACL", "SETUSER", "default", "-xadd"]);
    let dropped = one.metric("cache_dropped_total", &[("tier", "redis")]).await;
    one.command(["purge", "/a"]).await.expect(0);
    one.printed("no permissions").await;
    // What is changed is told meanwhile, and what is older than what is known taken away.
    one.fetch(Request::post("/b", "x")).await.expect(200);
    within("the change to be told", async {
        while redis.cli(&["--raw", "KEYS", "*:cache:changed:*"]).trim().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(one.fetch(anew("/private")).await.expect(200).text(), "new");
    holds(&redis, 2).await;
    one.until_metric("cache_dropped_total", &[("tier", "redis")], dropped + 1.0).await;
    redis.cli(&["ACL", "SETUSER", "default", "+xadd"]);
    until(&other, || Request::get("/a"), |answer| answer.text() == "new").await;
}

#[tokio::test]
async fn nobody_notices_that_redis_is_away_slow_or_killed() {
    let mut redis = Redis::start().await;
    let origin = Origin::start(|seen| keeps(Answer::text(seen.target.clone()))).await;
    let proxy = Proxy::start(configuration(&redis, &origin, "20ms")).await;
    proxy.printed("redis: connected to").await;
    let load = |round: usize| {
        let proxy = &proxy;
        async move {
            let client = |client: usize| async move {
                let mut connection = proxy.connect().await;
                let mut longest = Duration::ZERO;
                for step in 0..60 {
                    let path = format!("/{round}/{}", (client * 31 + step * 7) % 200);
                    let began = Instant::now();
                    let answer = connection.fetch(Request::get(&path)).await.expect(200);
                    assert_eq!(answer.text(), path);
                    longest = longest.max(began.elapsed());
                }
                longest
            };
            join_all((0..8).map(client)).await.into_iter().max().unwrap()
        }
    };
    load(0).await;
    redis.signal("STOP");
    let longest = load(1).await;
    assert!(longest < Duration::from_secs(2), "{longest:?} with a Redis that does not answer");
    redis.signal("CONT");
    let (longest, ()) = tokio::join!(load(2), async { redis.kill() });
    assert!(longest < Duration::from_secs(2), "{longest:?} with a Redis that was killed");
    load(3).await;
    // A purge meanwhile is told when it is back.
    proxy.command(["purge", "/3/*"]).await.expect(0);
    redis.restart().await;
    let told = async { while redis.cli(&["XLEN", "maitred:cache:purges"]).trim() != "1" {} };
    within("the purge to be told", told).await;
    load(4).await;
    let stored = async {
        while !redis.cli(&["DBSIZE"]).trim().parse::<usize>().is_ok_and(|size| size > 10) {
            load(5).await;
        }
    };
    within("Redis to be used again", stored).await;
}
