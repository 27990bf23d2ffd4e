//! Content that stays in its file while its head becomes a later one.

use std::os::unix::fs::MetadataExt;

use super::*;

const SIZE: usize = 1_500_000;

/// The same answer, found good again by a 304 of that moment, which has these fields.
fn freshened(path: &str, stored: &Stored, asked: Millis, lines: &[(&'static str, &str)]) -> Arc<Stored> {
    let policy =
        policy(CacheTable { tags: Some(document::OneOrMany(vec!["Cache-Tag".into()])), ..CacheTable::default() });
    viewed(&head(&[]), path, None, |view| {
        let times = Times { asked, answered: asked };
        let fetched = Fetched { head: answer(304, lines), request: view, times };
        let (stored, may) = stored.freshened(fetched, &policy).unwrap();
        may.unwrap();
        Arc::new(stored)
    })
}

/// What is in the file is found good again, and kept.
async fn renew(zone: &Arc<Zone>, path: &str, key: &Key, asked: Millis, lines: &[(&'static str, &str)]) {
    let found = found(zone, key).await.unwrap();
    assert!(found.content().file().is_some());
    zone.keep(&zone.begin(key), freshened(path, &found, asked, lines), &HeaderMap::new());
}

/// A file, and one that stands beside it.
fn parted(folder: &tempfile::TempDir) -> (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>) {
    files(folder).into_iter().partition(|path| path.extension().is_none())
}

/// A zone whose memory does not take the content, with an answer that was asked for a while ago.
async fn kept(settings: &Settings, asked: Millis) -> (Arc<Zone>, Key) {
    let first = zone(&Settings { memory: 64 * MIB, ..settings.clone() }).await;
    let key = keep(&first, "/a", SIZE, asked).await;
    end(first).await;
    (zone(settings).await, key)
}

#[tokio::test]
async fn what_is_found_good_again_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now();
    let (first, key) = kept(&settings, began - 1000).await;
    let inode = fs::metadata(&files(&folder)[0]).unwrap().ino();
    let go_on = meanwhile::busy(&first);
    for (asked, value) in [(began, "2"), (began + 1, "3")] {
        renew(&first, "/a", &key, asked, &[("x-own", value)]).await;
        let again = found(&first, &key).await.unwrap();
        assert_eq!(again.freshness().asked(), asked, "it is found with its later head at once");
        assert_eq!(again.head().headers["x-own"], value);
        assert_eq!(read(&again, 0, None).await.unwrap(), content("/a", SIZE));
    }
    go_on.send(()).unwrap();
    until(|| files(&folder).len() == 2).await;
    let (own, beside) = parted(&folder);
    assert_eq!((own.len(), beside.len()), (1, 1));
    assert_eq!(fs::metadata(&own[0]).unwrap().ino(), inode);
    // It has a later one still, written over the one that is there.
    renew(&first, "/a", &key, began + 2, &[("x-own", "4")]).await;
    end(first).await;
    assert_eq!(fs::metadata(&parted(&folder).0[0]).unwrap().ino(), inode);
    let second = zone(&settings).await;
    let again = found(&second, &key).await.unwrap();
    assert_eq!((again.freshness().asked(), &again.head().headers["x-own"]), (began + 2, &"4".parse().unwrap()));
    assert_eq!(read(&again, 0, None).await.unwrap(), content("/a", SIZE));
    assert_eq!(second.disk.load_full().unwrap().reading().dropped, 0);
    // Made stale by order, it is so after a start; and let go of, nothing of it is left.
    second.purge(&Selector::url("/a").unwrap(), true, now().max(began + 3));
    end(second).await;
    let third = zone(&settings).await;
    assert!(found(&third, &key).await.unwrap().left(now()) <= 0);
    third.purge(&Selector::url("/a").unwrap(), false, now().max(began + 3));
    until(|| files(&folder).is_empty()).await;
}

#[tokio::test]
async fn what_is_let_go_while_its_head_waits_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now();
    let (zone, key) = kept(&settings, began - 1000).await;
    let found = found(&zone, &key).await.unwrap();
    let go_on = meanwhile::busy(&zone);
    renew(&zone, "/a", &key, began, &[]).await;
    let newer = made("/a", 10, began + 1, FRESH, &[]).1;
    zone.let_go_of_older(&zone.begin(&key), &newer, &HeaderMap::new());
    // Nor does what is found good again only after that.
    zone.keep(&zone.begin(&key), freshened("/a", &found, began + 2, &[]), &HeaderMap::new());
    assert!(self::found(&zone, &key).await.is_none());
    go_on.send(()).unwrap();
    until(|| files(&folder).is_empty()).await;
    end(zone).await;
    assert!(files(&folder).is_empty());
}

#[tokio::test]
async fn a_head_that_is_not_what_was_written_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now();
    for at_start in [false, true] {
        let (zone, key) = kept(&settings, began - 1000).await;
        renew(&zone, "/a", &key, began, &[]).await;
        until(|| files(&folder).len() == 2).await;
        let beside = parted(&folder).1.remove(0);
        let zone = if at_start {
            end(zone).await;
            None
        } else {
            Some(zone)
        };
        let file = fs::OpenOptions::new().read(true).write(true).open(&beside).unwrap();
        flip(&file, file.metadata().unwrap().len() - 1);
        let zone = match zone {
            Some(zone) => zone,
            None => self::zone(&settings).await,
        };
        assert!(found(&zone, &key).await.is_none(), "nor is the older one");
        until(|| files(&folder).is_empty()).await;
        end(zone).await;
    }
}

#[tokio::test]
async fn a_head_alone_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now();
    let (first, key) = kept(&settings, began - 1000).await;
    renew(&first, "/a", &key, began, &[]).await;
    end(first).await;
    fs::remove_file(&parted(&folder).0[0]).unwrap();
    let second = zone(&settings).await;
    assert!(found(&second, &key).await.is_none());
    until(|| files(&folder).is_empty()).await;
}

#[tokio::test]
async fn a_head_that_cannot_be_written_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let (new, began) = (folder.path().join("cache/v1/new"), now());
    for is_mended in [true, false] {
        let (first, key) = kept(&settings, began - 1000).await;
        let disk = first.disk.load_full().unwrap();
        fs::remove_dir(&new).unwrap();
        renew(&first, "/a", &key, began, &[]).await;
        until(|| disk.reading().dropped == 1).await;
        assert_eq!(found(&first, &key).await.unwrap().freshness().asked(), began, "it is known meanwhile");
        if is_mended {
            fs::create_dir(&new).unwrap();
            until(|| files(&folder).len() == 2).await;
        }
        end(first).await;
        // What never could be has taken what is older with it.
        assert_eq!(files(&folder).len(), if is_mended { 2 } else { 0 });
        assert_eq!(disk.reading().dropped, 1);
        files(&folder).iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}

/// What a disk refuses it most likely refuses a moment later as well.
#[tokio::test]
async fn a_head_that_cannot_be_written_is_not_tried_with_every_job() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now();
    let (first, key) = kept(&settings, began - 1000).await;
    let disk = first.disk.load_full().unwrap();
    let place = files(&folder).remove(0).with_extension("head");
    // Nothing is put in the place of a folder.
    fs::create_dir(&place).unwrap();
    renew(&first, "/a", &key, began, &[]).await;
    until(|| disk.reading().dropped == 1).await;
    // Each try is one under another name, as each file that is written has one.
    let (names, since) = (|| disk.number.load(std::sync::atomic::Ordering::Relaxed), std::time::Instant::now());
    let before = names();
    for number in 0..50 {
        keep(&first, &format!("/{number}"), 10, now()).await;
    }
    let tries = names() - before - 50;
    assert!(tries <= since.elapsed().as_secs() + 1, "{tries} tries");
    fs::remove_dir(&place).unwrap();
    until(|| place.is_file()).await;
    end(first).await;
    let second = zone(&settings).await;
    assert_eq!(found(&second, &key).await.unwrap().freshness().asked(), began);
}

#[tokio::test]
async fn what_is_made_stale_before_it_is_found_good_again_is_fresh_then() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 64 * MIB) };
    let began = now() - 1000;
    let (first, key) = kept(&settings, began - 1000).await;
    let disk = first.disk.load_full().unwrap();
    let go_on = meanwhile::busy(&first);
    renew(&first, "/a", &key, began, &[]).await;
    // As a purge does that comes now; it would wait for the thread that writes.
    let ordered = disk.index.outdate(began + 1, |entry| entry.asked <= began + 1);
    assert_eq!(ordered.len(), 1);
    renew(&first, "/a", &key, began + 2, &[]).await;
    assert!(found(&first, &key).await.unwrap().left(now()) > 0);
    go_on.send(()).unwrap();
    end(first).await;
    let second = zone(&settings).await;
    let again = found(&second, &key).await.unwrap();
    assert_eq!((again.freshness().asked(), again.outdated()), (began + 2, 0));
    assert!(again.left(now()) > 0);
}

#[tokio::test]
async fn heads_that_are_written_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 4 * MIB, ..settings(&folder, 4 * MIB) };
    let (first, began) = (zone(&settings).await, now() - 1000);
    let disk = first.disk.load_full().unwrap();
    let size = super::super::SMALL as usize + 1;
    let mut keys = Vec::new();
    for number in 0..10 {
        keys.push((format!("/{number}"), keep(&first, &format!("/{number}"), size, began).await));
    }
    assert_eq!(disk.reading().evictions, 0);
    // What waits to be written takes 64 times as much of what all may take, since it is in memory.
    let long = "x".repeat(8 * 1024);
    for (count, (path, key)) in keys.iter().enumerate() {
        renew(&first, path, key, began + 1, &[("x-own", &long)]).await;
        until(|| parted(&folder).1.len() == count + 1).await;
    }
    assert_eq!((disk.reading().entries, disk.reading().evictions), (10, 0));
}

#[tokio::test]
async fn what_memory_holds_is_not_written_again_while_it_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 64 * MIB);
    let (size, began) = (100_000, now() - 1000);
    let again = |zone: &Arc<Zone>, key: &Key, path: &str, asked, value| {
        let kept = zone.find(key, &HeaderMap::new()).unwrap();
        assert!(kept.content().is_in_memory());
        zone.keep(&zone.begin(key), freshened(path, &kept, asked, &[("x-own", value)]), &HeaderMap::new());
    };
    let first = zone(&settings).await;
    let key = keep(&first, "/a", size, began).await;
    let inode = || fs::metadata(&parted(&folder).0[0]).unwrap().ino();
    let before = inode();
    again(&first, &key, "/a", began + 1, "2");
    until(|| parted(&folder).1.len() == 1).await;
    assert_eq!((parted(&folder).0.len(), inode()), (1, before));
    end(first).await;
    // It came from there into memory.
    let second = zone(&settings).await;
    let disk = second.disk.load_full().unwrap();
    let found = meanwhile::sought(&second, "/a", &key).await.unwrap();
    assert_eq!((found.freshness().asked(), &found.head().headers["x-own"]), (began + 1, &"2".parse().unwrap()));
    let is_written = |asked| {
        let entry = disk.index.find(key.hash(), &HeaderMap::new());
        entry.is_some_and(|entry| {
            entry.asked == asked && entry.beside.as_ref().is_none_or(|head| head.waiting().is_none())
        })
    };
    again(&second, &key, "/a", began + 2, "3");
    until(|| is_written(began + 2)).await;
    assert_eq!((files(&folder).len(), inode()), (2, before));
    // Where the file is gone it is written whole.
    disk.index.remove(Some(key.hash()), |_| true);
    again(&second, &key, "/a", began + 3, "4");
    until(|| is_written(began + 3) && files(&folder).len() == 1).await;
    // What is small is one file.
    let small = keep(&second, "/b", 10, began).await;
    again(&second, &small, "/b", began + 1, "2");
    until(|| disk.index.find(small.hash(), &HeaderMap::new()).is_some_and(|entry| entry.asked == began + 1)).await;
    until(|| parted(&folder).0.len() == 2).await;
    assert_eq!(files(&folder).len(), 2);
    end(second).await;
    let third = zone(&settings).await;
    let found = self::found(&third, &key).await.unwrap();
    assert_eq!((found.freshness().asked(), &found.head().headers["x-own"]), (began + 3, &"4".parse().unwrap()));
    assert_eq!(read(&found, 0, None).await.unwrap(), content("/a", size));
}
