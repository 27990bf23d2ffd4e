//! What a route has to know of its origins' answers.

/// Which fields of an answer somebody has to see before the client does. All others may pass as they came (ADR 69).
#[derive(Debug, Default)]
pub struct Answers {
    /// Names in lower case; `None` where every field has to be seen.
    names: Option<Box<[Box<str>]>>,
    /// A bit for each length that a name has, so that most fields are told apart by nothing else.
    lengths: u64,
}

/// What limits put in an answer instead of what the origin says under the same name.
const COUNTED: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

impl Answers {
    /// Those of a route with these policies; one that `looks` at whole heads needs every field.
    pub(crate) fn of(
        response: Option<&transform::ResponseEdits>,
        security: Option<&transform::SecurityHeaders>,
        looks: bool,
    ) -> Self {
        let edited = match response {
            Some(edits) => edits.names().map(Iterator::collect::<Vec<&str>>),
            None => Some(Vec::new()),
        };
        let Some(edited) = edited.filter(|_| !looks) else { return Self::default() };
        let hidden = security.into_iter().flat_map(transform::SecurityHeaders::touched);
        let names: Box<[Box<str>]> = edited.into_iter().chain(hidden).chain(COUNTED).map(Box::from).collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | bit(name.len()));
        Self { names: Some(names), lengths }
    }

    /// Whether there are fields that may pass unseen.
    pub fn spare_some(&self) -> bool {
        self.names.is_some()
    }

    /// Whether the field `name`, in any case, has to be seen.
    pub fn need(&self, name: &[u8]) -> bool {
        let Some(names) = &self.names else { return true };
        self.lengths & bit(name.len()) != 0 && names.iter().any(|needed| needed.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The bit of a length; long names share the last one.
fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_policies_are_needed_in_any_case() {
        let bare = Answers::of(None, None, false);
        assert!(bare.spare_some() && bare.need(b"X-RateLimit-Reset"));
        assert!(!bare.need(b"Server") && !bare.need(b"x-ratelimit-resets"));
        let curious = Answers::of(None, None, true);
        assert!(!curious.spare_some() && curious.need(b"Server"));
    }
}
