//! What maitred shows an upstream of itself: on every request, instead of what clients send, and to nobody else.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::{Address, Answer, Origin, Proxy, Request, maitred, within};

use crate::setting::BOTH;

fn text(origin: &Origin, credentials: &str) -> String {
    format!(
        "{BOTH}[upstreams.shipping]\nbackends = \"{origin}\"\ncredentials = {{ {credentials} }}\n\
         [routes.app]\npath = \"/*\"\nupstream = \"shipping\"\nrequest = {{ set = {{ X-Copy = \"{{header.Authorization}}\" }} }}\n"
    )
}

async fn origin() -> Origin {
    Origin::start(
        |seen| {
            if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
        },
    )
    .await
}

#[tokio::test]
async fn a_mirror_is_shown_its_own_credentials_and_not_the_originals() {
    for to_h2 in [false, true] {
        let origin = origin().await;
        let shadow = if to_h2 { Origin::builder().h2c() } else { Origin::builder() };
        let shadow = shadow.start(|_| Answer::text("copied")).await;
        for (own, shown) in [("credentials = { value = \"theirs\" }\n", vec!["theirs"]), ("", vec!["mine"])] {
            let proxy = Proxy::start(format!(
                "{BOTH}[upstreams.next]\nbackends = \"{shadow}\"\n{own}[upstreams.shipping]\nbackends = \"{origin}\"\n\
                 credentials = {{ value = \"s3cr3t\" }}\n\
                 [routes.app]\npath = \"/*\"\nupstream = \"shipping\"\nmirror = \"next\"\n"
            ))
            .await;
            let before = shadow.requests().len();
            proxy.fetch(Request::get("/a").header("Authorization", "mine")).await.expect(200);
            assert_eq!(shadow.ended(before).await.headers.all("authorization"), shown);
            assert_eq!(origin.requests().last().unwrap().headers.all("authorization"), ["s3cr3t"]);
        }
    }
}

const UPGRADE: &str = "GET /live HTTP/1.1\r\nHost: a\r\nAuthorization: mine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_fixed_value_goes_with_every_request_and_is_shown_nowhere() {
    let origin = origin().await;
    let starter =
        Proxy::with(text(&origin, "value = \"Bearer ${file:secret.txt}\"")).file("secret.txt", "s3cr3t-value\n");
    let proxy = starter.start().await;
    let h2 = proxy.h2c().await;
    for request in [Request::get("/a"), Request::get("/a").header("Authorization", "mine"), Request::post("/b", "x")] {
        let one = proxy.fetch(request.clone()).await.expect(200);
        let two = h2.fetch(request).await.expect(200);
        for answer in [one, two] {
            assert_eq!(answer.seen_all("authorization"), ["Bearer s3cr3t-value"]);
            assert!(!answer.seen("x-copy").unwrap_or_default().contains("s3cr3t"));
        }
    }
    let mut socket = proxy.connect().await;
    socket.send(UPGRADE).await;
    assert_eq!(socket.answer_head().await.0, 101);
    assert_eq!(origin.requests().last().unwrap().headers.all("authorization"), ["Bearer s3cr3t-value"]);
    let mut told = proxy.lines().join("\n");
    for arguments in [&["show"][..], &["explain", "/a"], &["status"], &["show", "upstreams.shipping"], &["check"]] {
        let exit = proxy.command(arguments.iter().copied()).await;
        told.push_str(&format!("{}{}", exit.stdout, exit.stderr));
    }
    assert!(told.contains("credentials in `authorization`"), "{told}");
    assert!(!told.contains("s3cr3t"), "{told}");
    // A change takes a reload, like the configuration that it is.
    std::fs::write(proxy.folder().join("secret.txt"), "other").unwrap();
    proxy.hang_up(text(&origin, "value = \"${file:secret.txt}\", header = \"X-API-Key\"")).await;
    let answer = proxy.fetch(Request::get("/a").header("X-API-Key", "mine").header("Authorization", "theirs")).await;
    assert_eq!(answer.expect(200).seen_all("x-api-key"), ["other"]);
}

/// An issuer of tokens that counts them.
async fn issuer(lasts: Value) -> (Origin, Arc<Mutex<u32>>) {
    let given = Arc::new(Mutex::new(0));
    let count = given.clone();
    let origin = Origin::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Answer::text(
            json!({ "access_token": format!("token-{count}"), "token_type": "Bearer", "expires_in": lasts })
                .to_string(),
        )
    })
    .await;
    (origin, given)
}

fn client(issuer: &str) -> String {
    format!(
        "token_url = \"{issuer}/token\", client_id = \"maitred\", client_secret = \"${{SECRET}}\", \
         scope = [\"labels\", \"rates\"], audience = \"shipping\""
    )
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_a_backend_does_not_take_it() {
    let (issuer, given) = issuer(json!(3600)).await;
    let taken = Arc::new(Mutex::new(1));
    let good = taken.clone();
    let origin = Origin::start(move |seen| {
        let expected = format!("Bearer token-{}", good.lock().unwrap());
        if seen.header("authorization") == Some(&expected) { Answer::echo() } else { Answer::status(401) }
    })
    .await;
    let configuration = text(&origin, &client(&issuer.to_string()));
    let proxy = Proxy::with(&configuration).variable("SECRET", "hush").start().await;
    let all = futures::future::join_all((0..8).map(|_| proxy.get("/a"))).await;
    all.into_iter().for_each(|answer| drop(answer.expect(200)));
    assert_eq!(*given.lock().unwrap(), 1);
    let seen = issuer.ended(0).await;
    assert_eq!(seen.body.text(), "grant_type=client_credentials&scope=labels+rates&audience=shipping");
    assert_eq!(seen.header("authorization"), Some("Basic bWFpdHJlZDpodXNo"));
    // A reload keeps it.
    let line = proxy
        .hang_up(format!("{configuration}\n# changed\n[routes.b]\npath = \"/b\"\nrespond = {{ status = 204 }}\n"))
        .await;
    assert!(line.contains("generation 2 applied"), "{line}");
    proxy.h2c().await.fetch(Request::get("/a")).await.expect(200);
    assert_eq!(*given.lock().unwrap(), 1);
    // Revoked at the issuer: the client is told once, and the next token serves.
    *taken.lock().unwrap() = 2;
    let renewed = async { while proxy.get("/a").await.status != 200 {} };
    within("another token", renewed).await;
    // Whatever is wrong with the backend, the issuer is not asked for every answer of it.
    *taken.lock().unwrap() = 0;
    for _ in 0..5 {
        proxy.get("/a").await.expect(401);
    }
    assert_eq!(*given.lock().unwrap(), 2);
    assert!(!proxy.lines().iter().any(|line| line.contains("token-") || line.contains("hush")));
}

#[tokio::test]
async fn a_token_is_exchanged_before_it_ends() {
    let (issuer, given) = issuer(json!(6)).await;
    let origin = origin().await;
    let proxy = Proxy::with(text(&origin, &client(&issuer.to_string()))).variable("SECRET", "hush").start().await;
    let renewed = async { while proxy.get("/a").await.expect(200).seen_all("authorization") == ["Bearer token-1"] {} };
    within("another token", renewed).await;
    assert!(*given.lock().unwrap() >= 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_client_is_told_why() {
    let origin = origin().await;
    let dead = format!("http://{}", Address::refusing());
    let slow = Origin::start(|_| Answer::hang()).await;
    let mad = Origin::start(|_| Answer::text("{\"access_token\":\"t\"}")).await;
    let shut = Origin::start(|_| Answer::status(401).body("the secret hush is wrong")).await;
    for (issuer, more) in
        [(dead, ""), (slow.to_string(), ", timeout = \"200ms\""), (mad.to_string(), ""), (shut.to_string(), "")]
    {
        let configuration = text(&origin, &format!("{}{more}", client(&issuer)));
        let proxy = Proxy::with(configuration).variable("SECRET", "hush").start().await;
        proxy.get("/a").await.expect_problem(502, "upstream_credentials");
        proxy.h2c().await.fetch(Request::get("/a")).await.expect_problem(502, "upstream_credentials");
        let mut socket = proxy.connect().await;
        socket.send(UPGRADE).await;
        assert_eq!(socket.answer_head().await.0, 502);
        proxy.printed("no token for an upstream can be had: ").await;
        assert!(!proxy.lines().iter().any(|line| line.contains("hush")), "{:?}", proxy.lines());
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn credentials_that_cannot_be_meant_are_refused_without_being_printed() {
    let text = r#"
        listen = "127.0.0.1:0"
        [upstreams]
        a = { backends = "http://127.0.0.1:1", credentials = {} }
        b = { backends = "http://127.0.0.1:1", credentials = { value = "${S:-hu\nsh}", header = "Host", client_id = "x" } }
        c = { backends = "http://127.0.0.1:1", credentials = { value = "${S:-x}", token_url = "https://a.test/" } }
        d = { backends = "http://127.0.0.1:1", credentials = { token_url = "gopher://a.test/", timeout = "1h" } }
        e = { backends = "tcp://127.0.0.1:1", credentials = { value = "${S:-x}" } }
        f = { backends = "http://127.0.0.1:1", credentials = { value = "in clear" } }
    "#;
    let starter = Proxy::with(text);
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0106]: `credentials` does not say what backends are shown",
        "error[E0108]: this cannot be the value of a header field",
        "error[E0108]: `Host` cannot carry credentials",
        "error[E0107]: `client_id` means nothing to a fixed value",
        "error[E0107]: an upstream is shown one thing, and this is two",
        "error[E0108]: nobody can be asked here",
        "error[E0103]: a client would wait too long, or not at all",
        "error[E0106]: `token_url` needs `client_id`",
        "error[E0106]: `token_url` needs `client_secret`",
        "error[E0107]: `credentials` is set, but no backend is spoken to in HTTP",
        "warning[W0601]: `value` in `upstreams.f.credentials` stands in the file in clear",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}
