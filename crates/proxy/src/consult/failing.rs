//! What becomes of a request where the origin fails, or somebody else's fetch does.

use std::{sync::Arc, time::Instant};

use cache::{Forward, Millis, Status, Stored};
use filter::{Reason, Reply};
use http::StatusCode;
use telemetry::Cached;
use tokio::time::{error::Elapsed, timeout_at};

use super::{Consulted, Visit};
use crate::context::Context;

/// Why the origin is asked.
pub(super) struct Lack {
    /// What is kept, and does not do.
    pub(super) stale: Option<Arc<Stored>>,
    /// When that was looked for.
    pub(super) looked: Millis,
    pub(super) why: Forward,
}

impl Visit<'_> {
    /// Whether a request that has waited for another one's fetch, which has failed, is to ask once more. What it has failed of may
    /// be that request's alone: the time that it had left, or what it made the origin do. All who waited ask by one fetch, so
    /// that an origin that fails has to bear two of them.
    pub(super) fn may_do_better(&self, ctx: &Context, lack: &Lack, reason: Reason) -> bool {
        does_on_error(lack, cache::now()).is_none()
            && !is_everybodys(reason)
            && ctx.attempt.deadline.is_none_or(|deadline| deadline > Instant::now())
    }

    /// There is no answer of the origin.
    pub(super) fn fail(&self, ctx: &mut Context, lack: &Lack, reply: Reply) -> Result<Consulted, Reply> {
        match self.stale_on_error(ctx, lack, None) {
            Some(answer) => Ok(answer),
            None => {
                ctx.record.cache = Some(Cached::Miss);
                if reply.reason == Reason::Limited {
                    ctx.proofs.refused(&reply);
                }
                Err(reply)
            }
        }
    }

    pub(super) fn stale_on_error(
        &self,
        ctx: &mut Context,
        lack: &Lack,
        origin: Option<StatusCode>,
    ) -> Option<Consulted> {
        let now = cache::now();
        // What was purged or changed while the origin was asked is gone, whatever became of that.
        let still_is = |stored: &&Arc<Stored>| self.zone.is_valid(stored) && !self.zone.was_purged(stored, lack.looked);
        let stored = does_on_error(lack, now).filter(still_is)?;
        ctx.record.cache = Some(Cached::Stale);
        let status = Status {
            origin: origin.map(|status| status.as_u16()),
            ttl: Some(stored.left(now).div_euclid(1000)),
            ..Status::forwarded(lack.why)
        };
        Some(self.answer(stored, stored.content().reader(), status, true))
    }
}

/// What is kept and does where the origin fails (RFC 5861 section 4). Who wants the origin to be asked gets nothing that it has not
/// said is good (RFC 9111 section 5.2.1.4), be it fresh or not, unless it is there for that.
fn does_on_error(lack: &Lack, now: Millis) -> Option<&Arc<Stored>> {
    let does = |stored: &Stored| stored.does_on_error(now) && (lack.why != Forward::Request || stored.is_for_errors());
    lack.stale.as_ref().filter(|stored| does(stored))
}

/// Whether a fetch that has failed of this says that any other would now: neither the request that it was for had to do with it,
/// nor the time which that had left.
fn is_everybodys(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoBackend
            | Reason::CircuitOpen
            | Reason::UpstreamOverloaded
            | Reason::UpstreamCredentials
            | Reason::UpstreamRefused
            | Reason::UpstreamUnreachable
            | Reason::UpstreamTls
            | Reason::Limited
            | Reason::LimitStoreDown
            | Reason::LocalResource
    )
}

/// RFC 5861 section 4: what counts as an error.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What somebody else's fetch comes to, if it does before the deadline. A request whose route has none waits as long as that lasts,
/// like who leads it: it has the times of its upstream, and whoever waits hears of its end, however it ends.
pub(super) async fn in_time<T>(deadline: Option<Instant>, fetch: impl Future<Output = T>) -> Result<T, Elapsed> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), fetch).await,
        None => Ok(fetch.await),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_deadline_a_fetch_may_take_what_it_takes() {
        let minute = Duration::from_secs(60);
        assert_eq!(in_time(None, async { sleep(60 * minute).await }).await, Ok(()));
        let deadline = Instant::now() + minute;
        assert_eq!(in_time(Some(deadline.into()), async { sleep(minute / 2).await }).await, Ok(()));
        assert!(in_time(Some(deadline.into()), async { sleep(minute).await }).await.is_err());
        assert_eq!(Instant::now(), deadline);
    }
}
