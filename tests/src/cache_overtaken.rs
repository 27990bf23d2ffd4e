//! What is known of something newer while an older answer is still on its way: the older one is not kept, wherever it was going.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use testkit::{Answer, Connection, Framing, Gate, Origin, Proxy, Request, Seen, within};

use crate::{
    caching::status,
    setting::{BOTH, route},
    shared_limits::Redis,
};

/// What is too large for the memory of these tests, and goes to disk as it comes.
const LARGE: usize = 6 << 20;

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "public, max-age=600")
}

/// An older answer, whose client begins here, and which stops at a gate of its own.
struct Older {
    client: Connection,
    gate: Gate,
}

/// Gates by path, for the answers that are to be overtaken.
#[derive(Clone)]
struct Gates(Arc<HashMap<&'static str, Gate>>);

impl Gates {
    fn of(paths: &[&'static str]) -> Self {
        Self(Arc::new(paths.iter().map(|path| (*path, Gate::new())).collect()))
    }

    /// What an older request is answered: its head comes late where it asks for `/late…`, else its content does.
    fn older(&self, seen: &Seen) -> Answer {
        let gate = &self.0[seen.target.as_str()];
        match seen.target.as_str() {
            path if path.starts_with("/late") => keeps(Answer::text("older")).after(gate),
            path if path.starts_with("/large") => {
                let half = vec![b'o'; LARGE / 2];
                let answer = keeps(Answer::status(200).framing(Framing::Length(LARGE as u64)));
                answer.piece(half.clone()).wait(gate).piece(half)
            }
            path if path.starts_with("/vary") => {
                keeps(Answer::status(200)).header("Vary", "X-Plan").chunk("old").wait(gate).chunk("er")
            }
            _ => keeps(Answer::status(200)).chunk("old").wait(gate).chunk("er"),
        }
    }

    async fn begin(&self, proxy: &Proxy, request: Request, path: &'static str) -> Older {
        let mut client = Connection::to(proxy.address()).await;
        client.start(&request.header("X-Turn", "older").header("Connection", "close")).await;
        let gate = self.0[path].clone();
        if !path.starts_with("/late") {
            assert_eq!(client.answer_head().await.0, 200, "{path}");
        }
        gate.reached().await;
        Older { client, gate }
    }
}

impl Older {
    /// Lets it come to its end, and waits until whatever is to become of it in this process has.
    async fn end(mut self, proxy: &Proxy) {
        self.gate.open();
        // Whoever follows it gets it as it is.
        let came = self.client.rest().await;
        let text = String::from_utf8_lossy(&came);
        assert!(text.ends_with("older") || text.ends_with("er\r\n0\r\n\r\n") || came.len() >= LARGE, "{text}");
        proxy.until_metric_is("upstream_connections", &[("state", "active")], 0.0).await;
    }
}

/// An origin whose older answers stop at gates; `newer` is what it says after them.
async fn origin(gates: &Gates, newer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Origin {
    let gates = gates.clone();
    Origin::start(move |seen| match seen.header("x-turn") {
        Some("older") => gates.older(seen),
        Some(_) => newer(seen),
        None => Answer::text("latest").header("Cache-Control", "no-store"),
    })
    .await
}

fn newer(path: &str) -> Request {
    Request::get(path).header("Cache-Control", "no-cache").header("X-Turn", "newer")
}

/// Whether the older answer is given to who comes now.
async fn is_kept(proxy: &Proxy, request: Request) -> bool {
    let answer = proxy.fetch(request).await.expect(200);
    let kept = status(&answer).contains("; hit");
    assert_eq!(kept, answer.text() != "latest", "{}", status(&answer));
    kept
}

#[tokio::test]
async fn an_answer_that_is_not_kept_overtakes_those_that_are_still_on_their_way_into_memory() {
    let paths = ["/no-store", "/private", "/cookie", "/status", "/too-large", "/outgrown", "/fails", "/refused"];
    let late = ["/late/no-store", "/late/too-large", "/late/fails"];
    let gates = Gates::of(&[&paths[..], &late].concat());
    let origin = origin(&gates, |seen| match seen.target.trim_start_matches("/late") {
        "/private" => keeps(Answer::text("newer")).header("Cache-Control", "private"),
        "/cookie" => keeps(Answer::text("newer")).header("Set-Cookie", "a=1"),
        "/status" => Answer::status(202).body("newer"),
        "/too-large" => keeps(Answer::text(vec![b'n'; 200_000])),
        "/outgrown" => keeps(Answer::status(200)).chunk(vec![b'n'; 200_000]),
        "/fails" => Answer::status(503),
        "/refused" => Answer::status(403),
        _ => Answer::text("newer").header("Cache-Control", "no-store"),
    })
    .await;
    let proxy =
        Proxy::start(format!("{BOTH}{}", route(&origin, "retries = 0\ncache = { max_object = \"100KiB\" }"))).await;
    for path in paths.into_iter().chain(late) {
        if path.starts_with("/late") {
            // Nobody waits for an answer under this key.
            proxy.get(path).await.expect(200);
        }
        let older = gates.begin(&proxy, Request::get(path), path).await;
        proxy.fetch(newer(path)).await;
        if path.ends_with("/no-store") {
            assert!(!is_kept(&proxy, Request::get(path)).await, "{path}: nobody joins what is older");
        }
        older.end(&proxy).await;
        let stays = path.ends_with("fails") || path.ends_with("refused");
        assert_eq!(is_kept(&proxy, Request::get(path)).await, stays, "{path}");
    }
}

#[tokio::test]
async fn what_is_for_other_requests_overtakes_nothing() {
    let paths = ["/vary/one", "/vary/other", "/own"];
    let gates = Gates::of(&paths);
    let origin = origin(&gates, |_| Answer::text("newer").header("Cache-Control", "private")).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "cache = true"))).await;
    let plan = |request: Request, plan: &str| request.header("X-Plan", plan);
    for (path, other, stays) in [("/vary/one", "free", true), ("/vary/other", "pro", false)] {
        let older = gates.begin(&proxy, plan(Request::get(path), "pro"), path).await;
        // Whatever the newer one says of what it varies by, it is for those who ask like that.
        proxy.fetch(plan(newer(path), other)).await.expect(200);
        older.end(&proxy).await;
        assert_eq!(is_kept(&proxy, plan(Request::get(path), "pro")).await, stays, "{path}");
    }
    // What is public is for those with credentials as well.
    let older = gates.begin(&proxy, Request::get("/own"), "/own").await;
    proxy.fetch(newer("/own").header("Authorization", "Bearer x")).await.expect(200);
    older.end(&proxy).await;
    assert!(!is_kept(&proxy, Request::get("/own")).await);
}

#[tokio::test]
async fn what_was_asked_for_before_a_purge_or_a_change_is_not_kept_after_it_rfc_9111_4_4() {
    let paths = ["/purged", "/changed", "/failed", "/named", "/late/purged", "/late/changed"];
    let gates = Gates::of(&paths);
    let origin = origin(&gates, |seen| match seen.target.as_str() {
        "/failed" => Answer::status(500),
        "/elsewhere" => Answer::status(201).header("Location", "/named"),
        _ => Answer::status(204),
    })
    .await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "cache = true"))).await;
    for path in paths {
        let older = gates.begin(&proxy, Request::get(path), path).await;
        let target = if path == "/named" { "/elsewhere" } else { path };
        match path.ends_with("purged") {
            true => drop(proxy.command(["purge", path]).await.expect(0)),
            false => drop(proxy.fetch(Request::post(target, "x").header("X-Turn", "newer")).await),
        }
        older.end(&proxy).await;
        assert_eq!(is_kept(&proxy, Request::get(path)).await, path == "/failed", "{path}");
    }
}

#[tokio::test]
async fn what_was_purged_or_changed_while_the_origin_was_asked_is_not_given_where_that_fails() {
    let paths = ["/purged", "/changed", "/neither"];
    let gates = Gates::of(&paths);
    let script = gates.clone();
    let origin = Origin::start(move |seen| match (seen.method.as_str(), seen.header("x-turn")) {
        ("POST", _) => Answer::text("done"),
        (_, Some("older")) => Answer::text("kept").header("Cache-Control", "max-age=1").header("Age", "5"),
        _ => Answer::status(503).after(&script.0[seen.target.as_str()]),
    })
    .await;
    let lines = "cache = { stale_if_error = \"10m\" }\nretries = 0";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
    for (path, code) in paths.into_iter().zip([503, 503, 200]) {
        proxy.fetch(Request::get(path).header("X-Turn", "older")).await.expect(200);
        let mut client = Connection::to(proxy.address()).await;
        client.start(&Request::get(path)).await;
        gates.0[path].reached().await;
        match path {
            "/purged" => drop(proxy.command(["purge", path]).await.expect(0)),
            "/changed" => drop(proxy.fetch(Request::post(path, "x")).await.expect(200)),
            _ => {}
        }
        gates.0[path].open();
        client.answer("GET").await.expect(code);
    }
}

#[tokio::test]
async fn an_answer_that_grows_on_disk_is_overtaken_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["/large", "/large/public", "/small"];
    let gates = Gates::of(&paths);
    let origin = origin(&gates, |_| Answer::text("newer").header("Cache-Control", "no-store")).await;
    let configuration = format!(
        "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = {:?}, size = \"64MiB\" }}\n{}",
        folder.path().join("cache"),
        route(&origin, "cache = { key = [\"path\"], max_object = \"16MiB\" }")
    );
    let proxy = Proxy::start(&configuration).await;
    for path in paths {
        let older = gates.begin(&proxy, Request::get(path), path).await;
        let request = newer(path);
        let credentials = path.ends_with("public");
        let request = if credentials { request.header("Authorization", "Bearer x") } else { request };
        proxy.fetch(request).await.expect(200);
        older.end(&proxy).await;
        assert!(!is_kept(&proxy, Request::get(path)).await, "{path}");
    }
    let proxy = proxy.stop().await.start().await;
    for path in paths {
        assert!(!is_kept(&proxy, Request::get(path)).await, "{path} after a restart");
    }
    assert_eq!(proxy.metric("cache_entries", &[("tier", "disk")]).await, 0.0);
}

#[tokio::test]
async fn what_is_written_to_disk_is_not_kept_out_by_answers_to_other_requests() {
    let folder = tempfile::tempdir().unwrap();
    let gates = Gates::of(&["/vary"]);
    let own = gates.clone();
    let origin = Origin::start(move |seen| match (seen.target.as_str(), seen.header("x-turn")) {
        ("/first", _) => keeps(Answer::text("first")),
        (_, Some("older")) => own.older(seen),
        _ => Answer::text("latest").header("Cache-Control", "private"),
    })
    .await;
    let configuration = format!(
        "{BOTH}[cache]\ndisk = {{ path = {:?}, size = \"64MiB\" }}\n{}",
        folder.path().join("cache"),
        route(&origin, "cache = { key = [\"path\"] }")
    );
    let proxy = Proxy::start(&configuration).await;
    assert_eq!(proxy.get("/first").await.expect(200).text(), "first");
    // Until a folder has been looked through, what is known is known of whole keys.
    let proxy = proxy.stop().await.start().await;
    proxy.printed("cache: found 1 answers").await;
    let older = gates.begin(&proxy, Request::get("/vary").header("X-Plan", "pro"), "/vary").await;
    proxy.fetch(newer("/vary").header("X-Plan", "free")).await.expect(200);
    older.end(&proxy).await;
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 2.0).await;
    let proxy = proxy.stop().await.start().await;
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 2.0).await;
    assert!(is_kept(&proxy, Request::get("/vary").header("X-Plan", "pro")).await);
}

#[tokio::test]
async fn an_answer_that_is_larger_than_memory_takes_the_place_of_a_small_one() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(|seen: &Seen| match seen.header("x-turn") {
        Some(_) => keeps(Answer::text(Bytes::from(vec![b'n'; LARGE]))),
        None => keeps(Answer::text("older")),
    })
    .await;
    let configuration = format!(
        "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = {:?}, size = \"64MiB\" }}\n{}",
        folder.path().join("cache"),
        route(&origin, "cache = { key = [\"path\"], max_object = \"16MiB\" }")
    );
    let proxy = Proxy::start(&configuration).await;
    assert_eq!(proxy.get("/a").await.expect(200).text(), "older");
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 1.0).await;
    assert_eq!(proxy.fetch(newer("/a")).await.expect(200).body.length, LARGE as u64);
    proxy.until_metric_is("upstream_connections", &[("state", "active")], 0.0).await;
    let again = proxy.get("/a").await.expect(200);
    assert_eq!((again.body.length, status(&again).contains("; hit")), (LARGE as u64, true), "{}", status(&again));
    assert_eq!(origin.requests().len(), 2);
}

/// The names of the answers in Redis.
fn names(redis: &Redis) -> Vec<String> {
    let names = redis.cli(&["--raw", "KEYS", "*:cache:*"]);
    names.lines().filter(|name| !name.is_empty() && !name.contains(":changed:")).map(str::to_owned).collect()
}

async fn shares(redis: &Redis, origin: &Origin) -> Proxy {
    let proxy = Proxy::start(format!(
        "{BOTH}[redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n[cache]\nredis = true\n{}",
        redis.socket().display(),
        route(origin, "cache = { key = [\"path\"] }")
    ))
    .await;
    proxy.printed("what is in Redis is used").await;
    proxy
}

#[tokio::test]
async fn what_is_overtaken_does_not_come_into_redis() {
    let redis = Redis::start().await;
    let paths = ["/a", "/changed", "/late/a", "/late/changed"];
    let gates = Gates::of(&paths);
    let origin = origin(&gates, |seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", _) => Answer::status(204),
        (_, "/last") => keeps(Answer::text("last")),
        _ => Answer::text("newer").header("Cache-Control", "no-store"),
    })
    .await;
    let (one, other) = (shares(&redis, &origin).await, shares(&redis, &origin).await);
    for path in paths {
        if path == "/late/a" {
            one.get(path).await.expect(200);
        }
        let older = gates.begin(&one, Request::get(path), path).await;
        match path.ends_with("changed") {
            true => drop(one.fetch(Request::post(path, "x").header("X-Turn", "newer")).await.expect(204)),
            false => drop(one.fetch(newer(path)).await.expect(200)),
        }
        older.end(&one).await;
    }
    // What is written later is there later.
    one.fetch(newer("/last")).await.expect(200);
    within("the last one to be in Redis", async {
        while names(&redis).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(names(&redis).len(), 1, "{:?}", names(&redis));
    for path in paths {
        assert!(!is_kept(&other, Request::get(path)).await, "{path}");
        assert!(!is_kept(&one, Request::get(path)).await, "{path}");
    }
}

#[tokio::test]
async fn of_two_processes_the_one_that_asked_last_has_its_answer_in_redis() {
    let redis = Redis::start().await;
    let paths = ["/a", "/vary"];
    let gates = Gates::of(&paths);
    let origin = origin(&gates, |seen| {
        let answer = keeps(Answer::text("newer"));
        if seen.target == "/vary" { answer.header("Vary", "X-Plan") } else { answer }
    })
    .await;
    let (one, other) = (shares(&redis, &origin).await, shares(&redis, &origin).await);
    let mut count = 0;
    for path in paths {
        let older = gates.begin(&one, Request::get(path), path).await;
        other.fetch(newer(path)).await.expect(200);
        count += if path == "/vary" { 2 } else { 1 };
        within("the newer one to be in Redis", async {
            while names(&redis).len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        older.end(&one).await;
    }
    one.fetch(newer("/last")).await.expect(200);
    within("what was written last to be in Redis", async {
        while names(&redis).len() < count + 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let third = shares(&redis, &origin).await;
    for path in paths {
        let answer = third.get(path).await.expect(200);
        assert_eq!(answer.text(), "newer", "{path}");
        assert!(status(&answer).ends_with("; detail=redis"), "{}", status(&answer));
    }
}

fn millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

#[tokio::test]
async fn an_older_answer_on_its_way_to_redis_does_not_take_a_later_one_away() {
    let redis = Redis::start().await;
    let origin = Origin::start(|seen: &Seen| {
        let answer = keeps(Answer::text(seen.header("x-turn").unwrap_or_default().to_owned()));
        if seen.target.starts_with("/vary") { answer.header("Vary", "X-Plan") } else { answer }
    })
    .await;
    let (one, other) = (shares(&redis, &origin).await, shares(&redis, &origin).await);
    let shared = |path: &str| other.fetch(Request::get(path).header("Cache-Control", "only-if-cached"));
    for path in ["/a", "/vary"] {
        let mut turn = 0;
        let path = loop {
            let path = format!("{path}/{turn}");
            turn += 1;
            let began = Instant::now();
            redis.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
            one.fetch(Request::get(&path).header("X-Turn", "older")).await.expect(200);
            let asked = millis();
            while millis() == asked {
                tokio::task::yield_now().await;
            }
            one.fetch(newer(&path)).await.expect(200);
            redis.cli(&["CLIENT", "UNPAUSE"]);
            // What could not be written in time is not what this is about.
            if began.elapsed() < Duration::from_millis(700) {
                break path;
            }
        };
        // What was ordered before this has been carried out when it is there.
        one.fetch(newer(&format!("{path}/last"))).await.expect(200);
        within("what was written last to be in Redis", async {
            while shared(&format!("{path}/last")).await.status != 200 {}
        })
        .await;
        let answer = shared(&path).await.expect(200);
        assert_eq!(answer.text(), "newer", "{path}");
        assert!(status(&answer).ends_with("; detail=redis"), "{}", status(&answer));
    }
}

#[tokio::test]
async fn a_command_that_redis_does_not_allow_is_told_of_and_redis_is_not_away() {
    let redis = Redis::start().await;
    let origin = Origin::start(|seen: &Seen| match seen.target.as_str() {
        "/a" => keeps(Answer::text("kept")),
        _ => Answer::status(204),
    })
    .await;
    let proxy = shares(&redis, &origin).await;
    redis.cli(&["ACL", "SETUSER", "default", "-@scripting"]);
    proxy.get("/a").await.expect(200);
    proxy.printed("no permissions").await;
    redis.cli(&["ACL", "SETUSER", "default", "+@scripting"]);
    proxy.fetch(newer("/a")).await.expect(200);
    within("the answer to be in Redis", async {
        while names(&redis).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!proxy.lines().iter().any(|line| line.contains("is away")), "{:?}", proxy.lines());
}
