//! Where a server's configuration comes from.

use std::path::{Path, PathBuf};

use config::Loaded;

/// A file with what it includes, or a text that the command line stands for.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A text and what messages call it.
    Text {
        /// What messages call it.
        name: String,
        /// What it says.
        text: String,
    },
}

impl Origin {
    /// A file.
    pub fn file(path: PathBuf) -> Self {
        Self::File(path)
    }

    /// A text.
    pub fn text(name: &str, text: &str) -> Self {
        Self::Text { name: name.into(), text: text.into() }
    }

    /// Reads it as it is now.
    pub fn load(&self) -> Loaded {
        match self {
            Self::File(path) => config::load(path),
            Self::Text { name, text } => config::load_text(name, text, Path::new(".")),
        }
    }

    /// The files that it is made of at the moment, as far as they can be read.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::File(_) => self.load().files,
            Self::Text { .. } => Vec::new(),
        }
    }

    /// Where relative paths in it start.
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::File(path) => path.parent().map(Path::to_path_buf).unwrap_or_default(),
            Self::Text { .. } => PathBuf::from("."),
        }
    }
}
