//! The files that something was read from, and whether they have changed since.

use std::{fs, io, os::unix::fs::MetadataExt};

use aws_lc_rs::digest::{Context, Digest, SHA256};

/// Reads files and remembers which, in what state, and what they held.
pub(crate) struct Files {
    seen: Vec<(Box<str>, Identity)>,
    content: Context,
}

/// What was read, to be compared with what is there later.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    files: Vec<(Box<str>, Identity)>,
    content: Digest,
}

/// What tells one state of a file from another, without reading it. A file that is renamed into the place of another
/// has another inode, and so has one that a symbolic link is turned to, which is how Kubernetes changes a mounted secret
/// and certbot a renewed certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Absent(io::ErrorKind),
    Present { device: u64, inode: u64, length: u64, modified: (i64, i64), changed: (i64, i64) },
}

impl Identity {
    fn of(file: &str) -> Self {
        match fs::metadata(file) {
            Err(error) => Self::Absent(error.kind()),
            Ok(facts) => Self::Present {
                device: facts.dev(),
                inode: facts.ino(),
                length: facts.len(),
                modified: (facts.mtime(), facts.mtime_nsec()),
                changed: (facts.ctime(), facts.ctime_nsec()),
            },
        }
    }
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { seen: Vec::new(), content: Context::new(&SHA256) }
    }

    /// Reads a file. Its state is taken before, so that a change while it is read is seen as one.
    pub(crate) fn read(&mut self, file: &str) -> io::Result<Vec<u8>> {
        self.seen.push((file.into(), Identity::of(file)));
        let read = fs::read(file);
        let (length, content) = read.as_ref().map_or((u64::MAX, &[][..]), |text| (text.len() as u64, text));
        self.content.update(&length.to_le_bytes());
        self.content.update(content);
        read
    }

    pub(crate) fn seen(self) -> Seen {
        Seen { files: self.seen, content: self.content.finish() }
    }
}

impl Seen {
    /// Whether any of the files looks different now.
    pub(crate) fn is_stale(&self) -> bool {
        self.files.iter().any(|(file, identity)| Identity::of(file) != *identity)
    }

    /// Whether the files held the same, whatever they looked like.
    pub(crate) fn holds_same(&self, other: &Self) -> bool {
        self.content.as_ref() == other.content.as_ref()
    }
}

#[cfg(test)]
impl Seen {
    /// Takes the files as they are for those that were read.
    pub(crate) fn refresh(&mut self) {
        self.files.iter_mut().for_each(|(file, identity)| *identity = Identity::of(file));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(file: &str) -> Seen {
        let mut files = Files::new();
        let _ = files.read(file);
        files.seen()
    }

    #[test]
    fn every_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let file = path("file");
        let absent = read(&file);
        assert!(!absent.is_stale());

        fs::write(&file, "one").unwrap();
        assert!(absent.is_stale());
        let written = read(&file);
        assert!(!written.is_stale());

        fs::write(path("other"), "two").unwrap();
        fs::rename(path("other"), &file).unwrap();
        assert!(written.is_stale());
        assert!(!written.holds_same(&read(&file)));

        symlink(path("file"), path("link")).unwrap();
        let linked = read(&path("link"));
        fs::write(path("target"), "two").unwrap();
        symlink(path("target"), path("next")).unwrap();
        fs::rename(path("next"), path("link")).unwrap();
        assert!(linked.is_stale());
        assert!(linked.holds_same(&read(&path("link"))));

        fs::remove_file(path("target")).unwrap();
        assert!(read(&file).holds_same(&linked) && !read(&path("link")).holds_same(&linked));
    }
}
