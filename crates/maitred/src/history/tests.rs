//! What is kept comes back whole, or not at all.

use super::*;

fn loaded(folder: &Path, body: &str) -> Loaded {
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    fs::write(folder.join("maitred.toml"), "listen = ':${PORT:-80}'\ninclude = 'conf.d/*.toml'\n").unwrap();
    fs::write(folder.join("conf.d/a.toml"), format!("[routes.a]\npath = '/a'\nrespond = {{ body = '{body}' }}\n"))
        .unwrap();
    let loaded = config::load(&folder.join("maitred.toml"));
    assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
    loaded
}

fn entry(id: u64, loaded: &Loaded) -> Entry {
    Entry::new(id, loaded, "reload", "2026-01-01T00:00:00Z".into())
}

#[test]
fn what_is_kept_is_what_was_written_and_comes_back() {
    let (state, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = History::at(state.path());
    let one = loaded(etc.path(), "one");
    history.keep(&entry(1, &one));
    let two = loaded(etc.path(), "two");
    history.keep(&entry(2, &two));
    let entries = history.entries();
    assert_eq!(entries.iter().map(|entry| entry.generation.id).collect::<Vec<_>>(), [2, 1]);
    assert_ne!(entries[0].generation.sha, entries[1].generation.sha);
    // The disk says "two" by now.
    let back = history.find(1).unwrap().load(&etc.path().join("maitred.toml"));
    assert!(!back.report.has_errors(), "{}", back.render(false));
    assert_eq!(config::effective(&back), config::effective(&one));
    assert!(fs::read_to_string(history.path(1)).unwrap().contains("${PORT:-80}"));
    assert!(history.find(3).is_none());
}

#[test]
fn files_are_nobody_elses_to_read_and_nothing_else_is_left_behind() {
    use std::os::unix::fs::MetadataExt;
    let (state, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    History::at(state.path()).keep(&entry(7, &loaded(etc.path(), "x")));
    let files: Vec<_> = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].file_name(), "00000007.json");
    assert_eq!(files[0].metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_torn_is_left_out() {
    let (state, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = History::at(state.path());
    for id in 1..=3 {
        history.keep(&entry(id, &loaded(etc.path(), &id.to_string())));
    }
    let text = fs::read_to_string(history.path(3)).unwrap();
    fs::write(history.path(3), &text[..text.len() / 2]).unwrap();
    let text = fs::read_to_string(history.path(2)).unwrap();
    fs::write(history.path(2), text.replace("body = '2'", "body = '9'")).unwrap();
    fs::write(state.path().join("99999999.json"), "").unwrap();
    fs::write(state.path().join("notes.json"), "{}").unwrap();
    assert_eq!(history.entries().iter().map(|entry| entry.generation.id).collect::<Vec<_>>(), [1]);
}

#[test]
fn it_is_bounded_in_number_and_size() {
    let (state, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = History::at(state.path());
    for id in 1..=KEPT as u64 + 3 {
        history.keep(&entry(id, &loaded(etc.path(), &id.to_string())));
    }
    let ids: Vec<u64> = history.entries().iter().map(|entry| entry.generation.id).collect();
    assert_eq!(ids, (4..=KEPT as u64 + 3).rev().collect::<Vec<_>>());
    assert_eq!(history.files().len(), KEPT);
    let large = "x".repeat(LARGEST as usize / 3);
    for id in 20..24 {
        history.keep(&entry(id, &loaded(etc.path(), &large)));
    }
    let bytes: u64 = history.files().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= LARGEST, "{bytes}");
    history.keep(&entry(30, &loaded(etc.path(), &"x".repeat(LARGEST as usize + 1))));
    assert!(history.find(30).is_none());
    assert!(history.find(23).is_some());
}

#[test]
fn the_fingerprint_does_not_depend_on_where_the_server_was_started() {
    let etc = tempfile::tempdir().unwrap();
    let by_whole_path = entry(1, &loaded(etc.path(), "x"));
    let other = tempfile::tempdir().unwrap();
    assert_eq!(by_whole_path.sha256, entry(1, &loaded(other.path(), "x")).sha256);
    assert_ne!(by_whole_path.sha256, entry(1, &loaded(other.path(), "y")).sha256);
}
