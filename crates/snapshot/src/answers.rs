//! What a route has to know of its origins' answers.

/// Which fields of an answer somebody has to see before the client does, and which the client is never sent. All others may
/// pass as they came (ADR 69).
#[derive(Debug, Default)]
pub struct Answers {
    /// Names in lower case; `None` where every field has to be seen.
    names: Option<Box<[Named]>>,
    /// A bit for each length that a name has, so that most fields are told apart by nothing else.
    lengths: u64,
}

/// The name of a field in lower case, and what becomes of it.
type Named = (Box<str>, Passes);

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// It may go to the client as it came.
    Unseen,
    /// It has to be seen.
    Seen,
    /// It does not go to the client.
    Never,
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
            Some(edits) => edits.taken().map(Iterator::collect::<Vec<&str>>),
            None => Some(Vec::new()),
        };
        let Some(edited) = edited.filter(|_| !looks) else { return Self::default() };
        let hidden = security.into_iter().flat_map(transform::SecurityHeaders::hidden);
        let seen = security.into_iter().flat_map(transform::SecurityHeaders::put).chain(COUNTED);
        // The first one of a name counts: what is taken out is not there to be seen.
        let never = edited.into_iter().chain(hidden).map(|name| (name, Passes::Never));
        let names = never.chain(seen.map(|name| (name, Passes::Seen)));
        let names: Box<[Named]> = names.map(|(name, passes)| (name.into(), passes)).collect();
        let lengths = names.iter().fold(0, |lengths, (name, _)| lengths | bit(name.len()));
        Self { names: Some(names), lengths }
    }

    /// Whether there are fields that may pass unseen.
    pub fn spare_some(&self) -> bool {
        self.names.is_some()
    }

    /// What becomes of the field `name`, in any case.
    pub fn passes(&self, name: &[u8]) -> Passes {
        let Some(names) = &self.names else { return Passes::Seen };
        if self.lengths & bit(name.len()) == 0 {
            return Passes::Unseen;
        }
        let known = names.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        known.map_or(Passes::Unseen, |(_, passes)| *passes)
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
    fn fields_of_policies_are_seen_in_any_case() {
        let bare = Answers::of(None, None, false);
        assert!(bare.spare_some());
        assert_eq!(bare.passes(b"X-RateLimit-Reset"), Passes::Seen);
        assert_eq!((bare.passes(b"Server"), bare.passes(b"x-ratelimit-resets")), (Passes::Unseen, Passes::Unseen));
        let curious = Answers::of(None, None, true);
        assert!(!curious.spare_some());
        assert_eq!(curious.passes(b"Server"), Passes::Seen);
    }
}
