//! Links between our own pages lead somewhere.

use std::path::Path;

use crate::{
    shell::{self, Failure},
    source,
    tidy::Breach,
};

pub(crate) fn check() -> Result<Vec<Breach>, Failure> {
    let mut breaches = Vec::new();
    for file in source::files_named("md")? {
        let text = source::read(&file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for (line, target) in targets(&text) {
            if !shell::root().join(folder).join(&target).exists() {
                breaches.push(Breach::new(
                    format!("{}:{line}", file.display()),
                    format!("links to `{target}`, which is not there"),
                ));
            }
        }
    }
    Ok(breaches)
}

/// The relative files that a page links to, each with its line. What stands in a fence or in backticks is no link.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split('`').step_by(2).flat_map(|prose| prose.split("](").skip(1)) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_files_count() {
        let text = "[a](b.md#c) [d](https://example.com) [e](#f) `[g](h)`\n```\n[i](j)\n```\n[k](l/m.md)";
        assert_eq!(targets(text), [(1, "b.md".to_owned()), (5, "l/m.md".to_owned())]);
    }
}
