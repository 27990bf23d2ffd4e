//! Plans that tokens and other services tell.

use serde_json::{Value, json};
use testkit::{Answer, Origin, Proxy, Request};

use crate::{setting::BOTH, tokens::made};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A route behind this policy, whose limit is 2, and 4 for those with the plan `pro`.
fn configuration(policy: &str, origin: &Origin) -> String {
    format!(
        "{BOTH}[auth.own]\nforward = {{ plan = \"X-Told\" }}\n{policy}\n[routes.app]\npath = \"/*\"\nauth = \"own\"\nupstream = \"{origin}\"\n\
         limit = {{ requests = 2, window = \"1h\", key = \"user\", plans = {{ pro = 4 }} }}\n"
    )
}

/// How many of eight requests with this token pass, and which plan the origin is told.
async fn passing(proxy: &Proxy, token: &str) -> (usize, Option<String>) {
    let (mut passed, mut told) = (0, None);
    let h2 = proxy.h2c().await;
    for number in 0..8 {
        let request = Request::get("/").header("Authorization", &format!("Bearer {token}"));
        let answer = if number % 2 == 0 { proxy.fetch(request).await } else { h2.fetch(request).await };
        if answer.status == 200 {
            passed += 1;
            told = answer.seen("x-told");
        }
    }
    (passed, told)
}

/// A token of this user's, with these claims.
async fn token(user: &str, mut claims: Value) -> String {
    claims["sub"] = json!(user);
    let wish = json!({ "issuer": "me", "algorithms": [], "prefix": "", "secret": SECRET, "claims": claims });
    made(wish).await["tokens"]["HS256"].as_str().unwrap().to_owned()
}

fn no_plan() -> (usize, Option<String>) {
    (2, None)
}

fn pro() -> (usize, Option<String>) {
    (4, Some("pro".to_owned()))
}

#[tokio::test]
async fn a_claim_names_the_plan_where_the_policy_says_which() {
    let origin = Origin::echo().await;
    let policy = format!("type = \"jwt\"\nsecret = \"{SECRET}\"\nplan = \"account.plan\"");
    let proxy = Proxy::start(configuration(&policy, &origin)).await;
    for (user, claims, expected) in [
        ("ann", json!({ "account": { "plan": "pro" } }), pro()),
        ("bob", json!({ "account": {} }), no_plan()),
        ("eve", json!({ "account": { "plan": ["pro"] } }), no_plan()),
        ("joe", json!({ "account": { "plan": { "pro": true } } }), no_plan()),
        // Told as any claim is, and no plan.
        ("max", json!({ "plan": "pro" }), (2, Some("pro".to_owned()))),
        ("sue", json!({ "account": { "plan": "free" } }), (2, Some("free".to_owned()))),
    ] {
        assert_eq!(passing(&proxy, &token(user, claims.clone()).await).await, expected, "{claims}");
    }
    let ann = token("ann", json!({ "account": { "plan": "pro" } })).await;
    let explained =
        proxy.command(["explain", "/", "-H", &format!("Authorization: Bearer {ann}")]).await.expect(0).stdout;
    assert!(explained.contains("for ann with the plan `pro`, at most 4 in any 1h"), "{explained}");
    // Nobody can know which plans there are.
    let told = proxy.command(["check", "-c", "maitred.toml"]).await.expect(0);
    assert!(!(told.stdout + &told.stderr).contains("W0304"));
    // Without the key a claim is a claim; what a file of callers would say nobody says.
    let proxy = Proxy::start(configuration(&policy.replace("plan = \"account.plan\"", ""), &origin)).await;
    assert_eq!(passing(&proxy, &ann).await.0, 2);
    let told = proxy.command(["check", "-c", "maitred.toml"]).await.expect(0);
    assert!((told.stdout + &told.stderr).contains("nobody has the plan `pro`"));
}

#[tokio::test]
async fn a_service_that_decides_and_an_issuer_that_is_asked_name_it_as_well() {
    let origin = Origin::echo().await;
    let decides = Origin::start(|seen| match seen.header("authorization") {
        Some("Bearer ann") => Answer::status(200).header("X-User", "ann").header("X-Tier", "pro"),
        Some("Bearer eve") => Answer::status(200).header("X-User", "eve").header("X-Tier", ""),
        Some("Bearer joe") => Answer::status(200).header("X-User", "joe"),
        _ => Answer::status(200).header("X-User", "bob"),
    })
    .await;
    let policy = format!("type = \"forward\"\nurl = \"{decides}/check\"\nuser = \"X-User\"\nplan = \"X-Tier\"");
    let proxy = Proxy::start(configuration(&policy, &origin)).await;
    assert_eq!(passing(&proxy, "ann").await, pro());
    assert_eq!([passing(&proxy, "bob").await, passing(&proxy, "eve").await], [no_plan(), no_plan()]);
    // What the service says of callers nobody else says, also where the origin is not told of it.
    let claims =
        Request::get("/").header("Authorization", "Bearer joe").header("X-Tier", "pro").header("X-User", "ann");
    proxy.fetch(claims.header("X-Else", "1")).await;
    let seen = origin.requests().pop().unwrap();
    assert_eq!(["x-tier", "x-user", "x-else"].map(|name| seen.header(name)), [None, None, Some("1")]);
    for (tier, expected) in [(json!("pro"), pro()), (json!(["pro"]), no_plan())] {
        let told = json!({ "active": true, "sub": "ann", "tier": tier }).to_string();
        let says = told.clone();
        let issuer = Origin::start(move |_| Answer::text(says.clone())).await;
        let policy = format!(
            "type = \"introspection\"\nurl = \"{issuer}/\"\nclient_id = \"m\"\nclient_secret = \"${{S:-s}}\"\nplan = \"tier\""
        );
        let proxy = Proxy::start(configuration(&policy, &origin)).await;
        assert_eq!(passing(&proxy, "ann").await, expected, "{told}");
    }
}

#[tokio::test]
async fn what_knows_the_plans_of_its_callers_by_itself_has_no_claim_for_it() {
    let text = format!(
        "{BOTH}[auth.own]\ntype = \"api_key\"\nkeys = \"keys.toml\"\nplan = \"plan\"\n[routes.app]\npath = \"/*\"\nauth = \"own\"\n\
         respond = {{ body = \"x\" }}\n"
    );
    let refused = Proxy::with(text).file("keys.toml", "").refused().await.expect(3);
    assert!(refused.stderr.contains("`plan` means nothing to `type = \"api_key\"`"), "{}", refused.stderr);
}
