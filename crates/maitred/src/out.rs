//! Standard output, for whoever may stop reading: `maitred schema | head` is no error.

use std::io::{self, ErrorKind, Write};

use crate::exit::Outcome;

/// Writes `text` to standard output; a reader that has gone away is content.
pub fn text(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes `text` as a line.
pub fn line(text: impl AsRef<str>) -> Outcome {
    self::text(&format!("{}\n", text.as_ref()))
}
