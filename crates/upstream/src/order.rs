//! What an operator says of a backend while the server runs.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock;

/// Whether a backend is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// As health and weight say.
    Ready,
    /// It gets no further requests but those of clients that are kept there (`sticky`), and those under way end.
    Drain,
    /// It is treated as one that has failed.
    Down,
}

impl Duty {
    /// The word for it, as in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// Whether it is to be used; as before where nothing is said.
    pub duty: Option<Duty>,
    /// Its weight; as before where nothing is said.
    pub weight: Option<u32>,
    /// For how long; until told otherwise where nothing is said. A process that takes over goes on with it; one that is
    /// started anew does not.
    pub time: Option<Duration>,
}

/// What a successor is told of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    duty: u8,
    weight: Option<u32>,
    until: i64,
}

/// The orders in force for one backend. They outlive configurations.
#[derive(Debug)]
pub(crate) struct Orders {
    duty: AtomicU8,
    weight: AtomicU32,
    /// Until when, in milliseconds; 0: for good.
    until: AtomicU64,
}

/// As the configuration says.
const CONFIGURED: u32 = u32::MAX;

impl Default for Orders {
    fn default() -> Self {
        Self { duty: AtomicU8::new(0), weight: AtomicU32::new(CONFIGURED), until: AtomicU64::new(0) }
    }
}

impl Orders {
    pub(crate) fn duty(&self) -> Duty {
        match self.duty.load(Relaxed) {
            0 => Duty::Ready,
            1 => Duty::Drain,
            _ => Duty::Down,
        }
    }

    pub(crate) fn weight(&self) -> Option<u32> {
        Some(self.weight.load(Relaxed)).filter(|&weight| weight != CONFIGURED)
    }

    pub(crate) fn give(&self, order: &Order, now: u64) {
        if let Some(duty) = order.duty {
            self.duty.store(duty as u8, Relaxed);
        }
        if let Some(weight) = order.weight {
            self.weight.store(weight, Relaxed);
        }
        let until = order.time.map_or(0, |time| now + (time.as_millis() as u64).max(1));
        self.until.store(until, Relaxed);
    }

    /// What there is to tell of them.
    pub(crate) fn learnt(&self, now: u64) -> Option<Learnt> {
        let (duty, weight) = (self.duty.load(Relaxed), self.weight());
        let until = clock::from_now(self.until.load(Relaxed), now);
        (duty != 0 || weight.is_some()).then_some(Learnt { duty, weight, until })
    }

    /// Goes on with those that another process was given.
    pub(crate) fn inherit(&self, learnt: &Learnt, now: u64) {
        self.duty.store(learnt.duty, Relaxed);
        self.weight.store(learnt.weight.unwrap_or(CONFIGURED), Relaxed);
        self.until.store(clock::at(learnt.until, now), Relaxed);
    }

    /// Takes everything back whose time is over; whether it did.
    pub(crate) fn expire(&self, now: u64) -> bool {
        let over = match self.until.load(Relaxed) {
            0 => false,
            until => until <= now,
        };
        if over {
            self.duty.store(Duty::Ready as u8, Relaxed);
            self.weight.store(CONFIGURED, Relaxed);
            self.until.store(0, Relaxed);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_for_its_time() {
        let orders = Orders::default();
        assert_eq!((orders.duty(), orders.weight()), (Duty::Ready, None));
        orders.give(&Order { duty: Some(Duty::Drain), weight: Some(3), time: Some(Duration::from_secs(1)) }, 1_000);
        assert_eq!((orders.duty(), orders.weight()), (Duty::Drain, Some(3)));
        assert!(!orders.expire(1_999));
        assert!(orders.expire(2_000));
        assert_eq!((orders.duty(), orders.weight()), (Duty::Ready, None));
        orders.give(&Order { weight: Some(7), ..Order::default() }, 2_000);
        assert!(!orders.expire(u64::MAX), "without a time it stays");
        assert_eq!((orders.duty(), orders.weight()), (Duty::Ready, Some(7)));
    }
}
