//! The script in a real Redis against the maths of this process, with a clock that the test turns.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use document::{At, OneOrMany, Report};
use filter::{Credential, Identity};
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    Ground, Limits, Meters, Named, Permits, Site, State, Written,
    bucket::Bucket,
    cell::Cell,
    clock::SECOND,
    quota::{DAY, Quota},
    window::Window,
};

/// A Redis of the test's own, and a store that has found it.
struct Redis {
    child: Child,
    _folder: tempfile::TempDir,
    store: Store,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let url = Some(OneOrMany(vec![format!("unix:{}", socket.display())]));
        let timeout = Some(document::Duration::seconds(1));
        let config = store::Config { url, timeout, ..store::Config::default() };
        let store = Store::new(store::compile(&config, &At::root(), &mut Report::new()).unwrap());
        store.goes_live();
        let redis = Self { child, _folder: folder, store };
        let up = async {
            while !redis.store.health().up {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), up).await.unwrap();
        redis
    }

    /// What the script says of one rule, how much it has charged, and what it gives that back by.
    async fn ask(&self, key: &str, rule: &Rule, cost: u32, want: u32, micros: u64) -> (Said, u32, i64) {
        let mut arguments = rule.script_arguments().to_vec();
        arguments.extend([i64::from(cost), 0, i64::from(want), micros as i64]);
        let numbers = self.store.run(&ADMIT, &[key.to_owned()], &arguments, self.store.timeout()).await.unwrap();
        assert_eq!(numbers.len(), ANSWER);
        answered(&numbers)
    }
}

/// A route's limits that are counted there.
fn limits(redis: &Redis, json: &str) -> Limits {
    let written: OneOrMany<Written> = serde_json::from_str(json).unwrap();
    let held = || prometheus::Counter::new("held", "held").unwrap();
    let meters = |_: &str| Meters::of(|result| prometheus::IntCounter::new(result, result).unwrap(), held());
    let (state, site, mut report) = (State::default(), Site { route: "r", upstreams: &["u"] }, Report::new());
    let ground = Ground { state: &state, redis: crate::Redis::Found(&redis.store), meters: &meters };
    let limits = Limits::compile(&written, site, &Named::new(), &At::root(), ground, &mut report);
    limits.unwrap_or_else(|| panic!("{report:?}"))
}

/// What they say to a request of ann's, under this plan.
async fn asked(limits: &Limits, plan: Option<&str>) -> Result<Permits, Reply> {
    asked_by(limits, &ann(plan, None)).await
}

async fn asked_by(limits: &Limits, identity: &Identity) -> Result<Permits, Reply> {
    let (caller, stage) = (testkit::Caller::new(), limits.by_identity.as_ref().unwrap());
    stage.pass(&caller.view_as(Some(identity)), Waited::default()).await
}

/// Ann, with this plan and this amount of her own.
fn ann(plan: Option<&str>, amount: Option<u32>) -> Identity {
    Identity {
        user: Some("ann".into()),
        plan: plan.map(Into::into),
        limits: amount.map(|amount| ("r".into(), amount)).into_iter().collect(),
        ..Identity::new("p".into(), Credential::ApiKey)
    }
}

/// How many of thirty such requests pass.
async fn passing(limits: &Limits, plan: Option<&str>) -> usize {
    let mut passed = 0;
    for _ in 0..30 {
        passed += usize::from(asked(limits, plan).await.is_ok());
    }
    passed
}

#[tokio::test]
async fn callers_of_each_plan_have_leases_of_their_own() {
    let redis = Redis::start().await;
    let json = |lease: &str| {
        format!(
            r#"{{ "requests": 3, "window": "30d", "key": "user", "store": "redis"{lease}, "plans": {{ "pro": 9 }} }}"#
        )
    };
    let limits = limits(&redis, &json(r#", "lease": 2"#));
    assert_eq!(passing(&limits, None).await, 3);
    // The refusal is remembered, and is none for the other plan; what that one has on lease is not for this one.
    for index in 0..3 {
        assert!(asked(&limits, Some("pro")).await.is_ok(), "{index}");
        assert!(asked(&limits, None).await.is_err(), "{index}");
    }
    assert_eq!(passing(&limits, Some("pro")).await, 3);
    let stage = limits.by_identity.as_ref().unwrap();
    stage.limits[0].reset(&stage.counters, "ann", None).await.unwrap();
    assert_eq!([passing(&limits, None).await, passing(&limits, Some("pro")).await], [3, 6]);
}

#[tokio::test]
async fn one_process_does_not_keep_a_small_amount_from_the_others() {
    let redis = Redis::start().await;
    let json = r#"{ "requests": 10000, "window": "30d", "key": "user", "store": "redis", "lease": 50 }"#;
    let (here, there, who) = (limits(&redis, json), limits(&redis, json), ann(None, Some(16)));
    for _ in 0..8 {
        assert!(asked_by(&here, &who).await.is_ok());
    }
    for _ in 0..6 {
        assert!(asked_by(&there, &who).await.is_ok(), "more than an eighth of the amount is on lease");
    }
}

#[tokio::test]
async fn an_amount_of_ones_own_is_counted_there_and_has_leases_of_its_own() {
    let redis = Redis::start().await;
    for lease in ["", r#", "lease": 2"#] {
        let json = r#"{ "requests": 3, "window": "30d", "key": "user", "store": "redis""#;
        let limits = limits(&redis, &format!("{json}{lease} }}"));
        let few = ann(None, None);
        // Two who share what is counted, as those do who have a claim in common.
        let [more, most] = [9, 15].map(|amount| ann(None, Some(amount)));
        let passing = async |who: &Identity| {
            let mut passed = 0;
            for _ in 0..30 {
                passed += usize::from(asked_by(&limits, who).await.is_ok());
            }
            passed
        };
        assert_eq!(passing(&few).await, 3, "{lease}");
        assert!(asked_by(&limits, &more).await.is_ok() && asked_by(&limits, &few).await.is_err(), "{lease}");
        assert_eq!(passing(&more).await, 5, "{lease}");
        // What the store refuses one is none of the other's.
        assert!(asked_by(&limits, &most).await.is_ok() && asked_by(&limits, &more).await.is_err(), "{lease}");
        assert_eq!(passing(&most).await, 5, "{lease}");
        let stage = limits.by_identity.as_ref().unwrap();
        stage.limits[0].reset(&stage.counters, "ann", Some(&most)).await.unwrap();
        assert_eq!(passing(&most).await, 15, "{lease}");
        stage.limits[0].reset(&stage.counters, "ann", Some(&most)).await.unwrap();
    }
}

#[tokio::test]
async fn a_burst_that_only_a_plan_has_is_forgiven_there() {
    let redis = Redis::start().await;
    let limits = limits(
        &redis,
        r#"{ "requests": 10, "window": "30d", "key": "user", "store": "redis",
             "plans": { "partner": { "requests": 5000, "burst": 20 } } }"#,
    );
    let stage = limits.by_identity.as_ref().unwrap();
    for _ in 0..2 {
        assert_eq!(passing(&limits, Some("partner")).await, 20);
        stage.limits[0].reset(&stage.counters, "ann", None).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_refused_here_is_told_of_a_longer_wait_there() {
    let redis = Redis::start().await;
    let limits = limits(
        &redis,
        r#"[{ "requests": 2, "window": "1m", "key": "user" },
            { "requests": 2, "window": "1h", "key": "user", "store": "redis" }]"#,
    );
    let mut last = None;
    for _ in 0..3 {
        last = asked(&limits, None).await.err();
    }
    let refused = last.unwrap();
    let (_, wait) = refused.headers.iter().find(|(name, _)| *name == http::header::RETRY_AFTER).unwrap();
    assert!(wait.to_str().unwrap().parse::<u64>().unwrap() > 3_000, "{wait:?}");
    // The other was not asked, and nothing is said of it.
    assert!(matches!(&refused.body, filter::Body::Limits(names) if names.len() == 1));
}

/// What is compared: milliseconds of the wait, rounded up, or how many are left.
fn told(said: Said) -> Result<u32, u64> {
    match said {
        Said::Free(standing) => Ok(standing.remaining),
        Said::Full { wait } => Err(wait.div_ceil(MILLISECOND)),
    }
}

/// What this process would say at a second of the Unix epoch and a moment of its own clock that are the same.
fn here(rule: &Rule, cell: &mut Cell, now: Now, cost: u32) -> Said {
    let said = match rule {
        Rule::Quota(quota) => quota.ask_at(cell, now.0 / SECOND, cost),
        rule => rule.ask(cell, now, cost),
    };
    if let Said::Free(_) = said {
        match rule {
            Rule::Quota(quota) => drop(quota.charge_at(cell, now, now.0 / SECOND, cost)),
            rule => drop(rule.charge(cell, now, cost, crate::shard::Room::Plenty)),
        }
    }
    said
}

fn rules() -> impl Strategy<Value = Rule> {
    let millis = Duration::from_millis;
    prop_oneof![
        (1_u32..40, 100_u64..5_000).prop_map(move |(limit, length)| Rule::Window(Window::new(limit, millis(length)))),
        (513_u32..1_000, 500_u64..5_000)
            .prop_map(move |(limit, length)| Rule::Window(Window::new(limit, millis(length)))),
        // Whole microseconds a token: neither of the two rounds.
        (1_u64..20, 1_u32..20).prop_map(move |(each, burst)| Rule::Bucket(Bucket::new(1, millis(each * 25), burst))),
        (1_u32..40, prop_oneof![Just(1_u64), Just(2), Just(60), Just(DAY), Just(7 * DAY)])
            .prop_map(|(limit, period)| Rule::Quota(Quota::new(limit, period))),
    ]
}

#[test]
fn the_script_and_this_process_say_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    // Quotas are kept until a second of the clock on the wall, so that theirs has to lie ahead. A window of this process has
    // no room for more milliseconds than those since it was switched on, or 17 years.
    let start = |rule: &Rule| match rule {
        Rule::Quota(_) => Now((unix_seconds() + 100_000_000) * SECOND),
        _ => Now(100_000_000 * SECOND),
    };
    let number = std::cell::Cell::new(0);
    let steps = prop::collection::vec((0_u64..400_000, 1_u32..4), 1..80);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() });
    let ran = runner.run(&(rules(), steps), |(rule, steps)| {
        number.set(number.get() + 1);
        let key = format!("case-{}", number.get());
        let (mut cell, mut now) = (Cell::default(), start(&rule));
        for (micros, cost) in steps {
            now.0 += micros * 1000;
            let cost = cost.min(rule.most());
            let here = here(&rule, &mut cell, now, cost);
            let (there, charged, _) = runtime.block_on(redis.ask(&key, &rule, cost, cost, now.0 / 1000));
            prop_assert_eq!(told(here), told(there), "{:?} at {:?}", rule, now);
            prop_assert_eq!(charged, if matches!(here, Said::Free(_)) { cost } else { 0 });
        }
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn what_is_asked_for_ahead_is_charged_as_far_as_there_is_room() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let micros = (unix_seconds() + 100_000_000) * 1_000_000;
    let rules = [
        Rule::Window(Window::new(10, Duration::from_secs(60))),
        Rule::Bucket(Bucket::new(1, Duration::from_secs(60), 10)),
        Rule::Quota(Quota::new(10, DAY)),
    ];
    for rule in rules {
        let ask = |cost, want| runtime.block_on(redis.ask(rule.kind(), &rule, cost, want, micros));
        let left = |(said, charged, _)| (told(said).ok(), charged);
        assert_eq!(left(ask(1, 6)), (Some(4), 6), "{rule:?}");
        assert_eq!(left(ask(2, 8)), (Some(0), 4), "{rule:?}");
        assert_eq!(left(ask(1, 8)), (None, 0), "{rule:?}");
        // Who looks is told the same.
        assert_eq!(left(ask(1, 0)), (None, 0), "{rule:?}");
    }
}

#[test]
fn who_looks_is_charged_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let micros = (unix_seconds() + 100_000_000) * 1_000_000;
    let rule = Rule::Window(Window::new(2, Duration::from_secs(60)));
    for _ in 0..3 {
        let (said, charged, _) = runtime.block_on(redis.ask("looked-at", &rule, 1, 0, micros));
        assert_eq!((told(said), charged), (Ok(1), 0));
    }
}

#[test]
fn what_is_given_back_is_what_was_charged_and_not_the_charge_of_another() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let start = (unix_seconds() + 100_000_000) / DAY * DAY;
    let rules = [
        (Rule::Window(Window::new(2, Duration::from_secs(60))), [0, 36, 66]),
        (Rule::Quota(Quota::new(2, DAY)), [0, DAY, DAY + 1]),
    ];
    for (rule, seconds) in rules {
        let ask = |second: u64| runtime.block_on(redis.ask(rule.kind(), &rule, 1, 1, (start + second) * 1_000_000));
        let (_, _, by) = ask(seconds[0]);
        ask(seconds[1]);
        let mut arguments = rule.script_arguments().to_vec();
        arguments.extend([1, by]);
        let key = [rule.kind().to_owned()];
        runtime.block_on(redis.store.run(&GIVE_BACK, &key, &arguments, redis.store.timeout())).unwrap();
        // The first is over, and the second counts.
        assert_eq!(told(ask(seconds[2]).0), Ok(0), "{rule:?}");
    }
}

#[test]
fn months_end_alike_here_and_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    let number = std::cell::Cell::new(0);
    // Leap years, and 2100, which is none.
    let seconds = (unix_seconds() + DAY)..6_000_000_000;
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let ran = TestRunner::new(config).run(&(seconds, any::<bool>()), |(second, at_the_end)| {
        number.set(number.get() + 1);
        let (quota, key) = (Quota::monthly(1), format!("month-{}", number.get()));
        let second = if at_the_end { quota.end(second) - second % 2 } else { second };
        let (rule, now, mut cell) = (Rule::Quota(quota), Now(second * SECOND), Cell::default());
        for expected in [Ok(0), Err((quota.end(second) - second) * 1000)] {
            let here = here(&rule, &mut cell, now, 1);
            let (there, _, _) = runtime.block_on(redis.ask(&key, &rule, 1, 1, second * 1_000_000));
            prop_assert_eq!((told(here), told(there)), (expected, expected), "at {}", second);
        }
        Ok(())
    });
    ran.unwrap();
}

fn unix_seconds() -> u64 {
    crate::clock::unix()
}
