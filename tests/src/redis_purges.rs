//! What was purged while a process was not there, or Redis was not: nothing of it comes back out of Redis.

use std::net::SocketAddr;

use testkit::{Answer, Origin, Proxy, Request, within};
use tokio::{
    net::{TcpListener, UnixStream},
    task::JoinSet,
};

use crate::{
    caching::{counting, numbered, status},
    redis_cache::{anew, configuration, holds, keeps, proxy, then_otherwise, until},
    shared_limits::Redis,
};

/// One that has found Redis this very moment.
async fn late(redis: &Redis, origin: &Origin) -> Proxy {
    let proxy = Proxy::start(configuration(redis, origin, "1s")).await;
    proxy.printed("redis: connected to").await;
    proxy
}

/// Nobody has asked for it since, so what stands in Redis is what was purged.
#[tokio::test]
async fn what_was_purged_does_not_come_back_into_a_process_that_has_just_started() {
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let one = proxy(&redis, &origin).await;
    assert_eq!(one.get("/a").await.expect(200).text(), "answer 0");
    assert_eq!(one.get("/b").await.expect(200).text(), "answer 1");
    holds(&redis, 2).await;
    one.command(["purge", "/a"]).await.expect(0);
    let told = async { while redis.cli(&["XLEN", "maitred:cache:purges"]).trim() != "1" {} };
    within("the purge to be told", told).await;
    let late = late(&redis, &origin).await;
    assert_eq!(late.get("/a").await.expect(200).text(), "answer 2");
    // What others keep there is used as soon as it is known what they have purged.
    for number in 0..50 {
        one.get(&format!("/{number}")).await.expect(200);
    }
    let mut paths = (0..50).map(|number| format!("/{number}"));
    let from_there = async {
        while !status(&late.get(&paths.next().expect("one of them is found")).await.expect(200)).ends_with("redis") {}
    };
    within("an answer out of Redis", from_there).await;
}

#[tokio::test]
async fn nothing_in_redis_is_believed_while_nobody_says_what_was_purged() {
    let redis = Redis::start().await;
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let one = proxy(&redis, &origin).await;
    assert_eq!(one.get("/a").await.expect(200).text(), "answer 0");
    holds(&redis, 1).await;
    one.command(["purge", "/a"]).await.expect(0);
    let told = async { while redis.cli(&["XLEN", "maitred:cache:purges"]).trim() != "1" {} };
    within("the purge to be told", told).await;
    redis.cli(&["ACL", "SETUSER", "default", "-xread"]);
    let late = late(&redis, &origin).await;
    late.printed("no permissions").await;
    assert_eq!(late.get("/a").await.expect(200).text(), "answer 1");
}

/// A way to a Redis, which ends with what is given back, and at which address it is.
async fn way(redis: &Redis) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, socket, mut all) = (listener.local_addr().unwrap(), redis.socket(), JoinSet::new());
    all.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = UnixStream::connect(&socket).await.unwrap();
            connections.spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (address, all)
}

/// Redis is away, somebody purges, and then it is told where Redis is by now.
#[tokio::test]
async fn what_was_not_told_yet_is_told_to_the_redis_that_a_reload_names() {
    let redis = Redis::start().await;
    let origin = Origin::start(then_otherwise(|seen| match seen.target.as_str() {
        "/private" => Answer::text("new").header("Cache-Control", "private"),
        _ => keeps(Answer::text("new")),
    }))
    .await;
    let (address, way) = way(&redis).await;
    let there = configuration(&redis, &origin, "1s");
    let around = there.replace(&format!("unix:{}", redis.socket().display()), &format!("redis://{address}"));
    assert_ne!(around, there);
    let (one, other) = (Proxy::start(around).await, proxy(&redis, &origin).await);
    one.printed("redis: connected to").await;
    for (count, path) in ["/a", "/b", "/private"].into_iter().enumerate() {
        assert_eq!(one.get(path).await.expect(200).text(), "old");
        holds(&redis, 2 * (count + 1)).await;
        if path != "/private" {
            assert_eq!(other.get(path).await.expect(200).text(), "old");
        }
    }
    drop(way);
    one.printed("is away").await;
    one.command(["purge", "/a"]).await.expect(0);
    one.fetch(Request::post("/b", "x")).await.expect(200);
    assert_eq!(one.fetch(anew("/private")).await.expect(200).text(), "new");
    one.hang_up(there).await;
    until(&other, || Request::get("/a"), |answer| answer.text() == "new").await;
    within("the change to be told", async {
        while redis.cli(&["--raw", "KEYS", "*:cache:changed:*"]).trim().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It hears of its own purge as of those of others, and from then on believes what is there, but nothing that is older.
    until(&one, || Request::get("/a"), |answer| answer.text() == "new").await;
    for _ in 0..50 {
        assert_eq!(one.get("/private").await.expect(200).text(), "new");
    }
}
