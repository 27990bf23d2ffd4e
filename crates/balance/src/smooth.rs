//! Smooth weighted round robin: nginx's distribution, laid out in advance.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The longest schedule, apart from one slot for each endpoint.
///
/// A schedule has as many slots as the weights sum up to, divided by their greatest common divisor: 3 and 1 make four
/// slots, 300 and 100 too. Weights that share no divisor (997, 991, 983 …) could make it arbitrarily long, so beyond
/// this many slots they are scaled down, none below one slot. 16,384 slots take 32 KiB, are laid out within
/// milliseconds, and keep every weight's share within 1/16,384 of all requests.
pub const MAX_SCHEDULE: usize = 16_384;

/// How many slots a pick may skip before it stops walking the schedule.
const MAX_STEPS: usize = 128;

/// Smooth weighted round robin: 5, 1, 1 gives `a a b a c a a`, not `a a a a a b c`.
///
/// Every step of the algorithm adds to each endpoint's balance its weight, picks the largest balance, and takes the sum
/// of all weights from the winner. After as many steps as that sum all balances are 0 again, so the whole sequence is
/// known in advance. It is laid out when the configuration is compiled; a pick then moves one shared cursor.
#[derive(Debug)]
pub struct SmoothWeighted {
    schedule: Box<[u16]>,
    weights: Box<[u32]>,
    cursor: Cursor,
}

/// The cursor has a cache line (and its neighbour, which processors fetch along) to itself: every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl SmoothWeighted {
    /// Lays out the schedule; `None` where no weight is above 0 or there are more than [`u16::MAX`] endpoints.
    pub fn new(weights: &[u32]) -> Option<Self> {
        if weights.len() > usize::from(u16::MAX) {
            return None;
        }
        let slots = slots(weights);
        let schedule = lay_out(&slots);
        (!schedule.is_empty()).then(|| Self { schedule, weights: weights.into(), cursor: Cursor::default() })
    }

    /// The next endpoint among those that are `usable`.
    ///
    /// A slot whose endpoint is not usable is used up like any other: the cursor moves past it. So what an absent
    /// endpoint leaves is shared by all others according to their weights, instead of falling to whoever follows it in
    /// the schedule.
    pub fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let length = self.schedule.len();
        let start = self.cursor.0.fetch_add(1, Relaxed);
        for step in 0..length.min(MAX_STEPS) {
            let index = usize::from(self.schedule[start.wrapping_add(step) % length]);
            if usable(index) {
                if step > 0 {
                    self.cursor.0.fetch_add(step, Relaxed);
                }
                return Some(index);
            }
        }
        if length <= MAX_STEPS { None } else { self.pick_by_share(start, usable) }
    }

    /// Picks by weight alone. Reached only where the usable endpoints have less than one slot in [`MAX_STEPS`]: looking
    /// at every endpoint once is then cheaper than walking on.
    fn pick_by_share(&self, turn: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let candidates = || self.weights.iter().enumerate().filter(|&(index, &weight)| weight > 0 && usable(index));
        let total: u64 = candidates().map(|(_, &weight)| u64::from(weight)).sum();
        // Multiples of the golden ratio spread evenly over any range (Weyl), so that turns become even shares.
        let fraction = (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut left = ((u128::from(fraction) * u128::from(total)) >> 64) as u64;
        let mut last = None;
        for (index, &weight) in candidates() {
            last = Some(index);
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        last
    }
}

/// How many slots each weight is worth.
fn slots(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let reduced = weights.iter().map(|weight| weight / divisor);
    let sum: u64 = reduced.clone().map(u64::from).sum();
    let limit = MAX_SCHEDULE as u64;
    let scale = |weight: u32| match (u64::from(weight) * limit + sum / 2) / sum {
        0 if weight > 0 => 1,
        scaled => scaled as u32,
    };
    if sum <= limit { reduced.collect() } else { reduced.map(scale).collect() }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Runs the algorithm through one period.
fn lay_out(slots: &[u32]) -> Box<[u16]> {
    let present: Vec<(u16, i64)> =
        (0..).zip(slots).filter(|&(_, &slots)| slots > 0).map(|(index, &slots)| (index, i64::from(slots))).collect();
    if present.iter().all(|&(_, slots)| slots == 1) {
        return present.iter().map(|&(index, _)| index).collect();
    }
    let sum: i64 = present.iter().map(|&(_, slots)| slots).sum();
    let mut balances = vec![0_i64; present.len()];
    let step = |_| {
        let mut winner = 0;
        for (at, balance) in balances.iter_mut().enumerate() {
            *balance += present[at].1;
        }
        for at in 1..balances.len() {
            // Strictly greater: of equals the first wins, as in nginx.
            if balances[at] > balances[winner] {
                winner = at;
            }
        }
        balances[winner] -= sum;
        present[winner].0
    };
    (0..sum).map(step).collect()
}

#[cfg(test)]
mod tests;
