//! The path as patterns see it: path parameters cut off, and reserved characters in their plain spelling.

use std::borrow::Cow;

/// A path as patterns see it.
///
/// It differs from the normalised path in two ways, so that no rule can be passed by spelling: the parameters of every
/// segment are gone (`/admin;x` is `/admin`), and characters that may stand in a path as they are stand there so
/// (`/%40admin` is `/@admin`). The origin is still sent the normalised path, since to it the spelling may matter.
pub(crate) struct Spelling<'p> {
    text: Cow<'p, str>,
    /// For every byte of `text`, and for its end: where it stands in the normalised path. Empty when both are the same.
    origins: Vec<usize>,
}

impl<'p> Spelling<'p> {
    /// The spelling of a normalised path; nearly always the path itself.
    pub fn of(path: &'p str) -> Self {
        if memchr::memchr2(b';', b'%', path.as_bytes()).is_some() {
            Self::respell(path)
        } else {
            Self { text: Cow::Borrowed(path), origins: Vec::new() }
        }
    }

    fn respell(path: &str) -> Self {
        let mut text = String::with_capacity(path.len());
        let mut origins = Vec::with_capacity(path.len() + 1);
        filter::spell(path, |byte, at| {
            text.push(char::from(byte));
            origins.push(at);
        });
        origins.push(path.len());
        Self { text: Cow::Owned(text), origins }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The position in the normalised path of a position in the spelling.
    pub fn origin(&self, position: usize) -> usize {
        self.origins.get(position).copied().unwrap_or(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_spelling_do_not_count() {
        for (path, expected) in [
            ("/admin", "/admin"),
            ("/admin;x", "/admin"),
            ("/admin%3Bx%3b", "/admin"),
            ("/a;x/b;y/", "/a/b/"),
            ("/;jsessionid=1", "/"),
            ("/%40admin%3Ax%20", "/@admin:x%20"),
            ("/%C3%A9", "/%C3%A9"),
        ] {
            assert_eq!(Spelling::of(path).as_str(), expected);
        }
    }

    #[test]
    fn positions_lead_back_to_the_path() {
        let path = "/a%40b;x=1/c";
        let spelling = Spelling::of(path);
        assert_eq!(spelling.as_str(), "/a@b/c");
        assert_eq!(&path[spelling.origin(1)..spelling.origin(4)], "a%40b;x=1");
        assert_eq!(&path[spelling.origin(5)..spelling.origin(6)], "c");
        assert_eq!(Spelling::of("/abc").origin(2), 2);
    }
}
