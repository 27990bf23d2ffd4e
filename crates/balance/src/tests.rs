//! What every policy promises, and what each promises by itself.

use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 6] =
    [Kind::RoundRobin, Kind::Random, Kind::LeastRequests, Kind::TwoChoices, Kind::Latency, Kind::Hash];

/// Endpoints with their requests under way and their latency.
struct Endpoints {
    usable: Vec<bool>,
    load: Vec<u32>,
    latency: Vec<f32>,
}

impl Endpoints {
    fn idle(count: usize) -> Self {
        Self { usable: vec![true; count], load: vec![0; count], latency: vec![1.0; count] }
    }
}

impl Field for Endpoints {
    fn usable(&self, index: usize) -> bool {
        self.usable[index]
    }

    fn load(&self, index: usize) -> u32 {
        self.load[index]
    }

    fn total(&self) -> u32 {
        self.load.iter().sum()
    }

    fn latency(&self, index: usize) -> f32 {
        self.latency[index]
    }
}

fn policy(kind: Kind, weights: &[u32]) -> Policy {
    let names: Vec<String> = (0..weights.len()).map(|index| format!("10.0.0.{index}:80")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Policy::new(kind, weights, &names).unwrap()
}

/// How often each endpoint was picked for keys that differ.
fn shares(policy: &Policy, field: &Endpoints, picks: u64) -> Vec<u64> {
    let mut shares = vec![0; field.load.len()];
    for key in 0..picks {
        shares[policy.pick(field, Some(mix(key + 1))).unwrap()] += 1;
    }
    shares
}

fn near(share: u64, expected: u64) -> bool {
    share.abs_diff(expected) * 10 <= expected
}

proptest! {
    #[test]
    fn a_pick_is_usable_and_there_is_one_whenever_any_is(
        endpoints in prop::collection::vec((0_u32..4, any::<bool>(), 0_u32..100), 1..40), key in any::<Option<u64>>()
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.0).collect();
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let field = Endpoints {
            usable: endpoints.iter().map(|endpoint| endpoint.1).collect(),
            load: endpoints.iter().map(|endpoint| endpoint.2).collect(),
            latency: endpoints.iter().map(|endpoint| endpoint.2 as f32).collect(),
        };
        let any = endpoints.iter().any(|endpoint| endpoint.0 > 0 && endpoint.1);
        for kind in KINDS {
            let policy = policy(kind, &weights);
            for _ in 0..20 {
                let pick = policy.pick(&field, key);
                prop_assert_eq!(pick.is_some(), any, "{:?}", kind);
                prop_assert!(pick.is_none_or(|index| field.usable[index] && weights[index] > 0), "{:?}", kind);
            }
        }
    }

    #[test]
    fn a_key_stays_where_it_is_when_another_endpoint_goes(count in 2_usize..30, gone in any::<prop::sample::Index>()) {
        let policy = policy(Kind::Hash, &vec![1; count]);
        let (before, mut after) = (Endpoints::idle(count), Endpoints::idle(count));
        let gone = gone.index(count);
        after.usable[gone] = false;
        for key in 0..500 {
            let home = policy.pick(&before, Some(mix(key))).unwrap();
            prop_assert!(home == gone || policy.pick(&after, Some(mix(key))) == Some(home));
        }
    }
}

#[test]
fn weights_are_kept_where_nothing_else_tells_endpoints_apart() {
    for kind in KINDS {
        let policy = policy(kind, &[6, 3, 1, 0]);
        let shares = shares(&policy, &Endpoints::idle(4), 50_000);
        for (share, expected) in shares.iter().zip([30_000, 15_000, 5_000]) {
            assert!(near(*share, expected), "{kind:?}: {shares:?}");
        }
        assert_eq!(shares[3], 0, "{kind:?}");
    }
}

#[test]
fn what_an_absent_endpoint_leaves_is_shared_by_all_others() {
    for kind in KINDS {
        let policy = policy(kind, &[1; 5]);
        let mut field = Endpoints::idle(5);
        field.usable[2] = false;
        let shares = shares(&policy, &field, 40_000);
        assert!(
            shares.iter().enumerate().all(|(index, share)| index == 2 || near(*share, 10_000)),
            "{kind:?}: {shares:?}"
        );
    }
}

#[test]
fn nobody_is_asked_where_no_weight_is_above_zero() {
    for kind in KINDS {
        assert!(Policy::new(kind, &[0, 0], &["a", "b"]).is_none());
        assert!(Policy::new(kind, &[], &[]).is_none());
    }
}

#[test]
fn the_least_loaded_takes_the_request() {
    let mut field = Endpoints::idle(8);
    field.load = vec![5, 4, 6, 2, 9, 9, 9, 9];
    let least = policy(Kind::LeastRequests, &[1; 8]);
    assert!((0..50).all(|_| least.pick(&field, None) == Some(3)));
    field.load = vec![30, 11, 30, 30, 30, 30, 30, 30];
    let least = policy(Kind::LeastRequests, &[3, 1, 1, 1, 1, 1, 1, 1]);
    assert!((0..50).all(|_| least.pick(&field, None) == Some(0)), "30 of weight 3 are less than 11 of weight 1");
}

/// Picks for `ticks` ticks, in each of which four requests come; the endpoint 0 keeps a request fifty times as long.
fn with_a_slow_one(kind: Kind) -> Vec<u32> {
    let policy = policy(kind, &[1; 4]);
    let mut field = Endpoints::idle(4);
    field.latency[0] = 50.0;
    let mut under_way: Vec<(usize, usize)> = Vec::new();
    let mut taken = vec![0; 4];
    for tick in 0..2_000 {
        under_way.retain(|&(until, index)| {
            let over = until <= tick;
            field.load[index] -= u32::from(over);
            !over
        });
        for _ in 0..4 {
            let index = policy.pick(&field, None).unwrap();
            field.load[index] += 1;
            taken[index] += 1;
            under_way.push((tick + if index == 0 { 100 } else { 2 }, index));
        }
    }
    taken
}

#[test]
fn a_slow_endpoint_gets_little() {
    for (kind, share) in [(Kind::LeastRequests, 20), (Kind::TwoChoices, 200), (Kind::Latency, 200)] {
        let taken = with_a_slow_one(kind);
        let all: u32 = taken.iter().sum();
        assert!(taken[0] * share < all, "{kind:?}: {taken:?}");
    }
    let taken = with_a_slow_one(Kind::RoundRobin);
    assert_eq!(taken[0], taken[1], "a turn is a turn");
}

#[test]
fn one_that_is_not_known_is_tried_and_not_flooded() {
    let policy = policy(Kind::Latency, &[1; 3]);
    let mut field = Endpoints::idle(3);
    field.latency = vec![0.5, 0.5, 0.0];
    assert!(shares(&policy, &field, 300)[2] > 100, "whenever it is drawn");
    field.load[2] = 1;
    // Eight lots may all fall on it.
    assert!(shares(&policy, &field, 300)[2] < 4, "until it has answered");
}

#[test]
fn a_key_goes_to_the_same_endpoint_whatever_the_order_of_the_configuration() {
    let names = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
    let turned = [names[2], names[0], names[1]];
    let (one, other) = (Maglev::new(&[1; 3], &names).unwrap(), Maglev::new(&[1; 3], &turned).unwrap());
    for key in 0..1_000 {
        let (a, b) = (one.pick(&|_| true, mix(key)).unwrap(), other.pick(&|_| true, mix(key)).unwrap());
        assert_eq!(names[a], turned[b]);
    }
}

#[test]
fn a_new_endpoint_takes_its_share_and_hardly_any_key_moves_between_others() {
    let names: Vec<String> = (0..11).map(|index| format!("10.0.0.{index}:80")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = Maglev::new(&[1; 10], &names[..10]).unwrap();
    let after = Maglev::new(&[1; 11], &names).unwrap();
    let (mut taken, mut moved) = (0, 0);
    for key in 0..20_000 {
        let (a, b) = (before.pick(&|_| true, mix(key)).unwrap(), after.pick(&|_| true, mix(key)).unwrap());
        taken += u32::from(b == 10);
        moved += u32::from(a != b && b != 10);
    }
    assert!((1_600..=2_050).contains(&taken), "{taken}");
    assert!(moved < 600, "{moved} of 20,000 keys moved for nothing");
}

#[test]
fn an_endpoint_takes_no_more_than_a_quarter_above_its_share() {
    let policy = policy(Kind::Hash, &[1; 4]);
    let mut field = Endpoints::idle(4);
    for _ in 0..1_000 {
        let index = policy.pick(&field, Some(4711)).unwrap();
        field.load[index] += 1;
        let bound = (1.25 * field.total() as f32 / 4.0).ceil().max(8.0) + 1.0;
        assert!(field.load[index] as f32 <= bound, "{:?}", field.load);
    }
    assert!(field.load.iter().all(|&load| load > 0));
}

#[test]
fn a_key_is_the_same_number_in_every_release() {
    // FNV-1a of "a" and of nothing are in the draft; these are theirs after mixing.
    assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
    assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
}
