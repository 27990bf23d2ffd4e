//! What waits for the disk does so on threads that may wait: a bounded number of them, and nobody waits for them for ever.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// Does on such a thread, in one of these slots, what `begin` gives once there is one. `None` where that takes too long: it keeps
/// its slot then until it is done. What `begin` allocates is of the thread that waits.
pub(super) async fn in_slot<T, W>(slots: &Arc<Semaphore>, longest: Duration, begin: impl FnOnce() -> W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let doing = async {
        let slot = slots.clone().acquire_owned().await.ok()?;
        let work = begin();
        let working = spawn_blocking(move || {
            let done = work();
            drop(slot);
            done
        });
        working.await.ok()
    };
    timeout(longest, doing).await.ok()?
}
