//! How a backend is doing, for people to look at.

use std::sync::atomic::Ordering::Relaxed;

use crate::{backend::Backend, breaker::Circuit, clock, endpoint::Endpoint, order::Duty, pool::Pool};

/// How a backend is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// In one word.
    pub state: State,
    /// What is wrong, where something is known.
    pub trouble: Option<String>,
    /// Requests under way.
    pub in_flight: u32,
}

/// A backend's condition in one word; of several addresses that of the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It gets requests.
    Up,
    /// It gets few requests so far.
    Starting,
    /// An operator lets it run empty.
    Drain,
    /// An operator has taken it out of use.
    Down,
    /// Its circuit breaker is open.
    Open,
    /// It is out of use after errors in a row.
    Ejected,
    /// No connection can be made to it.
    Unreachable,
    /// It fails its health check.
    Failing,
    /// Its name has no address.
    Unresolved,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Starting => "starting",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Open => "open",
            Self::Ejected => "ejected",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::Unresolved => "unresolved",
        }
    }
}

/// How `backend` is doing in `pool`.
pub(crate) fn of(pool: &Pool, backend: &Backend) -> Condition {
    let (set, now) = (pool.set(), clock::now());
    let mut condition = Condition { state: State::Unresolved, trouble: None, in_flight: 0 };
    for endpoint in set.endpoints().filter(|endpoint| std::ptr::eq(&*endpoint.backend, backend)) {
        condition.state = condition.state.min(state(endpoint, now));
        condition.in_flight += endpoint.standing.load.load(Relaxed);
        let trouble = endpoint.probe.as_ref().and_then(|probe| probe.trouble());
        condition.trouble = condition.trouble.or(trouble.map(String::from));
    }
    condition
}

fn state(endpoint: &Endpoint, now: u64) -> State {
    let standing = &endpoint.standing;
    match endpoint.backend.duty() {
        Duty::Drain => return State::Drain,
        Duty::Down => return State::Down,
        Duty::Ready => {}
    }
    if endpoint.probe.as_ref().is_some_and(|probe| probe.is_down()) {
        State::Failing
    } else if standing.shun.is_shunned(now) {
        State::Unreachable
    } else if standing.outlier.is_ejected(now) {
        State::Ejected
    } else if standing.breaker.circuit(now) == Circuit::Open {
        State::Open
    } else if endpoint
        .rules
        .slow_start
        .is_some_and(|window| standing.is_starting() && standing.share(window, now) < 1.0)
    {
        State::Starting
    } else {
        State::Up
    }
}
