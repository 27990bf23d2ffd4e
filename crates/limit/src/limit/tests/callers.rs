//! Limits that ask who calls: by plan, and by amounts of callers' own.

use super::*;

/// Who has this plan, and these amounts.
fn caller(user: &str, plan: Option<&str>, amounts: &[(&str, u32)]) -> Identity {
    Identity {
        user: Some(user.into()),
        plan: plan.map(Into::into),
        limits: amounts.iter().map(|(name, amount)| ((*name).into(), *amount)).collect(),
        ..Identity::new("p".into(), Credential::ApiKey)
    }
}

/// How many of a hundred requests of `user` pass, who has this plan.
fn passing_of(scene: &mut Scene, user: &str, plan: Option<&str>) -> usize {
    scene.identity = Some(caller(user, plan, &[]));
    scene.passing()
}

/// How many pass of one who has an amount of its own for the limit.
fn passing_with(scene: &mut Scene, user: &str, plan: Option<&str>, amount: u32) -> usize {
    scene.identity = Some(caller(user, plan, &[("r", amount)]));
    scene.passing()
}

#[test]
fn the_plan_of_a_caller_says_how_much_they_may() {
    for (written, expected) in [
        (
            r#"{ "requests": 5, "window": "1h", "key": "user", "plans": { "pro": 9, "max": { "requests": 20 } } }"#,
            [5, 9, 20],
        ),
        (
            r#"{ "rate": "5/h", "key": "user", "plans": { "pro": "9/h", "max": { "rate": "40/h", "burst": 20 } } }"#,
            [5, 9, 20],
        ),
        // A burst grows with the rest.
        (r#"{ "rate": "10/h", "burst": 5, "key": "user", "plans": { "pro": "18/h", "max": "960/d" } }"#, [5, 9, 20]),
        (
            r#"{ "requests": 50, "window": "1h", "burst": 5, "key": "user",
                 "plans": { "pro": 90, "max": { "requests": 99, "burst": 20 } } }"#,
            [5, 9, 20],
        ),
        (
            r#"{ "requests": 5, "window": "1d", "align": "calendar", "key": "user", "plans": { "pro": 9, "max": 20 } }"#,
            [5, 9, 20],
        ),
        (
            r#"{ "requests": 5, "window": "1h", "estimate": true, "key": "user", "plans": { "pro": 9, "max": 20 } }"#,
            [5, 9, 20],
        ),
    ] {
        let mut scene = scene(written);
        let plans = [None, Some("pro"), Some("max")];
        let users = ["ann", "bob", "eve"].into_iter().zip(plans);
        let passed: Vec<usize> = users.map(|(user, plan)| passing_of(&mut scene, user, plan)).collect();
        assert_eq!(passed, expected, "{written}");
        assert_eq!(passing_of(&mut scene, "joe", Some("other")), 5, "{written}");
    }
}

/// Each of them has so many places of the same limit.
fn places_are_for(callers: &[(Identity, usize)]) {
    for over in ["refuse", "delay"] {
        let mut scene =
            scene(&format!(r#"{{ "concurrent": 2, "key": "user", "over": "{over}", "plans": {{ "pro": 7 }} }}"#));
        let mut held = Vec::new();
        for (who, places) in callers {
            scene.identity = Some(who.clone());
            assert_eq!(scene.passing(), 100);
            let taken: Vec<_> = (0..20).filter_map(|_| scene.admit().ok()).collect();
            assert_eq!(taken.len(), *places, "{over}: {who:?}");
            held.extend(taken);
        }
    }
}

#[test]
fn places_are_given_out_by_plan() {
    places_are_for(&[(caller("ann", None, &[]), 2), (caller("bob", Some("pro"), &[]), 7)]);
}

#[test]
fn who_changes_to_another_plan_goes_on_from_where_they_were() {
    let state = State::default();
    let written =
        |pro: u32| format!(r#"{{ "requests": 5, "window": "1h", "key": "user", "plans": {{ "pro": {pro} }} }}"#);
    let mut before = scene_on(&state, &written(9));
    assert_eq!(passing_of(&mut before, "ann", None), 5);
    assert_eq!(passing_of(&mut before, "ann", Some("pro")), 4);
    let mut after = scene_on(&state, &written(12));
    assert_eq!(passing_of(&mut after, "ann", Some("pro")), 3);
    assert_eq!(passing_of(&mut after, "ann", None), 0);
}

#[test]
fn answers_tell_of_the_plan() {
    let mut scene = scene(
        r#"["90/h per ip", { "requests": 5, "window": "1h", "key": "user", "x_headers": true, "plans": { "pro": 7 } }]"#,
    );
    for (user, plan, amount) in [("ann", None, 5), ("bob", Some("pro"), 7)] {
        scene.identity = Some(caller(user, plan, &[]));
        let mut permits = scene.limits.by_client.admit(&scene.view()).unwrap();
        permits.add(scene.limits.by_identity.admit(&scene.view()).unwrap());
        let mut head = pingora_http::ResponseHeader::build(200, None).unwrap();
        scene.limits.tell(permits.nearest(), scene.identity.as_ref(), &mut head);
        let told = |name: &str| head.headers[name].to_str().unwrap().to_owned();
        assert_eq!(told("ratelimit-policy"), format!("\"r-1\";q=90;w=3600, \"r-2\";q={amount};w=3600"));
        assert_eq!(told("ratelimit"), format!("\"r-2\";r={};t=3600", amount - 1));
        assert_eq!(told("x-ratelimit-limit"), amount.to_string());
        let explained = scene.limits.explain(&scene.view(), true);
        assert!(explained[1].contains(&format!("{} of {amount} left for {user}", amount - 1)), "{explained:?}");
        let look = scene.limits.by_identity.as_ref().unwrap().limits[0].look(
            &scene.stage().counters,
            user,
            scene.identity.as_ref(),
        );
        assert_eq!((look[0].limit, look[0].remaining), (amount, amount - 1));
    }
}

#[test]
fn answers_tell_of_the_plan_also_where_its_limit_has_nothing_left() {
    let mut scene = scene(
        r#"["90/h per ip", { "rate": "10/h", "burst": 1, "key": "user", "over": "delay", "max_delay": "30s",
             "plans": { "pro": { "rate": "2/s", "burst": 2 } } }]"#,
    );
    scene.identity = Some(caller("bob", Some("pro"), &[]));
    for delayed in [false, false, true] {
        // Nobody knows yet who calls.
        let mut permits = scene.limits.by_client.admit(&scene.caller.view()).unwrap();
        permits.add(scene.limits.by_identity.admit(&scene.view()).unwrap());
        assert_eq!(!permits.delay().is_zero(), delayed);
        let mut head = pingora_http::ResponseHeader::build(200, None).unwrap();
        scene.limits.tell(permits.nearest(), scene.identity.as_ref(), &mut head);
        assert_eq!(head.headers["ratelimit-policy"], "\"r-1\";q=90;w=3600, \"r-2\";q=2;w=1");
    }
}

#[test]
fn an_operator_sees_and_forgives_the_burst_that_only_a_plan_has() {
    for ban in ["", r#", "ban": { "after": 500, "for": "1h" }"#] {
        let mut scene = scene(&format!(
            r#"{{ "requests": 10, "window": "30d", "key": "user"{ban},
                 "plans": {{ "partner": {{ "requests": 5000, "burst": 20 }} }} }}"#
        ));
        assert_eq!(passing_of(&mut scene, "ann", Some("partner")), 20);
        let (limit, counters) = (scene.stage().limits[0].clone(), scene.stage().counters.clone());
        let look = |plan| limit.look(&counters, "ann", Some(&caller("ann", plan, &[])));
        let seen: Vec<_> = look(Some("partner")).iter().map(|look| (look.kind, look.remaining)).collect();
        assert_eq!(seen[..2], [("window", 4980), ("bucket", 0)], "{ban}");
        let kinds = |plan| look(plan).iter().map(|look| look.kind).collect::<Vec<_>>();
        let expected: &[&str] = if ban.is_empty() { &["window", "bucket"] } else { &["window", "bucket", "ban"] };
        assert_eq!(kinds(Some("partner")), expected);
        assert!(!kinds(None).contains(&"bucket"));
        assert!(limit.reset_here(&counters, "ann", None));
        assert_eq!((look(Some("partner"))[1].remaining, counters.keys()), (20, 0), "{ban}");
        assert_eq!(passing_of(&mut scene, "ann", Some("partner")), 20, "{ban}");
    }
}

#[test]
fn an_amount_of_ones_own_stands_in_the_place_of_what_the_limit_and_the_plan_say() {
    for written in [
        r#"{ "requests": 5, "window": "1h", "key": "user", "plans": { "pro": 9 } }"#,
        r#"{ "requests": 5, "window": "1d", "align": "calendar", "key": "user", "plans": { "pro": 9 } }"#,
        r#"{ "requests": 5, "window": "1mo", "align": "calendar", "key": "user", "plans": { "pro": 9 } }"#,
        r#"{ "requests": 5, "window": "1h", "estimate": true, "key": "user", "plans": { "pro": 9 } }"#,
        r#"{ "rate": "5/h", "key": "user", "plans": { "pro": "9/h" } }"#,
        // In the unit of the limit, whatever the plan's is.
        r#"{ "rate": "5/h", "key": "user", "plans": { "pro": "1000/d" } }"#,
        r#"{ "requests": 5, "window": "1h", "key": "user", "ban": { "after": 500, "for": "1h" } }"#,
    ] {
        let mut scene = scene(written);
        let passed = [
            passing_with(&mut scene, "ann", None, 14),
            passing_with(&mut scene, "bob", Some("pro"), 14),
            passing_with(&mut scene, "eve", Some("pro"), 3),
            passing_of(&mut scene, "joe", None),
        ];
        assert_eq!(passed, [14, 14, 3, 5], "{written}");
        scene.identity = Some(caller("jim", None, &[("other", 14), ("r-1", 14)]));
        assert_eq!(scene.passing(), 5, "{written}");
    }
}

#[test]
fn a_burst_is_to_ones_own_amount_as_it_was_to_what_stood_there() {
    for (written, plan, amount, expected) in [
        (r#"{ "rate": "10/h", "burst": 5, "key": "user" }"#, None, 40, 20),
        (r#"{ "rate": "10/h", "burst": 5, "key": "user", "plans": { "pro": "20/h" } }"#, Some("pro"), 40, 20),
        (r#"{ "rate": "14/h", "burst": 14, "key": "user" }"#, None, 7, 7),
        (r#"{ "requests": 50, "window": "1h", "burst": 5, "key": "user" }"#, None, 90, 9),
        (r#"{ "requests": 50, "window": "1mo", "align": "calendar", "burst": 5, "key": "user" }"#, None, 90, 9),
        // A burst that the plan has is the plan's.
        (
            r#"{ "requests": 50, "window": "1h", "key": "user", "plans": { "pro": { "requests": 60, "burst": 6 } } }"#,
            Some("pro"),
            90,
            9,
        ),
        (r#"{ "rate": "1/h", "key": "user", "plans": { "pro": { "rate": "48/d", "burst": 6 } } }"#, Some("pro"), 4, 12),
        (r#"{ "rate": "1/h", "key": "user", "plans": { "pro": "48/d" } }"#, Some("pro"), 4, 4),
    ] {
        assert_eq!(passing_with(&mut scene(written), "ann", plan, amount), expected, "{written}");
    }
}

#[test]
fn an_amount_below_what_a_request_costs_lets_one_pass() {
    let mut scene = scene(r#"{ "requests": 50, "window": "1h", "burst": 20, "cost": 10, "key": "user" }"#);
    assert_eq!(passing_with(&mut scene, "ann", None, 3), 1);
    assert_eq!(passing_with(&mut scene, "bob", None, 25), 1, "the burst is that of one request as well");
    assert_eq!(passing_of(&mut scene, "joe", None), 2);
}

#[test]
fn what_does_not_ask_who_calls_goes_by_no_amount() {
    for written in [
        r#"{ "requests": 5, "window": "1h" }"#,
        r#"{ "requests": 5, "window": "1h", "key": "route" }"#,
        r#"{ "requests": 5, "window": "1h", "key": "upstream" }"#,
    ] {
        let mut scene = scene(written);
        assert!(!scene.stage().limits[0].takes_amounts());
        assert_eq!(passing_with(&mut scene, "ann", None, 50), 5, "{written}");
    }
    let mut slow = scene(r#"{ "bandwidth": "1KiB/s", "key": "user" }"#);
    let told = |scene: &Scene| scene.limits.explain(&scene.view(), false);
    slow.identity = Some(caller("ann", None, &[("r", 50)]));
    assert!(told(&slow)[0].contains("1KiB/s") && !told(&slow)[0].contains("amount"), "{:?}", told(&slow));
    // Shared by who calls, and counted by address.
    let mut places = scene(r#"{ "concurrent": 2, "over": "delay", "fair_by": "user" }"#);
    places.identity = Some(caller("ann", None, &[("r", 50)]));
    assert_eq!((0..20).filter_map(|_| places.admit().ok()).collect::<Vec<_>>().len(), 2);
}

#[test]
fn places_are_given_out_by_ones_own_amount() {
    places_are_for(&[(caller("ann", None, &[("r", 9)]), 9), (caller("bob", Some("pro"), &[("r", 1)]), 1)]);
}

#[test]
fn who_is_given_another_amount_goes_on_from_where_they_were() {
    for written in [
        r#"{ "requests": 5, "window": "1h", "key": "user", "plans": { "pro": 7 } }"#,
        r#"{ "requests": 5, "window": "1d", "align": "calendar", "key": "user", "plans": { "pro": 7 } }"#,
        r#"{ "requests": 5, "window": "1h", "estimate": true, "key": "user", "plans": { "pro": 7 } }"#,
    ] {
        let mut scene = scene(written);
        let passed = [
            passing_with(&mut scene, "ann", None, 9),
            passing_with(&mut scene, "ann", None, 12),
            passing_with(&mut scene, "ann", None, 10),
            passing_of(&mut scene, "ann", Some("pro")),
            passing_with(&mut scene, "ann", Some("pro"), 13),
        ];
        assert_eq!(passed, [9, 3, 0, 0, 1], "{written}");
    }
}

/// A bucket has no count, but a time at which it is full again.
#[test]
fn of_a_rate_the_share_that_is_used_stays_when_the_amount_changes() {
    let mut scene = scene(r#"{ "rate": "5/h", "key": "user" }"#);
    let pass =
        |scene: &mut Scene, count| (0..count).filter(|_| scene.limits.by_identity.admit(&scene.view()).is_ok()).count();
    scene.identity = Some(caller("ann", None, &[("r", 10)]));
    assert_eq!(pass(&mut scene, 4), 4);
    // Six of ten are left, or three of five.
    assert_eq!(passing_with(&mut scene, "ann", None, 5), 3);
    assert_eq!(passing_with(&mut scene, "ann", None, 10), 0);
}

#[test]
fn answers_tell_of_ones_own_amount_of_every_limit_that_has_one() {
    let mut scene = scene(
        r#"["90/h per ip", { "requests": 5, "window": "1h", "key": "user", "x_headers": true, "plans": { "pro": 7 } },
            { "requests": 80, "window": "1d", "key": "user" }, { "requests": 60, "window": "2h", "key": "user" }]"#,
    );
    let who = caller("ann", Some("pro"), &[("r-1", 1), ("r-2", 3), ("r-4", 20)]);
    let policies = "\"r-1\";q=90;w=3600, \"r-2\";q=3;w=3600, \"r-3\";q=80;w=86400, \"r-4\";q=20;w=7200";
    for left in [2, 1, 0] {
        scene.identity = None;
        let mut permits = scene.limits.by_client.admit(&scene.view()).unwrap();
        scene.identity = Some(who.clone());
        permits.add(scene.limits.by_identity.admit(&scene.view()).unwrap());
        let mut head = pingora_http::ResponseHeader::build(200, None).unwrap();
        scene.limits.tell(permits.nearest(), scene.identity.as_ref(), &mut head);
        let mut lines = bytes::BytesMut::new();
        scene.limits.write(permits.nearest(), scene.identity.as_ref(), &mut lines);
        let lines = String::from_utf8(lines.to_vec()).unwrap();
        assert!(head.headers["ratelimit"].to_str().unwrap().starts_with(&format!("\"r-2\";r={left};t=")));
        for (name, value) in [
            ("ratelimit-policy", policies.to_owned()),
            ("x-ratelimit-limit", "3".to_owned()),
            ("x-ratelimit-remaining", left.to_string()),
        ] {
            assert_eq!(head.headers[name], value);
            assert!(lines.contains(&format!("{name}: {value}\r\n")), "{lines}");
        }
    }
    let refused = scene.limits.by_identity.admit(&scene.view()).unwrap_err();
    assert_eq!(field(&refused, "ratelimit-policy").as_deref(), Some(policies));
    assert_eq!(field(&refused, "x-ratelimit-limit").as_deref(), Some("3"));
    let judged = scene.limits.by_identity.judge(&scene.view()).unwrap_err();
    assert_eq!(field(&judged, "ratelimit-policy").as_deref(), Some(policies));
    let explained = scene.limits.explain(&scene.view(), true);
    assert!(explained[1].contains("used up for") && explained[1].contains("for ann with an amount of its own"));
    assert!(explained[2].ends_with("77 of 80 left for ann"), "{explained:?}");
    assert!(explained[3].contains("17 of 20 left for ann with an amount of its own"), "{explained:?}");
    let look = scene.limits.by_identity.as_ref().unwrap().limits[2].look(&scene.stage().counters, "ann", Some(&who));
    assert_eq!((look[0].limit, look[0].remaining), (20, 17));
    // Who has amounts for others is told what everybody is.
    let told = |caller: Option<&Identity>| scene.limits.tariff.policies(Plan::default(), caller).unwrap();
    assert_eq!(told(Some(&caller("joe", None, &[("r-9", 7)]))), told(None));
}

#[test]
fn in_shadow_ones_own_amount_counts_as_well() {
    let mut scene = scene(r#"{ "requests": 5, "window": "1h", "key": "user", "mode": "shadow" }"#);
    assert_eq!(passing_with(&mut scene, "ann", None, 8), 100);
    let meters = &scene.stage().limits[0].meters;
    assert_eq!((meters.allowed.get(), meters.shadowed.get()), (8, 92));
}

/// The law: on the same state, judge and admit agree, whoever asks.
#[test]
fn to_judge_somebody_with_an_amount_is_to_admit_without_a_charge() {
    for json in [
        r#"{ "requests": 50, "window": "1h", "burst": 20, "key": "user" }"#,
        r#"{ "rate": "9/h", "key": "user" }"#,
        r#"{ "concurrent": 5, "key": "user" }"#,
    ] {
        let mut scene = scene(json);
        scene.identity = Some(caller("ann", None, &[("r", 7)]));
        let mut held = Vec::new();
        for _ in 0..12 {
            let judged = scene.stage().judge(&scene.view()).is_ok();
            let admitted = scene.admit();
            assert_eq!(judged, admitted.is_ok(), "{json}");
            held.extend(admitted.ok());
        }
        assert!((1..=7).contains(&held.len()), "{json}");
    }
}
