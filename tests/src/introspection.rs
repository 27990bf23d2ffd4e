//! Tokens that only their issuer can read: it is asked, believed for a while, and never in the place of a refusal.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::{Answer, Gate, Origin, Proxy, Request, within};

use crate::setting::BOTH;

/// An issuer that says of every token what a test has it say.
struct Issuer {
    origin: Origin,
    says: Arc<Mutex<Value>>,
    gate: Gate,
}

impl Issuer {
    async fn start(says: Value) -> Self {
        let (says, gate) = (Arc::new(Mutex::new(says)), Gate::new());
        let (script, stop) = (says.clone(), gate.clone());
        let origin =
            Origin::start(move |_| Answer::text(script.lock().unwrap().to_string()).header("X-A", "b").after(&stop))
                .await;
        gate.open();
        Self { origin, says, gate }
    }

    fn say(&self, says: Value) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.origin.requests().len()
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn active() -> Value {
    json!({ "active": true, "sub": "u-19", "scope": "orders read", "aud": "api", "iss": "https://issuer.test",
            "exp": now() + 600, "client_id": "shop" })
}

async fn guarded(issuer: impl std::fmt::Display, policy: &str) -> (Origin, Proxy) {
    let origin = Origin::start(|seen| {
        if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
    })
    .await;
    let text = format!(
        "{BOTH}[auth.tokens]\ntype = \"introspection\"\nurl = \"{issuer}/introspect\"\nclient_id = \"mai tred\"\n\
         client_secret = \"${{SECRET}}\"\nforward = {{ sub = \"X-User\" }}\n{policy}\n\
         [routes.app]\npath = \"/*\"\nauth = \"tokens\"\nrequire = {{ scope = \"orders\" }}\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::with(text).variable("SECRET", "hush:hush").start().await;
    (origin, proxy)
}

fn bearer(token: &str) -> Request {
    Request::get("/a").header("Authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn the_issuer_is_asked_once_as_whom_it_knows() {
    let issuer = Issuer::start(active()).await;
    let (origin, proxy) = guarded(&issuer.origin, "audience = \"api\"\nissuer = \"https://issuer.test\"").await;
    let answer = proxy.fetch(bearer("t+1/2=").header("X-User", "root")).await.expect(200);
    assert_eq!((answer.seen_all("x-user"), answer.seen("authorization")), (vec!["u-19".to_owned()], None));
    let seen = issuer.origin.ended(0).await;
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/introspect"));
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen.body.text(), "token=t%2B1%2F2%3D&token_type_hint=access_token");
    // RFC 6749 section 2.3.1: each part is form-encoded before they are joined.
    assert_eq!(seen.header("authorization"), Some("Basic bWFpK3RyZWQ6aHVzaCUzQWh1c2g="));
    let h2 = proxy.h2c().await;
    for _ in 0..3 {
        proxy.fetch(bearer("t+1/2=")).await.expect(200);
        h2.fetch(bearer("t+1/2=")).await.expect(200);
    }
    let mut upgrade = proxy.connect().await;
    let head = "GET /live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t+1/2=\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    upgrade.send(head).await;
    assert_eq!(upgrade.answer_head().await.0, 101);
    assert_eq!(issuer.asked(), 1);
    assert_eq!(origin.requests().last().unwrap().header("x-user"), Some("u-19"));
    proxy.get("/nobody").await.expect_problem(401, "auth_missing");
    assert_eq!(issuer.asked(), 1, "whoever shows nothing is not asked about");
    assert_eq!(proxy.logged("/a").await["user"], "u-19");
    let shown = proxy.command(["show", "auth"]).await;
    assert!(!shown.stdout.contains("hush") && !proxy.lines().iter().any(|line| line.contains("hush")));
}

#[tokio::test]
async fn a_token_may_come_in_the_cookie_that_is_named() {
    let issuer = Issuer::start(active()).await;
    let (_origin, proxy) = guarded(&issuer.origin, "cookie = \"token\"").await;
    let answer = proxy.fetch(Request::get("/a").header("Cookie", "a=1; token=opaque-1")).await.expect(200);
    assert_eq!(answer.seen_all("cookie"), ["a=1"]);
    assert_eq!(issuer.asked(), 1);
    let twice = Request::get("/a").header("Cookie", "token=opaque-1; token=opaque-2");
    proxy.fetch(twice).await.expect_problem(401, "auth_invalid");
    assert_eq!(issuer.asked(), 1, "nobody is asked about one of two");
}

#[tokio::test]
async fn clients_are_told_where_it_is_written_how_tokens_are_had_rfc_9728_5_1() {
    let issuer = Issuer::start(active()).await;
    let url = "http://localhost:8080/.well-known/oauth-protected-resource";
    let (_origin, proxy) = guarded(&issuer.origin, &format!("resource_metadata = \"{url}\"")).await;
    let told = proxy.get("/a").await.expect(401).headers.all("www-authenticate").join("|");
    assert_eq!(told, format!("Bearer realm=\"tokens\", resource_metadata=\"{url}\""));
}

#[tokio::test]
async fn whatever_is_not_plainly_good_is_refused() {
    let issuer = Issuer::start(active()).await;
    let (origin, proxy) = guarded(&issuer.origin, "audience = \"api\"\nissuer = \"https://issuer.test\"").await;
    let with = |name: &str, value: Value| {
        let mut claims = active();
        claims[name] = value;
        claims
    };
    let refused = [
        ("inactive", json!({ "active": false }), "auth_invalid"),
        ("a word", with("active", json!("true")), "auth_invalid"),
        ("a number", with("active", json!(1)), "auth_invalid"),
        ("nothing", json!({}), "auth_invalid"),
        ("over", with("exp", json!(now() - 600)), "auth_expired"),
        ("no time", with("exp", json!("tomorrow")), "auth_invalid"),
        ("too early", with("nbf", json!(now() + 600)), "auth_invalid"),
        ("for another", with("aud", json!("other")), "auth_invalid"),
        ("for nobody", with("aud", Value::Null), "auth_invalid"),
        ("by another", with("iss", json!("https://evil.test")), "auth_invalid"),
        ("nobody's", with("sub", json!(["a"])), "auth_invalid"),
    ];
    for (index, (what, says, reason)) in refused.into_iter().enumerate() {
        issuer.say(says);
        let answer = proxy.fetch(bearer(&format!("t-{index}"))).await.expect(401);
        assert_eq!(answer.reason().as_deref(), Some(reason), "{what}");
    }
    issuer.say(with("scope", json!("read")));
    let weak = proxy.fetch(bearer("weak")).await.expect_problem(403, "forbidden");
    assert_eq!(weak.headers.all("www-authenticate"), ["Bearer error=\"insufficient_scope\", scope=\"orders\""]);
    // A bad token is not asked about again at once, however often it comes; a long one or an odd one never.
    issuer.say(json!({ "active": false }));
    let before = issuer.asked();
    for _ in 0..5 {
        proxy.fetch(bearer("bad")).await.expect_problem(401, "auth_invalid");
    }
    assert_eq!(issuer.asked(), before + 1);
    proxy.fetch(bearer(&"x".repeat(9000))).await.expect_problem(401, "auth_invalid");
    assert_eq!(issuer.asked(), before + 1);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn an_issuer_that_is_away_slow_or_lying_lets_nobody_in() {
    let unheard = async |answer: Answer, policy: &str, what: &str| {
        let issuer = Origin::start(move |_| answer.clone()).await;
        let (origin, proxy) = guarded(&issuer, policy).await;
        let refused = proxy.fetch(bearer("t")).await.expect_problem(503, "auth_unavailable");
        assert_eq!((refused.header("www-authenticate"), origin.requests().len()), (None, 0), "{what}");
        proxy.printed("the policy `tokens` cannot tell who calls: ").await;
    };
    unheard(Answer::hang(), "timeout = \"200ms\"", "slow").await;
    unheard(Answer::status(500), "", "broken").await;
    unheard(Answer::status(401), "", "does not know us").await;
    unheard(Answer::status(302).header("Location", "/ok"), "", "elsewhere").await;
    unheard(Answer::text("<html>"), "", "another language").await;
    unheard(Answer::text("{\"active\":false,\"active\":true}"), "", "two tongues").await;
    unheard(Answer::text("[true]"), "", "a list").await;
    unheard(Answer::generated(1 << 30), "", "endless").await;
    let issuer = Issuer::start(active()).await;
    let (_origin, proxy) = guarded(&issuer.origin, "").await;
    proxy.fetch(bearer("known")).await.expect(200);
    drop(issuer);
    proxy.fetch(bearer("known")).await.expect(200);
    proxy.fetch(bearer("new")).await.expect_problem(503, "auth_unavailable");
}

#[tokio::test]
async fn many_with_one_token_ask_once_and_a_word_is_believed_for_a_while_only() {
    let issuer = Issuer::start(active()).await;
    let (_origin, proxy) = guarded(&issuer.origin, "cache = \"1s\"").await;
    let asking = futures::future::join_all((0..16).map(|_| proxy.fetch(bearer("t"))));
    for answer in asking.await {
        answer.expect(200);
    }
    assert!(issuer.asked() <= 3, "{}", issuer.asked());
    // Revoked meanwhile.
    issuer.say(json!({ "active": false }));
    let put_out = async { while proxy.fetch(bearer("t")).await.status != 401 {} };
    within("a token that was revoked to be refused", put_out).await;
    // A token that ends is asked about at its end, whatever `cache` says.
    issuer.say(json!({ "active": true, "scope": "orders", "exp": now() + 1 }));
    let (_origin, proxy) = guarded(&issuer.origin, "cache = \"1h\"").await;
    proxy.fetch(bearer("short")).await.expect(200);
    issuer.say(json!({ "active": false }));
    let ended = async { while proxy.fetch(bearer("short")).await.status != 401 {} };
    within("a token that has ended to be refused", ended).await;
    // Without a memory every request asks.
    issuer.say(active());
    let (_origin, proxy) = guarded(&issuer.origin, "cache = \"0s\"").await;
    let before = issuer.asked();
    for _ in 0..3 {
        proxy.fetch(bearer("t")).await.expect(200);
    }
    assert_eq!(issuer.asked(), before + 3);
    drop(issuer.gate);
}
