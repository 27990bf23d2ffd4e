//! Files that the configuration names and that are followed: a change is in force without a reload.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use crate::{At, Code, Diagnostic, Report};

/// How a text becomes what it says; the error is a sentence that prints nothing secret.
pub type Read<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

/// The same for a file that is no text.
pub type ReadBytes<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// The largest file that is read.
const LARGEST: u64 = 1 << 30;

/// What a file says, as of its last good state.
pub struct Followed<T> {
    path: PathBuf,
    read: ReadBytes<T>,
    value: ArcSwap<T>,
    seen: Mutex<Option<Stamp>>,
    /// Whether somebody reads it.
    reading: AtomicBool,
}

/// What tells one state of a file from another: device, inode, length, and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

/// A file, whatever it says.
trait Follow: Send + Sync {
    /// Whether it has changed; then it is for the caller to read, and nobody else's until that is [done](Follow::done).
    fn has_changed(&self) -> bool;
    fn read(&self) -> Change;
    fn done(&self);
}

/// A file that has changed and waits for being read.
pub struct Changed(Arc<dyn Follow>);

/// What became of a file that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// Why its new state is not in force; the last good one is.
    pub refused: Option<String>,
}

/// Every file that is followed, as long as anybody uses it.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<Vec<Weak<dyn Follow>>>>);

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the file, and has `followers` look at it from then on.
    pub fn open(path: &Path, read: Read<T>, followers: &Followers) -> Result<Arc<Self>, String> {
        let read = move |bytes: &[u8]| read(str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?);
        Self::open_bytes(path, Box::new(read), followers)
    }

    /// The same for a file that is no text.
    pub fn open_bytes(path: &Path, read: ReadBytes<T>, followers: &Followers) -> Result<Arc<Self>, String> {
        // Before the file is read: what is written meanwhile is seen as a change.
        let seen = stamp(path);
        let value = read(&bytes(path)?)?;
        let followed = Arc::new(Self {
            path: path.to_owned(),
            read,
            value: ArcSwap::from_pointee(value),
            seen: Mutex::new(seen),
            reading: AtomicBool::new(false),
        });
        let weak: Weak<Self> = Arc::downgrade(&followed);
        followers.add(weak);
        Ok(followed)
    }
}

impl<T> Followed<T> {
    /// What it says now.
    pub fn get(&self) -> Guard<Arc<T>> {
        self.value.load()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<T: Send + Sync> Follow for Followed<T> {
    fn has_changed(&self) -> bool {
        // What changes while it is read is found when it has been.
        if self.reading.load(Ordering::Acquire) {
            return false;
        }
        let now = stamp(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *seen != now;
        if changed {
            *seen = now;
            self.reading.store(true, Ordering::Release);
        }
        changed
    }

    fn read(&self) -> Change {
        let refused = match bytes(&self.path).and_then(|bytes| (self.read)(&bytes)) {
            Ok(value) => {
                self.value.store(Arc::new(value));
                None
            }
            Err(why) => Some(why),
        };
        Change { path: self.path.clone(), refused }
    }

    fn done(&self) {
        self.reading.store(false, Ordering::Release);
    }
}

impl Changed {
    /// Reads it, which may take as long as it is large.
    pub fn read(self) -> Change {
        self.0.read()
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.0.done();
    }
}

impl Followers {
    /// Looks at every file once, where waiting is allowed, and gives those that have changed: each is read by itself, so that
    /// none has to wait for a large one.
    pub fn look(&self) -> Vec<Changed> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|one| one.strong_count() > 0);
        let alive: Vec<_> = followed.iter().filter_map(Weak::upgrade).collect();
        drop(followed);
        alive.into_iter().filter(|one| one.has_changed()).map(Changed).collect()
    }

    fn add(&self, followed: Weak<dyn Follow>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(followed);
    }
}

/// Reports a file that decides who may enter and that every user of the machine can change: whoever can write it can let
/// anybody in, whether there is a secret in it or not. Says how it may be read: `None` where it is not there.
pub fn guard(path: &Path, at: &At, report: &mut Report) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        let shown = path.display();
        report.push(
            Diagnostic::new(Code::E0503, format!("`{shown}` can be changed by every user of the machine"))
                .label(at, format!("its mode is {mode:03o}"))
                .help(format!("run `chmod o-w {shown}`")),
        );
    }
    Some(mode)
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if found.len() > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_in_force_and_a_bad_one_leaves_the_last_good_state() {
        let folder = std::env::temp_dir().join(format!("maitred-followed-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("number");
        fs::write(&path, "1").unwrap();
        let followers = Followers::default();
        let read = || Box::new(|text: &str| text.parse::<u32>().map_err(|_| "no number".to_owned()));
        let followed = Followed::open(&path, read(), &followers).unwrap();
        let look = || followers.look().into_iter().map(Changed::read).collect::<Vec<_>>();
        assert_eq!((**followed.get(), look()), (1, vec![]));
        fs::write(&path, "22").unwrap();
        assert_eq!(look(), [Change { path: path.clone(), refused: None }]);
        assert_eq!(**followed.get(), 22);
        fs::write(&path, "none").unwrap();
        assert_eq!(look()[0].refused.as_deref(), Some("no number"));
        assert_eq!((**followed.get(), look()), (22, vec![]));
        // While one is about to be read nobody else reads it, and what changes meanwhile is not missed.
        fs::write(&path, "333").unwrap();
        let held = followers.look();
        fs::write(&path, "4444").unwrap();
        assert_eq!((held.len(), look()), (1, vec![]));
        drop(held);
        assert_eq!((look().len(), **followed.get()), (1, 4444));
        fs::remove_file(&path).unwrap();
        assert!(look()[0].refused.is_some());
        assert!(Followed::open(&path, read(), &followers).is_err());
        drop(followed);
        assert!(look().is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }
}
