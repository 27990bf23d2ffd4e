//! What cannot be read at a start, and what is purged meanwhile.

use std::sync::atomic::Ordering;

use super::{
    super::{journal, load},
    *,
};
use crate::ledger::{PURGES, Purge};

/// Something that leads to itself, so that nobody can read it, whoever they are.
fn unreadable(path: &std::path::Path) {
    std::os::unix::fs::symlink(path, path).unwrap();
}

#[tokio::test]
async fn what_can_never_be_read_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    keep(&first, "/a", 10, now() - 10).await;
    let path = files(&folder).remove(0);
    let other = keep(&first, "/b", 10, now() - 10).await;
    let shelf = first.disk.load_full().unwrap().shelf(other.hash());
    end(first).await;
    assert_ne!(path.parent(), Some(&*shelf));
    let objects = folder.path().join("cache/v1/objects");
    fs::remove_file(&path).unwrap();
    unreadable(&path);
    let away = folder.path().join("away");
    fs::rename(&shelf, &away).unwrap();
    unreadable(&shelf);
    let second = Arc::new(Zone::new());
    second.arrange(&settings, None);
    let disk = second.disk.load_full().unwrap();
    until(|| disk.failed.load(Ordering::Relaxed) > 0).await;
    second.purge(&Selector::url("/b").unwrap(), false, now());
    assert!(!disk.is_loaded.load(Ordering::Acquire));
    // As it does in the end.
    let looked = load::look(&disk, |_| true).unwrap();
    assert_eq!((looked.given_up, looked.left.len()), (2, 0));
    until(|| disk.is_loaded.load(Ordering::Acquire)).await;
    let journal = || journal::read(&folder.path().join("cache/v1"));
    until(|| journal().is_empty()).await;
    assert!(path.symlink_metadata().is_err());
    assert!(
        fs::read_dir(&objects).unwrap().any(|entry| entry.unwrap().path().extension().is_some()),
        "it is set aside"
    );
    // Files are kept in its place, and it does not come back as what it was.
    keep(&second, "/b", 10, now()).await;
    end(second).await;
    let third = zone(&settings).await;
    assert!(found(&third, &other).await.is_some());
    assert_eq!(third.disk.load_full().unwrap().failed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_no_file_of_ours_does_not_count_as_unread() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now()).await;
    let path = files(&folder).remove(0);
    end(first).await;
    fs::write(folder.path().join("cache/v1/objects/ff"), "no folder").unwrap();
    fs::write(folder.path().join("cache/v1/objects/.DS_Store"), "no folder").unwrap();
    fs::create_dir(path.with_file_name(format!("{:032x}-{:016x}", key.hash(), 1))).unwrap();
    let second = zone(&settings).await;
    assert!(found(&second, &key).await.is_some());
}

#[tokio::test]
async fn purges_that_wait_have_an_end_and_none_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let (began, folder_of) = (now(), folder.path().join("cache/v1"));
    let key = keep(&first, "/a", 10, began - 10).await;
    let (path, away) = (files(&folder).remove(0), folder.path().join("away"));
    fs::rename(&path, &away).unwrap();
    unreadable(&path);
    // As many as are remembered, of a process that could not look at all either.
    let one = |path: &str, when| Purge { when, soft: false, selector: Selector::url(path).unwrap() };
    let others = (1..PURGES).map(|number| one(&format!("/{number}"), began - 5));
    let before: Vec<_> = std::iter::once(one("/a", began)).chain(others).collect();
    journal::save(&folder_of, &before).unwrap();
    // More come while it waits for the folder, and after that; the clock was set back.
    let second = Arc::new(Zone::new());
    second.arrange(&settings, None);
    for number in 0..20 {
        second.purge(&Selector::url(&format!("/later/{number}")).unwrap(), false, began - 20);
    }
    end(first).await;
    let disk = second.disk.load_full().unwrap();
    until(|| disk.failed.load(Ordering::Relaxed) > 0).await;
    second.purge(&Selector::url("/last").unwrap(), false, began - 20);
    let written = journal::read(&folder_of);
    assert!(!written.is_empty() && written.len() <= PURGES, "{} purges", written.len());
    end(second).await;
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    let third = zone(&settings).await;
    assert!(found(&third, &key).await.is_none(), "the first of them means it");
    until(|| files(&folder).is_empty()).await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_purges_all_that_is_older() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now() - 10).await;
    end(first).await;
    let journal = folder.path().join("cache/v1/purged");
    fs::remove_file(&journal).unwrap();
    unreadable(&journal);
    let second = zone(&settings).await;
    assert!(found(&second, &key).await.is_none());
}
