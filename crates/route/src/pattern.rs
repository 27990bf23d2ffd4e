//! What a route's `path` means: an exact path, a template, a prefix or a regular expression.

use filter::{Captures, template::Place};
use regex::Regex;

use crate::spelling::Spelling;

/// A path pattern, compiled.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// `/health`, `/users/{id}`, `/users/*`: segments, and whether everything below belongs to it.
    Segments { segments: Box<[Segment]>, below: bool, captures: Box<[Box<str>]> },
    /// `~^/v[0-9]+/`.
    Regex { regex: Regex, captures: Box<[Box<str>]> },
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Segment {
    /// This text, in the spelling that patterns see.
    Literal(Box<str>),
    /// `{id}`: any one segment that is not empty.
    Any,
}

/// The four kinds of pattern, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Exact,
    Template,
    Prefix,
    Regex,
}

/// What two patterns have in common that match exactly the same paths: names of placeholders do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape<'p> {
    Segments(&'p [Segment], bool),
    Regex(&'p str),
}

/// Why a pattern cannot be read: the remark beside it, and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub label: String,
    pub help: String,
}

impl Mistake {
    pub fn new(label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { label: label.into(), help: help.into() }
    }
}

/// As many as there are bits for in [`Pattern::taken`].
const MOST_SEGMENTS: usize = 64;

impl Pattern {
    /// What a route without a `path` matches.
    pub fn everything() -> Self {
        Pattern::Segments { segments: Box::default(), below: true, captures: Box::new(["rest".into()]) }
    }

    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if let Some(expression) = text.strip_prefix('~') {
            return regex(expression);
        }
        if text == "*" {
            return Ok(Self::everything());
        }
        let Some(path) = text.strip_prefix('/') else {
            let help = format!("write `/{}`", text.trim_start_matches('/'));
            return Err(Mistake::new("a path begins with `/`, or with `~` for a regular expression", help));
        };
        let (path, below) = match path.strip_suffix('*') {
            Some("") => return Ok(Self::everything()),
            Some(path) => match path.strip_suffix('/') {
                Some(path) => (path, true),
                None => return Err(star()),
            },
            None => (path, false),
        };
        let mut captures: Vec<Box<str>> = Vec::new();
        // `/users/` ends in an empty segment, and no other can be empty.
        if path.starts_with('/') || path.contains("//") || (below && path.ends_with('/')) {
            return Err(Mistake::new("slashes in a row become one before paths are matched", "write a single slash"));
        }
        if path.split('/').count() > MOST_SEGMENTS {
            return Err(Mistake::new(format!("more than {MOST_SEGMENTS} segments"), "write a prefix: `/…/*`"));
        }
        let segments = path.split('/').map(|text| segment(text, &mut captures)).collect::<Result<Box<_>, _>>()?;
        if below {
            captures.push("rest".into());
        }
        Ok(Pattern::Segments { segments, below, captures: captures.into() })
    }

    /// The names of what the pattern captures, in order; a regex group without a name is called by its number.
    pub fn captures(&self) -> &[Box<str>] {
        match self {
            Pattern::Segments { captures, .. } | Pattern::Regex { captures, .. } => captures,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Pattern::Segments { below: true, .. } => Kind::Prefix,
            Pattern::Segments { segments, .. } if segments.contains(&Segment::Any) => Kind::Template,
            Pattern::Segments { .. } => Kind::Exact,
            Pattern::Regex { .. } => Kind::Regex,
        }
    }

    /// What the pattern matches, without the names of its placeholders.
    pub fn shape(&self) -> Shape<'_> {
        match self {
            Pattern::Segments { segments, below, .. } => Shape::Segments(segments, *below),
            Pattern::Regex { regex, .. } => Shape::Regex(regex.as_str()),
        }
    }

    /// How long the pattern is: in segments, or in characters of the expression.
    pub fn length(&self) -> usize {
        match self {
            Pattern::Segments { segments, .. } => segments.len(),
            Pattern::Regex { regex, .. } => regex.as_str().len(),
        }
    }

    /// Whether the pattern matches `path`, looked at on its own.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Regex { regex, .. } => regex.is_match(path),
            Pattern::Segments { segments, below, .. } => {
                let mut found = path.split('/').skip(1);
                let all = segments.iter().all(|segment| found.next().is_some_and(|text| segment.matches(text)));
                all && (*below || found.next().is_none())
            }
        }
    }

    /// A bit for every segment that a placeholder takes.
    pub fn taken(&self) -> u64 {
        let Pattern::Segments { segments, .. } = self else { return 0 };
        let any = segments.iter().enumerate().filter(|(_, segment)| **segment == Segment::Any);
        any.fold(0, |taken, (index, _)| taken | 1 << index)
    }

    /// Takes the groups of a regular expression out of a path that it matches.
    pub fn capture_groups(&self, path: &Spelling<'_>, captures: &mut Captures) {
        let Pattern::Regex { regex, captures: names } = self else { return };
        if names.is_empty() {
            return;
        }
        let mut groups = regex.capture_locations();
        let _ = regex.captures_read(&mut groups, path.as_str());
        for group in 1..groups.len() {
            let (start, end) = groups.get(group).unwrap_or((0, 0));
            captures.push(path.origin(start), path.origin(end));
        }
    }
}

impl Segment {
    fn matches(&self, text: &str) -> bool {
        match self {
            Segment::Literal(literal) => **literal == *text,
            Segment::Any => !text.is_empty(),
        }
    }
}

fn star() -> Mistake {
    Mistake::new(
        "`*` stands for whole segments, alone at the end",
        "write `/…/*`, or a regular expression such as `~^/files/[^/]+\\.png$`",
    )
}

/// Reads one segment of a pattern, and notes what it captures.
fn segment(text: &str, captures: &mut Vec<Box<str>>) -> Result<Segment, Mistake> {
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        check_name(name)?;
        if captures.iter().any(|other| **other == *name) {
            return Err(Mistake::new(format!("`{{{name}}}` stands here twice"), "give each placeholder its own name"));
        }
        captures.push(name.into());
        return Ok(Segment::Any);
    }
    if text.contains(['{', '}']) {
        let help = "write `/{name}/`, or a regular expression such as `~^/files/(?<name>[^/]+)\\.png$`";
        return Err(Mistake::new("a placeholder takes a whole segment", help));
    }
    if text.contains('*') {
        return Err(star());
    }
    if let Some(name) = text.strip_prefix(':').filter(|name| !name.is_empty()) {
        return Err(Mistake::new("a colon makes no placeholder", format!("write `{{{name}}}`")));
    }
    if text.contains(';') {
        return Err(Mistake::new("path parameters do not count in matching", "leave out what follows `;`"));
    }
    literal(text)
}

/// Text that a segment must be, in the spelling that requests are matched in.
fn literal(text: &str) -> Result<Segment, Mistake> {
    let path = format!("/{text}");
    match crate::normalise(&path) {
        Ok(normal) if !is_dots(text) => Ok(Segment::Literal(Spelling::of(&normal).as_str()[1..].into())),
        _ => Err(Mistake::new(
            format!("no request has the segment `{text}`"),
            "paths are normalised before they are matched: write the path without dot segments, backslashes, encoded slashes and `?`",
        )),
    }
}

fn is_dots(text: &str) -> bool {
    matches!(text.replace("%2e", ".").replace("%2E", ".").as_str(), "." | "..")
}

/// A name that templates can refer to, and that means nothing else there.
fn check_name(name: &str) -> Result<(), Mistake> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(word);
    if !sound {
        let label = format!("`{name}` is not a name");
        return Err(Mistake::new(label, "a name is made of letters, digits and `_`, and begins with a letter: `{id}`"));
    }
    if Place::is_reserved(name) {
        let label = format!("`{{{name}}}` already means something of the request");
        return Err(Mistake::new(label, format!("call it `{{{name}_id}}` or the like")));
    }
    Ok(())
}

fn regex(expression: &str) -> Result<Pattern, Mistake> {
    let regex = Regex::new(expression).map_err(|error| {
        let reason = last_line(&error.to_string());
        Mistake::new(
            reason,
            "the syntax is that of the `regex` crate: linear time, so no look-around and no backreferences",
        )
    })?;
    for name in regex.capture_names().flatten() {
        check_name(name)?;
    }
    let names = regex.capture_names().enumerate().skip(1);
    let captures = names.map(|(number, name)| name.map_or_else(|| number.to_string().into(), Into::into)).collect();
    Ok(Pattern::Regex { regex, captures })
}

/// The sentence of a regex error, without the drawing above it.
pub(crate) fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or("not a regular expression").trim();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

#[cfg(test)]
mod tests;
