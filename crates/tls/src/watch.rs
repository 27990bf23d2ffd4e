//! Certificates followed while they are served: new files, and the end that comes near.

mod expiry;

use std::{collections::HashMap, sync::Arc, time::Instant};

use document::Report;

use crate::{Store, clock, store::Change};

pub(crate) use expiry::Ending;
pub use expiry::{Stage, Subject};

/// Follows the files of all listeners, and the dates of what they serve. Every call of [`look`](Self::look) looks once.
///
/// Whether a file has changed is asked of the file system by its name, every time anew: no notification would tell of a
/// symbolic link further up that is turned to another folder, nor of a file on a network.
#[derive(Debug, Default)]
pub struct Watch {
    told: HashMap<(Box<str>, i64), Stage>,
}

/// A listener with what it serves.
pub type Watched = (Arc<str>, Arc<Store>);

/// What somebody should be told.
#[derive(Debug)]
pub enum Event {
    /// A listener serves what its files hold now.
    Replaced {
        /// Its name.
        listener: Arc<str>,
    },
    /// A listener serves what it served before, because what its files hold now cannot be used.
    Refused {
        /// Its name.
        listener: Arc<str>,
        /// Why.
        report: Report,
    },
    /// Something ends before long, or has ended. Told once for each stage.
    Ends {
        /// What.
        subject: Subject,
        /// The file that it was read from.
        file: Box<str>,
        /// In how many seconds; negative when it has ended.
        left: i64,
        /// How near that is.
        stage: Stage,
    },
}

impl Watch {
    /// Looks at every listener's files and makes its TLS side anew where they have changed. May take as long as files
    /// take to be read.
    pub fn look(&mut self, listeners: &[Watched]) -> Vec<Event> {
        self.look_at(listeners, Instant::now(), clock::unix())
    }

    fn look_at(&mut self, listeners: &[Watched], now: Instant, unix: i64) -> Vec<Event> {
        let mut events: Vec<Event> = listeners.iter().filter_map(|watched| follow(watched, now, unix)).collect();
        self.expiries(listeners, unix, &mut events);
        events
    }

    fn expiries(&mut self, listeners: &[Watched], unix: i64, events: &mut Vec<Event>) {
        let mut told = HashMap::new();
        for (_, store) in listeners {
            for ending in store.ends().iter() {
                let Some(stage) = ending.stage(unix) else { continue };
                let ends = ending.validity.not_after;
                let key = (ending.file.clone(), ends);
                let before = told.get(&key).or_else(|| self.told.get(&key));
                if before.is_none_or(|before| *before < stage) {
                    let (subject, file) = (ending.subject, ending.file.clone());
                    events.push(Event::Ends { subject, file, left: ends - unix, stage });
                }
                told.insert(key, stage);
            }
        }
        // Only of what is served still, so that this cannot grow.
        self.told = told;
    }
}

fn follow((listener, store): &Watched, now: Instant, unix: i64) -> Option<Event> {
    let listener = Arc::clone(listener);
    store.follow(now, unix).map(|change| match change {
        Change::Replaced => Event::Replaced { listener },
        Change::Refused(report) => Event::Refused { listener, report },
    })
}

#[cfg(test)]
mod tests;
