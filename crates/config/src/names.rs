//! Names that can stand in metrics, logs and URLs as they are.

/// Whether the text is a name: `[a-z0-9-]+`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The text as a name: `http://Localhost:3001` becomes `http-localhost-3001`.
pub(crate) fn slug(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_names() {
        for (text, name) in [("localhost:3001", "localhost-3001"), ("Users_V2", "users-v2"), ("[::1]:80", "1-80")] {
            assert_eq!(slug(text), name);
            assert!(is_name(name));
        }
        assert_eq!(slug("/*"), "");
    }
}
