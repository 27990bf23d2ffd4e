//! The files read, numbered through byte by byte, so that a position alone tells the file.

use std::ops::Range;

/// The text of every file, end to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    files: Vec<File>,
}

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The name, as messages show it.
    pub name: String,
    /// The text.
    pub text: String,
    /// The global position of the first byte.
    pub base: usize,
}

/// A line and a column, both counted from one; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Sources {
    /// Adds a file and tells the global position of its first byte.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        // One position beyond the text belongs to the file as well: an error at its very end points there.
        let base = self.files.last().map_or(0, |last| last.base + last.text.len() + 1);
        self.files.push(File { name: name.into(), text: text.into(), base });
        base
    }

    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The file that a span lies in, and the span within its text, mended to lie on character boundaries.
    pub fn locate(&self, span: &Range<usize>) -> Option<(&File, Range<usize>)> {
        let index = self.files.partition_point(|file| file.base <= span.start).checked_sub(1)?;
        let file = &self.files[index];
        let start = floor_boundary(&file.text, span.start - file.base);
        let end = floor_boundary(&file.text, span.end.saturating_sub(file.base)).max(start);
        Some((file, start..end))
    }
}

impl File {
    /// Line and column of a byte of this file.
    pub fn position(&self, offset: usize) -> Position {
        let before = &self.text[..floor_boundary(&self.text, offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
