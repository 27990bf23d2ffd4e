//! `maitred fmt`: one layout for every file, comments kept.

use std::{fs, path::Path};

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    files, out,
    style::Style,
};

/// Formats the file; what it includes is left alone, because each file is formatted by its own name.
pub fn run(global: &Global, fmt: &cli::Fmt) -> Outcome {
    let path = files::find(global)?;
    let text = files::read(&path)?;
    let formatted = config::fmt(&path.to_string_lossy(), &text).map_err(|wrong| {
        eprint!("{}", wrong.render(Style::of(global.color, &std::io::stderr()).is_on()));
        Failure::invalid(format!("{} cannot be read", path.display()))
    })?;
    if formatted == text {
        return Ok(());
    }
    if fmt.diff || fmt.check {
        out::text(&diff(&path, &text, &formatted))?;
    } else {
        replace(&path, &formatted)?;
    }
    if fmt.check {
        Err(Failure::new(format!("{} is not formatted\nhint: run `maitred fmt`", path.display())))
    } else {
        Ok(())
    }
}

/// Writes beside the file and renames, so that nobody ever reads half of it.
fn replace(path: &Path, text: &str) -> Outcome {
    let failed = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let beside = path.with_extension(format!("toml.{}", std::process::id()));
    fs::write(&beside, text).map_err(failed)?;
    let permissions = fs::metadata(path).map_err(failed)?.permissions();
    fs::set_permissions(&beside, permissions).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// A line by line difference: what both have at the start and end is left out.
fn diff(path: &Path, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let (removed, added) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let name = path.display();
    let mut text =
        format!("--- {name}\n+++ {name}\n@@ -{},{} +{},{} @@\n", head + 1, removed.len(), head + 1, added.len());
    removed.iter().for_each(|line| text.push_str(&format!("-{line}\n")));
    added.iter().for_each(|line| text.push_str(&format!("+{line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_the_changed_lines_alone() {
        let shown = diff(Path::new("a.toml"), "a\nb\nc\n", "a\nx\ny\nc\n");
        assert_eq!(shown, "--- a.toml\n+++ a.toml\n@@ -2,1 +2,2 @@\n-b\n+x\n+y\n");
    }
}
