//! Limits by the plan of whoever calls.

use testkit::{Proxy, Request, Response};

use crate::{setting::BOTH, shared_limits::Redis};

pub const FREE: &str = "free-has-a-key-of-32-characters-xx";
pub const PRO: &str = "pro-has-a-key-of-32-characters-xx";

/// As `sha256sum` says.
pub const KEYS: &str = "[keys.f]\nconsumer = \"fred\"\nsha256 = \"5deb409fa6939d285da75da1376994554e3412f51a05f90781a88f03b43ebe2e\"\n\
                    [keys.p]\nconsumer = \"paula\"\nsha256 = \"1b91c3415c064532cf1759a36d4ddc52ee7e33493e0638bd8c67efa5e10b0556\"\n\
                    [consumers.paula]\nplan = \"pro\"\n";

pub fn configuration(limit: &str) -> String {
    format!(
        "{BOTH}[auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\n\
         [limits.calls]\nkey = \"api_key\"\n{limit}\n\
         [routes.app]\npath = \"/*\"\nauth = \"partners\"\nlimit = \"calls\"\nrespond = {{ body = \"x\" }}\n"
    )
}

pub async fn get(proxy: &Proxy, key: &str) -> Response {
    proxy.fetch(Request::get("/").header("X-Api-Key", key)).await
}

/// How many requests pass of so many.
pub async fn passing(proxy: &Proxy, key: &str, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(get(proxy, key).await.status == 200);
    }
    passed
}

#[tokio::test]
async fn each_caller_may_what_their_plan_says_and_is_told_so() {
    let limit = "requests = 3\nwindow = \"1h\"\nx_headers = true\nplans = { pro = 6 }";
    let mut proxy = Proxy::with(configuration(limit)).file("keys.toml", KEYS).start().await;
    for (key, id, amount) in [(FREE, "f", 3), (PRO, "p", 6)] {
        let first = get(&proxy, key).await.expect(200);
        let policy = format!("\"calls\";q={amount};w=3600");
        assert_eq!(first.header("ratelimit-policy"), Some(policy.as_str()));
        assert_eq!(first.header("ratelimit"), Some(format!("\"calls\";r={};t=3600", amount - 1).as_str()));
        assert_eq!(first.header("x-ratelimit-limit"), Some(amount.to_string().as_str()));
        assert_eq!(passing(&proxy, key, 10).await, amount - 1);
        let refused = get(&proxy, key).await.expect_problem(429, "quota-exceeded");
        assert_eq!(refused.header("ratelimit-policy"), Some(policy.as_str()));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&wait), "{wait}");
        let known = proxy.admin(&format!("/api/v1/limits/calls/keys/{id}")).await.expect(200).json();
        assert_eq!(
            (known["rules"][0]["limit"].as_u64(), known["rules"][0]["remaining"].as_u64()),
            (Some(amount as u64), Some(0))
        );
    }
    let explained = async |more: &[&str]| {
        let arguments = ["explain", "GET", "/", "--as"].iter().chain(more).copied();
        proxy.command(arguments).await.expect(0).stdout
    };
    let paula = explained(&["paula"]).await;
    assert!(paula.contains("for p with the plan `pro`, at most 6 in any 1h"), "{paula}");
    let fred = explained(&["fred"]).await;
    assert!(fred.contains("for f, at most 3 in any 1h"), "{fred}");
    // A plan that is raised, over a reload and an upgrade, goes on with what was counted.
    proxy.hang_up(configuration(&limit.replace("pro = 6", "pro = 8"))).await;
    assert_eq!((passing(&proxy, PRO, 10).await, passing(&proxy, FREE, 10).await), (2, 0));
    proxy.hang_up(configuration(&limit.replace("pro = 6", "pro = 11"))).await;
    proxy.upgrade(&[]).await;
    assert_eq!((passing(&proxy, PRO, 10).await, passing(&proxy, FREE, 10).await), (3, 0));
}

#[tokio::test]
async fn in_shadow_the_plan_counts_as_well() {
    let limit = "requests = 1\nwindow = \"1h\"\nmode = \"shadow\"\nplans = { pro = 4 }";
    let proxy = Proxy::with(configuration(limit)).file("keys.toml", KEYS).start().await;
    assert_eq!(passing(&proxy, PRO, 5).await, 5);
    assert_eq!(proxy.metric("limit_total", &[("limit", "calls"), ("result", "shadowed")]).await, 1.0);
}

#[tokio::test]
async fn a_plan_that_nobody_has_is_warned_of_and_one_for_whom_nobody_asks_is_a_mistake() {
    let limit = "requests = 1\nwindow = \"1h\"\nplans = { pro = 4, prp = 5 }";
    let warned = Proxy::with(configuration(limit)).file("keys.toml", KEYS).start().await;
    let told = warned.command(["check", "-c", "maitred.toml"]).await.expect(0);
    let told = told.stdout + &told.stderr;
    assert!(told.contains("W0304") && told.contains("nobody has the plan `prp`") && !told.contains("`pro`"), "{told}");
    let open = configuration(limit).replace("key = \"api_key\"", "key = \"ip\"");
    let refused = Proxy::with(open).file("keys.toml", KEYS).refused().await.expect(3);
    assert!(refused.stderr.contains("`plans` in a limit that counts by `ip`"), "{}", refused.stderr);
}

#[tokio::test]
async fn in_redis_two_processes_count_by_the_plan_together() {
    let redis = Redis::start().await;
    let limit = "requests = 3\nwindow = \"1h\"\nstore = \"redis\"\nplans = { pro = 6 }";
    let redis_at = format!("[redis]\nurl = \"unix:{}\"\ntimeout = \"1s\"\n", redis.socket().display());
    let starter = || Proxy::with(configuration(limit) + &redis_at).file("keys.toml", KEYS);
    let (one, other) = (starter().start().await, starter().start().await);
    for proxy in [&one, &other] {
        proxy.printed("redis: connected to").await;
    }
    for (key, amount) in [(FREE, 3), (PRO, 6)] {
        let passed = [passing(&one, key, 2).await, passing(&other, key, 20).await, passing(&one, key, 2).await];
        assert_eq!(passed, [2, amount - 2, 0]);
    }
}
