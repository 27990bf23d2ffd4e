//! The schedule against nginx's algorithm written down plainly, and the shares of what is left when some are absent.

use proptest::prelude::*;

use super::*;

/// The algorithm with its state, as nginx runs it for every request.
struct Reference {
    weights: Vec<i64>,
    balances: Vec<i64>,
}

impl Reference {
    fn new(weights: &[u32]) -> Self {
        Self { weights: weights.iter().map(|&weight| weight.into()).collect(), balances: vec![0; weights.len()] }
    }

    fn pick(&mut self) -> usize {
        let mut best: Option<usize> = None;
        let mut sum = 0;
        for (index, &weight) in self.weights.iter().enumerate() {
            if weight == 0 {
                continue;
            }
            sum += weight;
            self.balances[index] += weight;
            if best.is_none_or(|best| self.balances[index] > self.balances[best]) {
                best = Some(index);
            }
        }
        let best = best.unwrap();
        self.balances[best] -= sum;
        best
    }
}

fn picks(policy: &SmoothWeighted, count: usize, usable: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..count).map(|_| policy.pick(&usable).unwrap()).collect()
}

fn shares(picks: &[usize], endpoints: usize) -> Vec<usize> {
    (0..endpoints).map(|index| picks.iter().filter(|&&pick| pick == index).count()).collect()
}

#[test]
fn the_example_of_nginx() {
    let policy = SmoothWeighted::new(&[5, 1, 1]).unwrap();
    assert_eq!(picks(&policy, 14, |_| true), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn weights_are_divided_by_what_they_share() {
    assert_eq!(SmoothWeighted::new(&[300, 100]).unwrap().schedule.len(), 4);
    assert_eq!(SmoothWeighted::new(&[7, 7, 7]).unwrap().schedule[..], [0, 1, 2]);
}

#[test]
fn weight_zero_is_never_picked() {
    let policy = SmoothWeighted::new(&[0, 3, 0, 1]).unwrap();
    assert!(picks(&policy, 100, |_| true).iter().all(|&index| index == 1 || index == 3));
    assert_eq!(policy.pick(|index| index == 0), None);
}

#[test]
fn nothing_to_pick_from() {
    assert!(SmoothWeighted::new(&[]).is_none());
    assert!(SmoothWeighted::new(&[0, 0]).is_none());
    assert_eq!(SmoothWeighted::new(&[2, 1]).unwrap().pick(|_| false), None);
    assert_eq!(SmoothWeighted::new(&[1009, 997]).unwrap().pick(|_| false), None);
}

#[test]
fn the_schedule_is_bounded() {
    let weights = [u32::MAX, u32::MAX - 1, 1_000_003, 1];
    let policy = SmoothWeighted::new(&weights).unwrap();
    assert!(policy.schedule.len() <= MAX_SCHEDULE + weights.len());
    assert!(policy.schedule.contains(&3), "even the smallest has a slot");
}

#[test]
fn what_an_absent_endpoint_leaves_is_shared_by_all_others() {
    let policy = SmoothWeighted::new(&[1, 1, 1, 1]).unwrap();
    let picked = shares(&picks(&policy, 300, |index| index != 1), 4);
    assert_eq!(picked, [100, 0, 100, 100]);
}

#[test]
fn a_small_rest_is_found_and_shared_by_weight() {
    let policy = SmoothWeighted::new(&[9_973, 0, 3, 1]).unwrap();
    let picked = shares(&picks(&policy, 4_000, |index| index != 0), 4);
    assert_eq!(picked[0] + picked[1], 0);
    assert!(picked[2].abs_diff(3_000) < 100, "{picked:?}");
}

#[test]
fn workers_share_one_cursor() {
    let policy = SmoothWeighted::new(&[3, 2, 1]).unwrap();
    let all: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| picks(&policy, 600, |_| true))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(shares(&all, 3), [1_200, 800, 400]);
}

proptest! {
    #[test]
    fn the_schedule_is_what_nginx_does(weights in prop::collection::vec(0_u32..40, 1..9)) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let policy = SmoothWeighted::new(&weights).unwrap();
        let mut reference = Reference::new(&weights);
        for pick in picks(&policy, 400, |_| true) {
            prop_assert_eq!(pick, reference.pick());
        }
    }

    #[test]
    fn shares_are_exact_over_a_period(weights in prop::collection::vec(0_u32..60, 1..9)) {
        let sum: u32 = weights.iter().sum();
        prop_assume!(sum > 0);
        let policy = SmoothWeighted::new(&weights).unwrap();
        let picked = shares(&picks(&policy, sum as usize, |_| true), weights.len());
        let expected: Vec<usize> = weights.iter().map(|&weight| weight as usize).collect();
        prop_assert_eq!(picked, expected);
    }

    #[test]
    fn shares_hold_among_those_that_are_left(weights in prop::collection::vec(1_u32..20, 2..9), absent in any::<prop::sample::Index>()) {
        let absent = absent.index(weights.len());
        let policy = SmoothWeighted::new(&weights).unwrap();
        let left: u32 = weights.iter().enumerate().filter(|&(index, _)| index != absent).map(|(_, weight)| weight).sum();
        let rounds = 20;
        let picked = shares(&picks(&policy, left as usize * rounds, |index| index != absent), weights.len());
        for (index, &weight) in weights.iter().enumerate() {
            let expected = if index == absent { 0 } else { weight as usize * rounds };
            prop_assert!(picked[index].abs_diff(expected) <= weight as usize, "{weights:?} {picked:?}");
        }
    }

    #[test]
    fn scaled_weights_keep_their_shares(weights in prop::collection::vec(1_u32..5_000_000, 2..9)) {
        let policy = SmoothWeighted::new(&weights).unwrap();
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let length = policy.schedule.len();
        let picked = shares(&picks(&policy, length, |_| true), weights.len());
        for (index, &weight) in weights.iter().enumerate() {
            let expected = f64::from(weight) / total;
            let actual = picked[index] as f64 / length as f64;
            prop_assert!((expected - actual).abs() < 16.0 / MAX_SCHEDULE as f64, "{weights:?} {picked:?}");
        }
    }
}
