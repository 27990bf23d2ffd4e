//! The cache told what to do: purged by method, by the origin's groups, by a changed route; compressed once.

use testkit::{Answer, Connection, Origin, Proxy, Request, Seen, within};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::{BOTH, route},
};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

#[tokio::test]
async fn purge_is_a_method_for_those_who_may() {
    let (origin, proxy) = caching("cache = { purge = \"127.0.0.0/8\" }", counting(|_, n| keeps(numbered(n)))).await;
    for path in ["/a", "/a?b", "/b"] {
        proxy.get(path).await.expect(200);
    }
    let purged = proxy.fetch(Request::new("PURGE", "/a?b")).await.expect(200);
    assert_eq!((purged.text().as_str(), purged.header("content-type")), ("{\"purged\":1}\n", Some("application/json")));
    assert!(status(&proxy.get("/a").await).contains("hit") && !status(&proxy.get("/a?b").await).contains("hit"));
    // Without a query all of them; over HTTP/2 as well.
    assert_eq!(proxy.h2c().await.fetch(Request::new("PURGE", "/a")).await.expect(200).text(), "{\"purged\":2}\n");
    assert_eq!(
        proxy.fetch(Request::new("PURGE", "/a").host("other.test")).await.expect(200).text(),
        "{\"purged\":0}\n"
    );
    assert!(!status(&proxy.get("/a").await).contains("hit") && status(&proxy.get("/b").await).contains("hit"));
    assert!(origin.requests().iter().all(|seen| seen.method != "PURGE"), "the origin hears nothing of it");
}

#[tokio::test]
async fn purging_what_a_client_asks_for_takes_what_it_would_get() {
    for (key, kept, purged, others) in [
        (
            "\"query:page\"",
            "/a?utm=1&page=2",
            &["/a?page=2", "/a?x=9&page=2", "/%61?page=2", "/b/..//a?page=2"][..],
            "/a?page=3",
        ),
        ("\"query:*\"", "/a?b=2&a=1", &["/a?b=2&a=1", "/a?a=1&b=2"], "/a?a=1"),
        ("\"query:!utm_*\"", "/a?utm_x=1&page=2", &["/a?page=2", "/a?page=2&utm_y=3"], "/a?page=2&more=1"),
        ("\"query\"", "/a?b=2&a=1", &["/a?b=2&a=1"], "/a?a=1&b=2"),
    ] {
        let lines = format!("cache = {{ key = [\"host\", \"path\", {key}], purge = \"127.0.0.0/8\" }}");
        let (_origin, proxy) = caching(&lines, counting(|_, n| keeps(numbered(n)))).await;
        let url = |path: &str| proxy.url(path).replace("http://", "https://");
        for (path, by_method) in purged.iter().flat_map(|path| [(path, true), (path, false)]) {
            for path in [kept, others] {
                proxy.get(path).await.expect(200);
            }
            if by_method {
                let told = proxy.fetch(Request::new("PURGE", path)).await.expect(200).text();
                assert_eq!(told, "{\"purged\":1}\n", "{key} {path}");
            } else {
                let told = proxy.command(["purge", &url(path)]).await.expect(0).stdout;
                assert_eq!(told, "1 answer purged\n", "{key} {path}: the scheme is not part of the key");
            }
            assert!(!status(&proxy.get(kept).await).contains("hit"), "{key} {path}");
            assert!(status(&proxy.get(others).await).contains("hit"), "{key} {path}");
        }
    }
}

#[tokio::test]
async fn nobody_purges_by_method_unless_it_is_written() {
    let (origin, proxy) = caching("cache = { purge = \"10.0.0.0/8\" }", |_| keeps(Answer::text("x"))).await;
    proxy.get("/a").await.expect(200);
    proxy.fetch(Request::new("PURGE", "/a")).await.expect_problem(403, "address_denied");
    assert!(status(&proxy.get("/a").await).contains("hit"));
    assert_eq!(origin.requests().len(), 1);
    let (origin, proxy) = caching("cache = true", |_| keeps(Answer::text("x"))).await;
    proxy.fetch(Request::new("PURGE", "/a")).await.expect(200);
    assert_eq!(origin.requests()[0].method, "PURGE", "it is a method like any other");
}

#[tokio::test]
async fn an_origin_invalidates_groups_rfc_9875_3() {
    let (_origin, proxy) = caching(
        "cache = true",
        counting(|seen: &Seen, n| match (seen.method.as_str(), seen.target.as_str()) {
            ("GET", "/news") => keeps(numbered(n)).header("Cache-Groups", "\"front\", \"news\""),
            ("GET", "/shop") => keeps(numbered(n)).header("Cache-Groups", "\"shop\""),
            // A safe method invalidates nothing.
            ("GET", "/safe") => numbered(n).header("Cache-Group-Invalidation", "\"shop\""),
            ("POST", "/failed") => Answer::status(500).header("Cache-Group-Invalidation", "\"shop\""),
            _ => numbered(n).header("Cache-Group-Invalidation", "\"news\", \"other\""),
        }),
    )
    .await;
    for path in ["/news", "/shop", "/safe"] {
        proxy.get(path).await.expect(200);
    }
    proxy.fetch(Request::post("/failed", "x")).await.expect(500);
    proxy.fetch(Request::post("/elsewhere", "x").host("other.test")).await.expect(200);
    assert!(status(&proxy.get("/news").await).contains("hit"), "groups are of one host");
    proxy.fetch(Request::post("/edit", "x")).await.expect(200);
    assert!(!status(&proxy.get("/news").await).contains("hit"));
    assert!(status(&proxy.get("/shop").await).contains("hit"));
    // What came in the very millisecond of the change does not count yet.
    let good = async { while !status(&proxy.get("/news").await).contains("hit") {} };
    within("what came since to be good", good).await;
}

#[tokio::test]
async fn answers_of_another_upstream_are_others() {
    let (one, other) =
        (Origin::start(|_| keeps(Answer::text("one"))).await, Origin::start(|_| keeps(Answer::text("other"))).await);
    let proxy = Proxy::start(format!("{BOTH}{}", route(&one, "cache = true"))).await;
    assert_eq!(proxy.get("/a").await.text(), "one");
    proxy.hang_up(format!("{BOTH}{}", route(&other, "cache = true"))).await;
    assert_eq!(proxy.get("/a").await.text(), "other");
    proxy.hang_up(format!("{BOTH}{}", route(&other, "cache = true\nrequest = { rewrite = \"/new{path}\" }"))).await;
    assert!(!status(&proxy.get("/a").await).contains("hit"), "the origin is asked for something else");
    // What comes back is found again.
    proxy.hang_up(format!("{BOTH}{}", route(&one, "cache = true"))).await;
    assert!(status(&proxy.get("/a").await).contains("hit"));
    assert_eq!((one.requests().len(), other.requests().len()), (1, 2));
}

#[tokio::test]
async fn what_tells_nothing_apart_cannot_change_what_others_get() {
    let names = ["X-Original-URL", "X-HTTP-Method-Override", "X-Method-Override", "X-Host"];
    let ask = |path: &str| names.iter().fold(Request::get(path), |request, name| request.header(name, "/evil"));
    let (origin, proxy) = caching("cache = { vary = \"X-Method-Override\" }", |_| keeps(Answer::text("x"))).await;
    proxy.fetch(ask("/a")).await.expect(200);
    let seen = &origin.requests()[0];
    assert_eq!(seen.header("x-method-override"), Some("/evil"), "it is part of the key");
    for name in ["x-original-url", "x-http-method-override", "x-host"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_304_does_not_bring_back_what_was_purged_before_the_origin_was_asked() {
    let lines = "cache = true\nretries = { on = [\"503\"], budget = \"100%\" }";
    let (origin, proxy) = caching(
        lines,
        counting(|seen, n| {
            let answer = match (n, seen.header("if-none-match")) {
                (0, _) => {
                    return numbered(0)
                        .header("Cache-Control", "max-age=60")
                        .header("Age", "70")
                        .header("ETag", "\"v\"");
                }
                (1, _) => return Answer::status(503).header("Retry-After", "1"),
                (_, Some(_)) => Answer::status(304),
                (n, None) => numbered(n),
            };
            answer.header("Cache-Control", "max-age=60").header("ETag", "\"v\"")
        }),
    )
    .await;
    proxy.get("/a").await.expect(200);
    let mut client = Connection::to(proxy.address()).await;
    client.start(&Request::get("/a")).await;
    // While it waits to ask once more.
    origin.nth(1).await;
    assert_eq!(proxy.command(["purge", "/a"]).await.expect(0).stdout, "1 answer purged\n");
    assert_eq!(client.answer("GET").await.expect(200).text(), "answer 3");
    let asked: Vec<_> = origin.requests().iter().map(|seen| seen.header("if-none-match").is_some()).collect();
    assert_eq!(asked, [false, true, true, false]);
    let again = proxy.get("/a").await.expect(200);
    assert!(again.text() == "answer 3" && status(&again).contains("hit"), "{again:?}");
}

#[tokio::test]
async fn a_hot_answer_is_compressed_once() {
    let text = "all work and no play makes a dull proxy. ".repeat(5000);
    let body = text.clone();
    let (_origin, proxy) =
        caching("compress = true\ncache = true", move |_| keeps(Answer::text(body.clone())).header("ETag", "\"v\""))
            .await;
    let ask = |coding: &'static str| Request::get("/a").header("Accept-Encoding", coding);
    let first = proxy.fetch(ask("gzip")).await.expect(200);
    assert_eq!(first.headers.all("content-encoding"), ["gzip"]);
    let before = proxy.metric("cache_bytes", &[("tier", "memory")]).await;
    assert!(before > text.len() as f64 + first.body.length as f64, "both count: {before}");
    for _ in 0..2 {
        let again = proxy.fetch(ask("gzip")).await.expect(200);
        assert_eq!(again.body.start, first.body.start);
        // The length of what is there already can be told.
        assert_eq!(again.headers.all("content-length"), [first.body.length.to_string()]);
        assert_eq!(again.headers.all("etag"), ["W/\"v\""]);
        assert_eq!(again.headers.all("vary"), ["Accept-Encoding"]);
        assert!(again.headers.all("transfer-encoding").is_empty() && status(&again).contains("hit"));
    }
    let h2 = proxy.h2c().await.fetch(ask("gzip")).await.expect(200);
    assert_eq!(h2.body.start, first.body.start);
    assert_eq!(h2.headers.all("content-length"), [first.body.length.to_string()]);
    let head = proxy.fetch(Request::new("HEAD", "/a").header("Accept-Encoding", "gzip")).await.expect(200);
    assert_eq!(head.headers.all("content-encoding"), ["gzip"]);
    // Another coding is another copy; a part, and who takes none, get it as it is.
    assert_eq!(proxy.fetch(ask("zstd")).await.headers.all("content-encoding"), ["zstd"]);
    assert!(proxy.fetch(ask("zstd")).await.header("content-length").is_some());
    assert_eq!(proxy.get("/a").await.expect(200).text(), text);
    let part = proxy.fetch(ask("gzip").header("Range", "bytes=0-9")).await.expect(206);
    assert_eq!(part.text(), text[..10]);
    assert_eq!(proxy.command(["purge", "/a"]).await.expect(0).stdout, "1 answer purged\n");
    assert_eq!(proxy.metric("cache_bytes", &[("tier", "memory")]).await, 0.0, "all copies are gone");
}

#[tokio::test]
async fn explain_says_under_which_key_and_what_would_happen() {
    let (origin, proxy) = caching(
        "cache = { key = [\"host\", \"path\", \"query:page\"], bypass = \"cookie:session\" }",
        counting(|seen, n| match seen.target.as_str() {
            "/stale" => numbered(n).header("Cache-Control", "max-age=0, stale-while-revalidate=600"),
            "/old" => numbered(n).header("Cache-Control", "max-age=0").header("ETag", "\"v\""),
            "/varies" => keeps(numbered(n)).header("Vary", "X-Plan"),
            _ => keeps(numbered(n)),
        }),
    )
    .await;
    let explain = async |request: &[&str], path: &str| {
        let url = proxy.url(path);
        let words = ["explain", "--live"].iter().chain(request).copied().chain([url.as_str()]);
        let told = proxy.command(words).await.expect(0).stdout;
        told.lines().find(|line| line.contains(" kept ")).unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    let host = proxy.url("").replace("http://", "");
    let miss = explain(&[], "/a?page=2&x=1").await;
    let key = format!("key host {host:?} + path \"/a\" + query:page \"2\"; ");
    assert!(miss.contains(&key) && miss.ends_with("a miss: the origin is asked"), "{miss}");
    assert!(origin.requests().is_empty(), "nobody is asked");
    for path in ["/a?page=2", "/stale", "/old", "/varies"] {
        proxy.get(path).await.expect(200);
    }
    let asked = origin.requests().len();
    for (request, path, what) in [
        (&[][..], "/a?page=2&y=3", "a hit, fresh for "),
        (&["-H", "Cache-Control: no-cache"], "/a?page=2", "kept, but the request wants the origin to be asked"),
        (&["-H", "Cookie: session=1"], "/a?page=2", "its answer not kept: `bypass` says so"),
        (&["POST"], "/a", "only GET and HEAD are answered from the cache"),
        (&[], "/stale", "and asked for anew in the background"),
        (&[], "/old", "the origin is asked whether it has changed"),
        (&["-H", "X-Plan: pro"], "/varies", "a miss: what is kept is for other requests (`Vary`)"),
    ] {
        let told = explain(request, path).await;
        assert!(told.contains(what), "{path}: {told}");
    }
    assert_eq!(origin.requests().len(), asked, "and nobody is asked still");
    // The file alone knows the key, and nothing of what is kept.
    let told = proxy.command(["explain", &proxy.url("/a?page=2")]).await.expect(0).stdout;
    let line = told.lines().find(|line| line.contains(" kept ")).unwrap();
    assert!(line.ends_with("query:page \"2\""), "{line}");
}
