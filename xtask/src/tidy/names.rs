//! What a file opens with, and which names and macros do not appear in it.

use std::path::Path;

use crate::{shell::Failure, source, tidy::Breach};

/// Words that name no idea: a type that carries one has not been understood yet.
const EMPTY_WORDS: &[&str] = &["Manager", "Handler", "Helper"];
/// Suffixes that add nothing to the word before them.
const EMPTY_SUFFIXES: &[&str] = &["Info", "Data", "Impl", "Util", "Utils"];
/// Modules that would collect whatever has no other place.
const DRAWERS: &[&str] = &["util", "utils", "common", "helpers", "misc"];
/// Keywords that a name follows.
const DEFINITIONS: &[&str] = &["struct", "enum", "trait", "type", "union", "mod"];
/// What unfinished code looks like.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

pub(crate) fn check() -> Result<Vec<Breach>, Failure> {
    let mut breaches = Vec::new();
    for file in source::rust_files()? {
        let text = source::read(&file)?;
        breaches.extend(breaches_of(&file, &text));
    }
    Ok(breaches)
}

fn breaches_of(file: &Path, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let name = file.display();
    if !text.starts_with("//!") {
        breaches.push(Breach::new(format!("{name}:1"), "opens without a `//!` sentence that says what the file is"));
    }
    for (index, line) in source::code_of(text).lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        if let Some(stub) = UNFINISHED.iter().find(|stub| has_word(line, stub)) {
            breaches.push(Breach::new(&place, format!("`{stub}`: finish it, or leave it out")));
        }
        if let Some(sentence) = defined(line).and_then(|(keyword, defined)| objection(keyword, defined)) {
            breaches.push(Breach::new(&place, sentence));
        }
    }
    breaches
}

/// Whether `word` stands in `line` and is not the end of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let found = line.match_indices(word);
    found.into_iter().any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The keyword and the name that a line defines.
fn defined(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let keyword = words.next().filter(|word| DEFINITIONS.contains(word))?;
    let name = words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    Some((keyword, name))
}

fn objection(keyword: &str, name: &str) -> Option<String> {
    if keyword == "mod" {
        return DRAWERS.contains(&name).then(|| format!("a module `{name}` becomes a drawer: name what is in it"));
    }
    let empty = EMPTY_WORDS.iter().find(|word| name.contains(**word));
    let empty = empty.or_else(|| EMPTY_SUFFIXES.iter().find(|suffix| name.ends_with(**suffix)));
    empty.map(|word| format!("`{name}`: `{word}` says nothing; use the field's word for what it does"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        breaches_of(Path::new("a.rs"), text)
            .into_iter()
            .map(|breach| format!("{} {}", breach.place, breach.sentence))
            .collect()
    }

    #[test]
    fn a_good_file_has_no_breach() {
        assert!(sentences("//! A file.\n\nstruct Route;\nimpl Foreign for TheirHandler {}\n").is_empty());
    }

    #[test]
    fn each_rule_is_found_at_its_line() {
        let found = sentences(
            "struct A;\npub(crate) struct RouteManager;\nmod util;\nfn f() { todo!() }\n// todo!() in a comment\n",
        );
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("a.rs:1 opens"), "{found:?}");
        assert!(found[1].starts_with("a.rs:2 `RouteManager`"), "{found:?}");
        assert!(found[2].starts_with("a.rs:3 a module"), "{found:?}");
        assert!(found[3].starts_with("a.rs:4 `todo!`"), "{found:?}");
    }
}
