//! How near the end of a certificate is.

use crate::certificate::Validity;

const DAY: i64 = 86_400;

/// How near the end of a certificate is, the nearer the greater. Each stage is reached so many days before the end, but
/// not before that part of its whole life is left: one that lives for a week only is nothing to worry about on its first
/// day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// 30 days, or a third of its life.
    Month,
    /// 14 days, or a sixth.
    Fortnight,
    /// 3 days, or a tenth.
    Days,
    /// It has ended.
    Over,
}

/// Something that is used and ends one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub subject: Subject,
    pub file: Box<str>,
    pub validity: Validity,
}

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A certificate that a listener shows.
    Certificate,
    /// The certificate of an authority whose clients are let in.
    ClientAuthority,
    /// A list of client certificates that were taken back.
    RevocationList,
}

impl Ending {
    /// How near its end is. A revocation list is made anew every few days, so that only the last stages are worth a word.
    pub(crate) fn stage(&self, now: i64) -> Option<Stage> {
        let stage = Stage::of(self.validity, now)?;
        (self.subject != Subject::RevocationList || stage >= Stage::Days).then_some(stage)
    }
}

impl Stage {
    fn of(validity: Validity, now: i64) -> Option<Self> {
        let (left, life) = (validity.not_after - now, validity.not_after - validity.not_before);
        let within = |days: i64, part: i64| left < (days * DAY).min(life / part);
        if left < 0 {
            Some(Self::Over)
        } else if within(3, 10) {
            Some(Self::Days)
        } else if within(14, 6) {
            Some(Self::Fortnight)
        } else if within(30, 3) {
            Some(Self::Month)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_warned_of_by_days_and_a_week_by_parts() {
        let stages = |life_in_days: i64, left_in_hours: i64| {
            let validity = Validity { not_before: 0, not_after: life_in_days * DAY };
            Stage::of(validity, validity.not_after - left_in_hours * 3600)
        };
        for (life, left, stage) in [
            (365, 31 * 24, None),
            (365, 29 * 24, Some(Stage::Month)),
            (365, 13 * 24, Some(Stage::Fortnight)),
            (365, 2 * 24, Some(Stage::Days)),
            (365, -1, Some(Stage::Over)),
            (7, 6 * 24, None),
            (7, 2 * 24, Some(Stage::Month)),
            (7, 24, Some(Stage::Fortnight)),
            (7, 12, Some(Stage::Days)),
            (1, 12, None),
        ] {
            assert_eq!(stages(life, left), stage, "{life} days, {left} hours left");
        }
    }
}
