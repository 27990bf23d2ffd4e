//! The cache's rules, its bounds, and what becomes of it in a reload.

use testkit::{Answer, Connection, Origin, Proxy, Request};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::{BOTH, route},
};

#[tokio::test]
async fn rules_say_for_how_long_where_the_origin_does_not() {
    let (origin, proxy) = caching(
        "cache = { ttl = \"1m\", status = { 404 = \"1m\" }, bypass = [\"cookie:session\", \"query:debug\"], vary = \"X-Plan\", key = [\"path\", \"query:page\"], max_object = \"1KiB\" }",
        counting(|seen, n| match seen.target.split('?').next() {
            Some("/large") => Answer::text("x".repeat(2000)),
            Some("/unmeasured") => Answer::status(200).chunk("x".repeat(600)).chunk("x".repeat(600)),
            Some("/missing") => Answer::status(404).body("none"),
            Some("/broken") => Answer::status(500).body("broken"),
            _ => numbered(n),
        }),
    )
    .await;
    let hit = |request: Request| async { status(&proxy.fetch(request).await).contains("hit") };
    for (path, kept) in [("/", true), ("/missing", true), ("/broken", false), ("/large", false), ("/unmeasured", false)]
    {
        assert!(!hit(Request::get(path)).await, "{path}");
        assert_eq!(hit(Request::get(path)).await, kept, "{path}");
    }
    assert!(!hit(Request::get("/").header("Cookie", "a=1; session=x")).await);
    assert!(!hit(Request::get("/?debug")).await);
    assert!(!hit(Request::get("/").header("X-Plan", "pro")).await);
    let pro = proxy.fetch(Request::get("/").header("X-Plan", "pro")).await;
    assert!(status(&pro).contains("hit") && pro.headers.all("vary").contains(&"x-plan"), "{:?}", pro.headers);
    // What is not part of the key does not reach the origin.
    let before = origin.requests().len();
    assert!(!hit(Request::get("/list?utm=1&page=2")).await);
    assert!(hit(Request::get("/list?page=2&other=3")).await);
    assert_eq!(origin.nth(before).await.target, "/list?page=2");
}

#[tokio::test]
async fn what_is_forbidden_stays_so_when_rules_override() {
    let (_origin, proxy) = caching("cache = { ttl = \"1m\", override = true }", |seen| match seen.target.as_str() {
        "/short" => Answer::text("x").header("Cache-Control", "max-age=0"),
        _ => Answer::text("x").header("Cache-Control", "no-store"),
    })
    .await;
    for path in ["/short", "/never"] {
        proxy.get(path).await.expect(200);
    }
    assert!(status(&proxy.get("/short").await).contains("hit"));
    assert!(!status(&proxy.get("/never").await).contains("hit"));
}

#[tokio::test]
async fn a_kept_answer_is_compressed_for_who_asks() {
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let content = text.clone();
    let (origin, proxy) = caching("cache = \"1m\"\ncompress = true", move |_| {
        Answer::text(content.clone()).header("Vary", "Accept-Encoding")
    })
    .await;
    let url = format!("http://{}/", proxy.address());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert!(testkit::curl([version, "--compressed", &url]).await.ok() == text, "{version}");
        assert!(testkit::curl([version, &url]).await.ok() == text, "{version}");
    }
    assert_eq!(origin.requests().len(), 1, "the origin gave it once, as it is");
    assert_eq!(origin.request().await.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_large_answer_passes_without_being_held() {
    let length = 64 * 1024 * 1024;
    let (_origin, proxy) = caching("cache = \"1m\"", move |_| Answer::generated(length)).await;
    let answer = proxy.get("/").await.expect(200);
    assert_eq!(answer.body.length, length);
    assert!(answer.cut.is_none());
    assert!(status(&answer).contains("detail=too-large"), "{}", status(&answer));
}

#[tokio::test]
async fn memory_is_bounded() {
    let (_origin, proxy) =
        caching("cache = \"1m\"\n[cache]\nmemory = \"2MiB\"", |_| Answer::text("x".repeat(50_000))).await;
    let mut client = Connection::to(proxy.address()).await;
    for number in 0..200 {
        client.fetch(Request::get(&format!("/{number}"))).await.expect(200);
    }
    let bytes = proxy.metric("cache_bytes", &[("tier", "memory")]).await;
    assert!(bytes > 1_000_000.0 && bytes <= 2.0 * 1024.0 * 1024.0, "{bytes}");
    assert!(proxy.metric("cache_evictions_total", &[("tier", "memory")]).await > 100.0);
}

#[tokio::test]
async fn what_is_kept_survives_a_reload() {
    let origin = Origin::start(counting(|_, n| numbered(n))).await;
    let text = format!("{BOTH}{}", route(&origin, "cache = \"1m\""));
    let proxy = Proxy::start(&text).await;
    proxy.get("/").await.expect(200);
    proxy.hang_up(text.replace("1m", "2m")).await;
    assert!(status(&proxy.get("/").await).contains("hit"));
    proxy.hang_up(text.replace("cache = \"1m\"", "")).await;
    assert_eq!(proxy.get("/").await.text(), "answer 1", "a route that keeps nothing gives nothing");
    proxy.hang_up(&text).await;
    assert_eq!(proxy.get("/").await.text(), "answer 2", "and what it had is gone");
}

#[tokio::test]
async fn what_was_kept_under_another_key_is_not_found_though_its_values_are_the_same() {
    let origin = Origin::start(counting(|_, n| numbered(n))).await;
    let text = |lines: &str| format!("{BOTH}{}", route(&origin, &format!("cache = {{ ttl = \"1m\", {lines} }}")));
    let ask = || Request::get("/list?page=2&lang=2").header("X-A", "1").header("X-B", "1");
    let settings = [
        "key = [\"path\", \"query:page\"]",
        "key = [\"path\", \"query:lang\"]",
        "key = [\"path\", \"query:page\", \"query:lang\"]",
        "key = [\"path\", \"query:lang\", \"query:page\"]",
        "key = [\"path\", \"header:X-A\"]",
        "key = [\"path\", \"header:X-B\"]",
        "key = \"path\", vary = \"X-A\"",
        "key = \"path\", vary = \"X-B\"",
    ];
    let proxy = Proxy::start(text(settings[0])).await;
    for (number, setting) in settings.iter().enumerate() {
        if number > 0 {
            proxy.hang_up(text(setting)).await;
        }
        assert_eq!(proxy.fetch(ask()).await.expect(200).text(), format!("answer {number}"), "{setting}");
        assert!(status(&proxy.fetch(ask()).await).contains("hit"), "{setting}");
    }
    proxy.hang_up(text(settings[0])).await;
    assert_eq!(proxy.fetch(ask()).await.expect(200).text(), "answer 0", "with the old setting it comes back");
}

#[tokio::test]
async fn operators_purge_by_url_prefix_and_tag() {
    let (_origin, proxy) = caching(
        "cache = { ttl = \"1m\", stale = \"1m\", tags = \"Cache-Tag\" }",
        counting(|seen, n| {
            numbered(n).header("Cache-Tag", if seen.target.starts_with("/shop") { "shop, all" } else { "all" })
        }),
    )
    .await;
    let fill = async || {
        for path in ["/shop/1", "/shop/2?a=b", "/news"] {
            proxy.get(path).await.expect(200);
        }
    };
    let hits = async || {
        let mut hits = 0;
        for path in ["/shop/1", "/shop/2?a=b", "/news"] {
            hits += usize::from(status(&proxy.get(path).await).contains("hit"));
        }
        hits
    };
    for (arguments, told, left) in [
        (&["purge", "/news"][..], "1 answer purged", 2),
        (&["purge", "/shop/2"], "1 answer purged", 2),
        (&["purge", "/shop/*"], "2 answers purged", 1),
        (&["purge", "--tag", "shop"], "2 answers purged", 1),
        (&["purge", "--all"], "3 answers purged", 0),
        (&["purge", "http://elsewhere.example/*"], "0 answers purged", 3),
    ] {
        fill().await;
        let exit = proxy.command(arguments.iter().copied()).await.expect(0);
        assert_eq!(exit.stdout.trim(), told, "{arguments:?}");
        assert_eq!(hits().await, left, "{arguments:?}");
    }
    fill().await;
    assert_eq!(proxy.command(["purge", "--all", "--soft"]).await.expect(0).stdout.trim(), "3 answers made stale");
    let stale = proxy.get("/news").await.expect(200);
    assert!(status(&stale).contains("hit; ttl=-") || status(&stale).contains("hit; ttl=0"), "{}", status(&stale));
    proxy.command(["purge"]).await.expect(2);
    proxy.command(["purge", "news"]).await.expect(1);
    assert_eq!(proxy.admin("/api/v1/cache").await.expect(200).json()["entries"], 3);
}

#[tokio::test]
async fn each_side_of_a_split_has_answers_of_its_own() {
    let (one, other) = (Origin::text("one").await, Origin::text("other").await);
    let proxy = Proxy::start(format!(
        "[upstreams.one]\nbackends = \"{one}\"\n[upstreams.other]\nbackends = \"{other}\"\n\
         [routes.app]\npath = \"/*\"\nsplit = {{ one = 50, other = 50 }}\ncache = \"1m\"\n"
    ))
    .await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        seen.insert(proxy.get("/").await.expect(200).text());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
}

/// A path, the fields of what is there, and whether that is kept.
type Kept = (&'static str, &'static [(&'static str, &'static str)], bool);

#[tokio::test]
async fn operators_say_which_fields_are_for_this_cache_rfc_9213_2_2() {
    let cases: &[Kept] = &[
        ("/own", &[("Maitred-Cache-Control", "max-age=60"), ("CDN-Cache-Control", "no-store")], true),
        ("/own-forbids", &[("Maitred-Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")], false),
        ("/cdn", &[("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-store")], true),
        ("/broken", &[("Maitred-Cache-Control", "no-store, ="), ("CDN-Cache-Control", "max-age=60")], true),
        ("/empty", &[("Maitred-Cache-Control", ""), ("Cache-Control", "private")], false),
        ("/others", &[("Other-Cache-Control", "max-age=60"), ("Cache-Control", "no-store")], false),
        ("/none", &[("Cache-Control", "max-age=60")], true),
    ];
    let (origin, proxy) = caching(
        "cache = { targeted = [\"Maitred-Cache-Control\", \"CDN-Cache-Control\"] }\nresponse = { remove = \"Maitred-Cache-Control\" }",
        counting(move |seen, n| {
            if seen.header("if-none-match").is_some() {
                return Answer::status(304).header("ETag", "\"v\"");
            }
            let fields = cases.iter().find(|(path, ..)| *path == seen.target).map_or(&[][..], |(_, fields, _)| fields);
            let answer = fields.iter().fold(numbered(n), |answer, (name, value)| answer.header(name, *value));
            match seen.target.as_str() {
                "/again" => answer.header("ETag", "\"v\"").header("Maitred-Cache-Control", "max-age=60").header("Age", "100"),
                _ => answer,
            }
        }),
    )
    .await;
    for (path, _, kept) in cases {
        let first = proxy.get(path).await.expect(200);
        let second = proxy.get(path).await.expect(200);
        assert_eq!(status(&second).contains("hit"), *kept, "{path}");
        // Clients need not see them; what is kept has them.
        assert!([first, second].iter().all(|answer| answer.header("maitred-cache-control").is_none()), "{path}");
    }
    // What was kept is judged again by what it said itself, when a 304 says nothing of it.
    proxy.get("/again").await.expect(200);
    let before = origin.requests().len();
    assert_eq!(status(&proxy.get("/again").await), "maitred; fwd=stale; fwd-status=304; stored");
    assert!(status(&proxy.get("/again").await).contains("hit"), "fresh for the minute that it says");
    assert_eq!(origin.requests().len(), before + 1);
    for (wrong, told) in [("Cache-Control", "is for all caches"), ("a b", "is not a header name")] {
        let lines = format!("cache = {{ targeted = \"{wrong}\" }}");
        let refused = Proxy::with(format!("{BOTH}{}", route(&origin, &lines))).refused().await.expect(3);
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
}
