//! How long files and functions are.

use crate::{shell::Failure, source, tidy::Breach};

/// The most lines that a Rust file may have.
pub(crate) const FILE_LIMIT: usize = 500;
/// The most lines that a function may have.
pub(crate) const FUNCTION_LIMIT: usize = 70;

/// Documents that are worth reading only while they are short.
const DOCUMENTS: &[(&str, usize)] = &[("README.md", 150), ("ARCHITECTURE.md", 300)];

/// Something that is longer than its limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Excess {
    /// What it is, as the ratchet file has it: `crates/a/src/b.rs`, or `crates/a/src/b.rs fn name`.
    pub(crate) what: String,
    /// Where a person looks for it.
    pub(crate) place: String,
    /// How many lines it has.
    pub(crate) lines: usize,
    /// How many it may have.
    pub(crate) limit: usize,
}

/// Everything that is too long, exceptions included.
pub(crate) fn measure() -> Result<Vec<Excess>, Failure> {
    let mut found = Vec::new();
    for file in source::rust_files()? {
        let text = source::read(&file)?;
        let name = file.display().to_string();
        let lines = text.lines().count();
        if lines > FILE_LIMIT {
            found.push(Excess { what: name.clone(), place: name.clone(), lines, limit: FILE_LIMIT });
        }
        let long = source::functions(&source::code_of(&text)).into_iter().filter(|f| f.lines > FUNCTION_LIMIT);
        found.extend(long.map(|function| Excess {
            what: format!("{name} fn {}", function.name),
            place: format!("{name}:{}", function.line),
            lines: function.lines,
            limit: FUNCTION_LIMIT,
        }));
    }
    Ok(found)
}

/// Documents that have outgrown their reader.
pub(crate) fn documents() -> Result<Vec<Breach>, Failure> {
    let mut breaches = Vec::new();
    for (file, limit) in DOCUMENTS {
        let lines = source::read(file.as_ref())?.lines().count();
        if lines > *limit {
            breaches
                .push(Breach::new(*file, format!("has {lines} lines; at {limit} it stops being read: move some away")));
        }
    }
    Ok(breaches)
}
