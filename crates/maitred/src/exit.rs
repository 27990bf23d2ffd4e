//! How the process ends: the exit codes of the manual.

use std::process::ExitCode;

/// The operation failed: differences found, a port in use, a signal to nobody.
pub const FAILED: u8 = 1;
/// The configuration is invalid; restarting will not help.
pub const INVALID: u8 = 3;
/// No running maitred answers.
pub const NOBODY: u8 = 4;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to tell on stderr; empty when all is told already.
    pub message: String,
}

impl Failure {
    /// The operation failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// The configuration is invalid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: INVALID, message: message.into() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Turns an outcome into the process's exit code, telling on stderr what is left to tell.
pub fn code(outcome: Outcome, style: crate::style::Style) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}: {}", style.error("error"), failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}
