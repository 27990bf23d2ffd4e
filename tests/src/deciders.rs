//! Another service decides who may enter: what it is shown, what it says, and what becomes of it when it is away.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use testkit::{Address, Answer, Authority, Gate, Origin, Proxy, Request, Seen, maitred};

use crate::setting::BOTH;

/// A service that takes one token, knows a place that nobody may go to, and sends browsers to a login.
fn decide(seen: &Seen) -> Answer {
    let uri = seen.header("x-forwarded-uri").unwrap_or_default();
    if uri.starts_with("/secret") {
        return Answer::status(403).header("Content-Type", "text/plain").body("not there");
    }
    if uri.starts_with("/login") {
        return Answer::status(302).header("Location", "https://login.test/?rd=1").header("Set-Cookie", "csrf=1");
    }
    match seen.header("authorization") {
        Some("Bearer good") => Answer::status(200)
            .header("X-User", "ada")
            .header("X-Groups", "admin, staff")
            .header("X-Hidden", "no")
            .header("X-Level", "7"),
        _ => Answer::status(401).header("WWW-Authenticate", "Bearer realm=\"theirs\""),
    }
}

/// A proxy whose callers a service decides about, with these lines in the policy and in the route.
async fn decided(service: impl std::fmt::Display, policy: &str, route: &str) -> (Origin, Proxy) {
    let origin = Origin::start(|seen| {
        if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
    })
    .await;
    let text = format!(
        "{BOTH}[auth.external]\ntype = \"forward\"\nurl = \"{service}/check?a=1\"\n{policy}\n\
         [routes.app]\npath = \"/*\"\nauth = \"external\"\nupstream = \"{origin}\"\n{route}\n"
    );
    let proxy = Proxy::start(text).await;
    (origin, proxy)
}

const COPIED: &str = "copy = [\"X-User\", \"X-Groups\"]\nuser = \"X-User\"\nroles = \"X-Groups\"";

fn good(target: &str) -> Request {
    Request::get(target).header("Authorization", "Bearer good")
}

#[tokio::test]
async fn the_service_is_told_what_is_asked_for_and_its_word_reaches_the_origin() {
    let service = Origin::start(decide).await;
    let (_origin, proxy) = decided(&service, COPIED, "").await;
    let forged = Request::post("/a/%2e%2e/b?x=%2e", "body")
        .header("Authorization", "Bearer good")
        .header("X-User", "root")
        .header("x_groups", "root")
        .header("X-Forwarded-Uri", "/elsewhere")
        .header("X-Forwarded-Method", "GET")
        .header("X-Other", "1");
    let answer = proxy.fetch(forged.clone()).await.expect(200);
    assert_eq!(answer.seen_all("x-user"), ["ada"]);
    assert_eq!(answer.seen_all("x-groups"), ["admin, staff"]);
    let none: [&str; 0] = [];
    assert_eq!((answer.seen_all("x_groups"), answer.seen_all("x-hidden")), (vec![], vec![]));
    assert_eq!(answer.seen_all("authorization"), ["Bearer good"], "it is not for maitred, and so it stays");
    let seen = service.request().await;
    assert_eq!((&*seen.method, &*seen.target, seen.body.length), ("GET", "/check?a=1", 0));
    assert_eq!(seen.headers.all("x-forwarded-uri"), ["/b?x=%2e"]);
    assert_eq!(seen.headers.all("x-forwarded-method"), ["POST"]);
    assert_eq!(seen.headers.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.headers.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers.all("x-forwarded-host"), ["127.0.0.1"]);
    assert_eq!(seen.headers.all("x-other"), none);
    assert_eq!(seen.header("x-request-id"), answer.seen("x-request-id").as_deref());
    assert_eq!(seen.host(), Some(&*service.socket().to_string()));
    let line = proxy.logged("/b").await;
    assert_eq!((&line["auth"], &line["user"]), (&"external".into(), &"ada".into()));
    proxy.h2c().await.fetch(forged).await.expect(200);
    // Now and then Pingora's pool does not get hold of a connection that was given back a moment ago.
    assert!(service.connections() <= 2, "connections are kept");
}

#[tokio::test]
async fn its_refusal_is_what_the_client_gets() {
    let service = Origin::start(decide).await;
    let (origin, proxy) = decided(&service, COPIED, "").await;
    let h2 = proxy.h2c().await;
    for _ in 0..2 {
        let missing = proxy.get("/a").await.expect_problem(401, "auth_missing");
        assert_eq!(missing.headers.all("www-authenticate"), ["Bearer realm=\"theirs\""]);
        let wrong = Request::get("/a").header("Authorization", "Bearer bad");
        h2.fetch(wrong.clone()).await.expect_problem(401, "auth_invalid");
        proxy.fetch(wrong).await.expect_problem(401, "auth_invalid");
        let secret = proxy.fetch(good("/secret")).await.expect(403);
        assert_eq!((secret.text().as_str(), secret.header("content-type")), ("not there", Some("text/plain")));
        let login = h2.fetch(Request::get("/login")).await.expect(302);
        assert_eq!(login.header("location"), Some("https://login.test/?rd=1"));
        assert_eq!(login.header("set-cookie"), Some("csrf=1"));
    }
    assert_eq!(proxy.logged("/secret").await["error"], "forbidden");
    assert!(origin.requests().is_empty());
    // What it says of the caller can be required.
    let require = "require = { role = \"staff\", claims = { x-level = \"7\" } }";
    let (_origin, proxy) = decided(&service, "copy = \"X-Level\"\nroles = \"X-Groups\"", require).await;
    proxy.fetch(good("/a")).await.expect(200);
    let (_origin, proxy) = decided(&service, COPIED, "require = { role = \"owner\" }").await;
    proxy.fetch(good("/a")).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn an_upgrade_is_decided_about_as_well() {
    let service = Origin::start(decide).await;
    let (origin, proxy) = decided(&service, COPIED, "").await;
    for (field, status) in [("", 401), ("Authorization: Bearer bad\r\n", 401), ("Authorization: Bearer good\r\n", 101)]
    {
        let mut connection = proxy.connect().await;
        let head = format!(
            "GET /live HTTP/1.1\r\nHost: a\r\n{field}X-User: root\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.send(head).await;
        assert_eq!(connection.answer_head().await.0, status, "{field}");
    }
    let seen = origin.requests();
    assert_eq!((seen.len(), seen[0].headers.all("x-user")), (1, vec!["ada"]));
}

#[tokio::test]
async fn a_service_that_is_away_slow_or_mad_lets_nobody_in() {
    let unheard = async |service: String, policy: &str, name: &str| {
        let (origin, proxy) = decided(service, policy, "").await;
        let began = std::time::Instant::now();
        let refused = proxy.fetch(good("/a")).await.expect_problem(503, "auth_unavailable");
        assert_eq!(refused.header("www-authenticate"), None, "{name}");
        proxy.h2c().await.fetch(good("/a")).await.expect_problem(503, "auth_unavailable");
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{name}: {:?}", began.elapsed());
        assert!(origin.requests().is_empty(), "{name}");
        proxy.printed("the policy `external` cannot tell who calls: ").await;
        assert!(proxy.metric("auth_total", &[("auth", "external"), ("result", "error")]).await >= 2.0, "{name}");
    };
    unheard(format!("http://{}", Address::refusing()), "", "away").await;
    let slow = Origin::start(|_| Answer::hang()).await;
    unheard(slow.to_string(), "timeout = \"200ms\"", "slow").await;
    let stalled = Origin::start(|_| Answer::status(200).framing(testkit::Framing::Length(9)).hanging()).await;
    unheard(stalled.to_string(), "timeout = \"200ms\"", "stalled").await;
    let broken = Origin::start(|_| Answer::status(500)).await;
    unheard(broken.to_string(), "", "broken").await;
    let lost = Origin::start(|_| Answer::status(404)).await;
    unheard(lost.to_string(), "", "lost").await;
    let mad = Origin::raw(b"SSH-2.0-OpenSSH\r\n").await;
    unheard(mad.to_string(), "", "mad").await;
    let endless = Origin::start(|_| Answer::generated(1 << 30)).await;
    unheard(endless.to_string(), "", "endless").await;
    let closing = Origin::start(|_| Answer::hang().closing()).await;
    unheard(closing.to_string(), "", "closing").await;
    // Whoever shows nothing may pass only where that is what the service's silence would mean: it is not.
    let (_origin, proxy) = decided(broken, "mode = \"shadow\"", "").await;
    proxy.get("/a").await.expect(200);
    assert_eq!(proxy.logged("/a").await["shadow"], "auth_unavailable");
}

#[tokio::test]
async fn a_decision_is_believed_for_the_same_question_only() {
    let gate = Gate::new();
    let script = gate.clone();
    let service = Origin::start(move |seen| decide(seen).after(&script)).await;
    let (_origin, proxy) = decided(&service, &format!("{COPIED}\ncache = \"1m\""), "").await;
    // All who ask the same at the same time wait for one answer.
    let asking: Vec<_> = (0..8).map(|_| proxy.fetch(good("/a"))).collect();
    let asked = futures::future::join_all(asking);
    let opened = async {
        gate.reached().await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(asked, opened);
    for answer in answers {
        assert_eq!(answer.expect(200).seen_all("x-user"), ["ada"]);
    }
    let after = service.requests().len();
    assert!(after <= 2, "{after} questions for eight requests");
    proxy.fetch(good("/a")).await.expect(200);
    assert_eq!(service.requests().len(), after);
    // Another path, another method, another credential: another question. Refusals are asked about again.
    proxy.fetch(good("/b")).await.expect(200);
    proxy.fetch(Request::post("/a", "").header("Authorization", "Bearer good")).await.expect(200);
    proxy.fetch(good("/secret")).await.expect(403);
    proxy.fetch(good("/secret")).await.expect(403);
    proxy.fetch(Request::get("/a").header("Authorization", "Bearer bad")).await.expect(401);
    proxy.get("/a").await.expect(401);
    assert_eq!(service.requests().len(), after + 6);
    // What is believed outlives the service's absence, and nothing else does.
    drop(service);
    proxy.fetch(good("/a")).await.expect(200);
    proxy.fetch(good("/c")).await.expect_problem(503, "auth_unavailable");
}

#[tokio::test]
async fn a_refusal_is_for_the_one_who_was_refused() {
    let (gate, logins) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let script = gate.clone();
    let begin = move |_: &Seen| {
        let login = logins.fetch_add(1, Relaxed);
        let location = format!("https://login.test/?state={login}");
        Answer::status(302).header("Location", location).header("Set-Cookie", format!("csrf={login}")).after(&script)
    };
    let service = Origin::start(begin).await;
    let (_origin, proxy) = decided(&service, "cache = \"1m\"", "").await;
    let h2 = proxy.h2c().await;
    // All come without a cookie from one address: their questions are alike, and their logins are not.
    let asking = futures::future::join_all((0..4).map(|_| proxy.get("/a")));
    let streams = futures::future::join_all((0..4).map(|_| h2.fetch(Request::get("/a"))));
    let opened = async {
        gate.reached().await;
        gate.open();
    };
    let (one, other, ()) = tokio::join!(asking, streams, opened);
    let mut known = std::collections::BTreeSet::new();
    for answer in one.into_iter().chain(other) {
        let answer = answer.expect(302);
        let (location, cookie) = (answer.header("location").unwrap(), answer.header("set-cookie").unwrap());
        assert_eq!(location.split_once("state=").unwrap().1, cookie.split_once('=').unwrap().1);
        assert!(known.insert(cookie.to_owned()), "two clients were given {cookie}");
    }
}

#[tokio::test]
async fn it_goes_with_other_policies_and_over_tls() {
    let authority = Authority::new();
    let secure = Origin::builder().tls(authority.issue(&["localhost"])).start(decide).await;
    let service = format!("https://localhost:{}", secure.port());
    let ca = format!("ca = {:?}", authority.file());
    let (_origin, proxy) = decided(&service, &ca, "").await;
    proxy.fetch(good("/a")).await.expect(200);
    // A certificate of nobody that is trusted vouches for nothing.
    let (_origin, proxy) = decided(&service, "", "").await;
    proxy.fetch(good("/a")).await.expect_problem(503, "auth_unavailable");
    let plain = Origin::start(decide).await;
    let origin = Origin::echo().await;
    let text = format!(
        "{BOTH}[auth.external]\ntype = \"forward\"\nurl = \"{plain}/\"\ncopy = \"X-User\"\n\
         [auth.keys]\ntype = \"api_key\"\nkeys = \"keys.toml\"\n\
         [routes.free]\npath = \"/free/*\"\nauth = [\"external\", \"anonymous\"]\nupstream = \"{origin}\"\n\
         [routes.both]\npath = \"/*\"\nauth = [\"keys\", \"external\"]\nupstream = \"{origin}\"\n"
    );
    let starter = Proxy::with(text);
    let added = maitred(starter.folder(), ["key", "add", "acme", "--file", "keys.toml"]).await.expect(0);
    let proxy = starter.start().await;
    let free = proxy.fetch(Request::get("/free/a").header("X-User", "root")).await.expect(200);
    assert_eq!(free.seen("x-user"), None);
    proxy.fetch(Request::get("/free/a").header("Authorization", "Bearer bad")).await.expect(401);
    proxy.fetch(Request::get("/b").header("X-API-Key", added.stdout.trim())).await.expect(200);
    proxy.fetch(good("/b")).await.expect(200);
    let refused = proxy.get("/b").await.expect(401);
    let told = refused.headers.all("www-authenticate");
    assert_eq!(told, ["Bearer realm=\"theirs\"", "ApiKey realm=\"keys\""]);
}

#[tokio::test]
async fn another_service_is_asked_after_a_reload_and_explaining_asks_nobody() {
    let (one, two) = (Origin::start(decide).await, Origin::start(|_| Answer::status(403)).await);
    let origin = Origin::echo().await;
    let text = |service: &Origin| {
        format!(
            "{BOTH}[auth.external]\ntype = \"forward\"\nurl = \"{service}/\"\ncache = \"1h\"\n\
             [routes.app]\npath = \"/*\"\nauth = \"external\"\nupstream = \"{origin}\"\n"
        )
    };
    let proxy = Proxy::start(text(&one)).await;
    proxy.fetch(good("/a")).await.expect(200);
    proxy.hang_up(text(&two)).await;
    proxy.fetch(good("/a")).await.expect_problem(403, "forbidden");
    let before = (one.requests().len(), two.requests().len());
    let told = proxy.command(["explain", "/a"]).await.expect(0).stdout;
    assert!(told.contains("external would have to ask another service: refuses with 503"), "{told}");
    let posed = proxy.command(["explain", "/a", "--as", "ada"]).await.expect(0).stdout;
    assert!(posed.contains("external: user `ada`"), "{posed}");
    assert_eq!(before, (one.requests().len(), two.requests().len()));
}

#[tokio::test]
async fn policies_of_services_that_cannot_be_meant_are_refused() {
    let text = r#"
        listen = "127.0.0.1:0"
        [auth.nobody]
        type = "forward"
        [auth.odd]
        type = "forward"
        url = "ftp://authz/"
        send = ["X-Forwarded-Uri", "a b"]
        copy = ["Transfer-Encoding"]
        cache = "2h"
        timeout = "0s"
        hide_credentials = false
        client_id = "x"
        ca = "nowhere.pem"
        [auth.plain]
        type = "forward"
        url = "http://authz.test/"
        [auth.inspected]
        type = "introspection"
        url = "https://login.test/introspect"
        client_id = "maitred"
        copy = "X-User"
        [auth.unknown]
        type = "introspection"
        url = "https://user:password@login.test/introspect"
        cache = "100ms"
    "#;
    let starter = Proxy::with(text);
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0106]: the policy `nobody` does not say who is asked",
        "error[E0108]: nobody can be asked here",
        "error[E0108]: the client cannot fill this field",
        "error[E0108]: `a b` is not the name of a header field",
        "error[E0108]: `Transfer-Encoding` is not passed on",
        "error[E0103]: an answer cannot be believed for as long as this",
        "error[E0103]: a client would wait too long, or not at all",
        "error[E0107]: `hide_credentials` means nothing to `type = \"forward\"`",
        "error[E0107]: `client_id` means nothing to `type = \"forward\"`",
        "error[E0601]: cannot read `nowhere.pem`",
        "warning[W0701]: this service is asked unencrypted",
        "error[E0106]: `client_id` needs `client_secret`",
        "error[E0107]: `copy` means nothing to `type = \"introspection\"`",
        "credentials do not belong into a URL",
        "error[E0106]: the policy `unknown` does not say as whom it asks",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[tokio::test]
async fn no_method_is_named_beside_the_one_that_was_judged() {
    let service = Origin::start(decide).await;
    let forged = || good("/a").header("X-HTTP-Method-Override", "DELETE").header("x_http_method", "DELETE");
    for (require, told) in [("", 1), ("require = { method = { staff = [\"GET\"] } }", 0)] {
        let (_origin, proxy) = decided(&service, COPIED, require).await;
        for answer in [proxy.fetch(forged()).await.expect(200), proxy.h2c().await.fetch(forged()).await.expect(200)] {
            for name in ["x-http-method-override", "x_http_method"] {
                assert_eq!(answer.seen_all(name).len(), told, "{name} {require}");
            }
        }
    }
}
