//! Whether a request body over HTTP/2 still moves.
//!
//! Pingora has no read timeout there: a client that opens a stream, promises a body and says no more would hold a
//! connection to an origin for as long as it likes. [`Pulse`] is felt by the task that serves the stream: each piece
//! of the body is a beat, and [`Pulse::stops`] ends when there was none for too long. A beat that is too faint, because
//! the body drips, is told to whoever feels it.

use std::{
    future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use listen::MinRate;
use tokio::time::{Instant, sleep};

use super::pace::Pace;

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
    /// Whether what the origin says counts as well.
    streams: AtomicBool,
    rate: Mutex<Option<(MinRate, Pace)>>,
}

/// Notes that a piece of the body of so many bytes came by, and whether it was the last. False where the body comes too
/// slowly.
pub(crate) fn beat(bytes: usize, last: bool) -> bool {
    PULSE.try_with(|pulse| pulse.beat(bytes, last)).unwrap_or(true)
}

/// Notes that the origin has said something. The client of a stream may be silent for as long as it does.
pub(crate) fn answer() {
    let _ = PULSE.try_with(Pulse::answer);
}

/// Lets the client pause for `limit` between two pieces. In a stream it may do so as often as it likes.
pub(crate) fn allow(limit: Duration, streams: bool) {
    let _ = PULSE.try_with(|pulse| pulse.allow(limit, streams));
}

impl Pulse {
    /// Of a body whose first piece may be `limit` away, and which has to come as fast as `min_rate`.
    pub fn new(limit: Duration, min_rate: Option<MinRate>) -> Self {
        // The silence between two pieces may be the origin's.
        let patient = |rate: MinRate| (MinRate { grace: rate.grace + ORIGIN_STALLS, ..rate }, Pace::default());
        let body = Body {
            began: Instant::now(),
            last: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            streams: AtomicBool::new(false),
            rate: Mutex::new(min_rate.map(patient)),
        };
        let pulse = Self(std::sync::Arc::new(body));
        pulse.allow(limit, false);
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

    fn now(&self) -> u64 {
        self.0.began.elapsed().as_millis() as u64
    }

    fn answer(&self) {
        if self.0.streams.load(Ordering::Relaxed) {
            let moved = |last| (last != ENDED).then(|| self.now());
            let _ = self.0.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
        }
    }

    fn beat(&self, bytes: usize, last: bool) -> bool {
        let now = self.now();
        let before = self.0.last.swap(if last { ENDED } else { now }, Ordering::Relaxed);
        let waited = Duration::from_millis(now.saturating_sub(before));
        match &mut *self.0.rate.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((least, pace)) => last || pace.keeps(waited, bytes, *least),
            None => true,
        }
    }

    fn allow(&self, limit: Duration, streams: bool) {
        self.0.limit.store((limit + ORIGIN_STALLS).as_millis() as u64, Ordering::Relaxed);
        self.0.streams.store(streams, Ordering::Relaxed);
        if streams {
            *self.0.rate.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
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
    const RATE: MinRate = MinRate { bytes: 100, grace: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_move_ends_its_request() {
        let began = Instant::now();
        let served = Pulse::new(LIMIT, None).watch(future::pending::<()>()).await;
        assert_eq!(served, None);
        assert!(began.elapsed() >= LIMIT + ORIGIN_STALLS && began.elapsed() < LIMIT + 2 * ORIGIN_STALLS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_moves_or_has_ended_may_take_all_the_time() {
        let serving = async {
            for _ in 0..20 {
                sleep(LIMIT + ORIGIN_STALLS / 2).await;
                beat(1, false);
            }
            beat(0, true);
            sleep(100 * LIMIT).await;
        };
        assert_eq!(Pulse::new(LIMIT, None).watch(serving).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_for_longer() {
        let serving = async {
            allow(100 * LIMIT, true);
            sleep(50 * LIMIT).await;
        };
        assert_eq!(Pulse::new(LIMIT, None).watch(serving).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_of_a_stream_may_be_silent_while_the_origin_speaks() {
        let serving = |streams| async move {
            allow(LIMIT, streams);
            for _ in 0..20 {
                sleep(LIMIT).await;
                answer();
            }
        };
        assert_eq!(Pulse::new(LIMIT, None).watch(serving(true)).await, Some(()));
        assert_eq!(Pulse::new(LIMIT, None).watch(serving(false)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_felt_even_where_the_origin_is_slow() {
        let drips = |bytes: usize, any_rate| async move {
            allow(LIMIT, any_rate);
            let began = Instant::now();
            for _ in 0..100 {
                sleep(LIMIT).await;
                if !beat(bytes, false) {
                    return Some(began.elapsed());
                }
            }
            None
        };
        let felt = |bytes, any_rate| Pulse::new(LIMIT, Some(RATE)).watch(drips(bytes, any_rate));
        assert_eq!(felt(1, false).await, Some(Some(LIMIT + ORIGIN_STALLS)));
        assert_eq!(felt(1, true).await, Some(None));
        assert_eq!(felt(1000, false).await, Some(None));
    }
}
