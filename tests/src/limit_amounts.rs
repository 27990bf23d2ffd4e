//! Limits by amounts of callers' own, which a file of keys or of users says.

use serde_json::{Value, json};
use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, Response, maitred, within};

use crate::{
    callers::hashed,
    limit_plans::{FREE, KEYS, PRO, configuration, get, passing},
    setting::{BOTH, until_under_way},
    shared_limits::Redis,
};

/// The keys of fred and of paula, who has a plan, with amounts of their own.
fn keys(fred: &str, paula: &str) -> String {
    format!("{KEYS}limits = {{ {paula} }}\n[consumers.fred]\nlimits = {{ {fred} }}\n")
}

/// A key that the command makes, and the letters that it is shown by.
async fn made(folder: &std::path::Path, consumer: &str, more: &[&str]) -> (String, String) {
    let arguments = ["key", "add", consumer, "--file", "keys.toml"];
    let key = maitred(folder, arguments.iter().chain(more).copied()).await.expect(0).stdout.trim().to_owned();
    let id = key.split('_').nth(1).unwrap().to_owned();
    (key, id)
}

/// What the admin API says of a key under the first rule of `calls`.
async fn rule(proxy: &Proxy, id: &str) -> Value {
    proxy.admin(&format!("/api/v1/limits/calls/keys/{id}")).await.expect(200).json()["rules"][0].clone()
}

/// Changes the file of keys, and waits until the amount of a key is this one.
async fn change(proxy: &Proxy, from: &str, to: &str, (id, amount): (&str, u64)) {
    let path = proxy.folder().join("keys.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    within("the amount to be another", async { while rule(proxy, id).await["limit"] != amount {} }).await;
}

/// That an answer tells of an amount, and of how much of it is left.
fn tells(answer: &Response, amount: usize, left: usize) {
    assert_eq!(answer.header("ratelimit-policy"), Some(format!("\"calls\";q={amount};w=3600").as_str()));
    let state = answer.header("ratelimit").unwrap();
    assert!(state.starts_with(&format!("\"calls\";r={left};t=")), "{state}");
    assert_eq!(answer.header("x-ratelimit-limit"), Some(amount.to_string().as_str()));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
}

const CALLS: &str = "requests = 3\nwindow = \"1h\"\nx_headers = true\nplans = { pro = 6 }";

#[tokio::test]
async fn an_amount_of_ones_own_beats_the_plan_and_the_limit_and_nobody_else_has_it() {
    let starter = Proxy::with(configuration(CALLS)).file("keys.toml", &keys("calls = 7", "calls = 4"));
    let (gina, of_gina) = made(starter.folder(), "gina", &["--plan", "pro"]).await;
    let proxy = starter.start().await;
    for (key, id, amount) in [(FREE, "f", 7), (PRO, "p", 4), (&*gina, &*of_gina, 6)] {
        let h2 = proxy.h2c().await;
        tells(&h2.fetch(Request::get("/").header("X-Api-Key", key)).await.expect(200), amount, amount - 1);
        tells(&get(&proxy, key).await.expect(200), amount, amount - 2);
        assert_eq!(passing(&proxy, key, 10).await, amount - 2);
        tells(&get(&proxy, key).await.expect_problem(429, "quota-exceeded"), amount, 0);
        let refused = h2.fetch(Request::get("/").header("X-Api-Key", key)).await.expect_problem(429, "quota-exceeded");
        tells(&refused, amount, 0);
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&wait), "{wait}");
        let known = rule(&proxy, id).await;
        assert_eq!((&known["limit"], &known["remaining"]), (&json!(amount), &json!(0)));
    }
    let explained = async |who: &str| proxy.command(["explain", "GET", "/", "--as", who]).await.expect(0).stdout;
    let paula = explained("paula").await;
    assert!(paula.contains("for p with an amount of its own, at most 4 in any 1h"), "{paula}");
    let gina = explained("gina").await;
    assert!(gina.contains("with the plan `pro`, at most 6 in any 1h"), "{gina}");
    // Forgiven, it may its own amount again.
    let forget = Request::new("DELETE", "/api/v1/limits/calls/keys/f");
    let known = Connection::to(&proxy.admin_socket()).await.fetch(forget).await.expect(200).json();
    assert_eq!(known["rules"][0]["remaining"], 7, "{known}");
    assert_eq!(passing(&proxy, FREE, 10).await, 7);
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_what_was_counted_stays_so() {
    let starter = Proxy::with(configuration(CALLS)).file("keys.toml", &keys("calls = 7", "calls = 4"));
    let mut proxy = starter.start().await;
    assert_eq!(passing(&proxy, FREE, 5).await, 5);
    let generation = proxy.admin("/api/v1/status").await.json()["generation"].clone();
    change(&proxy, "calls = 7", "calls = 9", ("f", 9)).await;
    assert_eq!(passing(&proxy, FREE, 10).await, 4);
    assert_eq!(proxy.admin("/api/v1/status").await.json()["generation"], generation, "nothing was loaded anew");
    change(&proxy, "limits = { calls = 9 }", "plan = \"pro\"", ("f", 6)).await;
    tells(&get(&proxy, FREE).await.expect(429), 6, 0);
    change(&proxy, "plan = \"pro\"\nlimits = { calls = 4 }", "plan = \"pro\"", ("p", 6)).await;
    assert_eq!(passing(&proxy, PRO, 10).await, 6);
    // What cannot be meant changes nothing.
    let path = proxy.folder().join("keys.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}limits = {{ calls = 0 }}\n")).unwrap();
    proxy.printed("consumer `fred`: `limits.calls` has to be a number from 1 to 16777215, and 0 is not").await;
    assert_eq!(rule(&proxy, "f").await["limit"], 6);
    std::fs::write(&path, format!("{good}limits = {{ calls = 11 }}\n")).unwrap();
    within("the amount to be another", async { while rule(&proxy, "f").await["limit"] != 11 {} }).await;
    assert_eq!(passing(&proxy, FREE, 1).await, 1);
    // Neither a reload nor an upgrade forgets it.
    proxy.hang_up(configuration(&CALLS.replace("requests = 3", "requests = 2"))).await;
    proxy.upgrade(&[]).await;
    assert_eq!(passing(&proxy, FREE, 10).await, 1);
}

#[tokio::test]
async fn a_rate_and_its_burst_and_a_quota_of_the_calendar_have_their_own_amounts() {
    for (limit, fred, paula, nobodys) in [
        ("rate = \"3/h\"", 6, 2, 3),
        // A burst is to the amount as it was to the rate.
        ("rate = \"4/h\"\nburst = 2\nplans = { pro = \"8/h\" }", 5, 3, 2),
        ("requests = 30\nwindow = \"1h\"\nburst = 3", 5, 2, 3),
        ("requests = 3\nwindow = \"1mo\"\nalign = \"calendar\"\nplans = { pro = 4 }", 5, 8, 3),
    ] {
        let amount = |passes: usize| match limit {
            limit if limit.contains("burst = 2") => passes * 2,
            limit if limit.contains("burst = 3") => passes * 10,
            _ => passes,
        };
        let text = keys(&format!("calls = {}", amount(fred)), &format!("calls = {}", amount(paula)));
        let starter = Proxy::with(configuration(limit)).file("keys.toml", &text);
        let (other, _) = made(starter.folder(), "gina", &[]).await;
        let proxy = starter.start().await;
        let passed =
            [passing(&proxy, FREE, 10).await, passing(&proxy, PRO, 10).await, passing(&proxy, &other, 10).await];
        assert_eq!(passed, [fred, paula, nobodys], "{limit}");
    }
}

#[tokio::test]
async fn a_quota_of_ones_own_survives_the_process() {
    let text = configuration("requests = 3\nwindow = \"1mo\"\nalign = \"calendar\"");
    let proxy = Proxy::with(text).file("keys.toml", &keys("calls = 6", "calls = 2")).start().await;
    assert_eq!(passing(&proxy, FREE, 4).await, 4);
    let beside = proxy.beside();
    proxy.signal("KILL").await;
    proxy.wait().await;
    let proxy = beside.start().await;
    assert_eq!(passing(&proxy, FREE, 10).await, 2);
}

#[tokio::test]
async fn places_are_as_many_as_the_callers_own_amount() {
    for over in ["refuse", "delay"] {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::start(move |_| Answer::text("x").after(&held)).await;
        let text = configuration(&format!(
            "concurrent = 1\nover = \"{over}\"\n{}",
            if over == "delay" { "max_delay = \"25s\"" } else { "" }
        ));
        let text = text.replace("respond = { body = \"x\" }", &format!("upstream = \"{origin}\""));
        let proxy = Proxy::with(text).file("keys.toml", &keys("calls = 3", "calls = 2")).start().await;
        let ask = |key: &str| {
            let (address, request) = (proxy.address().clone(), Request::get("/").header("X-Api-Key", key));
            tokio::spawn(async move { Connection::to(&address).await.fetch(request).await })
        };
        let mut served: Vec<_> = [FREE, FREE, FREE, PRO, PRO].map(ask).into_iter().collect();
        until_under_way(&proxy, 5).await;
        if over == "delay" {
            served.extend([ask(FREE), ask(PRO)]);
            within("both to wait", async {
                while [rule(&proxy, "f").await, rule(&proxy, "p").await].iter().any(|rule| rule["waiting"] != 1) {}
            })
            .await;
        } else {
            get(&proxy, FREE).await.expect_problem(429, "quota-exceeded");
            get(&proxy, PRO).await.expect_problem(429, "quota-exceeded");
            assert_eq!((&rule(&proxy, "f").await["limit"], &rule(&proxy, "p").await["limit"]), (&json!(3), &json!(2)));
            // One more from now on, of those that are taken.
            change(&proxy, "calls = 3", "calls = 4", ("f", 4)).await;
            served.push(ask(FREE));
            until_under_way(&proxy, 6).await;
            get(&proxy, FREE).await.expect_problem(429, "quota-exceeded");
        }
        let passed = if over == "delay" { 5 } else { 6 };
        origin.nth(passed - 1).await;
        assert_eq!(origin.requests().len(), passed);
        gate.open();
        for answer in served {
            answer.await.unwrap().expect(200);
        }
    }
}

#[tokio::test]
async fn in_redis_two_processes_count_by_it_together() {
    let redis = Redis::start().await;
    let redis_at = format!("[redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n", redis.socket().display());
    for (name, lease) in [("calls", ""), ("leased", "\nlease = 3")] {
        let limit = format!("requests = 3\nwindow = \"1h\"\nstore = \"redis\"\nplans = {{ pro = 6 }}{lease}");
        let text = configuration(&limit).replace("calls", name) + &redis_at;
        let text_of_keys = keys(&format!("{name} = 8"), &format!("{name} = 2"));
        let starter = || Proxy::with(&text).file("keys.toml", &text_of_keys);
        let (one, other) = (starter().start().await, starter().start().await);
        for proxy in [&one, &other] {
            proxy.printed("redis: connected to").await;
        }
        for (key, amount) in [(FREE, 8), (PRO, 2)] {
            let first = passing(&one, key, 1).await;
            let rest = passing(&other, key, 20).await + passing(&one, key, 20).await;
            assert_eq!((first, rest), (1, amount - 1), "{name}");
        }
    }
}

#[tokio::test]
async fn users_have_amounts_as_well() {
    let hash = hashed("pass").await;
    let users = format!(
        "[users.ada]\npassword = \"{hash}\"\nlimits = {{ app = 4 }}\n[users.bob]\npassword = \"{hash}\"\nplan = \"pro\"\n"
    );
    let text = format!(
        "{BOTH}[auth.staff]\ntype = \"basic\"\nusers = \"users.toml\"\n[routes.app]\npath = \"/*\"\nauth = \"staff\"\n\
         respond = {{ body = \"x\" }}\nlimit = {{ requests = 2, window = \"1h\", key = \"user\", plans = {{ pro = 3 }} }}\n"
    );
    let proxy = Proxy::with(&text).file("users.toml", &users).start().await;
    // What `printf 'ada:pass' | base64` says, and the same of bob.
    for (credentials, amount) in [("YWRhOnBhc3M=", 4), ("Ym9iOnBhc3M=", 3)] {
        let mut passed = 0;
        for _ in 0..8 {
            let request = Request::get("/").header("Authorization", &format!("Basic {credentials}"));
            passed += usize::from(proxy.fetch(request).await.status == 200);
        }
        assert_eq!(passed, amount);
    }
    let odd = users.replace("app = 4", "app = \"4\"");
    let refused = Proxy::with(&text).file("users.toml", &odd).refused().await.expect(3);
    assert!(
        refused.stderr.contains("user `ada`: `limits.app` has to be a number from 1 to 16777215"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn an_amount_that_cannot_be_meant_is_a_mistake_of_the_file() {
    for (odd, expected) in [
        ("calls = 0", "consumer `fred`: `limits.calls` has to be a number from 1 to 16777215, and 0 is not"),
        ("calls = -5", "and -5 is not"),
        ("calls = 16777216", "and 16777216 is not"),
        ("calls = \"5/s\"", "consumer `fred`: `limits.calls` has to be a number from 1 to 16777215"),
    ] {
        let starter = Proxy::with(configuration(CALLS)).file("keys.toml", &keys(odd, "calls = 4"));
        let refused = starter.refused().await.expect(3);
        assert!(refused.stderr.contains("E0501") && refused.stderr.contains(expected), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn an_amount_that_no_limit_goes_by_is_warned_of() {
    let more = "[limits.slow]\nbandwidth = \"1MiB/s\"\nkey = \"user\"\n[limits.address]\nrequests = 3\nwindow = \"1h\"\n\
                [routes.own]\npath = \"/own\"\nauth = { type = \"api_key\", keys = \"others.toml\" }\nrespond = { body = \"x\" }\n\
                limit = { requests = 3, window = \"1h\", key = \"user\" }\n";
    let others = "[keys.o]\nconsumer = \"otto\"\nsha256 = \"4deb409fa6939d285da75da1376994554e3412f51a05f90781a88f03b43ebe2e\"\n\
                  [consumers.otto]\nplan = \"pro\"\nlimits = { own = 5, own-1 = 6 }\n";
    let text = configuration(CALLS) + more;
    let named =
        keys("cals = 5, calls = 4, slow = 3", "calls = 9, cals = 5, address = 7").replace("plan = \"pro\"\n", "");
    let proxy = Proxy::with(&text).file("keys.toml", &named).file("others.toml", others).start().await;
    let told = proxy.command(["check", "-c", "maitred.toml"]).await.expect(0);
    let told = told.stdout + &told.stderr;
    for expected in [
        "`fred` has one for the limit `cals`, which does not exist: did you mean `calls`?",
        "`fred` has one for the limit `slow`, which goes by none",
        "`paula` has one for the limit `address`, which goes by none",
        "`otto` has one for the limit `own-1`, which does not exist: did you mean `own`?",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!((told.matches("W0305").count(), told.matches("has one for").count()), (2, 4), "{told}");
    assert!(!told.contains("W0304"), "otto has the plan: {told}");
}

#[tokio::test]
async fn the_command_and_the_admin_api_write_amounts_and_show_them() {
    let proxy = Proxy::with(configuration(CALLS)).file("keys.toml", "").start().await;
    let (key, id) = made(proxy.folder(), "acme", &["--limit", "calls=5", "--limit", "other=16777215"]).await;
    within("the key to be known", async { while get(&proxy, &key).await.status != 200 {} }).await;
    assert_eq!(passing(&proxy, &key, 10).await, 4);
    let listed = proxy.command(["key", "list", "--json"]).await.expect(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["limits"]), (&json!(id), &json!({ "calls": 5, "other": 16_777_215 })));
    for (odd, expected) in [
        ("calls=0", "0 is no amount for the limit calls: it is a number from 1 to 16777215"),
        ("calls=16777216", "16777216 is no amount"),
        ("calls=-1", "such as calls=5000"),
        ("calls", "such as calls=5000"),
        ("=5", "\"\" is no limit"),
    ] {
        let refused = proxy.command(["key", "add", "beta", "--limit", odd]).await.expect(2);
        assert!(refused.stderr.contains(expected), "{odd}: {}", refused.stderr);
    }
    let twice = proxy.command(["key", "add", "beta", "--limit", "calls=5", "--limit", "calls=6"]).await.expect(2);
    assert!(twice.stderr.contains("one limit has two amounts"), "{}", twice.stderr);
    let refused = proxy.command(["key", "add", "acme", "--limit", "calls=6"]).await.expect(1);
    assert!(refused.stderr.contains("change its plan, limits, scopes and roles there"), "{}", refused.stderr);
    let order = async |order: Value, status: u16| {
        let request = Request::post("/api/v1/keys", order.to_string()).header("Content-Type", "application/json");
        Connection::to(&proxy.admin_socket()).await.fetch(request).await.expect(status)
    };
    order(json!({ "consumer": "beta", "limits": { "calls": 0 } }), 422).await;
    order(json!({ "consumer": "beta", "limits": { "calls": "7" } }), 400).await;
    order(json!({ "consumer": "beta", "limits": { "calls": 7 } }), 200).await;
    let keys = Connection::to(&proxy.admin_socket()).await.fetch(Request::get("/api/v1/keys")).await.expect(200).json();
    let beta = keys.as_array().unwrap().iter().find(|key| key["consumer"] == "beta").unwrap().clone();
    assert_eq!(beta["limits"], json!({ "calls": 7 }));
    let limit = async || rule(&proxy, beta["id"].as_str().unwrap()).await["limit"].clone();
    within("the key to be known", async { while limit().await != 7 {} }).await;
}
