//! What is purged, held by clients or handed over while files are looked for.

use std::sync::mpsc::{Sender, channel};

use filter::{Captures, Client, View};

use super::*;

/// What a request finds that finds nothing in memory.
pub(super) async fn sought(zone: &Zone, path: &str, key: &Key) -> Option<Arc<Stored>> {
    let (head, client, captures) = (head(&[]), Client::local("public".into()), Captures::new());
    let view = View {
        generation: 1,
        head: &head,
        client: &client,
        identity: None,
        host: "a.test",
        path,
        query: None,
        captures: &captures,
    };
    zone.seek(key, &view, 0).await.map(|(stored, _)| stored)
}

/// The thread that writes removes files, and holds up purges meanwhile, until it is told to go on.
pub(super) fn busy(zone: &Zone) -> Sender<()> {
    let disk = zone.disk.load_full().unwrap();
    let ((holds, held), (go_on, told)) = (channel(), channel());
    std::thread::spawn(move || {
        let _held = lock(&disk.purges);
        holds.send(()).unwrap();
        let _ = told.recv();
    });
    held.recv().unwrap();
    go_on
}

#[tokio::test]
async fn what_is_being_purged_does_not_come_back_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(&settings(&folder, 64 * MIB)).await;
    let key = keep(&zone, "/a", 10, now() - 10).await;
    let (go_on, when) = (busy(&zone), now());
    let own = zone.clone();
    let purging = std::thread::spawn(move || own.purge(&Selector::url("/a").unwrap(), false, when));
    until(|| !zone.has(&key) && now() > when).await;
    let is_there = sought(&zone, "/a", &key).await.is_some();
    assert!(!is_there && !zone.has(&key), "who comes now is to ask the origin");
    go_on.send(()).unwrap();
    assert_eq!(purging.join().unwrap(), 1);
    assert!(sought(&zone, "/a", &key).await.is_none() && !zone.has(&key));
}

#[tokio::test]
async fn what_comes_from_disk_takes_no_more_memory_than_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let size = 1_500_000;
    let first = zone(&settings(&folder, 64 * MIB)).await;
    let mut keys = Vec::new();
    for number in 0..20 {
        keys.push((keep(&first, &format!("/{number}"), size, now()).await, format!("/{number}")));
    }
    end(first).await;
    let memory = 8 * MIB;
    let second = zone(&Settings { memory, ..settings(&folder, 64 * MIB) }).await;
    let mut read_slowly = Vec::new();
    for (key, path) in &keys {
        let whole = content(path, size);
        for _ in 0..2 {
            let found = sought(&second, path, key).await.unwrap();
            assert_eq!(read(&found, 0, None).await.unwrap(), whole, "{path}");
            read_slowly.push(found);
        }
    }
    let held = |found: &Arc<Stored>| found.content().bytes().map_or(0, |bytes| bytes.len() as u64);
    let in_memory: u64 = read_slowly.iter().map(held).sum();
    assert!(in_memory > memory / 2 && in_memory <= memory / 4 * 5, "{in_memory} bytes are held");
    read_slowly.clear();
    // Once they are gone there is room again.
    let (key, path) = &keys[0];
    assert!(sought(&second, path, key).await.unwrap().content().file().is_none());
}

#[tokio::test]
async fn a_folder_that_is_given_back_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now() - 10).await;
    let disk = first.disk.load_full().unwrap();
    first.close();
    tokio::task::spawn_blocking(move || disk.wait(Duration::from_secs(20))).await.unwrap();
    let second = zone(&settings).await;
    let folder_of = folder.path().join("cache/v1");
    until(|| super::super::journal::read(&folder_of).is_empty()).await;
    first.purge(&Selector::url("/b").unwrap(), false, now());
    assert!(super::super::journal::read(&folder_of).is_empty(), "it is the other process's");
    assert!(found(&second, &key).await.is_some());
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_takes_it_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(&settings(&folder, 64 * MIB)).await;
    let disk = zone.disk.load_full().unwrap();
    for (path, size) in [("/small", 100_000), ("/large", 1_500_000)] {
        let key = keep(&zone, path, size, now()).await;
        assert!(found(&zone, &key).await.is_some());
        let asking = (0..8).map(|_| {
            let (disk, key) = (disk.clone(), key.clone());
            tokio::spawn(async move { disk.find(&key, &HeaderMap::new()).await.unwrap() })
        });
        let mut given = Vec::new();
        for asking in asking.collect::<Vec<_>>() {
            given.push(asking.await.unwrap());
        }
        let in_memory = given.iter().filter(|(stored, _)| stored.content().file().is_none()).count();
        assert_eq!(in_memory, 1, "{path}");
        for (stored, _) in &given {
            assert_eq!(read(stored, 0, None).await.unwrap(), content(path, size), "{path}");
        }
        drop(given);
        assert!(found(&zone, &key).await.unwrap().content().file().is_none(), "{path}: it may come again");
    }
}

/// A file that cannot be opened, and is not to blame for it.
#[tokio::test]
async fn what_cannot_be_opened_is_not_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let first = zone(&settings).await;
    let key = keep(&first, "/a", 10, now() - 10).await;
    let path = files(&folder).remove(0);
    let (away, disk) = (folder.path().join("away"), first.disk.load_full().unwrap());
    fs::rename(&path, &away).unwrap();
    // It leads to itself.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(found(&first, &key).await.is_none());
    assert_eq!((disk.reading().entries, disk.reading().broken), (1, 0));
    end(first).await;
    // Nor at a start; and what is purged by then does not come back when it can be opened again.
    let second = Arc::new(Zone::new());
    second.arrange(&settings, None);
    let disk = second.disk.load_full().unwrap();
    let complained = || disk.failed.load(std::sync::atomic::Ordering::Relaxed) > 0;
    until(complained).await;
    second.purge(&Selector::url("/a").unwrap(), false, now());
    let other = keep(&second, "/b", 10, now()).await;
    assert!(!disk.is_loaded.load(std::sync::atomic::Ordering::Acquire));
    assert!(!super::super::journal::read(&folder.path().join("cache/v1")).is_empty());
    end(second).await;
    assert!(path.symlink_metadata().unwrap().is_symlink());
    let third = Arc::new(Zone::new());
    third.arrange(&settings, None);
    let disk = third.disk.load_full().unwrap();
    until(|| disk.failed.load(std::sync::atomic::Ordering::Relaxed) > 0).await;
    fs::rename(&away, &path).unwrap();
    until(|| disk.is_loaded.load(std::sync::atomic::Ordering::Acquire)).await;
    assert!(found(&third, &key).await.is_none() && found(&third, &other).await.is_some());
    until(|| files(&folder).len() == 1).await;
}

#[tokio::test]
async fn what_is_known_of_files_may_change_while_all_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(&settings(&folder, 64 * MIB)).await;
    let key = keep(&zone, "/a", 10, now()).await;
    let disk = zone.disk.load_full().unwrap();
    let looked = std::cell::Cell::new(0);
    let looks = |entry: &Entry| {
        let (own, hash, (done, told)) = (disk.clone(), entry.name.hash, channel());
        std::thread::spawn(move || {
            own.index.weigh_anew(hash);
            done.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(20)).expect("who changes it does not wait for who looks");
        looked.set(looked.get() + 1);
        false
    };
    assert!(disk.index.remove(None, looks).is_empty() && disk.index.outdate(now(), looks).is_empty());
    assert_eq!(looked.get(), 2);
    assert!(found(&zone, &key).await.is_some());
}
