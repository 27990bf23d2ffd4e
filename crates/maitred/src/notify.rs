//! What systemd is told (sd_notify(3)); nothing where no service manager listens.

use sd_notify::NotifyState;

/// The server serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload has begun; `ready` ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("systemd is not told of a reload: {error}"),
    }
}

/// The server drains.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process serves from now on.
pub fn main_pid(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Tells the watchdog that the server lives, as often as it wants to hear it; ends at once where there is none.
pub async fn keep_watchdog_quiet() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(patience / 3).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not told: {error}");
    }
}
