//! One timer for all the waits of a connection.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set anew only where a wait ends before the one that it is set for. A wait that ends later lets it go
/// off once and sets it then: a connection that serves a thousand requests a second touches the runtime's timers only
/// when its time has run out, not with each of them.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `at`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= at || Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }

    /// Nobody waits any more. It stays set for who comes next, and holds on to nobody.
    pub(crate) fn rest(&mut self) {
        if let Some(sleep) = &mut self.0 {
            let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_when_it_should() {
        let mut alarm = Alarm::default();
        for wait in [10, 3, 20, 20, 1, 5] {
            let began = Instant::now();
            poll_fn(|cx| alarm.poll(cx, began + wait * SECOND)).await;
            let took = began.elapsed();
            assert!(took >= wait * SECOND && took < (wait + 1) * SECOND, "{wait} took {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_wait_leaves_the_timer_as_it_is() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        let set = |alarm: &mut Alarm, at| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(alarm.poll(&mut cx, at).is_pending());
            alarm.0.as_ref().map(|sleep| sleep.deadline())
        };
        assert_eq!(set(&mut alarm, began + 5 * SECOND), Some(began + 5 * SECOND));
        assert_eq!(set(&mut alarm, began + 9 * SECOND), Some(began + 5 * SECOND));
        assert_eq!(set(&mut alarm, began + 2 * SECOND), Some(began + 2 * SECOND));
    }
}
