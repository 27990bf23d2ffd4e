//! Types of content that a pattern with at most one `*` matches.

/// A pattern of media types in lower case, as what stands before and after its `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    before: Box<str>,
    after: Option<Box<str>>,
}

impl Pattern {
    /// Reads a pattern, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim().to_ascii_lowercase();
        let Some((kind, rest)) = text.split_once('/') else { return Err("expected a `/` in the middle") };
        if kind.is_empty() || rest.is_empty() {
            return Err("expected something on both sides of the `/`");
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "*/+-._!#$&^".contains(c);
        if !text.chars().all(known) || rest.contains('/') {
            return Err("a type is letters, digits and `+-._`, without parameters");
        }
        match text.split_once('*') {
            None => Ok(Self { before: text.into(), after: None }),
            Some((_, after)) if after.contains('*') => Err("at most one `*`"),
            Some((before, after)) => Ok(Self { before: before.into(), after: Some(after.into()) }),
        }
    }

    /// Whether a type without its parameters is meant.
    pub(super) fn matches(&self, kind: &[u8]) -> bool {
        let (before, length) = (self.before.as_bytes(), self.before.len());
        match &self.after {
            None => kind.eq_ignore_ascii_case(before),
            Some(after) => {
                kind.len() >= length + after.len()
                    && kind[..length].eq_ignore_ascii_case(before)
                    && kind[kind.len() - after.len()..].eq_ignore_ascii_case(after.as_bytes())
            }
        }
    }
}
