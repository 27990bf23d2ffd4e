//! Reading the project's own files: which there are, and their code without comments and literals.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::shell::{self, Failure, because};

/// Folders of the workspace that hold Rust of ours.
const RUST_FOLDERS: &[&str] = &["crates", "xtask", "tests", "bench"];

/// Every file below `folder`, relative to it, sorted; none where the folder does not exist.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.map_err(because(format!("cannot read {}", next.display())))?.path();
            if path.is_dir() {
                let skipped = path.file_name().is_some_and(|name| name == "target" || name == ".git");
                folders.extend((!skipped).then_some(path));
            } else if let Ok(relative) = path.strip_prefix(folder) {
                files.push(relative.to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Every file of the project with this extension, relative to the workspace.
pub(crate) fn files_named(extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut files = files_below(&shell::root())?;
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    Ok(files)
}

/// Every Rust file of ours, relative to the workspace.
pub(crate) fn rust_files() -> Result<Vec<PathBuf>, Failure> {
    let mut files = files_named("rs")?;
    files.retain(|file| RUST_FOLDERS.iter().any(|folder| file.starts_with(folder)));
    Ok(files)
}

/// The text of a file of the workspace.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(shell::root().join(file)).map_err(because(format!("cannot read {}", file.display())))
}

/// A function in a Rust file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line where it begins, counted from 1.
    pub(crate) line: usize,
    /// How many lines it has, the first and the last included.
    pub(crate) lines: usize,
}

/// The functions with a body in `code`, which [`code_of`] has made.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let before = code[..start].chars().next_back();
        let name: String = code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(code, start) {
            let line = code[..start].matches('\n').count() + 1;
            found.push(Function { name, line, lines: code[start..end].matches('\n').count() + 1 });
        }
    }
    found
}

/// Where the body of the function that begins at `start` ends; `None` for a declaration without one.
fn body_end(code: &str, start: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for (offset, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b'{' => braces += 1,
            b'}' if braces <= 1 => return Some(start + offset + 1),
            b'}' => braces -= 1,
            b';' if brackets == 0 && braces == 0 => return None,
            _ => {}
        }
    }
    None
}

/// `text` with every comment and literal blanked out, so that a search finds code only. Lines stay where they are.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = opaque_length(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// How many bytes at the start of `text` are a comment or a literal; 0 where there is none. `before` is the character
/// in front, which tells a raw string's `r` from the end of a name.
fn opaque_length(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if text.starts_with('"') {
        return string_length(text);
    }
    if text.starts_with('\'') {
        return character_length(text);
    }
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let prefix = ["br", "cr", "r"].iter().find(|prefix| text.starts_with(**prefix));
    match prefix {
        Some(prefix) if !in_name => raw_string_length(&text[prefix.len()..]).map_or(0, |length| prefix.len() + length),
        _ => 0,
    }
}

/// The length of a block comment; they nest.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string literal with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character_length(text: &str) -> usize {
    let mut inner = text[1..].char_indices();
    match inner.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some((_, c)) if text[1 + c.len_utf8()..].starts_with('\'') => c.len_utf8() + 2,
        _ => 0,
    }
}

/// The length of a raw string from its first `#` or quote on; `None` where there is none.
fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text.bytes().take_while(|byte| *byte == b'#').count();
    let inner = text[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + inner.find(&close).map_or(inner.len(), |at| at + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text =
            "let a = \"fn x() { \\\" \"; // fn y()\n/* a /* b */ fn z() */ let c = '{'; let d: &'a str = r#\"}\"#;";
        let code = code_of(text);
        assert!(!code.contains("fn "), "{code}");
        assert!(!code.contains(['{', '}']), "{code}");
        assert!(code.contains("&'a str"), "{code}");
        assert_eq!(code.matches('\n').count(), 1);
    }

    #[test]
    fn a_function_is_measured_from_its_first_line_to_its_last() {
        let code = code_of(
            "trait T { fn declared(&self); }\n\nfn one() {\n    if x { y() }\n}\nfn two(a: [u8; 3]) -> u8 { 1 }\n",
        );
        let found = functions(&code);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], Function { name: "one".into(), line: 3, lines: 3 });
        assert_eq!(found[1], Function { name: "two".into(), line: 6, lines: 1 });
    }

    #[test]
    fn escaped_characters_end_where_they_end() {
        let code = code_of(r"a('\'', '\\', '\u{7f}', 'é')z");
        assert_eq!(code.replace(' ', ""), "a(,,,)z");
    }
}
