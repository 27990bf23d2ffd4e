//! Leases: what a process has taken from the store for a key that is asked for often, and gives out by itself.
//!
//! A lease is charged in the store when it is taken, so that no sum of leases exceeds the limit. A key begins with leases of
//! one request; one that is used up within a second makes the next twice as large, up to what the limit says, and any other
//! leads back to one. At most one lease of a key is being fetched; requests that come meanwhile ask for themselves alone. Callers
//! of each plan, and of each amount of their own, have leases of their own. What is left of a lease may be used later than it was charged: in any window at most one
//! lease a process and plan more than the limit passes. In an upgrade the leases go along, and the old process has none from then
//! on.
//!
//! The words of a cell are its state and how much is left, and a millisecond of the clock.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use crate::{
    ask::{Ask, Source},
    cell::Cell,
    clock::{MILLISECOND, Now, SECOND, unix},
    counters::{Counters, Hashed},
    limit::Stage,
    plan::Tier,
    rule::{Rule, Said, Standing},
    shard::Locked,
};

/// What tells the cell of a lease from that of its key.
const LEASED: u128 = 0x6c65_6173_6564;

/// Where it says whose plan's lease it is, and by which amount of the caller's own, in bits that `LEASED` has not and that say
/// nothing of the part of the table.
const PLAN: u32 = 48;
const AMOUNT: u32 = 80;

/// What a lease of a key is counted under, for callers who may the same: what the store refuses them says nothing of what others
/// may, and neither does how much it gives them.
fn leased(key: Hashed, tier: Tier) -> Hashed {
    let amount = tier.amount.map_or(0, NonZeroU32::get);
    key.with(Hashed(LEASED | u128::from(tier.plan) << PLAN | u128::from(amount) << AMOUNT))
}

/// A lease that is used up faster than this is too small, in milliseconds.
const HOT: u64 = 1_000;

/// How long a fetch may take before another one may begin, in milliseconds.
const FETCH: u64 = 1_000;

/// How long a refusal of the store is taken as said for everybody who comes, in milliseconds.
const REFUSAL: u64 = 100;

/// Of how many leases an amount of a caller's own consists at least.
const SHARES: u32 = 8;

/// What a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lease {
    /// Nothing.
    #[default]
    None,
    /// So much is left of `size`, which was taken in the millisecond `taken`; `fetching` says that more has been on its way
    /// since then.
    Left { left: u32, size: u32, taken: u64, fetching: bool },
    /// The store has refused, and would until `until`; it need not be asked until `asked`.
    Full { asked: u64, until: u64 },
}

const LEFT: u64 = 1;
const FETCHING: u64 = 2;
const FULL: u64 = 3;
const KIND: u32 = 56;

/// The bits of a number of requests: `window::MOST` fits.
const BITS: u32 = 24;
const MASK: u64 = (1 << BITS) - 1;

impl Lease {
    pub(crate) fn of(cell: &Cell) -> Self {
        let (Some(&word), Some(&millis)) = (cell.words.first(), cell.words.get(1)) else { return Self::None };
        match word >> KIND {
            FULL => Self::Full { asked: word & ((1 << KIND) - 1), until: millis },
            kind => Self::Left {
                left: (word & MASK) as u32,
                size: (word >> BITS & MASK) as u32,
                taken: millis,
                fetching: kind == FETCHING,
            },
        }
    }

    fn write(self, cell: &mut Cell) {
        let (word, millis) = match self {
            Self::None => (0, 0),
            Self::Left { left, size, taken, fetching } => {
                let kind = if fetching { FETCHING } else { LEFT };
                (kind << KIND | u64::from(size) << BITS | u64::from(left), taken)
            }
            Self::Full { asked, until } => (FULL << KIND | asked, until),
        };
        cell.used = (word & MASK) as u32;
        cell.words = SmallVec::from_slice(&[word, millis]);
    }

    /// As [`write`](Lease::write), for a cell that says nothing any more from `ends` on.
    fn write_until(self, cell: &mut Cell, ends: u64) {
        self.write(cell);
        cell.expires = u32::try_from(ends / 1000 + 1).unwrap_or(u32::MAX - 1);
    }
}

/// What a lease does for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lent {
    /// It lets the request pass.
    Spent,
    /// It knows that the store would not, for so many nanoseconds.
    Full { wait: u64 },
    /// The store has to be asked for so much, of which the request takes its cost; for a new lease or for this request alone.
    Ask { want: u32, fetches: bool },
}

/// Takes `cost` out of a lease, or begins to fetch one of at most `most`.
pub(crate) fn borrow(cell: &mut Cell, rule: &Rule, now: Now, cost: u32, most: u32) -> Lent {
    let millis = now.millis();
    let fetch = |cell: &mut Cell, left: u32, want: u32| {
        let lease = Lease::Left { left, size: want, taken: millis, fetching: true };
        lease.write_until(cell, millis + FETCH);
        Lent::Ask { want, fetches: true }
    };
    match Lease::of(cell) {
        Lease::Full { asked, until } if asked > millis => {
            Lent::Full { wait: until.saturating_sub(millis).max(1) * MILLISECOND }
        }
        Lease::Left { taken, fetching: true, .. } if taken + FETCH > millis => Lent::Ask { want: cost, fetches: false },
        Lease::Left { left, size, taken, fetching: false } if end(rule, now, taken) > millis => {
            if left >= cost {
                Lease::Left { left: left - cost, size, taken, fetching: false }.write(cell);
                return Lent::Spent;
            }
            let hot = taken + HOT > millis;
            let want = if hot { size.saturating_mul(2).clamp(cost, most.max(cost)) } else { cost };
            fetch(cell, left, want)
        }
        _ => fetch(cell, 0, cost),
    }
}

/// Puts `cost` back into a lease.
fn pay_back(cell: &mut Cell, cost: u32) {
    if let Lease::Left { left, size, taken, fetching } = Lease::of(cell) {
        Lease::Left { left: left + cost, size, taken, fetching }.write(cell);
    }
}

/// Puts back what a request has taken that a later step refuses.
pub(crate) fn give_back(counters: &Counters, key: Hashed, tier: Tier, cost: u32) {
    counters.change(leased(key, tier), |cell| pay_back(cell, cost));
}

/// Gives up what is left of the leases of a key, and what the store has said.
pub(crate) fn forget(counters: &Counters, key: Hashed, tiers: impl Iterator<Item = Tier>) {
    for tier in tiers {
        counters.forgive(leased(key, tier));
    }
}

/// How large a lease may become. The limit says it with its own number in mind; of an amount of the caller's own, which nobody
/// compares with it, it is a small part, so that one process does not keep all of it from the others.
fn most_of(most: u32, ask: &Ask, cost: u32) -> u32 {
    match ask.tier.amount {
        None => most,
        Some(_) => most.min((ask.rule.most() / SHARES).max(cost)),
    }
}

/// Until when a lease may be used that was taken in the millisecond `taken`: for as long as the store counts it.
fn end(rule: &Rule, now: Now, taken: u64) -> u64 {
    match rule {
        Rule::Window(window) => taken + window.millis(),
        Rule::Bucket(bucket) => taken + bucket.seconds() * 1000,
        Rule::Quota(quota) => {
            let (wall, ago) = (unix(), now.millis().saturating_sub(taken) / 1000);
            now.millis() + quota.end(wall.saturating_sub(ago)).saturating_sub(wall) * 1000
        }
        Rule::Concurrent(_) | Rule::Ban(_) | Rule::Bandwidth(_) => taken,
    }
}

impl Stage {
    /// Asks the leases, where limits have them. What they let pass is taken out of them.
    pub(crate) fn borrow(&self, asks: &mut [Ask], locked: &mut Locked<'_>, now: Now) {
        for ask in asks.iter_mut().filter(|ask| ask.source == Source::Unasked) {
            let limit = &self.limits[ask.limit];
            let lease = limit.shared.as_ref().and_then(|shared| shared.lease);
            let Some(most) = lease.filter(|_| !locked.is_told(ask.key)) else { continue };
            let (rule, most) = (ask.rule, most_of(most, ask, limit.cost));
            let lent = locked
                .change(leased(ask.key, ask.tier), None, now, |cell, _| borrow(cell, &rule, now, limit.cost, most));
            match lent {
                Some(Lent::Spent) => {
                    let standing = match locked.find(ask.key).map(|(_, cell)| rule.ask(cell, now, limit.cost)) {
                        Some(Said::Free(standing)) => standing,
                        Some(Said::Full { wait }) => Standing { remaining: 0, reset: wait },
                        None => Standing { remaining: rule.most().saturating_sub(limit.cost), reset: SECOND },
                    };
                    (ask.source, ask.said) = (Source::Lease, Said::Free(standing));
                }
                Some(Lent::Full { wait }) => (ask.source, ask.said) = (Source::Lease, Said::Full { wait }),
                Some(Lent::Ask { want, fetches }) => (ask.want, ask.fetches) = (want, fetches),
                None => {}
            }
        }
    }

    /// Keeps what the store has given for leases, and what it has said where it gave nothing.
    pub(crate) fn deposit(&self, asks: &mut [Ask], locked: &mut Locked<'_>, now: Now) {
        for ask in asks.iter_mut().filter(|ask| ask.fetches && ask.source == Source::Store) {
            let (limit, rule) = (&self.limits[ask.limit], ask.rule);
            let millis = now.millis();
            let (lease, ends) = match ask.said {
                Said::Full { wait } => {
                    let wait = wait.div_ceil(MILLISECOND);
                    let asked = millis + wait.min(REFUSAL);
                    (Lease::Full { asked, until: millis + wait }, asked)
                }
                Said::Free(_) => {
                    let more = ask.charged.saturating_sub(limit.cost);
                    let before = match locked.find(leased(ask.key, ask.tier)).map(|(_, cell)| Lease::of(cell)) {
                        Some(Lease::Left { left, .. }) => left,
                        _ => 0,
                    };
                    let lease = Lease::Left { left: before + more, size: ask.want, taken: millis, fetching: false };
                    (lease, end(&rule, now, millis))
                }
            };
            locked.change(leased(ask.key, ask.tier), None, now, |cell, _| lease.write_until(cell, ends));
            if ask.charged >= limit.cost {
                ask.source = Source::Lease;
            }
            ask.fetches = false;
        }
    }

    /// A request is refused after all that leases had let pass.
    pub(crate) fn repay(&self, asks: &[Ask], locked: &mut Locked<'_>, now: Now) {
        let spent = |ask: &&Ask| ask.source == Source::Lease && matches!(ask.said, Said::Free(_));
        for ask in asks.iter().filter(spent) {
            let cost = self.limits[ask.limit].cost;
            locked.change(leased(ask.key, ask.tier), None, now, |cell, _| pay_back(cell, cost));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::window::Window;

    #[test]
    fn a_lease_grows_while_it_is_used_up_fast() {
        let rule = Rule::Window(Window::new(1000, Duration::from_secs(60)));
        let (mut cell, mut now) = (Cell::default(), Now(10 * SECOND));
        let mut sizes = Vec::new();
        let mut ask = |now: Now, cell: &mut Cell| match borrow(cell, &rule, now, 1, 20) {
            Lent::Ask { want, fetches: true } => {
                // Others ask for themselves meanwhile.
                assert_eq!(borrow(cell, &rule, now, 1, 20), Lent::Ask { want: 1, fetches: false });
                sizes.push(want);
                Lease::Left { left: want - 1, size: want, taken: now.millis(), fetching: false }.write(cell);
            }
            Lent::Spent => {}
            other => panic!("{other:?}"),
        };
        for _ in 0..60 {
            now.0 += 10 * MILLISECOND;
            ask(now, &mut cell);
        }
        // What is left is used however late it is, and does not make the next one large.
        for _ in 0..30 {
            now.0 += 2 * SECOND;
            ask(now, &mut cell);
        }
        assert_eq!(sizes[..7], [1, 2, 4, 8, 16, 20, 20]);
        assert!(sizes[7..].iter().all(|size| *size == 1), "{sizes:?}");
    }

    #[test]
    fn a_refusal_is_remembered_for_a_moment_and_tells_the_whole_time() {
        let rule = Rule::Window(Window::new(10, Duration::from_secs(60)));
        let (mut cell, now) = (Cell::default(), Now(10 * SECOND));
        Lease::Full { asked: now.millis() + REFUSAL, until: now.millis() + 5_000 }.write(&mut cell);
        assert_eq!(borrow(&mut cell, &rule, now, 1, 20), Lent::Full { wait: 5 * SECOND });
        let later = Now(now.0 + 2 * REFUSAL * MILLISECOND);
        assert_eq!(borrow(&mut cell, &rule, later, 1, 20), Lent::Ask { want: 1, fetches: true });
    }
}
