//! A field value under construction, on the stack as long as it is short.

use std::fmt;

use http::HeaderValue;
use smallvec::SmallVec;

/// Bytes of a field value.
#[derive(Default)]
pub(crate) struct Line(SmallVec<[u8; 128]>);

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds `item` to the list, formatted.
    pub(crate) fn write(&mut self, item: impl fmt::Display) {
        // Writing to memory cannot fail.
        let _ = fmt::Write::write_fmt(self, format_args!("{item}"));
    }

    /// Adds the lines of a list that came in several, as one (RFC 9110 section 5.3).
    pub(crate) fn push_list<'v>(&mut self, lines: impl IntoIterator<Item = &'v HeaderValue>) {
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            self.separate();
            self.push(line.as_bytes());
        }
    }

    /// Puts a comma after what is there.
    pub(crate) fn separate(&mut self) {
        if !self.is_empty() {
            self.push(b", ");
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
