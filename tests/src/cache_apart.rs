//! What must not be mixed up: sites, callers, answers of before a change, and what is for one client alone.

use testkit::{Answer, Authority, Certificate, Connection, Gate, H2, Origin, Proxy, Request, Seen, maitred, within};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::route,
};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

#[tokio::test]
async fn a_host_with_another_port_is_another_site() {
    let echo = |seen: &Seen| keeps(Answer::text(seen.host().unwrap_or_default().to_owned()));
    let (origin, proxy) = caching("cache = true", echo).await;
    for host in ["shop.test:1337", "shop.test", "SHOP.test:80", "shop.test:1337"] {
        let h1 = proxy.fetch(Request::get("/").host(host)).await.expect(200).text();
        let h2 = proxy.h2c().await.fetch(Request::get("/").host(host)).await.expect(200).text();
        let port = |host: &str| host.ends_with(":1337");
        assert_eq!((port(&h1), port(&h2)), (port(host), port(host)), "{host}: {h1} {h2}");
    }
    assert_eq!(origin.requests().len(), 2, "the usual port goes without saying");
}

#[tokio::test]
async fn what_a_trusted_proxy_tells_to_be_the_host_has_answers_of_its_own() {
    let origin =
        Origin::start(|seen| keeps(Answer::text(seen.header("x-forwarded-host").unwrap_or_default().to_owned()))).await;
    let listener = "[admin]\naddress = \"127.0.0.1:0\"\n[listeners.main]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = \"127.0.0.1\"\n";
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, "cache = true"))).await;
    for told in ["one.test", "other.test", "one.test"] {
        let asked = Request::get("/").host("front.test").header("X-Forwarded-Host", told);
        assert_eq!(proxy.fetch(asked).await.expect(200).text(), told);
    }
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_fetch_of_before_a_change_answers_nobody_who_comes_after_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |seen, n| match (seen.method.as_str(), n) {
        ("GET", 0) => keeps(numbered(n)).after(&held),
        _ => keeps(numbered(n)),
    });
    let (origin, proxy) = caching("cache = true", script).await;
    let mut first = Connection::to(proxy.address()).await;
    first.start(&Request::get("/a")).await;
    origin.request().await;
    proxy.fetch(Request::post("/a", "x")).await.expect(200);
    let mut second = Connection::to(proxy.address()).await;
    second.start(&Request::get("/a")).await;
    proxy.until_metric("http_requests_in_flight", &[("route", "app")], 2.0).await;
    gate.open();
    assert_eq!(first.answer("GET").await.text(), "answer 0");
    assert_eq!(second.answer("GET").await.text(), "answer 2", "it was asked for before the change");
}

#[tokio::test]
async fn an_origin_that_fails_is_asked_once_for_all_whom_a_stale_answer_does() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |_, n| match n {
        0 => numbered(n).header("Cache-Control", "max-age=0, stale-while-revalidate=600"),
        1 => Answer::status(503),
        _ => Answer::status(503).after(&held),
    });
    let (origin, proxy) = caching("cache = true", script).await;
    let stale = async || assert_eq!(proxy.get("/").await.expect(200).text(), "answer 0");
    stale().await;
    within("the third question", async {
        while origin.requests().len() < 3 {
            stale().await
        }
    })
    .await;
    for _ in 0..20 {
        stale().await;
    }
    assert_eq!(origin.requests().len(), 3, "the third one is under way");
    gate.open();
}

#[tokio::test]
async fn a_304_says_what_the_compressed_answer_would_rfc_9110_15_4_5() {
    let text = "compressible ".repeat(200);
    let script = move |seen: &Seen| match (seen.target.as_str(), seen.header("if-none-match")) {
        ("/passed", Some(_)) => Answer::status(304).header("ETag", "\"v\""),
        _ => Answer::text(text.clone()).header("ETag", "\"v\"").header("Cache-Control", "max-age=600"),
    };
    let (_origin, proxy) = caching("cache = { bypass = [\"header:X-Bypass\"] }\ncompress = true", script).await;
    for path in ["/kept", "/passed"] {
        let request = |coding: &str| {
            let asked = Request::get(path).header("Accept-Encoding", coding);
            if path == "/passed" { asked.header("X-Bypass", "1") } else { asked }
        };
        let said = |answer: &testkit::Response| {
            (answer.header("etag").map(str::to_owned), answer.headers.all("vary").join(","))
        };
        let whole = proxy.fetch(request("gzip")).await.expect(200);
        assert_eq!(said(&whole), (Some("W/\"v\"".into()), "Accept-Encoding".into()), "{path}");
        let same = proxy.fetch(request("gzip").header("If-None-Match", "W/\"v\"")).await.expect(304);
        assert_eq!(said(&same), said(&whole), "{path}");
        let plain = proxy.fetch(request("identity").header("If-None-Match", "\"v\"")).await.expect(304);
        assert_eq!(plain.header("etag"), Some("\"v\""), "{path}");
    }
}

#[tokio::test]
async fn a_field_that_is_for_one_client_reaches_that_one_rfc_9111_5_2_2_7() {
    let script =
        |_: &Seen| Answer::text("x").header("Cache-Control", "max-age=600, private=\"X-Own\"").header("X-Own", "1");
    let (origin, proxy) = caching("cache = true", script).await;
    let first = proxy.get("/").await.expect(200);
    assert_eq!(first.header("x-own"), Some("1"));
    let second = proxy.get("/").await.expect(200);
    assert!(status(&second).contains("hit"));
    assert_eq!(second.header("x-own"), None);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_cookie_of_a_304_that_is_for_one_client_reaches_that_one() {
    let script = counting(|_, n| match n {
        0 => numbered(n).header("Cache-Control", "max-age=1").header("Age", "5").header("ETag", "\"v\""),
        _ => Answer::status(304)
            .header("Cache-Control", "max-age=600, private=\"set-cookie\"")
            .header("ETag", "\"v\"")
            .header("Set-Cookie", "s=1"),
    });
    let (origin, proxy) = caching("cache = true", script).await;
    for (is_new, cookie) in [(true, None), (true, Some("s=1")), (false, None)] {
        let answer = proxy.get("/").await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("set-cookie")), ("answer 0", cookie));
        assert_eq!(!status(&answer).contains("; hit"), is_new, "{}", status(&answer));
    }
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn parameters_in_another_order_are_the_same_and_some_tell_nothing_apart() {
    let echo = |seen: &Seen| keeps(Answer::text(seen.target.clone()));
    let key = "cache = { key = [\"path\", \"query:!utm_*\", \"query:!gclid\"] }";
    let (origin, proxy) = caching(key, echo).await;
    for (asked, sent) in [
        ("/a?b=2&a=1", "/a?a=1&b=2"),
        ("/a?utm_source=x&a=1&gclid=7&b=2", "/a?a=1&b=2"),
        ("/a?a=1&&b=2&utm_medium", "/a?a=1&b=2"),
        ("/a?a=2&b=2&a=1", "/a?a=2&a=1&b=2"),
        ("/a?utm_source=x", "/a"),
        ("/a", "/a"),
    ] {
        assert_eq!(proxy.get(asked).await.expect(200).text(), sent, "{asked}");
    }
    assert_eq!(origin.requests().len(), 3);
    let both = "[routes.app]\npath = \"/*\"\nupstream = \"http://a\"\ncache = { key = [\"path\", \"query:*\", \"query:a\"] }\n";
    let refused = Proxy::with(both).refused().await.expect(3);
    assert!(refused.stderr.contains("cannot both tell answers apart"), "{}", refused.stderr);
}

/// A listener that asks for certificates, two routes that keep answers, and whom the origin answers for.
async fn by_certificate() -> (Authority, Authority, Origin, Proxy) {
    let (servers, clients) = (Authority::new(), Authority::new());
    let origin = Origin::start(|seen| {
        let answer = keeps(Answer::text(seen.header("client-cert").unwrap_or("nobody").to_owned()));
        if seen.target.ends_with("vary") { answer.header("Vary", "Client-Cert") } else { answer }
    })
    .await;
    let Certificate { cert_file, key_file, .. } = servers.issue(&["localhost"]);
    let proxy = Proxy::start(format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
         client_ca = {:?}\nclient_auth = \"optional\"\n\
         [routes.hidden]\npath = \"/hidden/*\"\nupstream = \"{origin}\"\ncache = true\n\
         request = {{ remove = \"Client-Cert\" }}\n{}",
        clients.file(),
        route(&origin, "cache = true"),
    ))
    .await;
    (servers, clients, origin, proxy)
}

#[tokio::test]
async fn each_certificate_that_the_origin_is_told_has_answers_of_its_own() {
    let (servers, clients, origin, proxy) = by_certificate().await;
    let (one, other) = (clients.issue(&["one.example"]), clients.issue(&["other.example"]));
    let client = |certificate: Option<&Certificate>| {
        let client = servers.client();
        certificate.map_or_else(|| servers.client(), |own| client.identity(own.clone()))
    };
    let told = |certificate: &Certificate| {
        let body: String = certificate.pem().0.lines().filter(|line| !line.starts_with("-----")).collect();
        format!(":{body}:")
    };
    for target in ["/a", "/vary"] {
        let before = origin.requests().len();
        for certificate in [Some(&one), Some(&other), None, Some(&one), None, Some(&other)] {
            let expected = certificate.map_or_else(|| "nobody".to_owned(), told);
            let h1 = client(certificate).connect(proxy.address()).await;
            let h1 = Connection::over(h1, "localhost").fetch(Request::get(target)).await.expect(200);
            let h2 = client(certificate).alpn(&["h2"]).connect(proxy.address()).await;
            let h2 = H2::over(h2, "localhost").await.fetch(Request::get(target)).await.expect(200);
            assert_eq!((h1.text(), h2.text()), (expected.clone(), expected), "{target}");
            assert!(status(&h2).starts_with("maitred; hit"), "{}", status(&h2));
        }
        assert_eq!(origin.requests().len() - before, 3, "{target}: once for each certificate, and once for none");
    }
    // Where the origin is not told it one answer does for all.
    let before = origin.requests().len();
    for certificate in [Some(&one), Some(&other), None] {
        let stream = client(certificate).connect(proxy.address()).await;
        let answer = Connection::over(stream, "localhost").fetch(Request::get("/hidden/a")).await.expect(200);
        assert_eq!(answer.text(), "nobody");
    }
    assert_eq!(origin.requests().len() - before, 1);
    for (target, counts) in [("/a", true), ("/hidden/a", false)] {
        let told = maitred(proxy.folder(), ["explain", target, "-c", "maitred.toml"]).await.expect(0).stdout;
        assert_eq!(told.contains("no client certificate"), counts, "{told}");
    }
}
