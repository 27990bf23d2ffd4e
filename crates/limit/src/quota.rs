//! At most so many in a period of the calendar, such as a day or a month: what a contract says.
//!
//! Periods are those of UTC. The one word of a cell is the second of the Unix epoch at which its period ends.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    cell::Cell,
    clock::{Now, SECOND, unix},
    rule::{Said, Standing},
};

/// A quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    limit: u32,
    period: Period,
}

/// What a quota is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Seconds(u64),
    Month,
}

/// In seconds.
pub(crate) const DAY: u64 = 86_400;

/// The first Monday of the Unix epoch: a week begins on a Monday (ISO 8601).
const MONDAY: u64 = 4 * DAY;

/// The day of UTC that a second is in.
fn day(now: u64) -> Date {
    let second = i64::try_from(now).ok().and_then(|now| Timestamp::from_second(now).ok());
    second.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC).date()
}

/// How many days the month has that a second is in.
pub(crate) fn days_of_month(now: u64) -> u64 {
    u64::from(day(now).days_in_month().unsigned_abs())
}

/// The first second after the month that `now` is in.
fn end_of_month(now: u64) -> u64 {
    let day = day(now);
    let left = day.days_in_month() - day.day() + 1;
    now - now % DAY + u64::from(left.unsigned_abs()) * DAY
}

impl Quota {
    pub(crate) fn new(limit: u32, period: u64) -> Self {
        Self { limit, period: Period::Seconds(period.max(1)) }
    }

    /// One for each month.
    pub(crate) fn monthly(limit: u32) -> Self {
        Self { limit, period: Period::Month }
    }

    /// As many as that in the same periods.
    pub(crate) fn with(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Its numbers, for a successor.
    pub(crate) fn words(&self) -> [u64; 3] {
        [self.limit.into(), self.seconds().unwrap_or(0), 0]
    }

    pub(crate) fn of_words([limit, period, _]: [u64; 3]) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        if period == 0 { Self::monthly(limit) } else { Self::new(limit, period) }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// How long the period is; `None` for a month, which is not always as long.
    pub(crate) fn seconds(&self) -> Option<u64> {
        match self.period {
            Period::Seconds(seconds) => Some(seconds),
            Period::Month => None,
        }
    }

    /// Where periods are counted from.
    pub(crate) fn origin(&self) -> u64 {
        if self.period == Period::Seconds(7 * DAY) { MONDAY } else { 0 }
    }

    /// When the period of `now` ends.
    pub(crate) fn end(&self, now: u64) -> u64 {
        match self.period {
            Period::Seconds(period) => now - (now - self.origin().min(now)) % period + period,
            Period::Month => end_of_month(now),
        }
    }

    fn used(&self, cell: &Cell, end: u64) -> u32 {
        if cell.words.first() == Some(&end) { cell.used } else { 0 }
    }

    pub(crate) fn ask(&self, cell: &Cell, cost: u32) -> Said {
        self.ask_at(cell, unix(), cost)
    }

    pub(crate) fn ask_at(&self, cell: &Cell, now: u64, cost: u32) -> Said {
        let end = self.end(now);
        let wait = (end - now) * SECOND;
        match self.limit.checked_sub(self.used(cell, end).saturating_add(cost)) {
            Some(remaining) => Said::Free(Standing { remaining, reset: wait }),
            None => Said::Full { wait },
        }
    }

    /// Returns when the period ends.
    pub(crate) fn charge(&self, cell: &mut Cell, now: Now, cost: u32) -> u64 {
        self.charge_at(cell, now, unix(), cost)
    }

    pub(crate) fn charge_at(&self, cell: &mut Cell, now: Now, wall: u64, cost: u32) -> u64 {
        let end = self.end(wall);
        cell.used = self.used(cell, end).saturating_add(cost);
        cell.words.clear();
        cell.words.push(end);
        let left = u32::try_from(end - wall).unwrap_or(u32::MAX / 2);
        cell.expires = cell.expires.max(now.seconds().saturating_add(left).saturating_add(1));
        end
    }

    pub(crate) fn give_back(&self, cell: &mut Cell, end: u64, cost: u32) {
        if cell.words.first() == Some(&end) {
            cell.used = cell.used.saturating_sub(cost);
        }
    }

    /// Whether so much is four fifths of it, and a charge of `cost` less was not.
    pub(crate) fn is_getting_short(&self, used: u32, cost: u32) -> bool {
        let most = u64::from(self.limit) * 4 / 5;
        u64::from(used) >= most && u64::from(used.saturating_sub(cost)) < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-25 21:45:03 UTC, a Wednesday.
    const NOW: u64 = 1_795_643_103;

    #[test]
    fn a_period_ends_with_the_clock_and_not_with_the_first_request() {
        let ends = |period: u64| Quota::new(1, period).end(NOW);
        assert_eq!(ends(DAY), 1_795_651_200);
        assert_eq!(ends(3_600), 1_795_644_000);
        // The Monday after.
        assert_eq!(ends(7 * DAY), 1_795_996_800);
    }

    #[test]
    fn a_month_ends_with_its_last_day() {
        for (now, end) in [
            ("2026-11-25T21:45:03Z", "2026-12-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
            ("2027-02-28T12:00:00Z", "2027-03-01T00:00:00Z"),
            ("2028-02-28T12:00:00Z", "2028-03-01T00:00:00Z"),
            ("2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z"),
            ("2100-02-28T23:59:59Z", "2100-03-01T00:00:00Z"),
        ] {
            let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second() as u64;
            assert_eq!(Quota::monthly(1).end(second(now)), second(end), "{now}");
        }
        assert_eq!(Quota::of_words(Quota::monthly(7).words()), Quota::monthly(7));
    }

    proptest::proptest! {
        #[test]
        fn every_second_is_in_a_month_that_begins_on_a_first_and_ends_before_the_next(now in 0_u64..8_000_000_000) {
            let (end, date) = (Quota::monthly(1).end(now), day(now));
            proptest::prop_assert!(end > now && end.is_multiple_of(DAY) && end - now <= days_of_month(now) * DAY);
            proptest::prop_assert_eq!((day(end).day(), day(end - 1).month()), (1, date.month()));
            proptest::prop_assert_eq!(day(end - days_of_month(now) * DAY), date.first_of_month());
        }
    }

    #[test]
    fn a_new_period_begins_with_nothing() {
        let (quota, mut cell, now) = (Quota::new(3, DAY), Cell::default(), Now(0));
        for remaining in [2, 1, 0] {
            let said = quota.ask_at(&cell, NOW, 1);
            assert!(matches!(said, Said::Free(standing) if standing.remaining == remaining));
            quota.charge_at(&mut cell, now, NOW, 1);
        }
        assert_eq!(quota.ask_at(&cell, NOW, 1), Said::Full { wait: (1_795_651_200 - NOW) * SECOND });
        assert!(matches!(quota.ask_at(&cell, 1_795_651_199, 1), Said::Full { .. }));
        assert!(matches!(quota.ask_at(&cell, 1_795_651_200, 1), Said::Free(_)));
        let end = quota.charge_at(&mut cell, now, 1_795_651_200, 2);
        quota.give_back(&mut cell, end, 1);
        assert_eq!(cell.used, 1);
    }
}
