//! Who reads content that comes, how far they are, and how long they wait for each other where it is not kept.

use std::time::Duration;

/// How far the fetch may be ahead of the slowest reader once the content is not kept.
pub(super) const WINDOW: u64 = 256 * 1024;

/// How long those who have read all that has come wait for the slowest, for each stretch that it takes. It is counted for all
/// together: of many who are slow by turns each would be so for a moment only.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may take so long.
const STRETCH: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Where each is; `None` for one that has gone or was cut off.
    places: Vec<Option<u64>>,
    /// How far the slowest was when that was last looked at.
    reached: u64,
    /// How much of the patience with it is used up. What it takes gives some of it back, however far it is behind: when it turns
    /// out that the content is not kept, that may be all there was, and who catches up is not who stands in the way.
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
        self.forgive();
        self.anybody_waits(total).then(|| PATIENCE.saturating_sub(self.waited))
    }

    /// It lasted so long. Where that was too long, the slowest is cut off, if it is why no more can come. The next one has what
    /// patience it has earned by being ahead of it.
    pub(super) fn waited(&mut self, time: Duration, total: u64) {
        self.waited += time;
        self.forgive();
        if self.waited >= PATIENCE && self.anybody_waits(total) {
            let slowest = self.slowest().filter(|at| total - at.min(&total) >= WINDOW);
            self.places
                .iter_mut()
                .filter(|place| place.is_some() && **place == slowest)
                .for_each(|place| *place = None);
        }
    }

    /// What the slowest has taken since that was last looked at gives back its share of the patience.
    fn forgive(&mut self) {
        let Some(slowest) = self.slowest() else { return };
        let taken = slowest.saturating_sub(self.reached).min(STRETCH);
        self.reached = self.reached.max(slowest);
        // No more than a stretch: far from too large a number.
        let share = Duration::from_nanos(PATIENCE.as_nanos() as u64 * taken / STRETCH);
        self.waited = self.waited.saturating_sub(share);
    }

    fn anybody_waits(&self, total: u64) -> bool {
        self.places.iter().flatten().any(|at| *at >= total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits as long as there is patience, or that long. Says how long.
    fn wait(readers: &mut Readers, total: u64, most: Duration) -> Duration {
        let time = readers.patience(total).unwrap().min(most);
        readers.waited(time, total);
        time
    }

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
        let left = readers.patience(total).unwrap();
        assert!(left >= SECOND && left < SECOND + Duration::from_micros(5), "{left:?}");
        readers.waited(left, total);
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
            assert!(readers.patience(total).unwrap() > 4 * SECOND);
            readers.waited(4 * SECOND, total);
            readers.moved(slow, total - WINDOW + 1);
        }
        assert!(readers.has(slow));
        readers.gone(fast);
        assert_eq!(readers.patience(total), None, "nobody is held up");
        readers.waited(100 * SECOND, total + WINDOW);
        assert!(readers.has(slow) && !readers.is_empty());
    }

    /// While content is kept nobody waits for anybody, so all of it may be left to read when it turns out not to be.
    #[test]
    fn who_was_far_behind_when_it_began_and_takes_enough_is_not_cut_off() {
        let mut readers = Readers::default();
        let (fast, steady, stopped) = (readers.add(0), readers.add(0), readers.add(0));
        let total = 64 * STRETCH;
        readers.moved(fast, total);
        let mut at = 2 * STRETCH;
        readers.moved(steady, at);
        readers.moved(stopped, 1);
        for second in 1..=5 {
            assert!(readers.has(stopped), "it has five seconds");
            at += STRETCH / 4;
            readers.moved(steady, at);
            wait(&mut readers, total, SECOND);
            assert!(readers.has(steady), "after {second} s");
        }
        assert!(!readers.has(stopped));
        while at < total {
            wait(&mut readers, total, SECOND);
            at += STRETCH / 4;
            readers.moved(steady, at);
        }
        assert!(readers.has(steady) && readers.has(fast));
        // And then it stops.
        let total = total + WINDOW;
        readers.moved(fast, total);
        wait(&mut readers, total, PATIENCE);
        assert!(!readers.has(steady) && readers.has(fast));
    }

    #[test]
    fn of_many_who_are_slow_by_turns_none_has_time_of_its_own() {
        let mut readers = Readers::default();
        let fast = readers.add(0);
        let slow: Vec<usize> = (0..100).map(|_| readers.add(0)).collect();
        let (mut total, mut waited) = (0, Duration::ZERO);
        // Each takes all that there is until its turn has come, and nothing from then on.
        for (turn, stops) in slow.iter().enumerate() {
            total += WINDOW;
            readers.moved(fast, total);
            slow[turn + 1..].iter().for_each(|slot| readers.moved(*slot, total));
            while readers.has(*stops) {
                waited += wait(&mut readers, total, PATIENCE);
            }
        }
        assert!(readers.has(fast));
        let most = PATIENCE + PATIENCE * u32::try_from(total / STRETCH).unwrap();
        assert!(waited <= most, "{waited:?} for {} MiB, at most {most:?}", total / STRETCH);
    }
}
