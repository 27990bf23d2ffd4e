//! `run --watch`: the configuration is applied when its files change.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use super::Origin;

/// How often the files are looked at. A look is a system call for each; asking the system to tell of changes would miss
/// those that come by a link being moved, as in a volume of Kubernetes, or over a network.
const LOOK: Duration = Duration::from_millis(250);

/// The files of a configuration as they were when they were last read; `None` where nobody wants to know.
pub struct Watch(Option<Watched>);

struct Watched {
    origin: Origin,
    read: Seen,
}

/// What tells one state of the files from another.
type Seen = BTreeMap<PathBuf, Option<(u64, u64, u64, i64, i64)>>;

impl Watch {
    /// Watches the files of `origin`, or nothing.
    pub fn new(origin: &Origin, wanted: bool) -> Self {
        Self(wanted.then(|| Watched { origin: origin.clone(), read: look(origin) }))
    }

    /// The files are about to be read.
    pub async fn follow(&mut self) {
        if let Some(watched) = &mut self.0 {
            watched.read = watched.look().await;
        }
    }

    /// Waits until the files are others than when they were read, and have stayed as they are for a look.
    pub async fn changed(&mut self) {
        let Some(watched) = &mut self.0 else { return std::future::pending().await };
        let mut last = None;
        loop {
            sleep(LOOK).await;
            let now = watched.look().await;
            if now == watched.read {
                last = None;
            } else if last.as_ref() == Some(&now) {
                watched.read = now;
                return;
            } else {
                last = Some(now);
            }
        }
    }
}

impl Watched {
    /// Looks where waiting is allowed: a disk may take its time. A look that fails has seen nothing new.
    async fn look(&self) -> Seen {
        let origin = self.origin.clone();
        spawn_blocking(move || look(&origin)).await.unwrap_or_else(|_| self.read.clone())
    }
}

fn look(origin: &Origin) -> Seen {
    let identity = |path: &PathBuf| {
        fs::metadata(path).ok().map(|found| (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    origin.files().into_iter().map(|path| (path.clone(), identity(&path))).collect()
}
