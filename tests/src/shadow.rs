//! `mode = "shadow"` on sizes and shapes: what would have been refused passes whole, and is told of once.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

use testkit::{Answer, Origin, Proxy, Request, maitred, pattern};

use crate::setting::{BOTH, route};

/// What `MAITRED_ENGINE` is for each engine.
const ENGINES: [&str; 2] = ["", "general"];

/// Longer than what an engine keeps to send it again, so that the rest goes by unkept.
const LARGE: u64 = 3 << 20;

async fn trying(engine: &str, origin: &Origin, lines: &str) -> Proxy {
    Proxy::with(format!("{BOTH}{}", route(origin, lines))).variable("MAITRED_ENGINE", engine).start().await
}

/// How often the metric has it that this would have been refused.
async fn counted(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("http_shadowed_total", &[("route", "app"), ("reason", reason)]).await
}

#[tokio::test]
async fn a_body_above_a_limit_in_shadow_passes_whole_and_is_told_of_once() {
    let (mut pieces, mut sent) = (Vec::new(), 0);
    while sent < LARGE {
        pieces.push(pattern(sent, LARGE - sent));
        sent += pieces[pieces.len() - 1].len() as u64;
    }
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
    for engine in ENGINES {
        for origin in [Origin::builder(), Origin::builder().h2c()] {
            let origin = origin.start(|_| Answer::text("well")).await;
            let proxy = trying(engine, &origin, "max_body = { size = \"1KiB\", mode = \"shadow\" }").await;
            let h2 = proxy.h2c().await;
            let announced = |path: &str| Request::new("POST", path).generated(LARGE);
            let unknown = |path: &str| Request::new("POST", path).chunks(&pieces);
            proxy.fetch(announced("/announced")).await.expect(200);
            proxy.fetch(unknown("/chunked")).await.expect(200);
            h2.fetch(announced("/h2")).await.expect(200);
            h2.fetch(unknown("/h2-unknown")).await.expect(200);
            for (index, path) in ["/announced", "/chunked", "/h2", "/h2-unknown"].into_iter().enumerate() {
                let body = origin.ended(index).await.body;
                let passed = (body.length, body.complete, body.is_pattern);
                assert_eq!(passed, (LARGE, true, true), "{engine:?}, {path}");
                let line = proxy.logged(path).await;
                let told = (&line["shadow"], &line["error"], &line["status"]);
                assert_eq!(
                    told,
                    (&"body_too_large".into(), &serde_json::Value::Null, &200.into()),
                    "{engine:?}, {path}"
                );
            }
            proxy.fetch(Request::new("POST", "/small").chunks(&[&[b'x'; 512], &[b'x'; 512]])).await.expect(200);
            assert!(proxy.logged("/small").await["shadow"].is_null(), "{engine:?}");
            assert_eq!(counted(&proxy, "body_too_large").await, 4.0, "{engine:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_sent_again_is_told_of_once() {
    for engine in ENGINES {
        let asked = AtomicUsize::new(0);
        let first_fails = move |_: &_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::status(503),
            _ => Answer::echo(),
        };
        let origin = Origin::start(first_fails).await;
        let lines = "max_body = { size = \"1KiB\", mode = \"shadow\" }\nretries = { attempts = 1, on = [\"503\"] }";
        let proxy = trying(engine, &origin, lines).await;
        let answer =
            proxy.fetch(Request::new("PUT", "/again").chunks(&[&[b'x'; 1000], &[b'x'; 1000]])).await.expect(200);
        assert_eq!((answer.json()["body_length"].as_u64(), origin.requests().len()), (Some(2000), 2), "{engine:?}");
        let line = proxy.logged("/again").await;
        assert_eq!((&line["shadow"], &line["attempts"]), (&"body_too_large".into(), &2.into()), "{engine:?}");
        assert_eq!(counted(&proxy, "body_too_large").await, 1.0, "{engine:?}");
    }
}

#[tokio::test]
async fn targets_fields_and_types_in_shadow_pass_and_the_first_is_told_of() {
    let lines = "max_url = { size = \"100B\", mode = \"shadow\" }\nmax_header = { size = \"1KiB\", mode = \"shadow\" }\n\
                 content_type = { allow = \"application/json\", mode = \"shadow\" }\nmax_body = \"10B\"";
    let long = format!("/long?{}", "x".repeat(10_000));
    for engine in ENGINES {
        let origin = Origin::echo().await;
        let proxy = trying(engine, &origin, lines).await;
        let h2 = proxy.h2c().await;
        let field = "x".repeat(2000);
        for (path, request, told) in [
            ("/long", Request::get(&long), "url_too_long"),
            ("/fields", Request::get("/fields").header("X-Long", &field), "header_too_large"),
            ("/type", Request::post("/type", "x").header("Content-Type", "text/plain"), "content_type_refused"),
            ("/untyped", Request::post("/untyped", "x"), "content_type_refused"),
            ("/both", Request::post("/both", "x").header("X-Long", &field), "header_too_large"),
            ("/well", Request::post("/well", "{}").header("Content-Type", "application/json"), ""),
        ] {
            proxy.fetch(request.clone()).await.expect(200);
            let shadow = proxy.logged(path).await["shadow"].clone();
            assert_eq!(shadow.as_str().unwrap_or_default(), told, "{engine:?}, {path}");
            h2.fetch(request).await.expect(200);
        }
        // What is not in shadow is kept to, and told of with what is.
        let both = Request::post("/refused", vec![b'x'; 11]).header("X-Long", &field);
        proxy.fetch(both).await.expect_problem(413, "body_too_large");
        let line = proxy.logged("/refused").await;
        let told = (&line["shadow"], &line["error"]);
        assert_eq!(told, (&"header_too_large".into(), &"body_too_large".into()), "{engine:?}");
        proxy.until_metric("http_shadowed_total", &[("reason", "header_too_large")], 5.0).await;
        proxy.until_metric("http_shadowed_total", &[("reason", "content_type_refused")], 4.0).await;
    }
}

#[tokio::test]
async fn what_a_listener_reads_at_all_is_a_limit_in_shadow_too() {
    let lines = "max_url = { size = \"100B\", mode = \"shadow\" }\nmax_header = { size = \"1KiB\", mode = \"shadow\" }";
    for engine in ENGINES {
        let origin = Origin::text("well").await;
        let proxy = trying(engine, &origin, lines).await;
        let target = |length: usize| Request::get(&format!("/{}", "a".repeat(length - 1)));
        let h2 = proxy.h2c().await;
        for (length, status) in [(63 << 10, 200), ((63 << 10) + 1, 414), (70 << 10, 414)] {
            assert_eq!(proxy.fetch(target(length)).await.status, status, "{engine:?}, {length}");
        }
        h2.fetch(target(63 << 10)).await.expect(200);
        h2.fetch(target((63 << 10) + 1)).await.expect_problem(414, "url_too_long");
        let fields =
            |count: usize| (1..count).fold(Request::get("/"), |request, n| request.header(&format!("X-{n}"), "x"));
        proxy.fetch(fields(100)).await.expect(200);
        proxy.fetch(fields(101)).await.expect_problem(431, "header_too_large");
        proxy
            .fetch(Request::get("/").header("X-Long", &"x".repeat(300 << 10)))
            .await
            .expect_problem(431, "header_too_large");
    }
}

#[tokio::test]
async fn what_is_unpacked_passes_as_long_as_it_is_no_bomb() {
    let gzip = |plain: &[u8]| {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        coder.write_all(plain).unwrap();
        coder.finish().unwrap()
    };
    let text: Vec<u8> = (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let packed = |path: &str, plain: &[u8]| Request::post(path, gzip(plain)).header("Content-Encoding", "gzip");
    for engine in ENGINES {
        let origin = Origin::echo().await;
        // It comes within the limit, and becomes longer.
        let lines = format!("decompress = true\nmax_body = {{ size = \"{}B\", mode = \"shadow\" }}", text.len() - 1);
        let proxy = trying(engine, &origin, &lines).await;
        let answer = proxy.fetch(packed("/text", &text)).await.expect(200);
        assert_eq!(answer.json()["body_length"], text.len(), "{engine:?}");
        assert_eq!(proxy.logged("/text").await["shadow"], "body_too_large", "{engine:?}");
        proxy.fetch(packed("/short", &text[1..])).await.expect(200);
        assert!(proxy.logged("/short").await["shadow"].is_null(), "{engine:?}");
        proxy.fetch(packed("/bomb", &vec![0; 64 << 20])).await.expect_problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_route_replaces_what_the_defaults_try_and_a_reload_begins_to_refuse() {
    let origin = Origin::text("well").await;
    let text = format!(
        "{BOTH}[defaults]\nupstream = \"{origin}\"\nmax_body = {{ size = \"1KiB\", mode = \"shadow\" }}\n\
         content_type = {{ allow = \"image/*\", mode = \"shadow\" }}\n\
         [routes.tried]\npath = \"/tried\"\n[routes.strict]\npath = \"/strict\"\nmax_body = \"1KiB\"\n\
         [routes.free]\npath = \"/free\"\nmax_body = false\ncontent_type = false\n"
    );
    let proxy = Proxy::start(&text).await;
    let large = |path: &str| Request::new("POST", path).generated(2000).header("Content-Type", "image/png");
    let typed = |path: &str| Request::post(path, "x").header("Content-Type", "text/plain");
    proxy.fetch(large("/tried")).await.expect(200);
    assert_eq!(proxy.logged("/tried").await["shadow"], "body_too_large");
    proxy.fetch(large("/strict")).await.expect_problem(413, "body_too_large");
    proxy.fetch(large("/free")).await.expect(200);
    assert!(proxy.logged("/free").await["shadow"].is_null());
    for path in ["/tried?2", "/strict?2", "/free?2"] {
        proxy.fetch(typed(path)).await.expect(200);
    }
    let shown = proxy.command(["show", "routes.tried"]).await.expect(0).stdout;
    assert!(shown.contains("{ size = \"1KiB\", mode = \"shadow\" }"), "{shown}");
    proxy.hang_up(text.replace("\"1KiB\", mode = \"shadow\"", "\"1KiB\", mode = \"enforce\"")).await;
    proxy.fetch(large("/tried")).await.expect_problem(413, "body_too_large");
    proxy.fetch(typed("/tried")).await.expect(200);
}

#[tokio::test]
async fn explain_says_what_would_be_refused() {
    let origin = Origin::text("well").await;
    let lines = "max_body = { size = \"1KiB\", mode = \"shadow\" }\nip = { deny = \"127.0.0.1\", mode = \"shadow\" }";
    let proxy = Proxy::start(format!("listen = \"127.0.0.1:0\"\n{}", route(&origin, lines))).await;
    let told = proxy.command(["explain", "POST", "/a", "-H", "Content-Length: 1025"]).await.expect(0).stdout;
    for said in ["would refuse with 403", "address_denied", "would refuse with 413", "body_too_large", "in shadow"] {
        assert!(told.contains(said), "{said}\n{told}");
    }
    assert!(told.contains("upstream"), "it goes on to the origin\n{told}");
    let told = proxy.command(["explain", "POST", "/a", "-H", "Content-Length: 1024"]).await.expect(0).stdout;
    assert!(told.contains("within the limits"), "{told}");
}

#[tokio::test]
async fn a_limit_of_the_upstream_in_shadow_is_told_of_by_who_waited_for_the_cache() {
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::text("kept").header("Cache-Control", "max-age=60")).await;
        let lines = "cache = true\nlimit = { requests = 1, window = \"1h\", key = \"upstream\", mode = \"shadow\" }";
        let proxy = trying(engine, &origin, lines).await;
        for path in ["/first", "/second"] {
            proxy.get(path).await.expect(200);
        }
        assert_eq!(proxy.logged("/second").await["shadow"], "limited", "{engine:?}");
        assert!(proxy.logged("/first").await["shadow"].is_null(), "{engine:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let starter = Proxy::with(
        "listen = \"127.0.0.1:0\"\n[routes.a]\npath = \"/a\"\nrespond = { status = 200 }\n\
         max_body = { mode = \"shadow\" }\nmax_header = { size = \"1GiB\", mode = \"shadow\" }\n\
         max_url = { size = 5 }\n[routes.b]\npath = \"/b\"\nrespond = { status = 200 }\n\
         max_body = { size = \"1MiB\", mode = \"shadwo\" }\nmax_url = { size = \"1KiB\", limit = 3 }\n\
         content_type = { allow = \"json\", mode = \"shadow\" }\n\
         [routes.c]\npath = \"/c\"\nrespond = { status = 200 }\nmax_header = { size = \"1GiB\" }\ncontent_type = { mode = \"shadow\" }\n",
    );
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0106]: `max_body` in `routes.a` has no `size`",
        "error[E0103]: `max_header` cannot be 1GiB",
        "error[E0104]: a size needs a unit",
        "error[E0108]: invalid value for `mode` in `routes.b.max_body`",
        "error[E0102]: unknown key `limit` in `routes.b.max_url`",
        "error[E0108]: \"json\" is not a type of content",
        "error[E0106]: `content_type` in `routes.c` has no `allow`",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}
