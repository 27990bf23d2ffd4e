//! The configurations that were in force, on disk: the files as written, so that a server can go back to them after a
//! restart.

mod folder;

pub use folder::below as state_folder;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use admin::Generation;
use config::Loaded;
use serde::{Deserialize, Serialize};

/// How many configurations are kept.
pub const KEPT: usize = 10;

/// How many bytes they may take together. A configuration that is larger by itself is not kept.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How many digits of a fingerprint are shown.
const DIGITS: usize = 6;

/// One configuration as kept: a file of JSON for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is said of it.
    #[serde(flatten)]
    pub generation: Generation,
    /// The whole fingerprint of its files; an entry that has another one is not whole.
    pub sha256: String,
    /// The file that it was loaded from.
    config: PathBuf,
    /// Its files as written, the first one first, by their paths from the folder of the first.
    files: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    path: PathBuf,
    text: String,
}

impl Entry {
    /// A configuration about to be kept.
    pub fn new(id: u64, loaded: &Loaded, by: &str, since: String) -> Self {
        let first = loaded.files.first().map_or(Path::new(""), PathBuf::as_path);
        let folder = first.parent().unwrap_or(Path::new(""));
        let portable = |path: &Path| path.strip_prefix(folder).map_or_else(|_| whole(path), Path::to_path_buf);
        let text = |(path, text): (&str, &str)| Text { path: portable(Path::new(path)), text: text.to_owned() };
        let files: Vec<Text> = loaded.document.texts().map(text).collect();
        let sha256 = fingerprint(&files);
        let sha = sha256.chars().take(DIGITS).collect();
        let generation = Generation { id, sha, since, by: by.into() };
        Self { generation, sha256, config: whole(first), files }
    }

    /// Loads it as if `first` and the files that it includes still said what they said then.
    pub fn load(&self, first: &Path) -> Loaded {
        let folder = first.parent().unwrap_or(Path::new(""));
        let files: Vec<(PathBuf, String)> =
            self.files.iter().map(|file| (folder.join(&file.path), file.text.clone())).collect();
        config::load_kept(first, &files)
    }

    fn size(&self) -> u64 {
        self.files.iter().map(|file| file.text.len() as u64).sum()
    }

    fn is_whole(&self) -> bool {
        !self.files.is_empty() && self.sha256 == fingerprint(&self.files)
    }
}

/// The SHA-256 of names and texts.
fn fingerprint(files: &[Text]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for Text { path, text } in files {
        for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Where the configurations of one server are kept.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// The history of the server that runs `config`; `None` where nothing can be written.
    pub fn open(config: &Path) -> Option<Self> {
        match folder::of(config) {
            Ok(folder) => Some(Self { folder }),
            Err(why) => {
                log::info!("the history of configurations is kept in memory only: {why}");
                None
            }
        }
    }

    #[cfg(test)]
    fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Everything that is kept, the newest first. What is not whole is told of and left out.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.files().iter().filter_map(|path| read(path)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.generation.id));
        entries.truncate(KEPT);
        entries
    }

    /// One of them.
    pub fn find(&self, id: u64) -> Option<Entry> {
        read(&self.path(id)).filter(|entry| entry.generation.id == id)
    }

    /// Keeps a configuration, whole or not at all, and gives up the oldest that are too many. What goes wrong is told of:
    /// the server runs without a history.
    pub fn keep(&self, entry: &Entry) {
        if entry.size() > LARGEST {
            log::warn!("generation {} is too large to be kept in the history", entry.generation.id);
            return;
        }
        if let Err(error) = self.write(entry) {
            log::warn!("generation {} cannot be kept in {}: {error}", entry.generation.id, self.folder.display());
        }
        self.prune();
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let beside = self.folder.join(format!(".{}.{}.tmp", entry.generation.id, std::process::id()));
        let written = write_whole(&beside, &serde_json::to_vec(entry)?)
            .and_then(|()| fs::rename(&beside, self.path(entry.generation.id)))
            // The name itself has to outlive a power cut.
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn prune(&self) {
        let mut left = LARGEST;
        let mut files = self.files();
        files.sort_by_key(|path| std::cmp::Reverse(number(path)));
        for (index, path) in files.iter().enumerate() {
            let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
            // The newest stays, whatever its quotation marks and line ends make of it as JSON.
            let fits = index == 0 || (index < KEPT && size <= left);
            left = left.saturating_sub(size);
            if !fits && let Err(error) = fs::remove_file(path) {
                log::debug!("{}: {error}", path.display());
            }
        }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:08}.json"))
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).collect()
    }
}

/// The number of the generation that a file holds.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// An entry, unless it is damaged.
fn read(path: &Path) -> Option<Entry> {
    let bytes = fs::read(path).ok()?;
    let entry = serde_json::from_slice::<Entry>(&bytes).ok().filter(Entry::is_whole);
    if entry.is_none() {
        log::warn!("{} is not a whole configuration and is left out of the history", path.display());
    }
    entry
}

#[cfg(test)]
mod tests;
