//! The audit log: who changed what, when, and what came of it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::Act;

/// How many denials are written down in a [`PERIOD`]: whoever tries without end must not fill the disk.
const DENIALS: u32 = 20;

/// The time over which denials are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// The audit log.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    denials: Mutex<Option<(Instant, u32)>>,
}

impl Audit {
    /// Writes one act down.
    pub(crate) fn write(&self, act: &Act) {
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
