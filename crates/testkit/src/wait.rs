//! Bounded waiting: nothing in a test waits for ever, and what ran out of time says what it was waiting for.

use std::{future::Future, time::Duration};

/// How long a test waits for one thing before it fails.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Awaits `future` for at most [`LIMIT`]; fails the test with `what` otherwise.
#[track_caller]
pub fn within<F: Future>(what: impl std::fmt::Display, future: F) -> impl Future<Output = F::Output> {
    within_limit(LIMIT, what, future)
}

/// Awaits `future` for at most `limit`; fails the test with `what` otherwise.
#[track_caller]
pub fn within_limit<F: Future>(
    limit: Duration,
    what: impl std::fmt::Display,
    future: F,
) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("waited {limit:?} in vain for {what} (at {caller})"),
        }
    }
}
