//! What goes to disk as it comes.

use tokio::time::Instant;

use super::{super::GROWERS, *};

#[tokio::test]
async fn what_grows_on_disk_is_read_while_it_comes_and_found_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 2 * MIB, ..settings(&folder, 64 * MIB) };
    let zone = zone(&settings).await;
    let size = 1_000_001;
    let bytes = content("/a", size);
    let policy = policy(CacheTable::default());
    let growing = Content::growing(Some(size as u64), 8 * MIB, crate::room::Place::default());
    let (key, stored) = viewed(&head(&[]), "/a", None, |view| {
        let times = Times { asked: now(), answered: now() };
        let fetched = Fetched { head: answer(200, FRESH), request: view, times };
        (policy.key(view).unwrap(), Arc::new(Stored::new(fetched, growing.clone(), &policy).0))
    });
    assert!(zone.has_room(&stored));
    zone.prepare(&key, &stored).await;
    let (mut follows, behind) = (growing.reader().unwrap(), growing.reader().unwrap());
    for piece in bytes.chunks(70_001) {
        growing.push(Bytes::copy_from_slice(piece)).await;
        let mut came = Vec::new();
        while came.len() < piece.len() {
            came.extend_from_slice(&follows.next().await.unwrap().unwrap());
        }
        assert_eq!(came, piece);
        assert_eq!(growing.size(), 0, "none of it is held");
    }
    growing.finish(Ok(()));
    zone.keep_fetched(&zone.begin(&key), stored.clone(), &HeaderMap::new()).await;
    assert_eq!(fs::read_dir(folder.path().join("cache/v1/new")).unwrap().count(), 0);
    // Who is behind, or comes by a part, is served by the file that it became.
    drop(behind);
    assert_eq!(read(&stored, 0, None).await.unwrap(), bytes);
    assert_eq!(read(&stored, 65_535, Some(65_537)).await.unwrap(), bytes[65_535..65_537]);
    for _ in 0..2 {
        let kept = found(&zone, &key).await.unwrap();
        assert!(kept.content().file().is_some(), "memory is not to hold it");
        assert_eq!(read(&kept, 0, None).await.unwrap(), bytes);
    }
    end(zone).await;
    let second = self::zone(&settings).await;
    assert_eq!(read(&found(&second, &key).await.unwrap(), 0, None).await.unwrap(), bytes, "its sums are right");
}

#[tokio::test]
async fn no_more_grows_than_there_is_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 2 * MIB, ..settings(&folder, 64 * MIB) };
    let zone = zone(&settings).await;
    let policy = policy(CacheTable::default());
    let begin = async |path: &str| {
        let growing = Content::growing(Some(6 * MIB), 8 * MIB, crate::room::Place::default());
        let (key, stored) = viewed(&head(&[]), path, None, |view| {
            let times = Times { asked: now(), answered: now() };
            let fetched = Fetched { head: answer(200, FRESH), request: view, times };
            (policy.key(view).unwrap(), Arc::new(Stored::new(fetched, growing.clone(), &policy).0))
        });
        zone.prepare(&key, &stored).await;
        stored
    };
    let grows = |stored: &Arc<Stored>| stored.content().grows_in().is_some();
    // A quarter of 64 MiB is 16.
    let (one, other, third) = (begin("/1").await, begin("/2").await, begin("/3").await);
    assert!(grows(&one) && grows(&other) && !grows(&third));
    drop(one);
    assert!(grows(&begin("/4").await), "what is given up makes room");
    assert_eq!(zone.disk.load_full().unwrap().reading().dropped, 1);
}

/// An answer that memory is not to hold, of which nothing has come.
fn coming(path: &str) -> (Key, Arc<Stored>) {
    let policy = policy(CacheTable::default());
    let growing = Content::growing(Some(6 * MIB), 8 * MIB, crate::room::Place::default());
    viewed(&head(&[]), path, None, |view| {
        let times = Times { asked: now(), answered: now() };
        let fetched = Fetched { head: answer(200, FRESH), request: view, times };
        (policy.key(view).unwrap(), Arc::new(Stored::new(fetched, growing, &policy).0))
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_on_without_a_disk_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 2 * MIB, ..settings(&folder, 64 * MIB) };
    let zone = zone(&settings).await;
    let disk = zone.disk.load_full().unwrap();
    let hang = || disk.growers.clone().try_acquire_many_owned(GROWERS as u32).unwrap();
    let patience = Duration::from_secs(11);
    let hangs = hang();
    let (key, stored) = coming("/a");
    let began = Instant::now();
    zone.prepare(&key, &stored).await;
    assert!(stored.content().grows_in().is_none() && began.elapsed() < patience, "{:?}", began.elapsed());
    drop(hangs);
    // Nothing of what it would have taken is gone.
    assert_eq!(disk.growing.load(std::sync::atomic::Ordering::Relaxed), 0);
    // The same in the middle of one.
    let (key, stored) = coming("/b");
    zone.prepare(&key, &stored).await;
    let (growing, pieces) = (stored.content(), [content("/1", 3 << 20), content("/2", 3 << 20)]);
    let mut reader = growing.reader().unwrap();
    growing.push(pieces[0].clone()).await;
    let mut came = Vec::new();
    while came.len() < pieces[0].len() {
        came.extend_from_slice(&reader.next().await.unwrap().unwrap());
    }
    let hangs = hang();
    let began = Instant::now();
    let reads = async {
        while let Some(piece) = reader.next().await.unwrap() {
            came.extend_from_slice(&piece);
        }
    };
    let pushes = async {
        growing.push(pieces[1].clone()).await;
        growing.finish(Ok(()));
        zone.keep_fetched(&zone.begin(&key), stored.clone(), &HeaderMap::new()).await;
    };
    tokio::join!(reads, pushes);
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());
    assert!(came == pieces.concat(), "{} bytes", came.len());
    drop(hangs);
    assert!(found(&zone, &key).await.is_none());
    drop((stored, reader));
    until(|| fs::read_dir(folder.path().join("cache/v1/new")).unwrap().count() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_adopted_in_time_takes_what_is_older_away() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { memory: 2 * MIB, ..settings(&folder, 64 * MIB) };
    let zone = zone(&settings).await;
    let disk = zone.disk.load_full().unwrap();
    let before = keep(&zone, "/a", 10, now() - 10).await;
    let (key, stored) = coming("/a");
    assert!(key == before);
    zone.prepare(&key, &stored).await;
    stored.content().push(content("/a", 6 << 20)).await;
    stored.content().finish(Ok(()));
    let hangs = disk.growers.clone().try_acquire_many_owned(GROWERS as u32).unwrap();
    let began = Instant::now();
    zone.keep_fetched(&zone.begin(&key), stored, &HeaderMap::new()).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(hangs);
    assert!(found(&zone, &key).await.is_none());
}
