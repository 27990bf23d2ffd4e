//! A part of a configuration that a document shows holds no mistake in itself. (Complete ones are loaded in `tests/`.)
//!
//! Parts are the blocks marked `toml,fragment`, those of the generated reference, and those of pages outside `docs/`.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a part may lack: a destination, an upstream that stands elsewhere, a file, a variable.
const INCOMPLETE: &[&str] = &["E0106", "E0201", "E0305", "E0401", "E0501", "E0601", "E0602", "E0701"];

#[test]
fn no_part_of_a_configuration_in_the_documents_holds_a_mistake() {
    let mut pages = pages(&root().join("docs"));
    pages.push(root().join("bench/README.md"));
    let parts: Vec<Part> = pages.iter().flat_map(|page| parts(page)).collect();
    assert!(parts.len() > 10, "only {} parts found", parts.len());
    let mut wrong = Vec::new();
    for part in parts {
        let said = check(&part);
        let mut errors = said.split("error[").skip(1);
        if errors.any(|error| !INCOMPLETE.iter().any(|code| error.starts_with(code))) {
            wrong.push(format!("{}\n{said}", part.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A fenced block that shows a part.
struct Part {
    place: String,
    text: String,
}

fn parts(page: &Path) -> Vec<Part> {
    let shown = page.strip_prefix(root()).unwrap().display().to_string();
    let all = shown.starts_with("docs/reference") || !shown.starts_with("docs");
    let text = fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line != "```toml,fragment" && !(all && line == "```toml") {
            continue;
        }
        let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        found.push(Part { place: format!("{shown}:{}", index + 1), text: inside.join("\n") + "\n" });
    }
    found
}

/// What `maitred check` says of the part.
fn check(part: &Part) -> String {
    let name: String = part.place.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&file, &part.text).unwrap();
    let mut check = Command::new(binary());
    let output = check.args(["check", "--offline", "--color", "never", "--config"]).arg(file).output().unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}: check ended with {code:?}", part.place);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The binary that was built beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("maitred");
    assert!(binary.is_file(), "{} is not there: `cargo xtask test` builds it first", binary.display());
    binary
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
