//! Who is refused again and again is refused for a while whatever comes.
//!
//! The words of a cell are when the ban ends, and when the first of the refusals was that are counted, in milliseconds.

use std::time::Duration;

use crate::{
    cell::Cell,
    clock::{MILLISECOND, Now},
    rule::{Said, Standing},
};

/// A ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ban {
    /// After how many refusals.
    after: u32,
    /// Within which time, and for how long, in milliseconds.
    within: u64,
    lasts: u64,
}

impl Ban {
    pub(crate) fn new(after: u32, within: Duration, lasts: Duration) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2);
        Self { after, within: millis(within), lasts: millis(lasts) }
    }

    /// Its numbers, for a successor.
    pub(crate) fn words(&self) -> [u64; 3] {
        [self.after.into(), self.within, self.lasts]
    }

    pub(crate) fn of_words([after, within, lasts]: [u64; 3]) -> Self {
        let millis = |time: u64| time.min(u64::MAX / 4);
        Self { after: u32::try_from(after).unwrap_or(u32::MAX), within: millis(within), lasts: millis(lasts) }
    }

    pub(crate) fn ask(&self, cell: &Cell, now: Now) -> Said {
        match cell.words.first().and_then(|until| until.checked_sub(now.millis())) {
            Some(left @ 1..) => Said::Full { wait: left * MILLISECOND },
            _ => Said::Free(Standing { remaining: u32::MAX, reset: 0 }),
        }
    }

    /// Counts a refusal.
    pub(crate) fn strike(&self, cell: &mut Cell, now: Now) {
        let now = now.millis();
        let (until, first) = (cell.words.first().copied().unwrap_or(0), cell.words.get(1).copied().unwrap_or(now));
        if until > now {
            return;
        }
        let anew = until != 0 || now.saturating_sub(first) > self.within;
        let first = if anew { now } else { first };
        cell.used = if anew { 1 } else { cell.used.saturating_add(1) };
        let until = if cell.used >= self.after { now + self.lasts } else { 0 };
        cell.words.clear();
        cell.words.extend([until, first]);
        let ends = until.max(first + self.within);
        cell.expires = u32::try_from(ends / 1000 + 1).unwrap_or(u32::MAX - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_comes_after_refusals_that_are_close_to_each_other_and_ends() {
        let (ban, mut cell) = (Ban::new(3, Duration::from_secs(10), Duration::from_secs(60)), Cell::default());
        let at = |second: u64| Now((1_000 + second) * crate::clock::SECOND);
        let banned = |cell: &Cell, second| matches!(ban.ask(cell, at(second)), Said::Full { .. });
        // Far from each other.
        for second in [0, 11, 22] {
            ban.strike(&mut cell, at(second));
            assert!(!banned(&cell, second));
        }
        for second in [23, 24] {
            ban.strike(&mut cell, at(second));
        }
        assert_eq!(ban.ask(&cell, at(24)), Said::Full { wait: 60 * crate::clock::SECOND });
        // What is refused meanwhile does not make it longer.
        ban.strike(&mut cell, at(50));
        assert!(banned(&cell, 83) && !banned(&cell, 84));
        ban.strike(&mut cell, at(84));
        assert!(!banned(&cell, 84));
    }
}
