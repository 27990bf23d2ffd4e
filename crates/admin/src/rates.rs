//! How much is going on: requests and errors a second, over the last few seconds.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::Totals;

/// How often the counters are read.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Over how many ticks the rates are taken.
const TICKS: usize = 10;

/// How much is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Requests answered a second.
    pub requests_per_second: f64,
    /// The share of them, from 0 to 1, that ended with a status of 500 or above.
    pub server_error_share: f64,
    /// Over how many seconds both are taken; 0 while nothing was measured yet.
    pub seconds: f64,
}

/// The counters at the last ticks.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<VecDeque<(Instant, Totals)>>);

impl Readings {
    pub(crate) fn add(&self, now: Instant, totals: Totals) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readings.len() > TICKS {
            readings.pop_front();
        }
        readings.push_back((now, totals));
    }

    /// The rates from the oldest reading to this one.
    pub(crate) fn rates(&self, now: Instant, totals: Totals) -> Rates {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then, before)) = readings.front() else { return Rates::default() };
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        let requests = totals.requests.saturating_sub(before.requests) as f64;
        let errors = totals.server_errors.saturating_sub(before.server_errors) as f64;
        if seconds <= 0.0 {
            return Rates::default();
        }
        Rates {
            requests_per_second: requests / seconds,
            server_error_share: if requests > 0.0 { errors / requests } else { 0.0 },
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_taken_over_the_last_ticks_only() {
        let (readings, start) = (Readings::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let totals = |requests, server_errors| Totals { requests, server_errors };
        assert_eq!(readings.rates(at(0), totals(5, 0)), Rates::default());
        for second in 0..=30 {
            readings.add(at(second), totals(second * 100, second));
        }
        let rates = readings.rates(at(30), totals(3000, 30));
        assert_eq!((rates.requests_per_second, rates.seconds), (100.0, 10.0));
        assert!((rates.server_error_share - 0.01).abs() < 1e-9);
    }
}
