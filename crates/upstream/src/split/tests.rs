//! Who goes where, and who moves when shares change.

use serde_json::json;
use telemetry::{Build, Metrics};

use super::*;
use crate::{Config, State};

fn split(shares: &[(&str, u32)]) -> Split {
    split_on(&State::default(), shares)
}

fn split_on(state: &State, shares: &[(&str, u32)]) -> Split {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let find = |name: &str| {
        let config: Config = serde_json::from_value(json!({ "backends": "http://10.0.0.1" })).unwrap();
        crate::compile(&config, name, &At::root(), state, &metrics, &mut Report::new()).map(Arc::new)
    };
    let shares: BTreeMap<String, u32> = shares.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    let written = Written { split: &shares, sticky: Some("cookie:visitor"), force: None };
    Split::compile(written, "products", &At::root(), state, find, &mut Report::new()).unwrap()
}

fn homes(split: &Split) -> Vec<u16> {
    (0..20_000).map(|key| split.weigh(mix(key))).collect()
}

#[test]
fn shares_are_kept() {
    let homes = homes(&split(&[("a", 90), ("b", 10), ("c", 0)]));
    let of = |arm: u16| homes.iter().filter(|home| **home == arm).count();
    assert!((1_800..2_200).contains(&of(1)) && of(2) == 0, "{}", of(1));
}

#[test]
fn a_share_that_grows_moves_users_one_way_only() {
    let (before, after) =
        (homes(&split(&[("a", 80), ("b", 15), ("c", 5)])), homes(&split(&[("a", 80), ("b", 15), ("c", 10)])));
    assert_ne!(before, after);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *after == 2, "from {before} to {after}");
    }
    let (before, after) = (homes(&split(&[("a", 95), ("b", 5)])), homes(&split(&[("a", 90), ("b", 10)])));
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 1));
}

#[test]
fn a_new_visitor_comes_back_to_where_it_was() {
    let split = split(&[("a", 50), ("b", 50)]);
    for number in 0..1_000 {
        let key = mix(number);
        let first = split.weigh(hash(visitor(key).as_bytes()));
        let cookie = split.cookie(Chosen { arm: first, visitor: Some(key) }, true).unwrap();
        let said = cookie.to_str().unwrap().strip_prefix("visitor=").unwrap().split(';').next().unwrap();
        assert_eq!(split.weigh(hash(said.as_bytes())), first);
        assert!(cookie.to_str().unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
    }
}

#[test]
fn weights_can_be_changed_while_it_runs() {
    let changed = split(&[("a", 95), ("b", 5), ("c", 0)]);
    let weights = |list: &[(&str, u32)]| list.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    changed.weigh_anew(&weights(&[("a", 0), ("c", 5)])).unwrap();
    assert_eq!(homes(&changed), homes(&split(&[("a", 0), ("b", 5), ("c", 5)])), "as if it had been configured so");
    assert!(changed.weigh_anew(&weights(&[("a", 1), ("d", 1)])).unwrap_err().contains("`d`"));
    assert!(changed.weigh_anew(&weights(&[("b", 0), ("c", 0)])).unwrap_err().contains("above 0"));
    assert_eq!(changed.arms().map(|(_, weight)| weight).collect::<Vec<_>>(), [0, 5, 5], "a refusal changes nothing");
}

#[test]
fn weights_that_an_operator_gave_go_on_in_a_successor_until_a_reload() {
    let weights = |split: &Split| split.arms().map(|(_, weight)| weight).collect::<Vec<_>>();
    let (old, new, last) = (State::default(), State::default(), State::default());
    let before = split_on(&old, &[("a", 95), ("b", 5)]);
    before.goes_live(&old);
    before.weigh_anew(&BTreeMap::from([("a".to_owned(), 0)])).unwrap();
    new.import(&old.export()).unwrap();
    last.import(&old.export()).unwrap();
    let after = split_on(&new, &[("a", 95), ("b", 5)]);
    assert_eq!(weights(&after), [0, 5]);
    after.goes_live(&new);
    assert_eq!(new.export(), old.export(), "the next one hears of it as well");
    let reloaded = split_on(&new, &[("a", 95), ("b", 5)]);
    assert_eq!(weights(&reloaded), [95, 5], "once");
    reloaded.goes_live(&new);
    assert_eq!(new.export(), State::default().export(), "though requests may still be on the one of before");
    assert_eq!(weights(&split_on(&last, &[("a", 90), ("b", 10)])), [90, 10], "what the file says now is newer");
    assert_eq!(weights(&split_on(&last, &[("a", 95), ("b", 5)])), [95, 5], "and what was told is over");
}
