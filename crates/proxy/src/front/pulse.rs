//! Whether a request body over HTTP/2 still moves.
//!
//! Pingora has no read timeout there: a client that opens a stream, promises a body and says no more would hold a
//! connection to an origin for as long as it likes. [`Pulse`] is felt by the task that serves the stream: each piece
//! of the body is a beat, and [`Pulse::stops`] ends when there was none for too long.

use std::{
    future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How long an origin may take nothing before its connection is given up (`upstream` has the same limit): until then the
/// silence may be its, not the client's.
const ORIGIN_STALLS: Duration = Duration::from_secs(60);

/// Stands for a body that has ended.
const ENDED: u64 = u64::MAX;

tokio::task_local! {
    static PULSE: Pulse;
}

/// The state of one request's body.
#[derive(Debug, Clone)]
pub struct Pulse(std::sync::Arc<Body>);

#[derive(Debug)]
struct Body {
    began: Instant,
    /// Milliseconds from `began` to the last beat.
    last: AtomicU64,
    /// Milliseconds that may pass without one.
    limit: AtomicU64,
}

/// Notes that a piece of the body came by, and whether it was the last.
pub(crate) fn beat(last: bool) {
    let _ = PULSE.try_with(|pulse| pulse.beat(last));
}

/// Lets the client pause for `limit` between two pieces.
pub(crate) fn allow(limit: Duration) {
    let _ = PULSE.try_with(|pulse| pulse.allow(limit));
}

impl Pulse {
    /// Of a body whose first piece may be `limit` away.
    pub fn new(limit: Duration) -> Self {
        let body = Body { began: Instant::now(), last: AtomicU64::new(0), limit: AtomicU64::new(0) };
        let pulse = Self(std::sync::Arc::new(body));
        pulse.allow(limit);
        pulse
    }

    /// Runs `serving`, from within which [`beat`] and [`allow`] are heard; `None` where the pulse stops first.
    pub async fn watch<T>(self, serving: impl Future<Output = T>) -> Option<T> {
        let watched = self.clone();
        tokio::select! {
            biased;
            served = PULSE.scope(self, serving) => Some(served),
            () = watched.stops() => None,
        }
    }

    fn beat(&self, last: bool) {
        let now = if last { ENDED } else { self.0.began.elapsed().as_millis() as u64 };
        self.0.last.store(now, Ordering::Relaxed);
    }

    fn allow(&self, limit: Duration) {
        self.0.limit.store((limit + ORIGIN_STALLS).as_millis() as u64, Ordering::Relaxed);
    }

    async fn stops(&self) {
        loop {
            let last = self.0.last.load(Ordering::Relaxed);
            if last == ENDED {
                return future::pending().await;
            }
            let ends = Duration::from_millis(last.saturating_add(self.0.limit.load(Ordering::Relaxed)));
            match ends.checked_sub(self.0.began.elapsed()) {
                Some(left) if !left.is_zero() => sleep(left).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_move_ends_its_request() {
        let began = Instant::now();
        let served = Pulse::new(LIMIT).watch(future::pending::<()>()).await;
        assert_eq!(served, None);
        assert!(began.elapsed() >= LIMIT + ORIGIN_STALLS && began.elapsed() < LIMIT + 2 * ORIGIN_STALLS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_moves_or_has_ended_may_take_all_the_time() {
        let serving = async {
            for _ in 0..20 {
                sleep(LIMIT + ORIGIN_STALLS / 2).await;
                beat(false);
            }
            beat(true);
            sleep(100 * LIMIT).await;
        };
        assert_eq!(Pulse::new(LIMIT).watch(serving).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_for_longer() {
        let serving = async {
            allow(100 * LIMIT);
            sleep(50 * LIMIT).await;
        };
        assert_eq!(Pulse::new(LIMIT).watch(serving).await, Some(()));
    }
}
