//! How many bytes of content may pass in a second: the token bucket, of bytes.
//!
//! A piece of content is charged before it passes and waits until its turn has come. Whoever shares a key has one piece
//! ahead of itself at most, so that those who share take turns. The one word of a cell is the theoretical arrival time, as
//! in `bucket`.

use crate::{
    cell::Cell,
    clock::{MILLISECOND, Now, SECOND},
    rule::{Said, Standing},
};

/// Which way content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Down,
    /// From the client.
    Up,
}

/// The largest and the smallest piece that passes at once.
const PIECES: (u64, u64) = (512, 64 * 1024);

/// A piece is what passes in one part of so many of a second, so that nobody waits long for a turn.
const TURNS: u64 = 20;

/// A key whose next byte would have to wait longer takes no request more.
const LONGEST: u64 = 30 * SECOND;

/// A limit on bandwidth, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throughput {
    way: Way,
    /// Bytes a second.
    rate: u64,
    /// Nanoseconds that the burst takes at this rate.
    depth: u64,
    /// Bytes that pass at once.
    piece: u64,
}

impl Throughput {
    pub(crate) fn new(way: Way, rate: u64, burst: u64) -> Self {
        let (rate, burst) = (rate.max(1), burst.max(1));
        let piece = (rate / TURNS).clamp(PIECES.0, PIECES.1).min(burst);
        Self { way, rate, depth: span(rate, burst), piece }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    pub(crate) fn piece(&self) -> usize {
        self.piece as usize
    }

    fn ahead(cell: &Cell, now: Now) -> u64 {
        cell.words.first().map_or(0, |arrival| arrival.saturating_sub(now.0))
    }

    /// Whether a request may begin: it may as long as its content need not wait too long.
    pub(crate) fn ask(&self, cell: &Cell, now: Now) -> Said {
        let ahead = Self::ahead(cell, now);
        if let Some(wait @ 1..) = ahead.checked_sub(self.depth.saturating_add(LONGEST)) {
            return Said::Full { wait };
        }
        let free = u128::from(self.depth.saturating_sub(ahead)) * u128::from(self.rate) / u128::from(SECOND);
        Said::Free(Standing { remaining: u32::try_from(free).unwrap_or(u32::MAX), reset: 0 })
    }

    /// Charges for so many bytes, and says for how many nanoseconds they have to wait.
    pub(crate) fn draw(&self, cell: &mut Cell, now: Now, bytes: u64) -> u64 {
        let ahead = Self::ahead(cell, now).saturating_add(span(self.rate, bytes));
        let arrival = now.0.saturating_add(ahead);
        cell.words.clear();
        cell.words.push(arrival);
        cell.used = u32::try_from(ahead / MILLISECOND + 1).unwrap_or(u32::MAX);
        cell.expires = u32::try_from(arrival / SECOND + 1).unwrap_or(u32::MAX - 1);
        ahead.saturating_sub(self.depth)
    }
}

/// Nanoseconds that so many bytes take, rounded up.
fn span(rate: u64, bytes: u64) -> u64 {
    u64::try_from((u128::from(bytes) * u128::from(SECOND)).div_ceil(u128::from(rate))).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 100_000;

    /// Of so many who always want more, how many bytes each has been let pass up to `end`, and the longest wait.
    fn race(racers: usize, end: u64) -> (Vec<u64>, u64) {
        let (limit, mut cell) = (Throughput::new(Way::Down, RATE, 10_000), Cell::default());
        let (mut passed, mut due, mut longest) = (vec![0; racers], vec![SECOND; racers], 0);
        loop {
            let (next, at) = due.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
            if at >= SECOND + end {
                return (passed, longest);
            }
            let wait = limit.draw(&mut cell, Now(at), limit.piece);
            longest = longest.max(wait);
            due[next] = at + wait;
            passed[next] += limit.piece;
        }
    }

    #[test]
    fn those_who_share_a_key_get_the_same_and_together_no_more_than_the_rate() {
        for racers in [1, 2, 7, 50] {
            let (passed, longest) = race(racers, 60 * SECOND);
            let (sum, pieces) = (passed.iter().sum::<u64>(), racers as u64 * 5_000);
            assert!((60 * RATE..=60 * RATE + 10_000 + pieces).contains(&sum), "{racers}: {sum}");
            let (least, most) = (passed.iter().min().unwrap(), passed.iter().max().unwrap());
            // But for the burst, which is his who is first.
            assert!(most - least <= 15_000, "{racers}: {passed:?}");
            // A turn of everybody, and no longer.
            assert!(longest <= racers as u64 * SECOND / TURNS, "{racers}: {longest}");
        }
    }

    #[test]
    fn a_burst_passes_at_once_and_is_there_again_after_its_time() {
        let (limit, mut cell) = (Throughput::new(Way::Up, RATE, 10_000), Cell::default());
        let at = |millis: u64| Now(SECOND + millis * MILLISECOND);
        assert_eq!((limit.draw(&mut cell, at(0), 5_000), limit.draw(&mut cell, at(0), 5_000)), (0, 0));
        assert_eq!(limit.draw(&mut cell, at(0), 1_000), 10 * MILLISECOND);
        assert_eq!(limit.draw(&mut cell, at(110), 10_000), 0);
        assert_eq!(limit.draw(&mut cell, at(110), 1), 10_000);
    }

    #[test]
    fn nobody_begins_where_the_wait_is_too_long() {
        let (limit, mut cell) = (Throughput::new(Way::Down, RATE, 10_000), Cell::default());
        assert_eq!(limit.ask(&cell, Now(SECOND)), Said::Free(Standing { remaining: 10_000, reset: 0 }));
        limit.draw(&mut cell, Now(SECOND), 10_000 + 30 * RATE);
        assert!(matches!(limit.ask(&cell, Now(SECOND)), Said::Free(_)));
        limit.draw(&mut cell, Now(SECOND), RATE);
        assert_eq!(limit.ask(&cell, Now(SECOND)), Said::Full { wait: SECOND });
    }
}
