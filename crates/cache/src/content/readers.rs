//! Who reads content that comes, how far they are, and how long they wait for each other where it is not kept.

use std::time::Duration;

/// How far the fetch may be ahead of the slowest reader once the content is not kept.
pub(super) const WINDOW: u64 = 256 * 1024;

/// How long those who have read all that has come wait for slower ones, for each stretch of the content. It is counted for all
/// together: of many who are slow by turns each would be so for a moment only.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may take so long.
const STRETCH: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Where each is; `None` for one that has gone or was cut off.
    places: Vec<Option<u64>>,
    /// Where the stretch begins, and how long somebody has waited since.
    stretch: u64,
    waited: Duration,
}

impl Readers {
    /// One more, that begins there. Gives its slot.
    pub(super) fn add(&mut self, at: u64) -> usize {
        let free = self.places.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.places.len());
        match self.places.get_mut(slot) {
            Some(place) => *place = Some(at),
            None => self.places.push(Some(at)),
        }
        slot
    }

    /// It has read up to there. Who was cut off stays so.
    pub(super) fn moved(&mut self, slot: usize, at: u64) {
        if let Some(Some(place)) = self.places.get_mut(slot) {
            *place = at;
        }
    }

    pub(super) fn gone(&mut self, slot: usize) {
        if let Some(place) = self.places.get_mut(slot) {
            *place = None;
        }
    }

    /// Whether it was not cut off.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.places.get(slot).is_some_and(Option::is_some)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// How far the slowest is.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.places.iter().flatten().min().copied()
    }

    /// Of content that is not kept so much has come, and no more can because of who is slow: how long that may last. `None`
    /// where nobody waits for them.
    pub(super) fn patience(&mut self, total: u64) -> Option<Duration> {
        if total - self.stretch >= STRETCH {
            (self.stretch, self.waited) = (total, Duration::ZERO);
        }
        self.anybody_waits(total).then(|| PATIENCE.saturating_sub(self.waited))
    }

    /// It lasted so long. Where that was too long, whoever more cannot come because of is cut off.
    pub(super) fn waited(&mut self, time: Duration, total: u64) {
        self.waited += time;
        if self.waited >= PATIENCE && self.anybody_waits(total) {
            self.places
                .iter_mut()
                .filter(|place| place.is_some_and(|at| total - at.min(total) >= WINDOW))
                .for_each(|place| *place = None);
        }
    }

    fn anybody_waits(&self, total: u64) -> bool {
        self.places.iter().flatten().any(|at| *at >= total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_holds_up_others_for_too_long_is_cut_off() {
        let mut readers = Readers::default();
        let (fast, slow, less) = (readers.add(0), readers.add(0), readers.add(0));
        let total = 2 * WINDOW;
        assert_eq!(readers.patience(total), None, "nobody waits yet");
        readers.moved(less, WINDOW + 1);
        readers.moved(fast, total);
        assert_eq!(readers.patience(total), Some(PATIENCE));
        readers.waited(4 * SECOND, total);
        // A little now and then does not help.
        readers.moved(slow, 1);
        assert_eq!(readers.patience(total), Some(SECOND));
        readers.waited(SECOND, total);
        assert!(readers.has(fast) && readers.has(less) && !readers.has(slow), "only who is the reason is");
        readers.moved(slow, total);
        assert_eq!((readers.has(slow), readers.slowest()), (false, Some(WINDOW + 1)), "it does not come back");
    }

    #[test]
    fn who_is_not_much_slower_is_waited_for() {
        let mut readers = Readers::default();
        let (fast, slow) = (readers.add(0), readers.add(0));
        let mut total = 0;
        for _ in 0..100 {
            total += STRETCH;
            readers.moved(fast, total);
            assert_eq!(readers.patience(total), Some(PATIENCE));
            readers.waited(4 * SECOND, total);
            readers.moved(slow, total - WINDOW + 1);
        }
        assert!(readers.has(slow));
        readers.gone(fast);
        assert_eq!(readers.patience(total), None, "nobody is held up");
        readers.waited(100 * SECOND, total + WINDOW);
        assert!(readers.has(slow) && !readers.is_empty());
    }
}
