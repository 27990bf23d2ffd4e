//! Counters found by a small number without a lock.

use std::sync::OnceLock;

use prometheus::IntCounter;

/// How many slots are looked at before a key is sent the slow way.
const PROBES: usize = 8;

/// A fixed table of counters, each put in its slot when it is first used. Finding one reads one or two slots; keys that
/// find no room any more are resolved by name every time, which is slower and still right.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Box<[OnceLock<(u32, IntCounter)>]>,
}

impl Slots {
    /// A table with room for `capacity` keys, a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: (0..capacity.next_power_of_two()).map(|_| OnceLock::new()).collect() }
    }

    /// Adds `amount` to the counter of `key`, which `resolve` finds by name when it is not in the table yet.
    pub(crate) fn add(&self, key: u32, amount: u64, resolve: impl Fn() -> IntCounter) {
        let mask = self.slots.len() - 1;
        let first = (key.wrapping_mul(0x9E37_79B1) >> 16) as usize;
        for probe in 0..PROBES.min(self.slots.len()) {
            let (found, counter) = self.slots[(first + probe) & mask].get_or_init(|| (key, resolve()));
            if *found == key {
                counter.inc_by(amount);
                return;
            }
        }
        resolve().inc_by(amount);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts};

    use super::*;

    #[test]
    fn every_key_is_counted_whether_it_found_a_slot_or_not() {
        let family = IntCounterVec::new(Opts::new("n", "n"), &["key"]).unwrap();
        let slots = Slots::new(4);
        for _ in 0..3 {
            for key in 0..100_u32 {
                slots.add(key, 2, || family.with_label_values(&[key.to_string()]));
            }
        }
        for key in 0..100_u32 {
            assert_eq!(family.with_label_values(&[key.to_string()]).get(), 6);
        }
    }
}
