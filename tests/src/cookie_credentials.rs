//! Keys that come in a cookie: which of them opens, what the origin gets to see of the others, and what is kept.

use std::path::Path;

use testkit::{Answer, Origin, Proxy, Request, Seen, Starter, maitred, within};

use crate::{caching::status, setting::BOTH, shared_limits::Redis};

/// A policy of keys in a cookie, with these lines more, and a route that asks for it, with those, in which ORIGIN stands for the
/// origin.
async fn keyed(
    policy: &str,
    route: &str,
    respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> (Origin, Starter) {
    let origin = Origin::start(respond).await;
    let route = route.replace("ORIGIN", &origin.to_string());
    let text = format!(
        "{BOTH}[auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\ncookie = \"api_key\"\n\
         forward = {{ user = \"X-User\" }}\n{policy}\n\
         [routes.app]\npath = \"/*\"\nauth = \"partners\"\nupstream = \"{origin}\"\n{route}\n"
    );
    (origin, Proxy::with(text))
}

fn echo(seen: &Seen) -> Answer {
    if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
}

async fn key(folder: &Path, consumer: &str) -> String {
    maitred(folder, ["key", "add", consumer, "--file", "keys.toml"]).await.expect(0).stdout.trim().to_owned()
}

/// A request with these fields `Cookie`, in which KEY stands for the key.
fn with_cookies(target: &str, fields: &[&str], key: &str) -> Request {
    fields.iter().fold(Request::get(target), |request, field| request.header("Cookie", &field.replace("KEY", key)))
}

#[tokio::test]
async fn a_key_in_a_cookie_opens_and_no_other_cookie_is_touched() {
    let (origin, starter) = keyed("", "", echo).await;
    let key = key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    let h2 = proxy.h2c().await;
    let none = String::new();
    for (fields, left) in [
        (&["api_key=KEY"][..], &none),
        (&["a=1;  api_key=KEY; b=\"2\";c"], &"a=1; b=\"2\";c".to_owned()),
        (&["api_key=\"KEY\"; Api_Key=x; my_api_key=y"], &"Api_Key=x; my_api_key=y".to_owned()),
        (&["a=1", "api_key=KEY", "b=2"], &"a=1; b=2".to_owned()),
    ] {
        for answer in [
            proxy.fetch(with_cookies("/a", fields, &key)).await.expect(200),
            h2.fetch(with_cookies("/a", fields, &key)).await.expect(200),
        ] {
            assert_eq!(answer.seen_all("cookie").join("|"), *left, "{fields:?}");
            assert_eq!(answer.seen_all("x-user"), ["acme"]);
        }
    }
    // The other places of a key are looked at as ever, and the cookie is hidden all the same.
    let both = with_cookies("/a", &["api_key=other; a=1"], "").header("X-API-Key", &key);
    assert_eq!(proxy.fetch(both).await.expect(200).seen_all("cookie"), ["a=1"]);
    let secret = key.rsplit('_').next().unwrap();
    proxy.logged("/a").await;
    assert!(!proxy.lines().iter().any(|line| line.contains(secret)), "{:?}", proxy.lines());
    assert!(origin.requests().iter().all(|seen| !format!("{:?}", seen.headers).contains(secret)));
}

#[tokio::test]
async fn who_is_ambiguous_wrong_or_silent_is_refused() {
    let (origin, starter) = keyed("", "", echo).await;
    let key = key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    let h2 = proxy.h2c().await;
    for (fields, reason) in [
        (&["a=1"][..], "auth_missing"),
        (&["API_KEY=KEY"], "auth_missing"),
        (&["api_key=mtd_wrong"], "auth_invalid"),
        (&["api_key="], "auth_invalid"),
        (&["api_key=KEY; api_key=KEY"], "auth_invalid"),
        (&["api_key=KEY; a=1", "api_key=other"], "auth_invalid"),
        (&["api_key=KEY; api_key =other"], "auth_invalid"),
        (&["api_key=KEY; api_key"], "auth_invalid"),
    ] {
        proxy.fetch(with_cookies("/a", fields, &key)).await.expect_problem(401, reason);
        h2.fetch(with_cookies("/a", fields, &key)).await.expect_problem(401, reason);
    }
    assert_eq!(origin.requests().len(), 0);
    let upgrade = |cookie: &str| {
        format!(
            "GET /live HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    for (cookie, status) in [("a=1; api_key=x".to_owned(), 401), (format!("a=1; api_key={key}"), 101)] {
        let mut connection = proxy.connect().await;
        connection.send(upgrade(&cookie)).await;
        assert_eq!(connection.answer_head().await.0, status, "{cookie}");
    }
    let seen = origin.requests();
    assert_eq!((seen.len(), seen[0].header("cookie"), seen[0].header("x-user")), (1, Some("a=1"), Some("acme")));
}

#[tokio::test]
async fn where_credentials_are_passed_on_the_cookies_are_as_they_were_written() {
    let (_origin, starter) = keyed("hide_credentials = false", "", echo).await;
    let key = key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    let answer = proxy.fetch(with_cookies("/a", &["a=1;  api_key=KEY"], &key)).await.expect(200);
    assert_eq!(answer.seen_all("cookie"), [format!("a=1;  api_key={key}")]);
}

#[tokio::test]
async fn explaining_shows_no_key() {
    let cache = "cache = { key = [\"path\", \"query\", \"cookie:api_key\"], vary = \"Cookie\" }\n\
                 [routes.old]\npath = \"/old\"\nauth = \"partners\"\nredirect = { to = \"/new\" }";
    let (_origin, starter) = keyed("query = \"k\"", cache, echo).await;
    let key = key(starter.folder(), "acme").await;
    let field = format!("Cookie: a=1; api_key={key}");
    let told = maitred(starter.folder(), ["explain", "/a?b=1", "-H", &field, "-c", "maitred.toml"]).await.expect(0);
    assert!(told.stdout.contains("partners: user `acme`"), "{}", told.stdout);
    // What the origin is not shown tells nothing apart.
    assert!(told.stdout.contains("no cookie:api_key") && told.stdout.contains("query \"b=1\""), "{}", told.stdout);
    assert!(!told.stdout.contains(&key) && !told.stderr.contains(&key), "{}{}", told.stdout, told.stderr);
    let proxy = starter.start().await;
    let live = proxy.command(["explain", "--live", "/a", "-H", &field]).await.expect(0);
    assert!(live.stdout.contains("user `acme`") && !live.stdout.contains(&key), "{}", live.stdout);
    assert!(!proxy.lines().iter().any(|line| line.contains(&key)), "{:?}", proxy.lines());
    // Nor where it stands in the URL, whatever becomes of the request.
    for target in [format!("/a?k={key}&b=1"), format!("/a?b=1&%6b={key}"), format!("/old?k={key}&b=1")] {
        let told = maitred(proxy.folder(), ["explain", &target, "-c", "maitred.toml"]).await.expect(0);
        assert!(told.stdout.contains("=***") && told.stdout.contains("b=1"), "{}", told.stdout);
        assert!(!told.stdout.contains(&key) && !told.stderr.contains(&key), "{}{}", told.stdout, told.stderr);
        let live = proxy.command(["explain", "--live", "--json", &*target]).await;
        assert!(live.stdout.contains("=***") && !live.stdout.contains(&key), "{}{}", live.stdout, live.stderr);
    }
    // And where it does tell answers apart.
    let (_origin, starter) = keyed("query = \"k\"\nhide_credentials = false", cache, echo).await;
    let key = self::key(starter.folder(), "acme").await;
    let field = format!("Cookie: a=1; api_key={key}");
    let told = maitred(starter.folder(), ["explain", "/a?b=1", "-H", &field, "-c", "maitred.toml"]).await.expect(0);
    assert!(told.stdout.contains("cookie:api_key ***") && !told.stdout.contains(&key), "{}", told.stdout);
}

#[tokio::test]
async fn callers_with_cookies_have_answers_of_their_own() {
    let by_user = |seen: &Seen| {
        Answer::text(seen.header("x-user").unwrap_or("nobody").to_owned()).header("Cache-Control", "max-age=600")
    };
    let (origin, starter) = keyed("", "cache = true", by_user).await;
    let (acme, beta) = (key(starter.folder(), "acme").await, key(starter.folder(), "beta").await);
    let proxy = starter.start().await;
    for (user, key) in [("acme", &acme), ("beta", &beta), ("acme", &acme), ("beta", &beta)] {
        let answer = proxy.fetch(with_cookies("/a", &["api_key=KEY"], key)).await.expect(200);
        assert_eq!(answer.text(), user);
    }
    assert_eq!(origin.requests().len(), 2, "each of the two is kept once");
    proxy.fetch(with_cookies("/a", &["api_key=wrong"], "")).await.expect_problem(401, "auth_invalid");
    proxy.get("/a").await.expect_problem(401, "auth_missing");
}

#[tokio::test]
async fn an_answer_to_a_credential_that_the_origin_alone_can_read_is_nobody_elses() {
    let by_credential = |seen: &Seen| {
        let shown = ["cookie", "x-api-key"].map(|name| seen.header(name).unwrap_or_default());
        Answer::text(format!("{shown:?} {}", seen.target)).header("Cache-Control", "max-age=600")
    };
    let lenient = "mode = \"shadow\"\nhide_credentials = false\nquery = \"k\"";
    let (_origin, starter) = keyed(lenient, "cache = { key = [\"path\"] }", by_credential).await;
    let key = key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    for name in ["Cookie", "X-API-Key"] {
        for value in ["api_key=one", "api_key=two"] {
            let answer = proxy.fetch(Request::get("/a").header(name, value)).await.expect(200);
            assert!(answer.text().contains(value), "{name} {value}: {}", answer.text());
            assert!(!status(&answer).contains("stored") && !status(&answer).contains("hit"), "{}", status(&answer));
        }
    }
    // Who is known by a key is told from others by it.
    for hit in [false, true] {
        let answer = proxy.fetch(with_cookies("/b", &["api_key=KEY"], &key)).await.expect(200);
        assert_eq!(status(&answer).contains("hit"), hit, "{}", status(&answer));
    }
    assert!(!proxy.get("/b").await.expect(200).text().contains(&key));
}

/// All that is in the files of a folder.
pub fn written(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        if path.is_dir() {
            written(&path)
        } else {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        }
    };
    entries.map(read).collect()
}

/// All that is in Redis, once it is so many values.
pub async fn shared(redis: &Redis, count: usize) -> String {
    let names = || redis.cli(&["--raw", "KEYS", "*:cache:*"]);
    let holds = async {
        while names().lines().count() < count {
            tokio::task::yield_now().await;
        }
    };
    within(format!("{count} values to be in Redis"), holds).await;
    names().lines().map(|name| format!("{name}{}", redis.cli(&["GET", name]))).collect()
}

#[tokio::test]
async fn a_credential_that_the_origin_is_not_shown_is_not_written_down_with_answers() {
    let (redis, folder) = (Redis::start().await, tempfile::tempdir().unwrap());
    let respond = |seen: &Seen| {
        let answer = Answer::text(seen.target.clone()).header("Cache-Control", "public, max-age=600");
        if seen.target.starts_with("/vary") {
            answer.header("Vary", "Cookie, X-API-Key, Authorization")
        } else {
            answer
        }
    };
    let route = format!(
        "cache = true\n[routes.parts]\npath = \"/parts/*\"\nauth = \"partners\"\n\
         cache = {{ key = [\"path\", \"query:b\", \"query:k\", \"cookie:api_key\"], vary = [\"Cookie\", \"X-API-Key\"] }}\n\
         upstream = \"ORIGIN\"\n\
         [redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n[cache]\nredis = true\ndisk = {{ path = {:?}, size = \"16MiB\" }}",
        redis.socket().display(),
        folder.path().join("cache"),
    );
    let (origin, starter) = keyed("query = \"k\"", &route, respond).await;
    let key = key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    proxy.printed("redis: connected to").await;
    let h2 = proxy.h2c().await;
    for target in ["/a", "/vary", "/parts/a"] {
        let by_cookie = with_cookies(target, &["a=1; api_key=KEY"], &key);
        let by_field = with_cookies(target, &["a=1"], "").header("X-API-Key", &key);
        let by_scheme = with_cookies(target, &["a=1"], "").header("Authorization", &format!("ApiKey {key}"));
        let in_query = |query: &str| with_cookies(&format!("{target}?{query}"), &["a=1"], "");
        let (first, last) = (in_query(&format!("k={key}&b=1")), in_query(&format!("b=1&%6b={key}")));
        let without = [by_cookie, by_field, by_scheme].map(|request| (request, target.to_owned()));
        let with = [first, last].map(|request| (request, format!("{target}?b=1")));
        for (request, asked) in without.into_iter().chain(with) {
            assert_eq!(proxy.fetch(request.clone()).await.expect(200).text(), asked);
            // It is kept a moment after it has gone out.
            let again = request.header("Cache-Control", "only-if-cached");
            let is_kept = async { while h2.fetch(again.clone()).await.status != 200 {} };
            within(format!("the answer at {target} to be kept"), is_kept).await;
        }
    }
    let on_disk = || written(&folder.path().join("cache"));
    within("the answers to be on disk", async {
        while !["b=1", "/vary", "/parts/a"].iter().all(|part| on_disk().contains(part)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let secret = key.rsplit('_').next().unwrap();
    for kept in [shared(&redis, 9).await, on_disk()] {
        assert!(kept.contains("b=1") && kept.contains("/parts/a"), "what is looked through is what is kept");
        assert!(!kept.contains(secret), "{kept}");
    }
    // `Vary: Authorization` tells those with one from those without.
    assert_eq!(origin.requests().len(), 7, "the place of a key tells no answers apart");
    // The URL is known without it.
    let at = |target: &str| Request::get(&format!("{target}k={key}")).header("Cookie", "a=1");
    proxy.command(["purge", "/a?b=1"]).await.expect(0);
    assert!(!status(&proxy.fetch(at("/a?b=1&")).await.expect(200)).contains("; hit"));
    assert!(status(&proxy.fetch(at("/a?")).await.expect(200)).contains("; hit"));
}

#[tokio::test]
async fn a_credential_that_the_route_itself_tells_the_origin_tells_answers_apart() {
    let respond = |seen: &Seen| {
        let told = seen.header("x-token").unwrap_or("none").to_owned();
        Answer::text(told).header("Cache-Control", "max-age=600")
    };
    let route =
        "cache = { key = [\"path\", \"cookie:api_key\"] }\nrequest = { set = { X-Token = \"{cookie.api_key}\" } }";
    let (origin, starter) = keyed("mode = \"shadow\"", route, respond).await;
    key(starter.folder(), "acme").await;
    let proxy = starter.start().await;
    let h2 = proxy.h2c().await;
    for token in ["one", "other", "one"] {
        let request = with_cookies("/a", &["api_key=KEY"], token);
        assert_eq!(proxy.fetch(request.clone()).await.expect(200).text(), token);
        assert_eq!(h2.fetch(request).await.expect(200).text(), token);
    }
    assert!(origin.requests().iter().all(|seen| seen.header("cookie").is_none()));
}
