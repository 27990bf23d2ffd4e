//! What is counted of a limit itself.

use prometheus::{Counter, IntCounter};

/// The counters of one limit, resolved when it was compiled.
#[derive(Debug, Clone)]
pub struct Meters {
    /// Requests that passed.
    pub allowed: IntCounter,
    /// Requests that it refused.
    pub limited: IntCounter,
    /// Requests that it held back.
    pub delayed: IntCounter,
    /// Requests that it would have refused, were it obeyed.
    pub shadowed: IntCounter,
    /// Requests for which the store could not be asked.
    pub store_errors: IntCounter,
    /// Keys that have used up four fifths of a quota.
    pub short: IntCounter,
    /// For how many seconds requests and their content were held back.
    pub held: Counter,
}

impl Meters {
    /// Counters found by result: `allowed`, `limited`, `delayed`, `shadowed`, `store_error`, and `short`;
    /// and the one of seconds.
    pub fn of(mut counter: impl FnMut(&'static str) -> IntCounter, held: Counter) -> Self {
        Self {
            allowed: counter("allowed"),
            limited: counter("limited"),
            delayed: counter("delayed"),
            shadowed: counter("shadowed"),
            store_errors: counter("store_error"),
            short: counter("short"),
            held,
        }
    }
}
