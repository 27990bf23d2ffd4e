//! Limits as a route has them, asked with real requests.

mod callers;

use std::net::IpAddr;

use document::{At, Report};
use filter::{Credential, Identity};
use testkit::Caller;

use super::*;
use crate::{Ground, Limits, Named, Redis, Site, State, Written, clock::SECOND};

/// A route's limits, and requests to ask them with.
struct Scene {
    limits: Limits,
    caller: Caller,
    identity: Option<Identity>,
}

fn scene_on(state: &State, json: &str) -> Scene {
    let written: document::OneOrMany<Written> = serde_json::from_str(json).unwrap();
    let held = || prometheus::Counter::new("held", "held").unwrap();
    let meters = |_: &str| Meters::of(|result| prometheus::IntCounter::new(result, result).unwrap(), held());
    let (ground, mut report) = (Ground { state, redis: Redis::Absent, meters: &meters }, Report::new());
    let site = Site { route: "r", upstreams: &["u"] };
    let limits = Limits::compile(&written, site, &Named::new(), &At::root(), ground, &mut report);
    Scene { limits: limits.unwrap_or_else(|| panic!("{report:?}")), caller: Caller::new(), identity: None }
}

fn scene(json: &str) -> Scene {
    scene_on(&State::default(), json)
}

impl Scene {
    fn view(&self) -> View<'_> {
        self.caller.view_as(self.identity.as_ref())
    }

    fn stage(&self) -> &Stage {
        let limits = &self.limits;
        limits.by_client.as_ref().or(limits.by_identity.as_ref()).or(limits.by_upstream.as_ref()).unwrap()
    }

    fn admit(&self) -> Result<Permits, Reply> {
        self.stage().admit(&self.view())
    }

    /// How many of a hundred requests pass.
    fn passing(&self) -> usize {
        (0..100).filter(|_| self.admit().map(|mut permits| permits.settle(500)).is_ok()).count()
    }

    fn from(&mut self, address: &str) -> &mut Self {
        self.caller.client.address = Some(address.parse::<IpAddr>().unwrap());
        self
    }
}

fn field(reply: &Reply, name: &str) -> Option<String> {
    let (_, value) = reply.headers.iter().find(|(known, _)| known.as_str() == name)?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn each_address_has_a_count_of_its_own() {
    let mut scene = scene(r#""7/m per ip""#);
    assert_eq!(scene.passing(), 7);
    assert_eq!(scene.from("10.0.0.2").passing(), 7);
    assert_eq!(scene.from("2001:db8::1").passing(), 7);
    assert_eq!(scene.from("2001:db8::2").passing(), 0);
}

#[test]
fn all_are_asked_before_any_is_charged() {
    let scene = scene(r#"["3/h per route", { "requests": 5, "window": "1h" }, { "rate": "9/h" }]"#);
    assert_eq!(scene.passing(), 3);
    // What the first refused was not charged to the others.
    let left = scene.limits.explain(&scene.view(), true);
    assert!(left[0].starts_with("r-1: used up"), "{left:?}");
    assert!(left[1].starts_with("r-2: 2 of 5 left"), "{left:?}");
    assert!(left[2].starts_with("r-3: 6 of 9 left"), "{left:?}");
}

#[test]
fn a_refusal_says_when_to_come_again_and_what_was_violated() {
    let scene = scene(r#"{ "requests": 1, "window": "1m", "x_headers": true }"#);
    let now = Now(1_000 * SECOND);
    drop(scene.stage().admit_at(&scene.view(), now).unwrap());
    let reply = scene.stage().admit_at(&scene.view(), Now(now.0 + 20 * SECOND)).unwrap_err();
    assert_eq!(reply.reason, Reason::Limited);
    // A minute and the millisecond in which it happened, rounded up.
    assert_eq!(field(&reply, "retry-after").as_deref(), Some("41"));
    assert_eq!(field(&reply, "ratelimit-policy").as_deref(), Some("\"r\";q=1;w=60"));
    assert_eq!(field(&reply, "ratelimit").as_deref(), Some("\"r\";r=0;t=41"));
    assert_eq!(field(&reply, "x-ratelimit-limit").as_deref(), Some("1"));
    assert!(matches!(&reply.body, Body::Limits(limits) if *limits[0] == *"r"));
    assert!(scene.stage().admit_at(&scene.view(), Now(now.0 + 61 * SECOND)).is_ok());
}

#[test]
fn a_place_is_given_back_when_the_request_ends() {
    let scene = scene(r#"{ "concurrent": 2 }"#);
    let (one, two) = (scene.admit().unwrap(), scene.admit().unwrap());
    assert!(scene.admit().is_err());
    drop(one);
    let three = scene.admit().unwrap();
    assert!(scene.admit().is_err());
    drop((two, three));
    assert_eq!(scene.stage().counters.keys(), 0);
}

#[test]
fn only_failures_count_where_that_is_asked_for() {
    let scene = scene(r#"{ "requests": 3, "window": "1h", "count": "failures" }"#);
    for _ in 0..50 {
        scene.admit().unwrap().settle(200);
    }
    for status in [401, 500] {
        scene.admit().unwrap().settle(status);
    }
    // Whoever goes away before the answer has not succeeded.
    drop(scene.admit().unwrap());
    assert!(scene.admit().is_err());
}

#[test]
fn a_charge_is_taken_back_where_a_later_step_refuses() {
    let mut scene = scene(r#"["2/h per ip", "1/h per user"]"#);
    let mut first = scene.limits.by_client.admit(&scene.view()).unwrap();
    first.take_back();
    assert_eq!(scene.passing(), 2);
    let mut ann = Identity::new("p".into(), Credential::Basic);
    ann.user = Some("ann".into());
    scene.identity = Some(ann);
    assert!(scene.limits.by_identity.admit(&scene.view()).is_ok());
    assert!(scene.limits.by_identity.admit(&scene.view()).is_err());
}

#[test]
fn a_request_without_the_key_never_goes_uncounted() {
    let by = |missing: &str| scene(&format!(r#"{{ "requests": 4, "window": "1h", "key": "header:x-key"{missing} }}"#));
    assert_eq!(by("").passing(), 4);
    assert_eq!(by(r#", "on_missing": "skip""#).passing(), 100);
    assert_eq!(by(r#", "on_missing": "deny""#).admit().unwrap_err().reason, Reason::LimitKeyMissing);
    let mut with = by(r#", "on_missing": "deny""#);
    for value in ["one", "two"] {
        with.caller.head.insert_header("x-key", value).unwrap();
        assert_eq!(with.passing(), 4);
    }
}

#[test]
fn in_shadow_nothing_is_refused_and_everything_is_counted() {
    let scene = scene(r#"["9/h", { "requests": 4, "window": "1h", "mode": "shadow" }]"#);
    let shadowed = (0..9).filter(|_| scene.admit().unwrap().shadowed()).count();
    assert_eq!(shadowed, 5);
    let meters = &scene.stage().limits[1].meters;
    assert_eq!((meters.allowed.get(), meters.shadowed.get()), (4, 5));
    assert!(scene.admit().is_err());
}

#[test]
fn a_rate_may_hold_requests_back() {
    let scene = scene(r#"{ "rate": "10/s", "burst": 1, "over": "delay", "max_delay": "300ms" }"#);
    let now = Now(1_000 * SECOND);
    let delays: Vec<_> = (0..5).map(|_| scene.stage().admit_at(&scene.view(), now).ok().map(|it| it.delay())).collect();
    let millis = |number| Some(Duration::from_millis(number));
    assert_eq!(delays, [millis(0), millis(100), millis(200), millis(300), None]);
}

#[test]
fn a_window_with_a_burst_lets_no_more_come_at_once_and_no_more_in_all() {
    let scene = scene(r#"{ "requests": 60, "window": "1m", "burst": 5 }"#);
    let start = 1_000 * SECOND;
    let pass = |second: u64| {
        let now = Now(start + second * SECOND);
        (0..50).filter(|_| scene.stage().admit_at(&scene.view(), now).is_ok()).count()
    };
    assert_eq!(pass(0), 5);
    let minute: usize = (1..=60).map(pass).sum();
    assert_eq!(minute, 55);
}

#[test]
fn counters_are_found_again_by_name() {
    let state = State::default();
    assert_eq!(scene_on(&state, r#""5/h""#).passing(), 5);
    // A limit of the same name that is raised goes on where it was; one that counts by something else begins.
    assert_eq!(scene_on(&state, r#""8/h""#).passing(), 3);
    assert_eq!(scene_on(&state, r#""8/h per route""#).passing(), 8);
}

/// The law: on the same state, judge and admit agree.
#[test]
fn to_judge_is_to_admit_without_a_charge() {
    for json in [
        r#"["5/h", { "rate": "7/h" }]"#,
        r#"{ "concurrent": 3 }"#,
        r#"{ "requests": 9, "window": "1h", "cost": 2, "key": "cookie:id" }"#,
        r#"{ "requests": 1, "window": "1h", "key": "cookie:id", "on_missing": "deny" }"#,
        r#"{ "rate": "9/h", "burst": 2, "over": "delay" }"#,
        r#"{ "requests": 3, "window": "1h", "mode": "shadow" }"#,
    ] {
        let scene = scene(json);
        let mut held = Vec::new();
        for _ in 0..12 {
            let judged = scene.stage().judge(&scene.view()).map_err(|reply| reply.reason);
            let again = scene.stage().judge(&scene.view()).map_err(|reply| reply.reason);
            assert_eq!(judged, again, "{json}");
            let admitted = scene.admit().map_err(|reply| reply.reason);
            assert_eq!(judged, admitted.as_ref().map(|_| ()).map_err(|reason| *reason), "{json}");
            held.extend(admitted.ok());
        }
    }
}

#[test]
fn an_operator_sees_who_is_limited_and_forgives() {
    let mut scene = scene(r#"["2/h per ip", { "requests": 2, "window": "1h", "key": "header:x-key" }]"#);
    scene.caller.head.insert_header("x-key", "open-sesame").unwrap();
    let counters = scene.stage().counters.clone();
    assert_eq!(scene.passing(), 2);
    let limited = counters.limited().now();
    let shown = |limit: &str| limited.iter().find(|entry| *entry.limit == *limit).unwrap().key.to_string();
    assert_eq!((limited.len(), limited[0].refused, shown("r-1").as_str()), (2, 98, "127.0.0.1"));
    let [by_address, by_key] = [0, 1].map(|index| scene.stage().limits[index].clone());
    assert_eq!(by_address.look(&counters, "127.0.0.1", None)[0].remaining, 0);
    assert_eq!(by_address.look(&counters, "127.0.0.2", None)[0].remaining, 2);
    assert!(by_address.reset_here(&counters, "127.0.0.1", None));
    assert!(!by_address.reset_here(&counters, "127.0.0.1", None));
    // A secret can be named by what is shown of it, or as it is.
    assert!(by_key.reset_here(&counters, &shown("r-2"), None));
    assert_eq!(scene.passing(), 2);
    assert!(by_key.reset_here(&counters, "open-sesame", None) && by_address.reset_here(&counters, "127.0.0.1", None));
    assert_eq!(scene.passing(), 2);
}

#[test]
fn who_is_refused_again_and_again_is_banned_even_when_the_limit_has_room() {
    let scene = scene(r#"{ "rate": "1000/s", "burst": 2, "ban": { "after": 3, "for": "1h" } }"#);
    // Ahead of the real clock, by which refusals are counted and what is over is swept away.
    let now = Now(Now::read().0 + 60 * SECOND);
    let pass = |now: Now| {
        scene.stage().admit_at(&scene.view(), now).map(|permits| permits.delay()).map_err(|reply| reply.reason)
    };
    let passing = (0..5).filter(|_| pass(now).is_ok()).count();
    assert_eq!(passing, 2);
    // The refusals were counted by the real clock, which is where the ban is.
    let reply = scene.admit().unwrap_err();
    let wait: u64 = field(&reply, "retry-after").unwrap().parse().unwrap();
    assert!((3_590..=3_600).contains(&wait), "{wait}");
    assert!(scene.stage().limits[0].reset_here(&scene.stage().counters, "127.0.0.1", None));
    assert!(scene.admit().is_ok());
}

/// How many requests pass of those that so many threads send at once.
fn passing_at_once(scene: &Scene, threads: u32, each: u32, end: impl Fn(Permits) + Sync) -> u32 {
    let address = scene.caller.client.address;
    let worker = || {
        let mut caller = Caller::new();
        caller.client.address = address;
        (0..each).filter(|_| scene.stage().admit(&caller.view()).map(&end).is_ok()).count() as u32
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

#[test]
fn the_hundred_and_first_is_refused_however_many_ask_at_once() {
    for json in [
        r#""100/h""#,
        r#"{ "rate": "100/h" }"#,
        r#"{ "requests": 100, "window": "1d", "align": "calendar" }"#,
        r#"["100/h", { "rate": "200/h" }, "150/h per route"]"#,
        r#"["300/h per ip", { "requests": 100, "window": "1h", "key": "route" }]"#,
    ] {
        assert_eq!(passing_at_once(&scene(json), 16, 50, drop), 100, "{json}");
    }
    // What is given back may be had again, and what is kept may not.
    assert_eq!(passing_at_once(&scene(r#"{ "concurrent": 100 }"#), 16, 50, std::mem::forget), 100);
    assert_eq!(passing_at_once(&scene(r#"{ "concurrent": 16 }"#), 16, 500, drop), 16 * 500);
    let failures = scene(r#"{ "requests": 100, "window": "1h", "count": "failures" }"#);
    assert_eq!(passing_at_once(&failures, 16, 50, |mut permits| permits.settle(500)), 100);
}
