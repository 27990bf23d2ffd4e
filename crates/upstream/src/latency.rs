//! How long an endpoint takes to answer: an average that jumps up at once and comes down slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// By so much at most an answer moves what is usual.
const STEP: f32 = 1.5;
/// After so many milliseconds an observation counts for a third.
const DECAY: f32 = 10_000.0;
/// What a failure counts for at least: an endpoint that fails fast must not look fast.
const FAILURE: f32 = 1_000.0;

/// A peak-sensitive moving average (peak EWMA, as in Finagle).
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// The average as the bits of an `f32` and, below, when it was observed: milliseconds, the lower half. 0: never.
    packed: AtomicU64,
}

impl Latency {
    /// The average at `now`. An old one fades, so that an endpoint that was slow is tried again.
    pub(crate) fn read(&self, now: u64) -> f32 {
        match self.packed.load(Relaxed) {
            0 => 0.0,
            packed => unpack(packed).0 * kept(packed, now),
        }
    }

    /// The average and when it was observed, for a successor.
    pub(crate) fn learnt(&self, now: u64) -> Option<(f32, i64)> {
        match self.packed.load(Relaxed) {
            0 => None,
            packed => {
                let (average, observed) = unpack(packed);
                Some((average, -i64::from((now as u32).wrapping_sub(observed))))
            }
        }
    }

    /// Goes on with the average of another one.
    pub(crate) fn inherit(&self, (average, observed): (f32, i64), now: u64) {
        let observed = now.saturating_add_signed(observed) & 0xFFFF_FFFF;
        self.packed.store(u64::from(average.max(f32::MIN_POSITIVE).to_bits()) << 32 | observed, Relaxed);
    }

    /// Takes an answer after so many milliseconds into account.
    pub(crate) fn observe(&self, took: f32, now: u64) {
        let next = |packed: u64| {
            let average = unpack(packed).0;
            let kept = kept(packed, now);
            let next = if packed == 0 || took > average { took } else { average * kept + took * (1.0 - kept) };
            Some(pack(next, now))
        };
        // The closure always has a next value.
        let _ = self.packed.fetch_update(Relaxed, Relaxed, next);
    }

    /// Takes an answer into account as one of many: whatever it took, what is usual moves by half at most.
    pub(crate) fn observe_typical(&self, took: f32, now: u64) {
        let next = |packed: u64| {
            let usual = unpack(packed).0 * kept(packed, now);
            let next = match packed {
                0 => took,
                _ if took > usual => took.min(usual * STEP),
                _ => took.max(usual / STEP),
            };
            Some(pack(next, now))
        };
        // The closure always has a next value.
        let _ = self.packed.fetch_update(Relaxed, Relaxed, next);
    }

    /// Takes a failure after so many milliseconds into account.
    pub(crate) fn observe_failure(&self, took: f32, now: u64) {
        self.observe(took.max(FAILURE), now);
    }
}

fn pack(average: f32, now: u64) -> u64 {
    u64::from(average.max(f32::MIN_POSITIVE).to_bits()) << 32 | now & 0xFFFF_FFFF
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

/// How much of the average counts still.
fn kept(packed: u64, now: u64) -> f32 {
    let age = (now as u32).wrapping_sub(unpack(packed).1);
    (-(age as f32) / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_does_not_jump() {
        let latency = Latency::default();
        latency.observe_typical(10.0, 1_000);
        latency.observe_typical(5_000.0, 1_000);
        assert_eq!(latency.read(1_000), 15.0, "one pause is no habit");
        (0..20).for_each(|_| latency.observe_typical(500.0, 1_000));
        assert_eq!(latency.read(1_000), 500.0);
        (0..20).for_each(|_| latency.observe_typical(10.0, 1_000));
        assert_eq!(latency.read(1_000), 10.0);
    }

    #[test]
    fn it_jumps_up_and_comes_down_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.read(5), 0.0);
        latency.observe(100.0, 1_000);
        assert_eq!(latency.read(1_000), 100.0);
        latency.observe(500.0, 1_000);
        assert_eq!(latency.read(1_000), 500.0);
        latency.observe(10.0, 2_000);
        let after = latency.read(2_000);
        assert!((440.0..460.0).contains(&after), "{after}");
        assert!(latency.read(60_000) < 2.0, "what is old fades");
        latency.observe_failure(1.0, 60_000);
        assert_eq!(latency.read(60_000), FAILURE);
    }
}
