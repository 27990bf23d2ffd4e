//! The configurations that were in force, numbered.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use admin::Generation;
use config::Loaded;
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::history::{Entry, History, KEPT};

/// The configurations that were in force, the newest first. The first is in force.
pub struct Generations {
    kept: Vec<Kept>,
    /// What the process started with, which settings that wait for another process are compared with.
    started: Arc<Loaded>,
    /// Where they outlive the process; `None` for a configuration that is no file, and where nothing can be written.
    history: Option<History>,
    /// The file that they are read from.
    file: PathBuf,
}

struct Kept {
    generation: Generation,
    /// `None`: it is on disk only.
    loaded: Option<Arc<Loaded>>,
}

impl Generations {
    /// Begins with the configuration of the start, which `by` brought. It has the number `id`, or a higher one where the
    /// history has come further; a start with the files that were last in force goes on with their number.
    pub fn new(loaded: Loaded, by: &str, id: u64) -> Self {
        let file = loaded.files.first().cloned().unwrap_or_default();
        let history = loaded.files.first().and_then(|file| History::open(file));
        let earlier = history.as_ref().map(History::entries).unwrap_or_default();
        let mut entry = Entry::new(id, &loaded, by, now());
        if let Some(last) = earlier.first() {
            let again = by == "start" && last.sha256 == entry.sha256;
            entry.generation.id = id.max(if again { last.generation.id } else { last.generation.id + 1 });
        }
        let id = entry.generation.id;
        let earlier = earlier.into_iter().map(|entry| Kept { generation: entry.generation, loaded: None });
        let earlier = earlier.filter(|kept| kept.generation.id < id);
        let started = Arc::new(loaded);
        let first = Kept { generation: entry.generation, loaded: Some(started.clone()) };
        Self { kept: std::iter::once(first).chain(earlier).take(KEPT).collect(), started, history, file }
    }

    /// Writes the configuration of the start into the history: it is in force now.
    pub fn keep_first(&self) {
        if let Some(Kept { generation, loaded: Some(loaded) }) = self.kept.first() {
            self.write(generation, loaded);
        }
    }

    /// The one in force.
    pub fn current(&self) -> (Generation, Arc<Loaded>) {
        let current = self.kept.first().and_then(|kept| Some((kept.generation.clone(), kept.loaded.clone()?)));
        current.unwrap_or_else(|| (none(), Arc::new(config::load_text("", "", ".".as_ref()))))
    }

    /// The one that the process started with.
    pub fn started(&self) -> &Loaded {
        &self.started
    }

    /// Puts another one in force.
    pub fn push(&mut self, loaded: Arc<Loaded>, by: &str) -> Generation {
        let id = self.kept.first().map_or(1, |current| current.generation.id + 1);
        let made = Entry::new(id, &loaded, by, now()).generation;
        self.write(&made, &loaded);
        self.kept.insert(0, Kept { generation: made.clone(), loaded: Some(loaded) });
        self.kept.truncate(KEPT);
        made
    }

    /// One that is kept; the one before the current where none is named.
    pub fn find(&self, id: Option<u64>) -> Option<Arc<Loaded>> {
        let kept = match id {
            Some(id) => self.kept.iter().find(|kept| kept.generation.id == id)?,
            None => self.kept.get(1)?,
        };
        let from_disk = || Some(Arc::new(self.history.as_ref()?.find(kept.generation.id)?.load(&self.file)));
        kept.loaded.clone().or_else(from_disk)
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Generation> {
        self.kept.iter().map(|kept| kept.generation.clone()).collect()
    }

    /// Writes one into the history, beside the workers: a disk may be slow.
    fn write(&self, generation: &Generation, loaded: &Loaded) {
        let Some(history) = self.history.clone() else { return };
        let mut entry = Entry::new(generation.id, loaded, &generation.by, generation.since.clone());
        entry.generation = generation.clone();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || history.keep(&entry))),
            Err(_) => history.keep(&entry),
        }
    }
}

/// What stands for the generation in force where there is none.
pub fn none() -> Generation {
    Generation { id: 0, sha: String::new(), since: now(), by: "start".into() }
}

fn now() -> String {
    Timestamp::try_from(SystemTime::now()).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
