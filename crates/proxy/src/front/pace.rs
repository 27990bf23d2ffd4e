//! Whether a client moves the bytes that it has to move fast enough.

use std::time::Duration;

use listen::MinRate;
use tokio::time::Instant;

/// One direction of one message. Once enough has moved for the time of grace it starts anew, so that a fast beginning
/// pays for no slow end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace {
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// Notes that so many bytes moved after a wait for the client, and says whether that keeps up with `least`.
    pub(crate) fn keeps(&mut self, waited: Duration, bytes: usize, least: MinRate) -> bool {
        self.waited += waited;
        self.moved += bytes as u64;
        if self.waited >= least.grace && self.moved < least.due(self.waited) {
            return false;
        }
        if self.moved >= least.due(least.grace) {
            *self = Self::default();
        }
        true
    }
}

/// One direction of one message, whose client has to be waited for now and then.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How fast it has to be, if at all.
    least: Option<MinRate>,
    pace: Pace,
    /// Since when it is waited for.
    since: Option<Instant>,
    /// Whether this one message may take its time.
    exempt: bool,
}

impl Watch {
    pub(crate) fn new(least: Option<MinRate>) -> Self {
        Self { least, ..Self::default() }
    }

    /// Another message begins.
    pub(crate) fn begin(&mut self) {
        self.restart();
        self.exempt = false;
    }

    /// The message under way may take its time.
    pub(crate) fn exempt(&mut self) {
        self.exempt = true;
    }

    /// Begins anew: the client may have waited itself.
    pub(crate) fn restart(&mut self) {
        (self.pace, self.since) = (Pace::default(), None);
    }

    /// It is waited for from here on, unless it is already.
    pub(crate) fn waits(&mut self) {
        if self.least.is_some() && !self.exempt {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Notes that so many bytes came, and says whether they came fast enough.
    pub(crate) fn moved(&mut self, bytes: usize) -> bool {
        let (Some(least), Some(since)) = (self.least, self.since.take()) else { return true };
        self.pace.keeps(since.elapsed(), bytes, least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: MinRate = MinRate { bytes: 100, grace: Duration::from_secs(10) };
    const SECOND: Duration = Duration::from_secs(1);

    /// How many of these equal pieces are let pass.
    fn pieces(waited: Duration, bytes: usize) -> usize {
        let mut pace = Pace::default();
        (0..1000).take_while(|_| pace.keeps(waited, bytes, LEAST)).count()
    }

    #[test]
    fn a_drip_is_let_be_for_a_while_and_a_trickle_for_ever() {
        assert_eq!(pieces(SECOND, 1), 9);
        assert_eq!(pieces(SECOND, 99), 9);
        assert_eq!(pieces(SECOND, 100), 1000);
        assert_eq!(pieces(29 * SECOND, 2900), 1000);
        assert_eq!(pieces(29 * SECOND, 2899), 0);
    }

    #[test]
    fn a_fast_beginning_pays_for_no_slow_end() {
        let mut pace = Pace::default();
        assert!(pace.keeps(SECOND, 1 << 30, LEAST));
        assert_eq!((0..100).take_while(|_| pace.keeps(SECOND, 1, LEAST)).count(), 9);
    }
}
