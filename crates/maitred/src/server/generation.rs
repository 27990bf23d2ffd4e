//! The configurations that were in force, numbered.

use std::{sync::Arc, time::SystemTime};

use admin::Generation;
use config::Loaded;
use jiff::Timestamp;

/// How many are kept, the current one among them.
const KEPT: usize = 10;

/// How many digits of a fingerprint are shown.
const DIGITS: usize = 6;

/// The configurations that were in force, the newest first. The first is in force.
pub struct Generations {
    kept: Vec<(Generation, Arc<Loaded>)>,
}

impl Generations {
    /// Begins with the configuration of the start, which `by` brought, as number `id`.
    pub fn new(loaded: Loaded, by: &str, id: u64) -> Self {
        Self { kept: vec![(generation(id, &loaded, by), Arc::new(loaded))] }
    }

    /// The one in force.
    pub fn current(&self) -> (Generation, Arc<Loaded>) {
        self.kept.first().cloned().unwrap_or_else(|| (none(), Arc::new(config::load_text("", "", ".".as_ref()))))
    }

    /// The number that the next one will have.
    pub fn next_id(&self) -> u64 {
        self.kept.first().map_or(1, |(current, _)| current.id + 1)
    }

    /// Puts another one in force.
    pub fn push(&mut self, loaded: Arc<Loaded>, by: &str) -> Generation {
        let made = generation(self.next_id(), &loaded, by);
        self.kept.insert(0, (made.clone(), loaded));
        self.kept.truncate(KEPT);
        made
    }

    /// One that is kept; the one before the current where none is named.
    pub fn find(&self, id: Option<u64>) -> Option<&(Generation, Arc<Loaded>)> {
        match id {
            Some(id) => self.kept.iter().find(|(generation, _)| generation.id == id),
            None => self.kept.get(1),
        }
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Generation> {
        self.kept.iter().map(|(generation, _)| generation.clone()).collect()
    }
}

fn generation(id: u64, loaded: &Loaded, by: &str) -> Generation {
    Generation { id, sha: fingerprint(loaded), since: now(), by: by.into() }
}

/// The first digits of the SHA-256 of all its files.
fn fingerprint(loaded: &Loaded) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for (name, text) in loaded.document.texts() {
        for part in [name, text] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
    }
    let digest = context.finish();
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..DIGITS].to_owned()
}

/// What stands for the generation in force where there is none.
pub fn none() -> Generation {
    Generation { id: 0, sha: String::new(), since: now(), by: "start".into() }
}

fn now() -> String {
    Timestamp::try_from(SystemTime::now()).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
