//! Clients that stay at the backend that answered them first.

use std::collections::BTreeMap;

use testkit::{Answer, Authority, Gate, Origin, Proxy, Request, Response, TlsClient, within};

use crate::setting::{BOTH, until_under_way};

fn text(origins: &[Origin], lines: &str) -> String {
    let list: Vec<String> = origins.iter().map(|origin| format!("\"{origin}\"")).collect();
    format!("{BOTH}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes]\n\"/*\" = \"app\"\n", list.join(", "))
}

async fn three() -> Vec<Origin> {
    vec![Origin::text("a").await, Origin::text("b").await, Origin::text("c").await]
}

/// What a browser sends back of what it was given.
fn given(answer: &Response) -> String {
    answer.header("set-cookie").expect("a client that is new is given a cookie").split(';').next().unwrap().to_owned()
}

fn again(cookie: &str) -> Request {
    Request::get("/").header("Cookie", &format!("x=y; {cookie}; z=1"))
}

/// A cookie for each backend, by what it answers.
async fn one_of_each(proxy: &Proxy, count: usize) -> BTreeMap<String, String> {
    let mut cookies = BTreeMap::new();
    while cookies.len() < count {
        let answer = proxy.get("/").await.expect(200);
        cookies.insert(answer.text(), given(&answer));
    }
    cookies
}

async fn stays(proxy: &Proxy, cookies: &BTreeMap<String, String>) {
    for h2 in [false, true] {
        for (home, cookie) in cookies.iter().chain(cookies) {
            let request = again(cookie);
            let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
            let answer = answer.expect(200);
            assert_eq!((&answer.text(), answer.header("set-cookie")), (home, None));
        }
    }
}

#[tokio::test]
async fn a_client_stays_over_reload_and_upgrade() {
    let origins = three().await;
    let mut proxy = Proxy::start(text(&origins, "sticky = \"cookie:at\"")).await;
    let cookies = one_of_each(&proxy, 3).await;
    for (cookie, origin) in cookies.values().zip(&origins) {
        assert!(cookie.starts_with("at=") && !cookie.contains(&origin.port().to_string()), "{cookie}");
    }
    stays(&proxy, &cookies).await;
    proxy.configure(text(&origins, "sticky = \"cookie:at\"\ntimeout = \"7s\""));
    proxy.command(["reload"]).await.expect(0);
    stays(&proxy, &cookies).await;
    proxy.upgrade(&[]).await;
    stays(&proxy, &cookies).await;
}

#[tokio::test]
async fn a_cookie_that_was_made_up_leads_nowhere() {
    let origins = three().await;
    let proxy = Proxy::start(text(&origins, "sticky = \"cookie:at\"")).await;
    let real = given(&proxy.get("/").await);
    let port = origins[0].port();
    let wrong = format!("at={}", if real.ends_with('0') { "1" } else { "0" }.repeat(32));
    for made_up in [&*wrong, "at=", "at=+0000000000000000000000000000001", &*format!("at=127.0.0.1:{port}"), "at=é"] {
        let mut seen = BTreeMap::new();
        for _ in 0..6 {
            let answer = proxy.fetch(again(made_up)).await.expect(200);
            *seen.entry(answer.text()).or_insert(0) += 1;
            given(&answer);
        }
        assert_eq!(seen.values().collect::<Vec<_>>(), [&2, &2, &2], "{made_up} is as good as none: {seen:?}");
    }
}

#[tokio::test]
async fn the_cookie_is_as_configured_and_two_proxies_with_one_secret_know_it() {
    let origins = three().await;
    let lines = "sticky = { cookie = \"at\", secret = \"a secret of many bytes\", max_age = \"8h\", path = \"/\", \
                 same_site = \"strict\" }";
    let proxy = Proxy::start(text(&origins, lines)).await;
    let answer = proxy.get("/").await;
    let field = answer.header("set-cookie").unwrap();
    assert!(field.ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict"), "{field}");
    let cookies = one_of_each(&proxy, 3).await;
    let other = Proxy::start(text(&origins, lines)).await;
    stays(&other, &cookies).await;
    let stranger = Proxy::start(text(&origins, &lines.replace("many", "other"))).await;
    given(&stranger.fetch(again(&cookies["a"])).await);
    let shown = proxy.command(["show"]).await.expect(0).stdout;
    assert!(!shown.contains("many bytes"), "{shown}");
}

#[tokio::test]
async fn over_tls_it_is_secure() {
    let (authority, origin) = (Authority::new(), Origin::text("a").await);
    let (cert, key) = authority.issue(&["localhost"]).pem();
    let listener = "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let origins = [origin];
    let text = text(&origins, "sticky = \"cookie:at\"").replace(BOTH, listener);
    let proxy = Proxy::with(text).file("cert.pem", &cert).file("key.pem", &key).start().await;
    let client: TlsClient = authority.client();
    let stream = client.name("localhost").connect(proxy.address()).await;
    let answer =
        testkit::Connection::over(stream, "localhost").fetch(Request::get("/").host("localhost")).await.expect(200);
    assert!(answer.header("set-cookie").unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
}

#[tokio::test]
async fn a_client_moves_when_its_backend_is_gone_and_stays_where_it_went() {
    let mut origins = three().await;
    let proxy = Proxy::start(text(&origins, "sticky = \"cookie:at\"")).await;
    let cookies = one_of_each(&proxy, 3).await;
    let c = origins.remove(2);
    let (label, address) = (format!("app/{}", c.socket()), c.socket());
    // Who drains a backend lets those go on who are there.
    proxy.command(["backend", "drain", &label]).await.expect(0);
    stays(&proxy, &cookies).await;
    for _ in 0..6 {
        assert_ne!(proxy.get("/").await.expect(200).text(), "c");
    }
    proxy.command(["backend", "down", &label]).await.expect(0);
    let answer = proxy.fetch(again(&cookies["c"])).await.expect(200);
    let (moved, home) = (given(&answer), answer.text());
    assert_ne!(home, "c");
    proxy.command(["backend", "ready", &label]).await.expect(0);
    stays(&proxy, &BTreeMap::from([(home, moved), ("c".into(), cookies["c"].clone())])).await;
    c.stop().await;
    for _ in 0..3 {
        let answer = proxy.fetch(again(&cookies["c"])).await.expect(200);
        assert_ne!((answer.text().as_str(), answer.header("set-cookie")), ("c", None));
    }
    let back = Origin::builder().at(address).start(|_| Answer::text("c")).await;
    within("those of before to be back", async {
        while proxy.fetch(again(&cookies["c"])).await.expect(200).text() != "c" {}
    })
    .await;
    drop(back);
}

#[tokio::test]
async fn who_has_a_home_waits_for_it_and_goes_elsewhere_in_the_end() {
    let (gate, second, free) = (Gate::new(), Gate::new(), Origin::text("free").await);
    let (held, held_too) = (gate.clone(), second.clone());
    let busy = Origin::start(move |seen| match seen.target.as_str() {
        "/hold" => Answer::text("busy").after(&held),
        "/hold-too" => Answer::text("busy").after(&held_too),
        _ => Answer::text("busy"),
    })
    .await;
    let pool = |queue: &str| {
        format!("sticky = \"cookie:at\"\npool = {{ max_connections = 1, queue = \"{queue}\" }}\ntimeout = \"20s\"")
    };
    let origins = [busy, free];
    let proxy = Proxy::start(text(&origins, &pool("20s"))).await;
    let cookies = one_of_each(&proxy, 2).await;
    until_under_way(&proxy, 0).await;
    let hold = Request::get("/hold").header("Cookie", &cookies["busy"]);
    let mut holding = proxy.connect().await;
    holding.start(&hold).await;
    gate.reached().await;
    let mut waiting = proxy.connect().await;
    waiting.start(&again(&cookies["busy"])).await;
    within("it to wait", async { while proxy.admin("/api/v1/status").await.json()["upstreams"][0]["waiting"] != 1 {} })
        .await;
    // A place elsewhere is not what it waits for.
    assert_eq!(proxy.get("/").await.expect(200).text(), "free");
    gate.open();
    assert_eq!(waiting.answer("GET").await.expect(200).text(), "busy");
    holding.answer("GET").await.expect(200);

    let impatient = Proxy::start(text(&origins, &pool("0s"))).await;
    let cookies = one_of_each(&impatient, 2).await;
    until_under_way(&impatient, 0).await;
    let mut holding = impatient.connect().await;
    holding.start(&Request::get("/hold-too").header("Cookie", &cookies["busy"])).await;
    second.reached().await;
    until_under_way(&impatient, 1).await;
    let answer = impatient.fetch(again(&cookies["busy"])).await.expect(200);
    assert_eq!((answer.text(), given(&answer)), ("free".into(), cookies["free"].clone()));
    second.open();
    holding.answer("GET").await.expect(200);
}

#[tokio::test]
async fn a_table_that_cannot_be_is_refused_with_every_mistake() {
    let origins = three().await;
    for (line, told) in [
        ("sticky = \"at\"", "`at` is nothing that a client is kept by"),
        ("sticky = \"cookie:a b\"", "`a b` is not the name of a cookie"),
        ("sticky = { max_age = \"1h\" }", "`sticky` does not name its cookie"),
        ("sticky = { cookie = \"at\", secret = \"short\" }", "the `secret` is shorter than 16 bytes"),
        ("sticky = { cookie = \"at\", path = \"x;y\" }", "`x;y` is not a path"),
        ("sticky = { cookie = \"at\", max_age = \"1ms\" }", "`max_age` is at least a second"),
    ] {
        let exit = Proxy::with(text(&origins, line)).refused().await;
        assert!(exit.stderr.contains(told), "{}", exit.stderr);
    }
}
