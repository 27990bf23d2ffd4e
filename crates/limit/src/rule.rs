//! One rule of a limit, and what it says to a request.

use crate::{
    ban::Ban,
    bucket::Bucket,
    cell::{Cell, HELD},
    clock::{Now, SECOND},
    quota::{DAY, Quota},
    shard::Room,
    throughput::{Throughput, Way},
    window::Window,
};

/// What is counted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// At most so many in any window.
    Window(Window),
    /// A steady rate with a burst.
    Bucket(Bucket),
    /// At most so many in a period of the calendar.
    Quota(Quota),
    /// At most so many at once.
    Concurrent(u32),
    /// Not for a while, after too many refusals.
    Ban(Ban),
    /// So many bytes a second.
    Bandwidth(Throughput),
}

/// What a rule says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It may pass.
    Free(Standing),
    /// Not before so many nanoseconds have passed.
    Full { wait: u64 },
}

/// Where a key stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many more may pass now.
    pub(crate) remaining: u32,
    /// Nanoseconds until there is more.
    pub(crate) reset: u64,
}

impl Rule {
    /// A word for its kind: cells of one kind are nothing to another.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Bucket(_) => "bucket",
            Self::Quota(_) => "quota",
            Self::Concurrent(_) => "concurrent",
            Self::Ban(_) => "ban",
            Self::Bandwidth(limit) if limit.way() == Way::Down => "down",
            Self::Bandwidth(_) => "up",
        }
    }

    /// The quota and the seconds that it is for, as `RateLimit-Policy` says them in a month of so many days; `None` for what is no
    /// quota over time.
    pub(crate) fn policy(&self, days: u64) -> Option<(u32, u64)> {
        match self {
            Self::Window(window) => Some((window.limit(), window.seconds())),
            Self::Bucket(bucket) => Some((bucket.burst(), bucket.seconds())),
            Self::Quota(quota) => Some((quota.limit(), quota.seconds().unwrap_or(days * DAY))),
            Self::Concurrent(_) | Self::Ban(_) | Self::Bandwidth(_) => None,
        }
    }

    /// Whether it is for a month.
    pub(crate) fn is_monthly(&self) -> bool {
        matches!(self, Self::Quota(quota) if quota.seconds().is_none())
    }

    /// Kind, limit, length and quantum, as the scripts of the store know them.
    pub(crate) fn script_arguments(&self) -> [i64; 4] {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match self {
            Self::Window(window) => [0, window.limit().into(), number(window.millis()), number(window.quantum())],
            Self::Bucket(bucket) => [1, bucket.burst().into(), number(bucket.micros()), 0],
            Self::Quota(quota) => {
                [2, quota.limit().into(), number(quota.seconds().unwrap_or(0)), number(quota.origin())]
            }
            // Not shared: see `compile`.
            Self::Concurrent(_) | Self::Ban(_) | Self::Bandwidth(_) => [0, 1, 1, 1],
        }
    }

    /// Its kind and its numbers, for a successor.
    pub(crate) fn words(&self) -> (u8, [u64; 3]) {
        match self {
            Self::Window(window) => (1, window.words()),
            Self::Bucket(bucket) => (2, bucket.words()),
            Self::Quota(quota) => (3, quota.words()),
            Self::Ban(ban) => (4, ban.words()),
            // Not told by what was charged: see `journal`.
            Self::Concurrent(_) | Self::Bandwidth(_) => (0, [0; 3]),
        }
    }

    /// The rule of that kind with these numbers.
    pub(crate) fn of_words(kind: u8, words: [u64; 3]) -> Option<Self> {
        match kind {
            1 => Some(Self::Window(Window::of_words(words))),
            2 => Some(Self::Bucket(Bucket::of_words(words))),
            3 => Some(Self::Quota(Quota::of_words(words))),
            4 => Some(Self::Ban(Ban::of_words(words))),
            _ => None,
        }
    }

    /// The most that one request can cost; of bandwidth, bytes a second.
    pub(crate) fn most(&self) -> u32 {
        match self {
            Self::Window(window) => window.limit(),
            Self::Bucket(bucket) => bucket.burst(),
            Self::Quota(quota) => quota.limit(),
            Self::Concurrent(limit) => *limit,
            Self::Ban(_) => u32::MAX,
            Self::Bandwidth(limit) => u32::try_from(limit.rate()).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn ask(&self, cell: &Cell, now: Now, cost: u32) -> Said {
        match self {
            Self::Window(window) => window.ask(cell, now, cost),
            Self::Bucket(bucket) => bucket.ask(cell, now, cost),
            Self::Quota(quota) => quota.ask(cell, cost),
            Self::Ban(ban) => ban.ask(cell, now),
            Self::Bandwidth(limit) => limit.ask(cell, now),
            Self::Concurrent(limit) => match limit.checked_sub(cell.used.saturating_add(cost)) {
                Some(remaining) => Said::Free(Standing { remaining, reset: 0 }),
                // Nobody knows when a request ends.
                None => Said::Full { wait: SECOND },
            },
        }
    }

    /// Charges for a request, whatever the rule says to it. Returns what to give back by.
    pub(crate) fn charge(&self, cell: &mut Cell, now: Now, cost: u32, room: Room) -> u64 {
        match self {
            Self::Window(window) => window.charge(cell, now, cost, room),
            Self::Bucket(bucket) => bucket.charge(cell, now, cost),
            Self::Quota(quota) => quota.charge(cell, now, cost),
            // Refusals count, and nothing else does; bytes count as they come.
            Self::Ban(_) | Self::Bandwidth(_) => 0,
            Self::Concurrent(_) => {
                cell.used = cell.used.saturating_add(cost);
                cell.expires = HELD;
                0
            }
        }
    }

    /// Takes a charge back.
    pub(crate) fn give_back(&self, cell: &mut Cell, now: Now, by: u64, cost: u32) {
        match self {
            Self::Window(window) => window.give_back(cell, by, cost),
            Self::Bucket(bucket) => bucket.give_back(cell, now, cost),
            Self::Quota(quota) => quota.give_back(cell, by, cost),
            Self::Ban(_) | Self::Bandwidth(_) => {}
            Self::Concurrent(_) => {
                cell.used = cell.used.saturating_sub(cost);
                if cell.used == 0 {
                    cell.expires = 0;
                }
            }
        }
    }
}
