//! The cache on disk: what outlives the process, however it ends.

use bytes::Bytes;
use testkit::{Answer, Connection, Framing, Gate, Origin, Proxy, Request, Seen, Starter, within};

use crate::{
    caching::{counting, numbered, status},
    setting::{BOTH, route},
    upgrade::succeed,
};

/// A configuration that keeps answers in this folder.
fn configuration(origin: &Origin, folder: &tempfile::TempDir, size: &str) -> String {
    let path = folder.path().join("cache");
    format!(
        "{BOTH}[cache]\nmemory = \"32MiB\"\ndisk = {{ path = \"{}\", size = \"{size}\" }}\n{}",
        path.display(),
        // Not by host: the port is another one after each start.
        route(origin, "cache = { key = [\"path\", \"query\"] }")
    )
}

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=3600").header("ETag", "\"v\"")
}

/// Content that its path alone decides, with its sum behind it.
fn content(path: &str) -> Vec<u8> {
    let seed = path.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let size = 1000 + (seed % 400_000) as usize;
    (0..size).map(|at| (seed.rotate_left((at % 63) as u32) as usize ^ at) as u8).collect()
}

async fn on_disk(proxy: &Proxy, entries: f64) {
    proxy.until_metric("cache_entries", &[("tier", "disk")], entries).await;
}

#[tokio::test]
async fn what_is_kept_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(counting(|seen, n| match seen.target.as_str() {
        "/large" => keeps(Answer::text(content("/large 42"))),
        _ => keeps(numbered(n)),
    }))
    .await;
    let configuration = configuration(&origin, &folder, "64MiB");
    let proxy = Proxy::start(&configuration).await;
    let first = proxy.get("/a").await.expect(200);
    let large = proxy.get("/large").await.expect(200);
    let starter = proxy.stop().await;
    let asked = origin.requests().len();
    let proxy = starter.start().await;
    on_disk(&proxy, 2.0).await;
    // A HEAD, a part and a condition are answered from disk as well; over HTTP/2 too.
    let h2 = proxy.h2c().await;
    let head = h2.fetch(Request::new("HEAD", "/large")).await.expect(200);
    assert_eq!(head.headers.all("content-length"), [large.body.start.len().to_string()]);
    let part = h2.fetch(Request::get("/large").header("Range", "bytes=100-70099")).await.expect(206);
    assert_eq!(part.body.start, large.body.start[100..70_100]);
    let part = proxy.fetch(Request::get("/large").header("Range", "bytes=-5")).await.expect(206);
    assert_eq!(part.body.start, large.body.start[large.body.start.len() - 5..]);
    proxy.fetch(Request::get("/large").header("If-None-Match", "\"v\"")).await.expect(304);
    let again = proxy.get("/a").await.expect(200);
    assert_eq!(again.body.start, first.body.start);
    assert!(status(&again).starts_with("maitred; hit; ttl=") && status(&again).ends_with("; detail=disk"), "{again:?}");
    assert!(!status(&proxy.get("/a").await).contains("disk"), "from then on it is in memory");
    for _ in 0..3 {
        assert_eq!(proxy.get("/large").await.expect(200).body.start, large.body.start);
    }
    assert_eq!(origin.requests().len(), asked, "the origin is not asked again");
    assert_eq!(again.header("etag"), first.header("etag"));
    // What was changed before the process ends is not given after it.
    proxy.fetch(Request::new("POST", "/a")).await.expect(200);
    let proxy = proxy.stop().await.start().await;
    on_disk(&proxy, 1.0).await;
    assert!(!status(&proxy.get("/a").await).contains("hit"));
}

#[tokio::test]
async fn a_reload_moves_and_resizes_it() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let origin = Origin::start(|seen: &Seen| keeps(Answer::text(content(&seen.target)))).await;
    let proxy = Proxy::start(configuration(&origin, &here, "64MiB")).await;
    for number in 0..100 {
        proxy.get(&format!("/{number}")).await.expect(200);
        on_disk(&proxy, f64::from(number + 1)).await;
    }
    proxy.hang_up(configuration(&origin, &here, "16MiB")).await;
    let full = proxy.metric("cache_bytes", &[("tier", "disk")]).await;
    assert!(full <= 16.0 * 1024.0 * 1024.0, "{full}");
    proxy.hang_up(configuration(&origin, &there, "64MiB")).await;
    proxy.get("/new").await.expect(200);
    on_disk(&proxy, 1.0).await;
    // What lies in the first folder is found again when it comes back.
    proxy.hang_up(configuration(&origin, &here, "64MiB")).await;
    let kept = async { while proxy.metric("cache_entries", &[("tier", "disk")]).await < 20.0 {} };
    within("the first folder to be looked at", kept).await;
    proxy.hang_up(format!("{BOTH}{}", route(&origin, "cache = true"))).await;
    assert!(!proxy.admin("/api/v1/cache").await.text().contains("disk"));
    let status = proxy.command(["status"]).await.expect(0).stdout;
    assert!(status.contains("cache      0.0 % hits"), "{status}");
}

#[tokio::test]
async fn purges_count_on_disk_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let configuration = configuration(&origin, &folder, "64MiB");
    let proxy = Proxy::start(&configuration).await;
    for path in ["/a", "/b"] {
        proxy.get(path).await.expect(200);
    }
    on_disk(&proxy, 2.0).await;
    let proxy = proxy.stop().await.start().await;
    on_disk(&proxy, 2.0).await;
    let purged = proxy.command(["purge", "/a"]).await.expect(0);
    assert_eq!(purged.stdout, "1 answer purged\n", "though it is only on disk");
    // However the process ends after that.
    proxy.signal("KILL").await;
    proxy.wait().await;
    let proxy = Proxy::start(&configuration).await;
    on_disk(&proxy, 1.0).await;
    assert_eq!(proxy.get("/a").await.expect(200).text(), "answer 2");
    assert_eq!(proxy.get("/b").await.expect(200).text(), "answer 1");
}

/// A proxy that has `/a` on disk in this folder, and has ended.
async fn stopped_with_one() -> (tempfile::TempDir, Origin, Starter) {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let proxy = Proxy::start(configuration(&origin, &folder, "64MiB")).await;
    assert_eq!(proxy.get("/a").await.expect(200).text(), "answer 0");
    on_disk(&proxy, 1.0).await;
    let starter = proxy.stop().await;
    (folder, origin, starter)
}

/// A stranger among the folders of the cache, such as file managers leave behind.
#[tokio::test]
async fn purges_are_done_with_whatever_else_lies_in_the_folder() {
    let (folder, _origin, starter) = stopped_with_one().await;
    let own = folder.path().join("cache/v1");
    std::fs::write(own.join("objects/.DS_Store"), "no folder").unwrap();
    let proxy = starter.start().await;
    on_disk(&proxy, 1.0).await;
    proxy.command(["purge", "/a"]).await.expect(0);
    // It is for what was not looked at yet. What has no purges in it is the sum of nothing.
    let is_done = || std::fs::metadata(own.join("purged")).unwrap().len() == 8;
    within("the purge to be done with", async {
        while !is_done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The one file with an answer.
fn file_of(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let shelves = std::fs::read_dir(folder.path().join("cache/v1/objects")).unwrap();
    let mut files = shelves.flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap());
    files.next().unwrap().unwrap().path()
}

/// What leads to itself can be read by nobody, whoever they are.
fn unreadable(path: &std::path::Path) {
    std::os::unix::fs::symlink(path, path).unwrap();
}

#[tokio::test]
async fn what_is_made_stale_before_it_is_looked_at_is_stale_after_every_start() {
    let (folder, origin, starter) = stopped_with_one().await;
    let (file, away) = (file_of(&folder), folder.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    unreadable(&file);
    let proxy = starter.start().await;
    proxy.printed(" and 1 that cannot be read").await;
    proxy.command(["purge", "--soft", "/a"]).await.expect(0);
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&away, &file).unwrap();
    on_disk(&proxy, 1.0).await;
    let journal = folder.path().join("cache/v1/purged");
    within("the purge to be done with", async {
        while std::fs::metadata(&journal).unwrap().len() != 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let proxy = proxy.stop().await.start().await;
    on_disk(&proxy, 1.0).await;
    let answer = proxy.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), origin.requests().len()), ("answer 1", 2), "{}", status(&answer));
    assert!(status(&answer).contains("fwd=stale"), "{}", status(&answer));
}

#[tokio::test]
async fn the_head_beside_a_file_that_cannot_be_read_stays_with_it() {
    let (folder, _origin, starter) = stopped_with_one().await;
    let file = file_of(&folder);
    let head = file.with_extension("head");
    std::fs::remove_file(&file).unwrap();
    unreadable(&file);
    std::fs::write(&head, "a later head").unwrap();
    let proxy = starter.start().await;
    proxy.printed(" and 1 that cannot be read").await;
    assert!(head.exists());
    // Alone it is of no use.
    std::fs::remove_file(&file).unwrap();
    within("the head to be taken away", async {
        while head.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// An origin that keeps a POST waiting, and a proxy that has two answers on disk and sends it such a one for the first.
async fn changing(folder: &tempfile::TempDir, gate: &Gate) -> (Origin, Proxy, String, Connection) {
    let held = gate.clone();
    let answer = move |seen: &Seen, n| match seen.method.as_str() {
        "POST" => Answer::text("changed").after(&held),
        _ => keeps(numbered(n)),
    };
    let origin = Origin::start(counting(answer)).await;
    let configuration = configuration(&origin, folder, "64MiB");
    let proxy = Proxy::start(&configuration).await;
    for (path, text) in [("/a", "answer 0"), ("/b", "answer 1")] {
        assert_eq!(proxy.get(path).await.expect(200).text(), text);
    }
    on_disk(&proxy, 2.0).await;
    let mut client = Connection::to(proxy.address()).await;
    client.start(&Request::new("POST", "/a")).await;
    gate.reached().await;
    (origin, proxy, configuration, client)
}

#[tokio::test]
async fn what_is_changed_while_the_process_drains_is_not_given_after_it() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
    let (_origin, proxy, configuration, mut client) = changing(&folder, &gate).await;
    proxy.signal("TERM").await;
    proxy.printed("draining 1 connections").await;
    gate.open();
    client.answer("POST").await.expect(200);
    proxy.wait().await;
    let proxy = Proxy::start(&configuration).await;
    on_disk(&proxy, 1.0).await;
    assert_eq!(proxy.get("/a").await.expect(200).text(), "answer 3");
    assert_eq!(proxy.get("/b").await.expect(200).text(), "answer 1");
}

#[tokio::test]
async fn what_the_process_of_before_changes_the_new_one_does_not_give() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
    let (_origin, mut proxy, _, mut client) = changing(&folder, &gate).await;
    succeed(&mut proxy).await;
    // The new process has it in memory, however it came there, and the folder as well.
    on_disk(&proxy, 1.0).await;
    let kept = async {
        loop {
            let answer = proxy.get("/a").await.expect(200);
            if status(&answer).contains("hit") && !status(&answer).contains("disk") {
                return answer.text();
            }
        }
    };
    let before = within("the new process to have it in memory", kept).await;
    gate.open();
    client.answer("POST").await.expect(200);
    within("the change to be heard of", async { while proxy.get("/a").await.expect(200).text() == before {} }).await;
}

#[tokio::test]
async fn what_is_older_than_what_is_known_does_not_come_back_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(|seen: &Seen| match (seen.header("x-new"), seen.target.as_str()) {
        (None, _) => keeps(Answer::text("old")),
        (Some(_), "/outgrown") => keeps(Answer::status(200)).chunk(vec![b'n'; 9 << 20]),
        (Some(_), "/fails") => Answer::status(503),
        (Some(_), _) => Answer::text("new").header("Cache-Control", "no-store"),
    })
    .await;
    let configuration = configuration(&origin, &folder, "64MiB");
    let proxy = Proxy::start(&configuration).await;
    let paths = ["/outgrown", "/fails", "/no-store"];
    for path in paths {
        proxy.get(path).await.expect(200);
    }
    on_disk(&proxy, 3.0).await;
    for path in paths {
        proxy.fetch(Request::get(path).header("Cache-Control", "no-cache").header("X-New", "1")).await;
    }
    proxy.until_metric_is("cache_entries", &[("tier", "disk")], 1.0).await;
    proxy.until_metric_is("cache_entries", &[("tier", "memory")], 1.0).await;
    let proxy = proxy.stop().await.start().await;
    on_disk(&proxy, 1.0).await;
    for path in paths {
        let hit = status(&proxy.get(path).await.expect(200)).contains("hit");
        assert_eq!(hit, path == "/fails", "{path}: an origin that fails says nothing of what it gave before");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cache"), "a file").unwrap();
    let origin = Origin::start(counting(|_, n| keeps(numbered(n)))).await;
    let proxy = Proxy::start(configuration(&origin, &folder, "64MiB")).await;
    proxy.printed("nothing is kept in").await;
    assert_eq!(proxy.get("/a").await.expect(200).text(), "answer 0");
    assert_eq!(proxy.get("/a").await.expect(200).text(), "answer 0");
    std::fs::remove_file(folder.path().join("cache")).unwrap();
    let written = async {
        let mut number = 0;
        while proxy.metric("cache_entries", &[("tier", "disk")]).await < 1.0 {
            number += 1;
            proxy.get(&format!("/{number}")).await.expect(200);
        }
    };
    within("the folder to be used once it can be", written).await;
}

/// So many bytes that can be recognised.
fn recognisable(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        bytes.extend_from_slice(&testkit::pattern(bytes.len() as u64, length - bytes.len() as u64));
    }
    bytes
}

#[tokio::test]
async fn what_memory_is_not_to_hold_goes_to_disk_as_it_comes() {
    const LARGE: u64 = 24 << 20;
    let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
    let origin = {
        let (gate, bytes) = (gate.clone(), Bytes::from(recognisable(LARGE)));
        Origin::start(move |seen| {
            let half = LARGE as usize / 2;
            let answer = match seen.target.as_str() {
                "/small" => return Answer::text("small"),
                // Nobody says how long it is, so nobody knows where it would end.
                "/chunked" => Answer::status(200).framing(Framing::Chunked),
                _ => Answer::status(200).framing(Framing::Length(LARGE)),
            };
            keeps(answer).piece(bytes.slice(..half)).wait(&gate).piece(bytes.slice(half..))
        })
        .await
    };
    let path = folder.path().join("cache");
    let configuration = format!(
        "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = \"{}\", size = \"128MiB\" }}\n{}",
        path.display(),
        route(&origin, "cache = { key = [\"path\", \"query\"], max_object = \"32MiB\" }")
    );
    let proxy = Proxy::start(&configuration).await;
    // The first takes nothing but the head, and leaves; the second follows over HTTP/1, the third over HTTP/2.
    let mut first = Connection::to(proxy.address()).await;
    first.start(&Request::get("/large")).await;
    assert!(first.answer_head().await.1.get("cache-status").unwrap().ends_with("fwd=uri-miss; stored"));
    let mut second = Connection::to(proxy.address()).await;
    second.start(&Request::get("/large")).await;
    assert!(second.answer_head().await.1.get("cache-status").unwrap().ends_with("collapsed"));
    let half = second.bytes(LARGE as usize / 2).await;
    drop(first);
    let h2 = proxy.h2c().await;
    let third = tokio::spawn(async move { h2.fetch(Request::get("/large")).await });
    gate.open();
    let rest = second.bytes(LARGE as usize / 2).await;
    assert!([half, rest].concat() == recognisable(LARGE));
    let third = third.await.unwrap();
    assert!(third.body.is_pattern && third.body.length == LARGE, "{} bytes", third.body.length);
    on_disk(&proxy, 1.0).await;
    for _ in 0..3 {
        let again = proxy.get("/large").await.expect(200);
        assert!(again.body.is_pattern && again.body.length == LARGE && status(&again).ends_with("; detail=disk"));
    }
    let part = proxy.fetch(Request::get("/large").header("Range", "bytes=10000000-10000099")).await.expect(206);
    assert_eq!(part.body.start, recognisable(LARGE)[10_000_000..10_000_100]);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target == "/large").count(), 1);
    assert_eq!(proxy.metric("cache_bytes", &[("tier", "memory")]).await, 0.0);
    // It outlives the process, and what has no length is not kept.
    let proxy = proxy.stop().await.start().await;
    on_disk(&proxy, 1.0).await;
    // A part is read where it stands.
    proxy.get("/small").await.expect(200);
    let before = proxy.rss();
    let part = proxy.fetch(Request::get("/large").header("Range", "bytes=20000000-20000099")).await.expect(206);
    assert_eq!(part.body.start, recognisable(LARGE)[20_000_000..20_000_100]);
    let grown = proxy.rss().saturating_sub(before) >> 20;
    assert!(grown < 12, "it was not read as a whole: {grown} MiB");
    let again = proxy.get("/large").await.expect(200);
    assert!(again.body.is_pattern && again.body.length == LARGE && status(&again).ends_with("; detail=disk"));
    for _ in 0..2 {
        let answer = proxy.get("/chunked").await.expect(200);
        assert!(answer.body.is_pattern && answer.body.length == LARGE && !status(&answer).contains("hit"));
    }
    assert!(std::fs::read_dir(path.join("v1/new")).unwrap().next().is_none(), "nothing is left behind");
}

#[tokio::test]
async fn what_breaks_off_on_its_way_to_disk_is_not_kept() {
    const LARGE: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let bytes = Bytes::from(recognisable(LARGE));
    let origin = Origin::start(move |_| {
        let half = bytes.slice(..LARGE as usize / 2);
        keeps(Answer::status(200).framing(Framing::Length(LARGE))).piece(half).resetting()
    })
    .await;
    let path = folder.path().join("cache");
    let configuration = format!(
        "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = \"{}\", size = \"64MiB\" }}\n{}",
        path.display(),
        route(&origin, "cache = { max_object = \"16MiB\" }")
    );
    let proxy = Proxy::start(&configuration).await;
    for _ in 0..2 {
        let answer = proxy.get("/large").await;
        assert!(answer.cut.is_some() && answer.body.is_pattern, "{:?}", answer.cut);
    }
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(proxy.metric("cache_entries", &[("tier", "disk")]).await, 0.0);
    let empty = || std::fs::read_dir(path.join("v1/new")).unwrap().next().is_none();
    within("what was begun to be taken away", async {
        while !empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
