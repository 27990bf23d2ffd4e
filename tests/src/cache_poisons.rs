//! What one client says must not be what all others get: cookies beside others, fields that never reach the origin, fields
//! that maitred writes itself, and what trusted proxies pass on.

use testkit::{Answer, Origin, Proxy, Request, Seen};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::{BOTH, TRUSTING, route},
};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

/// An answer that tells a field of its request.
fn told(seen: &Seen, name: &str) -> Answer {
    keeps(Answer::text(seen.header(name).unwrap_or("none").to_owned()))
}

#[tokio::test]
async fn a_cookie_counts_whatever_stands_beside_it_and_however_it_is_written() {
    let lines = "cache = { key = [\"path\", \"cookie:lang\"], bypass = \"cookie:session\" }";
    let (origin, proxy) = caching(lines, |seen| told(seen, "cookie")).await;
    let ask = |cookie: &str| match cookie {
        "none" => Request::get("/"),
        cookie => Request::get("/").header("Cookie", cookie),
    };
    for cookie in ["session=a; name=José", "name=José;session=a", "a=1; session =a", "session", "b=2;\tsession=\"a\""]
    {
        let own = proxy.fetch(ask(cookie)).await.expect(200);
        assert_eq!((own.text().as_str(), status(&own).as_str()), (cookie, "maitred; fwd=bypass"));
    }
    let mut before = origin.requests().len();
    let languages = [
        "lang=fr; x=é",
        "none",
        "lang =de",
        "lang=de",
        "lang=en; lang=it",
        "lang=it; lang=en",
        "lang=en",
        "lang=\"en\"",
    ];
    for round in ["first", "second"] {
        for cookie in languages {
            assert_eq!(proxy.fetch(ask(cookie)).await.expect(200).text(), cookie, "{round}");
        }
        assert_eq!(origin.requests().len() - before, if round == "first" { languages.len() } else { 0 });
        before = origin.requests().len();
    }
    assert_eq!(proxy.fetch(ask("a=1;  lang=fr")).await.expect(200).text(), "lang=fr; x=é", "others do not count");
}

#[tokio::test]
async fn a_field_that_connection_names_is_not_what_the_answer_is_kept_for_rfc_9110_7_6_1() {
    for (lines, name) in [("cache = true", "Accept-Language"), ("cache = { vary = \"X-Plan\" }", "X-Plan")] {
        let (origin, proxy) = caching(lines, move |seen| told(seen, name).header("Vary", name)).await;
        let ask = || Request::get("/").header(name, "de");
        let withheld = proxy.fetch(ask().header("Connection", &format!("keep-alive, {name}"))).await.expect(200);
        assert_eq!((withheld.text().as_str(), status(&withheld).as_str()), ("none", "maitred; fwd=request"), "{name}");
        assert_eq!(proxy.fetch(ask()).await.expect(200).text(), "de");
        // What ends here in any case, or is not there, or is not for a connection to take away.
        for connection in ["keep-alive, TE", "close", "Keep-Alive, X-Absent", "Cookie", "HTTP2-Settings"] {
            let usual = ask().header("TE", "trailers").header("HTTP2-Settings", "AAMAAABk").header("Cookie", "a=1");
            let usual = proxy.fetch(usual.header("Connection", connection)).await.expect(200);
            assert!(status(&usual).contains("; hit"), "{connection}: {}", status(&usual));
        }
        assert_eq!(origin.requests().len(), 2);
    }
}

#[tokio::test]
async fn what_varies_by_what_the_origin_alone_is_told_is_not_kept() {
    let script = || |seen: &Seen| told(seen, &seen.target[1..]).header("Vary", &seen.target[1..]);
    let request = "request = { forwarded = true, remove = \"X-Forwarded-Port\", set = { X-Fixed = \"a\", \
                   X-Address = \"{client_ip}\", X-Language = \"{header.accept-language}\", X-Host = \"{host}\" } }";
    let (_origin, proxy) = caching(&format!("cache = true\n{request}"), script()).await;
    let origin = Origin::start(script()).await;
    let route = route(
        &origin,
        "cache = { key = \"path\", vary = \"Accept-Language\" }\nrequest = { forwarded = true, \
                       set = { X-Language = \"{header.accept-language}\", X-Host = \"{host}\" } }",
    );
    let loose = Proxy::start(format!("{TRUSTING}{route}")).await;
    for (name, here, there) in [
        ("X-Forwarded-For", false, false),
        ("Forwarded", false, false),
        ("X-Request-Id", false, false),
        ("traceparent", false, false),
        ("X-Forwarded-Proto", true, false),
        ("X-Forwarded-Host", true, false),
        ("X-Forwarded-Port", true, false),
        ("Host", true, false),
        ("X-Host", true, false),
        ("Client-Cert", true, true),
        ("Accept-Language", true, true),
        ("X-Language", false, true),
        ("X-Plan", true, true),
    ] {
        for (proxy, kept) in [(&proxy, here), (&loose, there)] {
            let path = format!("/{name}");
            let first = status(&proxy.get(&path).await.expect(200));
            let expected = if kept { "maitred; fwd=uri-miss; stored" } else { "maitred; fwd=uri-miss; detail=vary" };
            assert_eq!(first, expected, "{name}");
            assert_eq!(status(&proxy.get(&path).await.expect(200)).contains("; hit"), kept, "{name}");
        }
    }
    for (name, kept) in [("X-Fixed", true), ("X-Address", false)] {
        assert_eq!(status(&proxy.get(&format!("/{name}")).await).ends_with("stored"), kept, "{name}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_passes_on_cannot_change_what_others_get() {
    let names = ["X-Original-URL", "X-Rewrite-URL", "X-Host", "X-HTTP-Method-Override", "X_HTTP_Method_Override"];
    let keyed = ["X-Method-Override", "X-Original-Host"];
    let lines = "cache = { vary = \"X-Method-Override\", key = [\"path\", \"header:X-Original-Host\"] }";
    let origin = Origin::start(|_| keeps(Answer::text("x"))).await;
    for (listener, trusted) in [(BOTH, false), (TRUSTING, true)] {
        let proxy = Proxy::start(format!("{listener}{}", route(&origin, lines))).await;
        let before = origin.requests().len();
        let all = names.iter().chain(&keyed);
        proxy.fetch(all.fold(Request::get("/a"), |request, name| request.header(name, "/evil"))).await.expect(200);
        let seen = origin.nth(before).await;
        for name in names {
            assert_eq!(seen.header(name), None, "{name}");
        }
        assert_eq!(seen.header("x-method-override"), Some("/evil"), "it is part of the key");
        assert_eq!(seen.header("x-original-host"), trusted.then_some("/evil"), "it is part of the key");
    }
}

#[tokio::test]
async fn who_takes_no_coding_is_not_said_to_take_any_rfc_9110_12_5_3() {
    let script = || counting(|_, n| keeps(numbered(n)));
    let (origin, plain) = caching("cache = true", script()).await;
    let (other, compressing) = caching("cache = true\ncompress = true", script()).await;
    for (number, (sent, passed, asked)) in [
        (None, None, None),
        (Some("identity"), Some("identity"), Some("identity")),
        (Some("gzip;q=0"), Some("identity"), Some("identity")),
        (Some("deflate"), Some("identity"), Some("identity")),
        (Some("gzip, br;q=0.5"), Some("br, gzip"), Some("identity")),
    ]
    .into_iter()
    .enumerate()
    {
        for (proxy, origin, expected) in [(&plain, &origin, passed), (&compressing, &other, asked)] {
            let request = Request::get(&format!("/{number}"));
            let request = sent.into_iter().fold(request, |request, sent| request.header("Accept-Encoding", sent));
            proxy.fetch(request).await.expect(200);
            assert_eq!(origin.nth(number).await.header("accept-encoding"), expected, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn who_has_a_page_refused_has_it_refused_for_nobody_else() {
    let lines = "cache = { ttl = \"1m\", status = { 4xx = \"1m\", 403 = \"1m\" } }\nretries = 0";
    let (origin, proxy) = caching(lines, |seen| match seen.header("x-status") {
        Some(code) => Answer::status(code.parse().unwrap()),
        None => Answer::text("page"),
    })
    .await;
    let refused = |path: &str, code: &str| Request::get(path).header("X-Status", code);
    for (code, is_kept) in [("400", false), ("429", false), ("431", false), ("403", true), ("404", true), ("451", true)]
    {
        let path = format!("/{code}");
        proxy.fetch(refused(&path, code)).await.expect(code.parse().unwrap());
        let next = proxy.get(&path).await;
        assert_eq!((next.status == 200, status(&next).contains("; hit")), (!is_kept, is_kept), "{code}");
    }
    assert_eq!(origin.requests().len(), 9);
}

#[tokio::test]
async fn what_says_that_its_vary_is_not_to_be_used_again_is_given_to_nobody_else() {
    for directive in ["private", "no-cache"] {
        let said = format!("max-age=600, {directive}=\"vary\"");
        let own = move |seen: &Seen| {
            let user = seen.header("cookie").unwrap_or("nobody").to_owned();
            Answer::text(user).header("Cache-Control", said.clone()).header("Vary", "Cookie")
        };
        let (_origin, proxy) = caching("cache = true", own).await;
        let page = proxy.fetch(Request::get("/").header("Cookie", "user=a")).await.expect(200);
        assert!(status(&page).ends_with("detail=private"), "{}", status(&page));
        assert_eq!(proxy.get("/").await.expect(200).text(), "nobody", "{directive}");
        assert_eq!(proxy.fetch(Request::get("/").header("Cookie", "user=b")).await.text(), "user=b", "{directive}");
    }
}
