//! The audit log: who changed what, when, and what came of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use crate::Act;

/// How many denials are written down in a [`PERIOD`]: whoever tries without end must not fill the disk.
const DENIALS: u32 = 20;

/// The time over which denials are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// The audit log.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    denials: Mutex<Option<(Instant, u32)>>,
    file: ArcSwapOption<telemetry::Audit>,
}

impl Audit {
    /// Writes to this file besides, from now on. What was told to another one before is still written there.
    pub(crate) fn write_to(&self, file: Option<telemetry::Audit>) {
        self.file.store(file.map(Arc::new));
    }

    /// The file that is written to.
    pub(crate) fn file(&self) -> Option<telemetry::Audit> {
        self.file.load().as_deref().cloned()
    }

    /// Opens the file anew.
    pub(crate) fn reopen(&self) {
        if let Some(file) = &*self.file.load() {
            file.reopen();
        }
    }

    /// Waits until all is written.
    pub(crate) fn flush(&self, deadline: Duration) -> bool {
        self.file.load().as_ref().is_none_or(|file| file.flush(deadline))
    }

    /// Writes one act down. Waits for nobody.
    pub(crate) fn write(&self, act: &Act) {
        if let Some(file) = &*self.file.load() {
            file.act(act);
        }
        log::info!(target: "audit", "{act}{}", order(act));
    }

    /// Whether another denial is to be written down.
    pub(crate) fn has_room_for_a_denial(&self, now: Instant) -> bool {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *denials {
            Some((since, count)) if now.saturating_duration_since(*since) < PERIOD => {
                *count = count.saturating_add(1);
                *count <= DENIALS
            }
            fresh => {
                *fresh = Some((now, 1));
                true
            }
        }
    }
}

/// How it was ordered, where there is something to say.
fn order(act: &Act) -> String {
    if act.order.is_null() { String::new() } else { format!(" {}", act.order) }
}

#[cfg(test)]
mod tests;
