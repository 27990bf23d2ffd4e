//! What is to be read of requests where their answers are kept: nothing that lets anybody in, and nobody's name.

use testkit::{Answer, Origin, Proxy, Request, Seen, within};

use crate::{
    caching::status,
    callers::{hashed, user},
    cookie_credentials::{shared, written},
    setting::BOTH,
    shared_limits::Redis,
};

/// `adalovelace:s3cret-password` and `gracehopper:other-password`.
const ADA: &str = "YWRhbG92ZWxhY2U6czNjcmV0LXBhc3N3b3Jk";
const GRACE: &str = "Z3JhY2Vob3BwZXI6b3RoZXItcGFzc3dvcmQ=";

/// What is not to be read anywhere.
const SECRETS: [&str; 10] = [
    ADA,
    GRACE,
    "adalovelace",
    "gracehopper",
    "bearer-token",
    "session-one",
    "session-other",
    "token-in-key",
    "tenant-in-vary",
    "cookie-in-key",
];

/// The origin says of everything that it depends on whoever asks.
fn respond(seen: &Seen) -> Answer {
    Answer::text(seen.target.clone())
        .header("Cache-Control", "public, max-age=600")
        .header("Vary", "Authorization, Cookie, Accept-Language, Proxy-Authorization")
}

/// Requests, each of which has an answer of its own.
fn requests() -> Vec<Request> {
    let open = |session: &str| {
        Request::get("/open")
            .header("Cookie", session)
            .header("Accept-Language", "tlh-Latn")
            .header("X-Tenant", "tenant-in-vary")
    };
    vec![
        Request::get("/basic").header("Authorization", &format!("Basic {ADA}")),
        Request::get("/basic").header("Authorization", &format!("Basic {GRACE}")),
        open("session=session-one; key=cookie-in-key"),
        open("session=session-other; key=cookie-in-key"),
        open("session=session-one; key=cookie-in-key").header("X-Token", "token-in-key"),
        open("session=session-one").header("Authorization", "Bearer bearer-token"),
    ]
}

#[tokio::test]
async fn what_lets_somebody_in_and_who_it_is_are_not_to_be_read_where_answers_are_kept() {
    let (redis, folder) = (Redis::start().await, tempfile::tempdir().unwrap());
    let origin = Origin::start(respond).await;
    let text = format!(
        "{BOTH}[auth.staff]\ntype = \"basic\"\nusers = \"users.toml\"\nforward = {{ user = \"X-User\" }}\n         [routes.basic]\npath = \"/basic\"\nauth = \"staff\"\ncache = {{ key = [\"path\"] }}\nupstream = \"{origin}\"\n         [routes.open]\npath = \"/open\"\nupstream = \"{origin}\"\n         cache = {{ key = [\"path\", \"header:X-Token\", \"cookie:key\"], vary = [\"X-Tenant\"] }}\n         [redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n[cache]\nredis = true\ndisk = {{ path = {:?}, size = \"16MiB\" }}\n",
        redis.socket().display(),
        folder.path().join("cache"),
    );
    let users = [("adalovelace", "s3cret-password"), ("gracehopper", "other-password")];
    let mut file = String::new();
    for (name, password) in users {
        file.push_str(&user(name, &hashed(password).await));
    }
    let proxy = Proxy::with(text).file("users.toml", &file).start().await;
    proxy.printed("what is in Redis is used").await;
    let h2 = proxy.h2c().await;
    for (number, request) in requests().into_iter().enumerate() {
        assert!(!status(&proxy.fetch(request.clone()).await.expect(200)).contains("; hit"), "{number}");
        let again = request.header("Cache-Control", "only-if-cached");
        let is_kept = async { while h2.fetch(again.clone()).await.status != 200 {} };
        within(format!("the answer to {number} to be kept"), is_kept).await;
    }
    assert_eq!(origin.requests().len(), requests().len(), "each has one of its own");
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 5.0).await;
    // A name for what each of the six varies by, and that under each of the five keys.
    let in_redis = shared(&redis, 11).await;
    let starter = proxy.stop().await;
    let on_disk = written(&folder.path().join("cache"));
    for kept in [&in_redis, &on_disk] {
        assert!(kept.contains("/open") && kept.contains("/basic"), "what is looked through is what is kept");
        assert!(kept.contains("tlh-latn"), "what tells nobody anything is kept as it is");
        for secret in SECRETS {
            assert!(!kept.contains(secret), "{secret}: {kept}");
        }
    }
    // It is found again by who asks like that, after a restart as well.
    let asked = origin.requests().len();
    redis.cli(&["FLUSHALL"]);
    let proxy = starter.start().await;
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 5.0).await;
    for (number, request) in requests().into_iter().enumerate() {
        assert!(status(&proxy.fetch(request).await.expect(200)).ends_with("; detail=disk"), "{number}");
    }
    assert_eq!(origin.requests().len(), asked);
}
