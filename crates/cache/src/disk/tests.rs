//! Files that outlive their process, that are torn, that are many.

mod growing;
mod meanwhile;
mod renewed;
mod unread;

use std::{cell::Cell, fs, os::unix::fs::FileExt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;

use super::index::{Entry, Index, Name};
use crate::{
    CacheTable, Content, DiskSettings, Fetched, Key, Millis, Selector, Settings, Stored, Times, Zone, lock, now,
    testing::{answer, head, policy, viewed},
};

const MIB: u64 = 1 << 20;

fn settings(folder: &tempfile::TempDir, size: u64) -> Settings {
    let disk = DiskSettings { path: folder.path().join("cache"), size };
    Settings { memory: 64 * MIB, disk: Some(disk), redis: false }
}

/// A zone whose tier on disk is open and has looked at all that is there.
async fn zone(settings: &Settings) -> Arc<Zone> {
    let zone = Arc::new(Zone::new());
    zone.arrange(settings, None);
    let disk = zone.disk.load_full().unwrap();
    until(|| disk.is_loaded.load(std::sync::atomic::Ordering::Acquire)).await;
    zone
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let soon = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), soon).await.expect("soon");
}

fn content(path: &str, size: usize) -> Bytes {
    let seed = xxhash_rust::xxh3::xxh3_64(path.as_bytes());
    (0..size).map(|at| (seed.rotate_left((at % 61) as u32) as usize + at * 7) as u8).collect()
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=3600"), ("Cache-Tag", "shop"), ("X-Own", "1")];

fn made(
    path: &str,
    size: usize,
    asked: Millis,
    lines: &[(&'static str, &str)],
    request: &[(&'static str, &str)],
) -> (Key, Arc<Stored>) {
    let policy =
        policy(CacheTable { tags: Some(document::OneOrMany(vec!["Cache-Tag".into()])), ..CacheTable::default() });
    let kept = Content::whole(content(path, size));
    viewed(&head(request), path, None, |view| {
        let times = Times { asked, answered: asked };
        let (stored, may) = Stored::new(Fetched { head: answer(200, lines), request: view, times }, kept, &policy);
        may.unwrap();
        (policy.key(view).unwrap(), Arc::new(stored))
    })
}

/// Keeps an answer, and waits until its file is there.
async fn keep(zone: &Arc<Zone>, path: &str, size: usize, asked: Millis) -> Key {
    let (key, stored) = made(path, size, asked, FRESH, &[]);
    zone.keep(&zone.begin(&key), stored, &HeaderMap::new());
    let disk = zone.disk.load_full().unwrap();
    until(|| disk.index.find(key.hash(), &HeaderMap::new()).is_some_and(|entry| entry.asked == asked)).await;
    key
}

async fn end(zone: Arc<Zone>) {
    tokio::task::spawn_blocking(move || zone.finish(Duration::from_secs(20))).await.unwrap();
}

async fn found(zone: &Zone, key: &Key) -> Option<Arc<Stored>> {
    let disk = zone.disk.load_full().unwrap();
    disk.find(key, &HeaderMap::new()).await.map(|(stored, _)| stored)
}

async fn read(stored: &Stored, from: u64, to: Option<u64>) -> Result<Vec<u8>, filter::Reason> {
    let mut reader = stored.content().part(from, to).unwrap();
    let mut whole = Vec::new();
    while let Some(piece) = reader.next().await? {
        whole.extend_from_slice(&piece);
    }
    assert!(reader.is_done());
    Ok(whole)
}

fn files(folder: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(folder.path().join("cache/v1/objects")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn what_is_written_is_found_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let asked = now();
    let mut keys = Vec::new();
    for (number, size) in [0, 1, 65_536, 65_537, 300_000, 1_500_000].into_iter().enumerate() {
        keys.push((keep(&first, &format!("/{number}"), size, asked).await, format!("/{number}"), size));
    }
    let (before, _) = (made("/0", 0, asked, FRESH, &[]).1, ());
    end(first).await;
    let second = zone(&settings).await;
    for (key, path, size) in &keys {
        let stored = found(&second, key).await.unwrap_or_else(|| panic!("{path} is not there"));
        assert_eq!((stored.freshness(), stored.status()), (before.freshness(), before.status()), "{path}");
        assert_eq!(stored.head().headers, before.head().headers, "{path}");
        assert_eq!(stored.content().file().is_some(), *size as u64 > super::SMALL, "{path}: large content stays there");
        let whole = content(path, *size);
        assert_eq!(read(&stored, 0, None).await.unwrap(), whole, "{path}");
        for (from, to) in [(0, 1), (65_535, 65_537), (1, 1_400_000), (299_999, 300_000)] {
            if to <= whole.len() {
                let part = read(&stored, from as u64, Some(to as u64)).await.unwrap();
                assert_eq!(part, whole[from..to], "{path} {from}..{to}");
            }
        }
        let again = found(&second, key).await.unwrap();
        assert!(again.content().file().is_none(), "{path}: what is asked for again comes into memory");
    }
}

/// Does something to a file of so many bytes.
type Spoil = fn(&fs::File, u64);

#[tokio::test]
async fn nothing_that_is_not_what_was_written_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let size = 700_000;
    let spoil: [(&str, Spoil); 6] = [
        ("a bit of the head", |file, _| flip(file, 60)),
        ("a bit of the length", |file, _| flip(file, 33)),
        ("a bit of the content", |file, length| flip(file, length - 400_000)),
        ("the last byte", |file, length| flip(file, length - 1)),
        ("cut short", |file, length| file.set_len(length - 1).unwrap()),
        ("nothing at all", |file, _| file.set_len(0).unwrap()),
    ];
    for (how, spoil) in spoil {
        let first = zone(&settings).await;
        let key = keep(&first, "/a", size, now()).await;
        let paths = files(&folder);
        assert_eq!(paths.len(), 1, "{how}");
        let file = fs::OpenOptions::new().read(true).write(true).open(&paths[0]).unwrap();
        spoil(&file, file.metadata().unwrap().len());
        // Its content is streamed the first time, and taken into memory the second.
        if let Some(stored) = found(&first, &key).await {
            assert!(read(&stored, 0, None).await.is_err(), "{how}");
        }
        until(|| first.disk.load_full().unwrap().reading().entries == 0).await;
        assert!(found(&first, &key).await.is_none(), "{how}");
        until(|| files(&folder).is_empty()).await;
        assert_eq!(first.disk.load_full().unwrap().reading().broken, 1, "{how}");
        end(first).await;
    }
}

fn flip(file: &fs::File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[tokio::test]
async fn what_a_crash_leaves_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now()).await;
    end(first).await;
    let path = files(&folder).remove(0);
    fs::write(folder.path().join("cache/v1/new/0000"), "half").unwrap();
    fs::write(path.with_file_name("stranger"), "x").unwrap();
    // The same answer under the name of another key.
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    fs::copy(&path, path.with_file_name(format!("{}{}", if name.starts_with('0') { "1" } else { "0" }, &name[1..])))
        .unwrap();
    let second = zone(&settings).await;
    assert!(found(&second, &key).await.is_some());
    assert_eq!(files(&folder), [path]);
    assert!(fs::read_dir(folder.path().join("cache/v1/new")).unwrap().next().is_none());
}

#[tokio::test]
async fn what_was_changed_or_purged_before_a_crash_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let asked = now() - 10;
    let (a, b, c, d) = (
        keep(&first, "/a", 10, asked).await,
        keep(&first, "/b", 10, asked).await,
        keep(&first, "/c", 10, asked).await,
        keep(&first, "/d", 10, asked).await,
    );
    first.change("a.test", "/a", now());
    assert_eq!(first.purge(&Selector::url("/b").unwrap(), false, now()), 1, "once, though it is in two places");
    assert_eq!(first.purge(&Selector::url("/c").unwrap(), true, now()), 1);
    assert!(found(&first, &b).await.is_none() && found(&first, &a).await.is_none());
    end(first).await;
    let second = zone(&settings).await;
    assert!(found(&second, &a).await.is_none(), "it was changed");
    assert!(found(&second, &b).await.is_none(), "it was purged");
    assert!(found(&second, &c).await.unwrap().left(now()) <= 0, "it was made stale");
    assert!(found(&second, &d).await.unwrap().left(now()) > 0);
    end(second).await;

    // A purge of which nothing was carried out before the crash.
    let folder_of = folder.path().join("cache/v1");
    let purge = crate::ledger::Purge { when: now(), soft: false, selector: Selector::Tag("shop".into()) };
    super::journal::save(&folder_of, &[purge]).unwrap();
    let third = zone(&settings).await;
    assert!(found(&third, &d).await.is_none(), "it was about to be purged");
    until(|| files(&folder).is_empty()).await;
    until(|| super::journal::read(&folder_of).is_empty()).await;
}

#[tokio::test]
async fn it_is_bounded_and_what_is_asked_for_stays() {
    let folder = tempfile::tempdir().unwrap();
    let first = zone(&settings(&folder, 16 * MIB)).await;
    let asked = now();
    let hot = keep(&first, "/hot", 100_000, asked).await;
    for number in 0..400 {
        assert!(found(&first, &hot).await.is_some(), "asked for all the time, it is gone after {number}");
        let (key, stored) = made(&format!("/{number}"), 100_000, asked, FRESH, &[]);
        first.keep(&first.begin(&key), stored, &HeaderMap::new());
        let disk = first.disk.load_full().unwrap();
        until(|| disk.waiting.load(std::sync::atomic::Ordering::Relaxed) == 0).await;
    }
    let disk = first.disk.load_full().unwrap();
    until(|| files(&folder).len() as u64 == disk.reading().entries).await;
    let size: u64 = files(&folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(size <= 16 * MIB && size > 12 * MIB, "{size}");
    assert!(disk.reading().evictions >= 200);
    // A smaller size counts at once, and after a restart.
    let mut smaller = settings(&folder, 16 * MIB);
    smaller.disk.as_mut().unwrap().size = 2 * MIB;
    first.arrange(&smaller, None);
    until(|| files(&folder).len() < 21).await;
    smaller.disk.as_mut().unwrap().size = MIB;
    end(first).await;
    let second = zone(&smaller).await;
    until(|| files(&folder).len() < 11).await;
    assert!(second.disk.load_full().unwrap().reading().bytes <= MIB);
}

#[tokio::test]
async fn variants_stand_side_by_side_and_the_latest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let lines = &[("cache-control", "max-age=3600"), ("vary", "accept-language")][..];
    let mut keys = Vec::new();
    for (language, asked) in [("de", 1), ("en", 2), ("de", 3)] {
        let (key, stored) = made("/a", 10, now() + asked, lines, &[("accept-language", language)]);
        first.keep(&first.begin(&key), stored, &HeaderMap::new());
        keys.push(key);
    }
    let disk = first.disk.load_full().unwrap();
    until(|| files(&folder).len() == 2 && disk.waiting.load(std::sync::atomic::Ordering::Relaxed) == 0).await;
    end(first).await;
    let second = zone(&settings).await;
    let disk = second.disk.load_full().unwrap();
    for (language, does) in [("de", true), ("en", true), ("fr", false)] {
        let request = head(&[("accept-language", language)]);
        assert_eq!(disk.find(&keys[0], &request.headers).await.is_some(), does, "{language}");
    }
}

#[tokio::test]
async fn a_folder_is_for_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now()).await;
    let second = Arc::new(Zone::new());
    second.arrange(&settings, None);
    let waits = second.disk.load_full().unwrap();
    assert!(
        waits.find(&key, &HeaderMap::new()).await.is_none()
            && !waits.is_open.load(std::sync::atomic::Ordering::Relaxed)
    );
    end(first).await;
    until(|| waits.is_loaded.load(std::sync::atomic::Ordering::Acquire)).await;
    assert!(waits.find(&key, &HeaderMap::new()).await.is_some());
}

#[tokio::test]
async fn what_cannot_be_written_takes_what_is_older_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let zone = zone(&settings).await;
    let began = now();
    let key = keep(&zone, "/a", 10, began).await;
    let disk = zone.disk.load_full().unwrap();
    fs::remove_dir(folder.path().join("cache/v1/new")).unwrap();
    let (_, later) = made("/a", 10, began + 1, FRESH, &[]);
    zone.keep(&zone.begin(&key), later, &HeaderMap::new());
    until(|| files(&folder).is_empty()).await;
    assert_eq!((disk.reading().entries, disk.reading().dropped), (0, 1));
}

#[tokio::test]
async fn an_answer_that_is_not_kept_leaves_nothing_older_behind_for_such_requests() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let began = now();
    let lines = &[("cache-control", "max-age=3600"), ("vary", "accept-language")][..];
    let in_language = |language: &'static str, asked| made("/a", 10, asked, lines, &[("accept-language", language)]);
    let (key, german) = in_language("de", began);
    first.keep(&first.begin(&key), german, &HeaderMap::new());
    first.keep(&first.begin(&key), in_language("en", began).1, &HeaderMap::new());
    let other = keep(&first, "/b", 10, began).await;
    until(|| files(&folder).len() == 3).await;
    // Another process cannot look at the files yet, and knows something newer of both.
    let second = Arc::new(Zone::new());
    second.arrange(&settings, None);
    let asked = head(&[("accept-language", "de")]);
    for (zone, key, path) in [(&first, &key, "/a"), (&second, &other, "/b")] {
        let (_, newer) = made(path, 10, began + 1, &[("cache-control", "max-age=3600")], &[]);
        zone.let_go_of_older(&zone.begin(key), &newer, &asked.headers);
    }
    assert!(first.find(&key, &asked.headers).is_none());
    assert!(first.find(&key, &head(&[("accept-language", "en")]).headers).is_some(), "it is for other requests");
    until(|| files(&folder).len() == 2).await;
    end(first).await;
    let disk = second.disk.load_full().unwrap();
    until(|| disk.is_loaded.load(std::sync::atomic::Ordering::Acquire)).await;
    until(|| files(&folder).len() == 1).await;
    assert!(found(&second, &other).await.is_none());
    keep(&second, "/b", 10, began + 2).await;
}

#[tokio::test]
async fn what_waits_to_be_written_does_not_come_back_after_it_was_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let zone = zone(&settings).await;
    let disk = zone.disk.load_full().unwrap();
    let began = now();
    let (first, stored) = made("/first", 10, began, FRESH, &[]);
    let credentials = head(&[("authorization", "Bearer x")]);
    {
        // The thread that writes comes to the first one at most.
        let _held = lock(&disk.purges);
        zone.keep(&zone.begin(&first), stored, &HeaderMap::new());
        for (path, request) in [("/a", &head(&[])), ("/b", &credentials)] {
            let (key, older) = made(path, 10, began, FRESH, &[]);
            zone.keep(&zone.begin(&key), older, &HeaderMap::new());
            let (_, newer) = made(path, 10, began, FRESH, &[]);
            zone.let_go_of_older(&zone.begin(&key), &newer, &request.headers);
        }
        let (key, later) = made("/c", 10, began, FRESH, &[]);
        let earlier = made("/c", 10, began - 1, FRESH, &[]).1;
        zone.let_go_of_older(&zone.begin(&key), &earlier, &HeaderMap::new());
        zone.keep(&zone.begin(&key), later, &HeaderMap::new());
    }
    let is_there = |path: &str| {
        let (key, _) = made(path, 10, began, FRESH, &[]);
        disk.index.find(key.hash(), &HeaderMap::new()).is_some()
    };
    until(|| is_there("/c") && files(&folder).len() == 3).await;
    assert!(is_there("/first") && is_there("/b"), "they are for other requests");
    assert!(!is_there("/a"), "it was let go while it waited");
    end(zone).await;
    let second = self::zone(&settings).await;
    let disk = second.disk.load_full().unwrap();
    assert_eq!(disk.reading().entries, 3);
}

#[test]
fn what_is_let_go_while_it_is_added_is_not_there() {
    let chores = Arc::default();
    let index = Index::new(MIB, Arc::clone(&chores));
    let (key, stored) = made("/a", 10, now(), FRESH, &[]);
    let entry = |number| Entry::of(Name { hash: key.hash(), number }, &stored, 10, 10);
    let is_there = || index.find(key.hash(), &HeaderMap::new()).is_some();
    let looks = Cell::new(0);
    index.add(entry(1), |_| looks.replace(looks.get() + 1) > 0);
    assert!(!is_there() && chores.take().len() == 1, "who let go of it did not see it yet");
    index.add(entry(2), |_| false);
    assert!(is_there() && chores.take().is_empty());
}

#[test]
fn of_several_files_for_a_request_the_latest_is_found() {
    let index = Index::new(MIB, Arc::default());
    let (by_language, german) =
        (&[("cache-control", "max-age=3600"), ("vary", "accept-language")][..], &[("accept-language", "de")][..]);
    let asked = now();
    for (number, lines, asked) in [(1, FRESH, asked + 1), (2, by_language, asked)] {
        let (key, stored) = made("/a", 10, asked, lines, german);
        index.add(Entry::of(Name { hash: key.hash(), number }, &stored, 10, 10), |_| false);
        assert_eq!(index.find(key.hash(), &head(german).headers).unwrap().name.number, 1);
    }
}

#[tokio::test]
async fn what_was_overtaken_while_it_waited_is_not_written_first() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let zone = zone(&settings).await;
    let disk = zone.disk.load_full().unwrap();
    // It could not be written, which would be told of.
    fs::remove_dir(folder.path().join("cache/v1/new")).unwrap();
    let (key, stored) = made("/a", 10, now(), FRESH, &[]);
    stored.overtake();
    disk.keep(&zone.begin(&key), &stored);
    until(|| disk.waiting.load(std::sync::atomic::Ordering::Acquire) == 0).await;
    assert_eq!(disk.reading().dropped, 0);
}
