//! What a mistaken limit is told.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use document::{At, Document, OneOrMany, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_limit as limit;
use prometheus::{Counter, IntCounter};

/// What is said of a text with a `[limits]` and the `limit` of a route.
fn complaint(text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let (state, root) = (limit::State::default(), At::root());
    let held = || Counter::new("held", "held").unwrap();
    let meters = |_: &str| limit::Meters::of(|result| IntCounter::new(result, result).unwrap(), held());
    let ground = limit::Ground { state: &state, redis: limit::Redis::Absent, meters: &meters };
    let (at, named_at) = (root.key("limit"), root.key("limits"));
    let mut named = std::collections::BTreeMap::new();
    for entry in
        document.get(&named_at).and_then(|node| node.as_table()).map(|table| &table.entries[..]).unwrap_or_default()
    {
        let written = document.decode(&named_at.key(&entry.key), &Vocabulary::default(), &mut report);
        named.insert(entry.key.clone(), written.unwrap_or_default());
    }
    let named = limit::named(&named, &named_at, ground, &mut report);
    let written: Option<OneOrMany<limit::Written>> = document.decode(&at, &Vocabulary::default(), &mut report);
    if let Some(written) = written {
        let site = limit::Site { route: "users", upstreams: &[] };
        assert!(limit::Limits::compile(&written, site, &named, &at, ground, &mut report).is_none());
    }
    document.render(&report, false)
}

#[test]
fn a_limit_that_says_nothing_or_too_much() {
    let text = "limit = [{ key = \"ip\" }, { requests = 5, window = \"1m\", rate = \"5/m\" }, { window = \"1m\" }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0106]: the limit does not say how much is too much
 --> maitred.toml:1:10
  |
1 | limit = [{ key = "ip" }, { requests = 5, window = "1m", rate = "5/m" }, { window = "1m" }]
  |          ^^^^^^^^^^^^^^ expected `requests` and `window`, `rate`, `concurrent`, or `bandwidth`
  |
  = help: write for example `requests = 100` and `window = "1m"`

error[E0107]: `rate` and `requests` do not go together
 --> maitred.toml:1:64
  |
1 | limit = [{ key = "ip" }, { requests = 5, window = "1m", rate = "5/m" }, { window = "1m" }]
  |                            -------- with this                  ^^^^^ a limit counts in one way
  |
  = help: keep one of them

error[E0106]: `window` without `requests`
 --> maitred.toml:1:84
  |
1 | limit = [{ key = "ip" }, { requests = 5, window = "1m", rate = "5/m" }, { window = "1m" }]
  |                                                                                    ^^^^ `requests` is missing
  |
  = help: add `requests = 100`
"##);
}

#[test]
fn numbers_that_cannot_be() {
    let text = "limit = [{ requests = 0, window = \"1m\" }, { requests = 5, window = \"1ms\" }, { rate = \"20000000/s\" }, { requests = 2, window = \"1m\", cost = 3 }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0103]: `requests` cannot be 0
 --> maitred.toml:1:23
  |
1 | limit = [{ requests = 0, window = "1m" }, { requests = 5, window = "1ms" }, { rate = "20000000/s" }, { requests = 2, window = "1m", c...
  |                       ^ this would refuse everybody: a route that answers 403 does so with `respond = { status = 403 }`

error[E0103]: a window cannot be 1ms long
 --> maitred.toml:1:68
  |
1 | limit = [{ requests = 0, window = "1m" }, { requests = 5, window = "1ms" }, { rate = "20000000/s" }, { requests = 2, window = "1m", c...
  |                                                                    ^^^^^ from "100ms" to "366d"

error[E0103]: the rate cannot be "20000000/s"
 --> maitred.toml:1:86
  |
1 | limit = [{ requests = 0, window = "1m" }, { requests = 5, window = "1ms" }, { rate = "20000000/s" }, { requests = 2, window = "1m", c...
  |                                                                                      ^^^^^^^^^^^^ at most 16777215

error[E0103]: a request costs more than the whole limit
 --> maitred.toml:1:140
  |
1 | ...s" }, { requests = 2, window = "1m", cost = 3 }]
  |                                                ^ no request could pass: at most 2 at once
"##);
}

#[test]
fn keys_that_nobody_has() {
    let text = "limit = [\"5/m per adress\", { requests = 5, window = \"1m\", key = \"usr\" }, { requests = 5, window = \"1m\", key = \"ip\", on_missing = \"deny\" }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0108]: `adress` is nothing that a limit can count by
 --> maitred.toml:1:10
  |
1 | ...= ["5/m per adress", { requests = 5, window = "1m", key = "usr" }, { requests = 5, window = "1m", key = "ip", on_missing = "deny" }]
  |       ^^^^^^^^^^^^^^^^ expected one of `ip`, `user`, `api_key`, `header:NAME`, `cookie:NAME`, `claim:NAME`, `route` and `upstream`

error[E0108]: `usr` is nothing that a limit can count by
 --> maitred.toml:1:65
  |
1 | ..., key = "usr" }, { requests = 5, window = "1m", key = "ip", on_missing = "deny" }]
  |            ^^^^^ expected one of `ip`, `user`, `api_key`, `header:NAME`, `cookie:NAME`, `claim:NAME`, `route` and `upstream`
  |
  = help: did you mean `user`?

error[E0107]: `on_missing` and `key` do not go together
 --> maitred.toml:1:130
  |
1 | ..." }, { requests = 5, window = "1m", key = "ip", on_missing = "deny" }]
  |                                        --- with this            ^^^^^^ every request has this key
  |
  = help: keep one of them
"##);
}

#[test]
fn what_cannot_wait() {
    let text = "limit = [{ requests = 5, window = \"1m\", over = \"delay\" }, { rate = \"5/s\", max_delay = \"1s\" }, { rate = \"5/s\", over = \"delay\", max_delay = \"1h\" }, { concurrent = 5, count = \"failures\", burst = 2 }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0107]: only a `rate` and `concurrent` can hold requests back
 --> maitred.toml:1:48
  |
1 | limit = [{ requests = 5, window = "1m", over = "delay" }, { rate = "5/s", max_delay = "1s" }, { rate = "5/s", over = "delay", max_del...
  |                                                ^^^^^^^ nobody knows for how long
  |
  = help: write `rate = "10/s"` in place of how it counts now

error[E0107]: `max_delay` without `over = "delay"`
 --> maitred.toml:1:87
  |
1 | limit = [{ requests = 5, window = "1m", over = "delay" }, { rate = "5/s", max_delay = "1s" }, { rate = "5/s", over = "delay", max_del...
  |                                                                                       ^^^^ nothing is held back
  |
  = help: add `over = "delay"`, or delete `max_delay`

error[E0103]: a request cannot be held back for 1h
 --> maitred.toml:1:139
  |
1 | ...{ rate = "5/s", over = "delay", max_delay = "1h" }, { concurrent = 5, count = "failures", burst = 2 }]
  |                                                ^^^^ more than nothing, and at most "30s"

error[E0107]: `count` and `concurrent` do not go together
 --> maitred.toml:1:173
  |
1 | ...x_delay = "1h" }, { concurrent = 5, count = "failures", burst = 2 }]
  |                        ---------- with this    ^^^^^^^^^^ what is under way has neither failed nor succeeded yet
  |
  = help: keep one of them

error[E0107]: `burst` and `concurrent` do not go together
 --> maitred.toml:1:193
  |
1 | ... max_delay = "1h" }, { concurrent = 5, count = "failures", burst = 2 }]
  |                           ---------- with this                        ^ there is no rate that it could exceed
  |
  = help: keep one of them
"##);
}

#[test]
fn names_that_lead_nowhere() {
    let text = "limit = [\"fair-us\", \"fair-use\", \"fair-use\", \"a b\"]\n[limits]\nfair-use = \"100/m\"\nother = \"fair-use\"\n";
    assert_snapshot!(complaint(text), @r##"
error[E0201]: no limit is named `fair-us`
 --> maitred.toml:1:10
  |
1 | limit = ["fair-us", "fair-use", "fair-use", "a b"]
  |          ^^^^^^^^^ there is none in `[limits]`
2 | [limits]
3 | fair-use = "100/m"
  | -------- a similar name is defined here
  |
help: did you mean `fair-use`?
  |
1 | limit = ["fair-use", "fair-use", "fair-use", "a b"]
  |                  +

error[E0107]: the limit `fair-use` is named twice
 --> maitred.toml:1:33
  |
1 | limit = ["fair-us", "fair-use", "fair-use", "a b"]
  |                                 ^^^^^^^^^^ it would count every request twice

error[E0108]: invalid value for `limit[3]`
 --> maitred.toml:1:45
  |
1 | limit = ["fair-us", "fair-use", "fair-use", "a b"]
  |                                             ^^^^^ expected the name of a limit or a rate such as "100/m per ip", found "a b"

error[E0108]: the limit `other` cannot stand for another
 --> maitred.toml:4:9
  |
4 | other = "fair-use"
  |         ^^^^^^^^^^ `fair-use` is no rate
  |
  = help: write a rate such as "100/m per ip", or a table
"##);
}

#[test]
fn places_and_leases_that_make_no_sense() {
    let text = "limit = [{ concurrent = 5, fair_by = \"user\" }, { concurrent = 5, over = \"delay\", fair_by = \"route\", max_waiting = 9000 }, { requests = 5, window = \"1m\", lease = 3 }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0107]: `fair_by` where nobody waits for a place
 --> maitred.toml:1:28
  |
1 | limit = [{ concurrent = 5, fair_by = "user" }, { concurrent = 5, over = "delay", fair_by = "route", max_waiting = 9000 }, { requests ...
  |                            ^^^^^^^ this is for `concurrent` with `over = "delay"`
  |
  = help: add what is missing, or delete `fair_by`

error[E0108]: places cannot be shared by `route`
 --> maitred.toml:1:92
  |
1 | limit = [{ concurrent = 5, fair_by = "user" }, { concurrent = 5, over = "delay", fair_by = "route", max_waiting = 9000 }, { requests ...
  |                                                                                            ^^^^^^^ it tells nobody apart
  |
  = help: write for example `fair_by = "api_key"`

error[E0103]: `max_waiting` cannot be 9000
 --> maitred.toml:1:115
  |
1 | ... = 5, over = "delay", fair_by = "route", max_waiting = 9000 }, { requests = 5, window = "1m", lease = 3 }]
  |                                                           ^^^^ from 1 to 4096

error[E0107]: `lease` without `store = "redis"`
 --> maitred.toml:1:162
  |
1 | ...ests = 5, window = "1m", lease = 3 }]
  |                                     ^ this limit is counted in the process, which need not be asked
  |
  = help: add `store = "redis"`, or delete it
"##);
}

#[test]
fn a_bandwidth_that_is_none_or_is_told_about_requests() {
    let text = "limit = [{ bandwidth = \"10B/s\" }, { bandwidth = { burst = \"1B\" } }, { bandwidth = { up = \"1MiB/s\" }, cost = 5, over = \"delay\" }, { bandwidth = \"1MiB/s\", rate = \"1/s\" }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0103]: a bandwidth cannot be "10B/s"
 --> maitred.toml:1:24
  |
1 | limit = [{ bandwidth = "10B/s" }, { bandwidth = { burst = "1B" } }, { bandwidth = { up = "1MiB/s" }, cost = 5, over = "delay" }, { ba...
  |                        ^^^^^^^ from "1KiB/s" to "64GiB/s"

error[E0106]: a bandwidth has a way and a rate
 --> maitred.toml:1:49
  |
1 | limit = [{ bandwidth = "10B/s" }, { bandwidth = { burst = "1B" } }, { bandwidth = { up = "1MiB/s" }, cost = 5, over = "delay" }, { ba...
  |                                                 ^^^^^^^^^^^^^^^^ expected `down`, `up` or both
  |
  = help: write for example `bandwidth = "1MiB/s"`

error[E0103]: a burst cannot be "1B"
 --> maitred.toml:1:59
  |
1 | limit = [{ bandwidth = "10B/s" }, { bandwidth = { burst = "1B" } }, { bandwidth = { up = "1MiB/s" }, cost = 5, over = "delay" }, { ba...
  |                                                           ^^^^ from "1KiB" to "64GiB"

error[E0107]: `cost` and `bandwidth` do not go together
 --> maitred.toml:1:109
  |
1 | ...ndwidth = { burst = "1B" } }, { bandwidth = { up = "1MiB/s" }, cost = 5, over = "delay" }, { bandwidth = "1MiB/s", rate = "1/s" }]
  |                                    --------- with this                   ^ bytes count, not requests
  |
  = help: keep one of them

error[E0107]: `over` and `bandwidth` do not go together
 --> maitred.toml:1:119
  |
1 | ...urst = "1B" } }, { bandwidth = { up = "1MiB/s" }, cost = 5, over = "delay" }, { bandwidth = "1MiB/s", rate = "1/s" }]
  |                       --------- with this                             ^^^^^^^ what is too fast is always held back
  |
  = help: keep one of them

error[E0107]: `bandwidth` and `rate` do not go together
 --> maitred.toml:1:144
  |
1 | ...s" }, cost = 5, over = "delay" }, { bandwidth = "1MiB/s", rate = "1/s" }]
  |                                                    ^^^^^^^^  ---- with this
  |                                                    |
  |                                                    a limit counts in one way
  |
  = help: keep one of them
"##);
}

#[test]
fn an_estimate_of_what_has_to_be_counted() {
    let text = "limit = [{ rate = \"10/s\", estimate = true }, { requests = 5, window = \"1d\", align = \"calendar\", estimate = true }]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0107]: `estimate` without `requests`
 --> maitred.toml:1:38
  |
1 | limit = [{ rate = "10/s", estimate = true }, { requests = 5, window = "1d", align = "calendar", estimate = true }]
  |                                      ^^^^ requests in a window can be estimated, and nothing else
  |
  = help: write `requests` and `window`, or delete `estimate`

error[E0107]: `align` and `estimate` do not go together
 --> maitred.toml:1:85
  |
1 | limit = [{ rate = "10/s", estimate = true }, { requests = 5, window = "1d", align = "calendar", estimate = true }]
  |                                                                                     ^^^^^^^^^^  -------- with this
  |                                                                                     |
  |                                                                                     what a contract says is counted
  |
  = help: keep one of them
"##);
}

#[test]
fn an_estimate_under_a_plan_that_has_a_burst() {
    let told = complaint(
        "limit = { requests = 5, window = \"1d\", key = \"user\", estimate = true, plans = { pro = { requests = 9, burst = 3 } } }\n",
    );
    assert!(told.contains("the `burst` of the plan `pro` and `estimate` do not go together"), "{told}");
}

#[test]
fn plans_belong_to_who_calls_and_say_how_much_as_the_limit_does() {
    for (text, message, help) in [
        (
            "requests = 5, window = \"1m\", plans = { pro = 9 }",
            "`plans` in a limit that counts by `ip`",
            "`key = \"user\"`",
        ),
        (
            "rate = \"5/s\", key = \"header:x-plan\", plans = { pro = \"9/s\" }",
            "`plans` in a limit that counts by `header:x-plan`",
            "`key = \"user\"`",
        ),
        (
            "bandwidth = \"1MiB/s\", key = \"user\", plans = { pro = \"9/s\" }",
            "`plans` and `bandwidth` do not go together",
            "keep one",
        ),
        (
            "requests = 5, window = \"1m\", key = \"user\", plans = { pro = \"9/s\" }",
            "the plan `pro` does not say how much as the limit does",
            "`pro = 1000`",
        ),
        (
            "rate = \"5/s\", key = \"user\", plans = { pro = 9 }",
            "the plan `pro` does not say how much as the limit does",
            "`pro = \"50/s\"`",
        ),
        (
            "concurrent = 5, key = \"user\", plans = { pro = { requests = 9 } }",
            "the plan `pro` does not say how much as the limit does",
            "`pro = 50`",
        ),
    ] {
        let told = complaint(&format!("limit = {{ {text} }}\n"));
        assert!(told.starts_with(&format!("error[E0107]: {message}\n")) && told.contains(help), "{text}: {told}");
        assert_eq!(told.matches("error[").count(), 1, "{told}");
    }
    for (text, message) in [
        ("requests = 5, window = \"1m\", key = \"user\", plans = { pro = 0 }", "`requests` cannot be 0"),
        (
            "concurrent = 5, key = \"user\", plans = { pro = { concurrent = 9, burst = 3 } }",
            "`burst` and `concurrent` do not",
        ),
        (
            "requests = 5, window = \"1m\", key = \"user\", cost = 4, plans = { pro = 3 }",
            "a request costs more than the",
        ),
    ] {
        let told = complaint(&format!("limit = {{ {text} }}\n"));
        assert!(told.contains(message) && told.contains("maitred.toml:1:"), "{text}: {told}");
    }
}
