//! How long answers take: counted by every request, looked at now and then.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// So many steps lie between a time and its double: a reading is right to an eighth.
const STEPS: u32 = 8;
/// From a microsecond to more than an hour.
const DOUBLINGS: u32 = 32;
const PLACES: usize = (STEPS * DOUBLINGS) as usize;

/// What has been counted since it was last looked at. Counting is one addition.
#[derive(Debug)]
pub(crate) struct Durations([AtomicU32; PLACES]);

/// What was counted of durations in a time.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    counts: Box<[f32]>,
    total: f32,
}

impl Default for Durations {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; PLACES])
    }
}

impl Durations {
    pub(crate) fn count(&self, took: Duration) {
        self.0[place(took)].fetch_add(1, Relaxed);
    }

    /// How many there are to be taken.
    pub(crate) fn waiting(&self) -> u32 {
        self.0.iter().map(|count| count.load(Relaxed)).fold(0, u32::saturating_add)
    }

    /// Moves what was counted to `counted`.
    pub(crate) fn add_to(&self, counted: &mut Counted) {
        for (count, sum) in self.0.iter().zip(&mut counted.counts) {
            let new = count.swap(0, Relaxed) as f32;
            *sum += new;
            counted.total += new;
        }
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self { counts: vec![0.0; PLACES].into(), total: 0.0 }
    }
}

impl Counted {
    pub(crate) fn total(&self) -> f32 {
        self.total
    }

    /// Lets everything so far count for this part of what it did.
    pub(crate) fn fade(&mut self, part: f32) {
        self.counts.iter_mut().for_each(|count| *count *= part);
        self.total *= part;
    }

    /// Which duration this share of all is within; `None` where there are none.
    pub(crate) fn quantile(&self, share: f32) -> Option<Duration> {
        let rank = self.total * share;
        let mut below = 0.0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below > 0.0 && below >= rank
        });
        // Sums of fractions may miss the last one by a little.
        let last = || self.counts.iter().rposition(|count| *count > 0.0);
        found.or_else(last).map(bound)
    }
}

fn place(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let step = ((u128::from(micros) * u128::from(STEPS)) >> doubling) as u32 % STEPS;
    ((doubling * STEPS + step) as usize).min(PLACES - 1)
}

/// The longest duration that is counted at this place.
fn bound(place: usize) -> Duration {
    let (doubling, step) = (place as u32 / STEPS, place as u32 % STEPS);
    Duration::from_micros((u64::from(STEPS + step + 1) << doubling) / u64::from(STEPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_to_an_eighth() {
        for micros in [1_u64, 2, 7, 8, 9, 100, 1_000, 12_345, 1_000_000, 3_600_000_000] {
            let bound = bound(place(Duration::from_micros(micros))).as_micros() as u64;
            assert!(bound >= micros && bound <= micros + micros / 8 + 1, "{micros} is read as {bound}");
        }
        assert_eq!(place(Duration::MAX), PLACES - 1);
        assert_eq!(place(Duration::ZERO), 0);
    }

    #[test]
    fn quantiles_are_of_what_was_counted_and_old_ones_fade() {
        let (durations, mut counted) = (Durations::default(), Counted::default());
        assert_eq!(counted.quantile(0.5), None);
        for ms in 1..=100 {
            durations.count(Duration::from_millis(ms));
        }
        assert_eq!(durations.waiting(), 100);
        durations.add_to(&mut counted);
        assert_eq!((durations.waiting(), counted.total()), (0, 100.0));
        let near = |share: f32, ms: f32| {
            let read = counted.quantile(share).unwrap().as_secs_f32() * 1000.0;
            assert!(read >= ms && read <= ms * 1.13, "{share} is {read} ms");
        };
        near(0.5, 50.0);
        near(0.95, 95.0);
        near(1.0, 100.0);
        (0..80).for_each(|_| counted.fade(0.5));
        durations.count(Duration::from_secs(2));
        durations.add_to(&mut counted);
        assert!(counted.quantile(0.5).unwrap() >= Duration::from_secs(2));
    }
}
