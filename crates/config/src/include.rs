//! `include`: which files a pattern stands for.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Whether a path stands for any number of files.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// The files that a pattern stands for below `folder`, sorted by name. `*` and `?` stand for letters of one name: hidden
/// files only match a pattern that begins with a dot.
pub(crate) fn expand(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = vec![folder.to_path_buf()];
    for component in Path::new(pattern).components() {
        let mut next = Vec::new();
        for path in &paths {
            step(path, &component, &mut next)?;
        }
        paths = next;
    }
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

/// Those of `files` that a pattern stands for below `folder`, sorted: what [`expand`] would find if these were the files
/// that there are.
pub(crate) fn among<'p>(files: impl Iterator<Item = &'p PathBuf>, folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let wanted = plain(&folder.join(pattern));
    let fits = |file: &&PathBuf| {
        let file = plain(file);
        let names = || file.components().zip(wanted.components());
        file.components().count() == wanted.components().count()
            && names().all(|(name, pattern)| {
                fits(&pattern.as_os_str().to_string_lossy(), &name.as_os_str().to_string_lossy())
            })
    };
    let mut found: Vec<PathBuf> = files.filter(fits).cloned().collect();
    found.sort();
    found
}

/// A path without `.`, and without `..` where something stands before it.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Whether a name fits a pattern. Hidden files only fit one that begins with a dot.
fn fits(pattern: &str, name: &str) -> bool {
    matches(pattern, name) && (!name.starts_with('.') || pattern.starts_with('.'))
}

fn step(path: &Path, component: &Component<'_>, next: &mut Vec<PathBuf>) -> io::Result<()> {
    let name = match component {
        Component::Normal(name) => name.to_string_lossy(),
        Component::CurDir => {
            next.push(path.to_path_buf());
            return Ok(());
        }
        other => {
            next.push(path.join(other.as_os_str()));
            return Ok(());
        }
    };
    if !is_pattern(&name) {
        next.push(path.join(&*name));
        return Ok(());
    }
    let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A folder that is not there holds no files.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let file = entry?.file_name();
        let text = file.to_string_lossy();
        if fits(&name, &text) {
            next.push(path.join(&file));
        }
    }
    Ok(())
}

/// Whether `name` fits `pattern`. Walks both at once and returns to the last star when a letter does not fit, so that
/// the time is bounded by the product of the lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == '?' || letter == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_letters() {
        assert!(matches("*.toml", "a.toml"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "aXbYbZc"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "ac"));
        assert!(!matches("*.toml", "a.toml~"));
        assert!(!matches("a*b", "ba"));
    }

    #[test]
    fn what_was_kept_is_found_as_on_disk() {
        let files = ["/etc/m/maitred.toml", "/etc/m/conf.d/b.toml", "/etc/m/conf.d/a.toml", "/etc/m/conf.d/.c.toml"];
        let files = files.map(PathBuf::from);
        let found = |folder: &str, pattern: &str| {
            let found = among(files.iter(), Path::new(folder), pattern);
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("/etc/m", "conf.d/*.toml"), ["a.toml", "b.toml"]);
        assert_eq!(found("/etc/m", "./conf.d/../conf.d/b.toml"), ["b.toml"]);
        assert_eq!(found("/etc/m/conf.d", "../maitred.toml"), ["maitred.toml"]);
        assert_eq!(found("/etc/m", "*.toml"), ["maitred.toml"]);
        assert!(found("/etc", "conf.d/*.toml").is_empty());
    }

    #[test]
    fn files_are_sorted_and_hidden_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".hidden.toml", "c.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.toml")).unwrap();
        let found = expand(folder.path(), "./*.toml").unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.toml", "b.toml"]);
        assert!(expand(folder.path(), "nowhere/*.toml").unwrap().is_empty());
    }
}
