//! `maitred run`.

use crate::{cli::Global, exit::Outcome, server};

/// Runs in the foreground until told to stop.
pub fn run(global: &Global) -> Outcome {
    server::run(global)
}
