//! Every mistake, collected.

use std::ops::Range;

use crate::{At, Code};

/// Everything that is wrong with a configuration: all of it, not just the first.
#[derive(Debug, Clone, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    damaged: Vec<At>,
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The configuration is refused.
    Error,
    /// The configuration runs, but probably not as meant.
    Warning,
}

/// One mistake: a code, a sentence, the places, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of mistake it is.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The places; the first is the one the message is about.
    pub labels: Vec<Label>,
    /// Facts that explain.
    pub notes: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// A change that mends it.
    pub patch: Option<Patch>,
}

/// A place with a remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// The remark beside the underline; may be empty.
    pub text: String,
}

/// A place: a path into the merged tree, or a range of the source text that no path leads to (a syntax error).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An entry of the tree.
    At(At),
    /// Global byte positions, as `Document` numbers them.
    Span(Range<usize>),
}

impl From<At> for Place {
    fn from(at: At) -> Self {
        Place::At(at)
    }
}

impl From<&At> for Place {
    fn from(at: &At) -> Self {
        Place::At(at.clone())
    }
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Place::Span(span)
    }
}

/// A replacement for the text at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What to replace.
    pub place: Place,
    /// The TOML text to put there.
    pub replacement: String,
}

impl Diagnostic {
    /// A diagnostic without a place yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None, patch: None }
    }

    /// Adds a place; the first one added is the primary.
    #[must_use]
    pub fn label(mut self, place: impl Into<Place>, text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.into(), text: text.into() });
        self
    }

    /// Adds a fact that explains.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Shows the change that mends it; `replacement` is TOML text, quotes included.
    #[must_use]
    pub fn patch(mut self, place: impl Into<Place>, replacement: impl Into<String>) -> Self {
        self.patch = Some(Patch { place: place.into(), replacement: replacement.into() });
        self
    }

    /// How grave it is, which its code says.
    pub fn level(&self) -> Level {
        if self.code.is_warning() { Level::Warning } else { Level::Error }
    }
}

impl Report {
    /// Nothing wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a diagnostic; the same one twice is kept once, and nothing is said to be missing where it was refused.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) && !self.follows_from_damage(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Remembers that entries of the table at `at` were refused. To call others missing there would mislead.
    pub fn damaged(&mut self, at: At) {
        if !self.damaged.contains(&at) {
            self.damaged.push(at);
        }
    }

    fn follows_from_damage(&self, diagnostic: &Diagnostic) -> bool {
        let missing = matches!(diagnostic.code, Code::E0106 | Code::E0305);
        let Some(Label { place: Place::At(at), .. }) = diagnostic.labels.first().filter(|_| missing) else {
            return false;
        };
        self.damaged.iter().any(|damaged| damaged.keys() == at.keys())
    }

    /// Adds everything of another report.
    pub fn extend(&mut self, other: Report) {
        self.damaged.extend(other.damaged);
        other.diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Adds a diagnostic with one place: the common case.
    pub fn add(&mut self, code: Code, at: &At, message: impl Into<String>, label: impl Into<String>) {
        self.push(Diagnostic::new(code, message).label(at, label));
    }

    /// All diagnostics, in the order found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether anything refuses the configuration.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.level() == Level::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }
}

/// The nearest of `candidates` to `word`, when it is near enough to be what was meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let scored = candidates.into_iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}
