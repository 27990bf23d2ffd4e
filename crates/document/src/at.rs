//! Where a value stands in the configuration, as a path of keys.

use std::fmt;

/// A path such as `routes.users.upstream`. Checks carry one along; the report turns it into a file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct At {
    keys: Vec<String>,
    part: Part,
}

/// Which part of an entry a label underlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Part {
    /// The value: `"5s"` in `timeout = "5s"`.
    #[default]
    Value,
    /// The key: `timeout`.
    Key,
}

impl At {
    /// The document itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The entry `key` below this one.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut keys = self.keys.clone();
        keys.push(key.into());
        Self { keys, part: Part::Value }
    }

    /// The element at `index` of this list. A value that stands for a list of one is found as well.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.key(index.to_string())
    }

    /// The same entry, underlined at its key.
    #[must_use]
    pub fn name(&self) -> Self {
        Self { keys: self.keys.clone(), part: Part::Key }
    }

    /// The keys from the root down.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Which part is meant.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The last key, or the empty string at the root.
    pub fn last(&self) -> &str {
        self.keys.last().map_or("", String::as_str)
    }

    /// The entry that holds this one.
    #[must_use]
    pub fn parent(&self) -> Self {
        let keys = self.keys.split_last().map_or_else(Vec::new, |(_, above)| above.to_vec());
        Self { keys, part: Part::Value }
    }
}

/// Writes the path as a user would: `routes."/api/*".upstream`.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.keys.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if bare {
                f.write_str(key)?;
            } else {
                write!(f, "{key:?}")?;
            }
        }
        Ok(())
    }
}
