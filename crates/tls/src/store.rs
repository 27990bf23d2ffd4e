//! The TLS side of a listener in use, which is made anew while handshakes go on when a file of it has changed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use document::Report;
use rustls::ServerConfig;

use crate::{Certificates, compile::Recipe, files::Seen, watch::Ending};

/// How long after a change the files are read once more. Whoever writes two files needs a moment between them, so only
/// what is wrong after that moment is told of; and a second change within one tick of the file system's clock, which
/// leaves no trace, is caught.
const SETTLE: Duration = Duration::from_secs(1);

/// How often files that could not be used are tried again without having changed: a certificate may be valid later.
const RETRY: Duration = Duration::from_secs(60);

/// The TLS side of a listener. A handshake takes what is served when it begins and ends with that.
pub struct Store {
    recipe: Recipe,
    serving: ArcSwap<Serving>,
    watched: Mutex<Watched>,
}

/// Everything that a handshake needs; immutable.
pub(crate) struct Serving {
    pub certificates: Arc<Certificates>,
    pub config: Arc<ServerConfig>,
    /// What ends one day.
    pub ends: Arc<[Ending]>,
}

/// What is known of the files.
struct Watched {
    seen: Seen,
    /// When they are read again although they look the same.
    again: Option<Instant>,
    /// Why what they held could not be used, until it is told.
    untold: Option<Report>,
    failed: bool,
}

/// What came of files that had changed.
#[derive(Debug)]
pub(crate) enum Change {
    Replaced,
    Refused(Report),
}

impl Store {
    pub(crate) fn new(recipe: Recipe, serving: Serving, seen: Seen) -> Arc<Self> {
        let watched = Watched { seen, again: Some(Instant::now() + SETTLE), untold: None, failed: false };
        Arc::new(Self { recipe, serving: ArcSwap::from_pointee(serving), watched: Mutex::new(watched) })
    }

    /// What the next handshake is to be made with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.serving.load().config)
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.serving.load().certificates)
    }

    /// What of it ends one day.
    pub(crate) fn ends(&self) -> Arc<[Ending]> {
        Arc::clone(&self.serving.load().ends)
    }

    /// Serves what `newer`, which was made of the same files, has read from them.
    pub fn take_over(&self, newer: &Self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = newer.watched.lock().unwrap_or_else(PoisonError::into_inner);
        self.serving.store(newer.serving.load_full());
        // The files may have changed again since, and this side may have served that already.
        *watched = Watched { seen: theirs.seen.clone(), again: Some(Instant::now()), untold: None, failed: false };
    }

    /// Makes it anew if its files have changed and are good. Otherwise what was served before is served on.
    pub(crate) fn follow(&self, now: Instant, unix: i64) -> Option<Change> {
        self.recipe.tickets.turn(unix);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = watched.seen.is_stale();
        if !changed && watched.again.is_none_or(|again| now < again) {
            return None;
        }
        let mut report = Report::new();
        let (serving, seen) = self.recipe.follow(unix, &mut report);
        let same = seen.holds_same(&watched.seen);
        let news = changed || !same;
        watched.seen = seen;
        match serving {
            Some(serving) => {
                let known = same && !watched.failed;
                (watched.failed, watched.untold) = (false, None);
                watched.again = news.then(|| now + SETTLE);
                if known {
                    return None;
                }
                self.serving.store(Arc::new(serving));
                Some(Change::Replaced)
            }
            None => {
                if !same || !watched.failed {
                    (watched.failed, watched.untold) = (true, Some(report));
                }
                watched.again = Some(now + if news { SETTLE } else { RETRY });
                // Read twice with the same result: this is no file in the making.
                if news { None } else { watched.untold.take().map(Change::Refused) }
            }
        }
    }
}

#[cfg(test)]
impl Store {
    /// Takes the files as they are for those that were read.
    pub(crate) fn pretend_seen(&self) {
        self.watched.lock().unwrap().seen.refresh();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("certificates", &self.certificates()).finish_non_exhaustive()
    }
}
