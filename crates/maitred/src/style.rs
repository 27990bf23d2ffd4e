//! Colour, where it is wanted; output reads the same without.

use std::io::IsTerminal;

use crate::cli::ColorWhen;

/// Whether to colour what goes to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    color: bool,
}

impl Style {
    /// Decides by `--color`, then NO_COLOR, then CLICOLOR_FORCE, then whether `stream` is a terminal.
    pub fn of(when: ColorWhen, stream: &impl IsTerminal) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => !set("NO_COLOR") && (set("CLICOLOR_FORCE") || stream.is_terminal()),
        };
        Self { color }
    }

    /// Whether colour is on.
    pub fn is_on(self) -> bool {
        self.color
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// An error's first word.
    pub fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something that deserves attention.
    pub fn warning(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// What went well, or what was chosen.
    pub fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// A name.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What one may skip.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}
