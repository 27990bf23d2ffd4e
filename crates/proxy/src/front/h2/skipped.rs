//! Which streams of a connection never became requests: those that the codec has refused by itself, or that were never
//! opened.
//!
//! Clients number their streams upwards, and requests are accepted in that order. So it is the gaps that are remembered,
//! of which there are hardly any, and not the requests: one may take an hour, and a thousand others come and go meanwhile.

use std::{collections::VecDeque, ops::Range};

/// So many gaps are remembered: more than requests can be under way, of which each can have one before it.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// The last stream of which it is known what it was.
    last: u32,
    gaps: VecDeque<Range<u32>>,
}

impl Skipped {
    /// The stream became a request.
    pub(super) fn accept(&mut self, stream: u32) {
        // Those of clients are odd.
        if stream > self.last + 2 {
            self.remember(self.last + 1..stream);
        }
        self.last = self.last.max(stream);
    }

    /// Whether the stream never became a request. It is only said once.
    pub(super) fn take(&mut self, stream: u32) -> bool {
        if stream > self.last {
            self.accept(stream);
            return true;
        }
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&stream)) else { return false };
        if let Some(gap) = self.gaps.remove(at) {
            for rest in [gap.start..stream, stream + 1..gap.end] {
                if !rest.is_empty() {
                    self.remember(rest);
                }
            }
        }
        true
    }

    fn remember(&mut self, gap: Range<u32>) {
        if self.gaps.len() == MOST {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stays_one_however_many_come_after_it() {
        let mut skipped = Skipped::default();
        (1..100_000).step_by(2).for_each(|stream| skipped.accept(stream));
        assert!((1..100_000).step_by(2).all(|stream| !skipped.take(stream)));
        assert!(skipped.gaps.is_empty());
    }

    #[test]
    fn what_was_refused_is_told_of_once() {
        let mut skipped = Skipped::default();
        // 1, 9 and 15 are requests. 13 is refused before 11 is.
        skipped.accept(1);
        skipped.accept(9);
        assert!(skipped.take(13));
        skipped.accept(15);
        for stream in [3, 5, 7, 11] {
            assert!(skipped.take(stream), "{stream}");
        }
        assert!((1..16).step_by(2).all(|stream| !skipped.take(stream)));
        assert!(skipped.take(17) && !skipped.take(17));
    }

    #[test]
    fn gaps_are_bounded() {
        let mut skipped = Skipped::default();
        (1..100_000).step_by(4).for_each(|stream| skipped.accept(stream));
        assert_eq!(skipped.gaps.len(), MOST);
        assert!(skipped.take(99_995) && !skipped.take(3));
    }
}
