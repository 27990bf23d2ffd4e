//! `maitred run`.

use crate::{
    cli::{Global, Run},
    exit::Outcome,
    server,
};

/// Runs in the foreground until told to stop.
pub fn run(global: &Global, run: &Run) -> Outcome {
    server::run(global, run)
}
