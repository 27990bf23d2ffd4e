//! Large content on disk, which stays there: it is not written twice, nor read into memory by everybody, nor let go for what is
//! not its fault.

use std::{os::unix::fs::MetadataExt, process::Command};

use bytes::Bytes;
use testkit::{Answer, Connection, Framing, Origin, Proxy, Request};

use crate::{
    caching::{counting, status},
    setting::{BOTH, route},
};

const MIB: u64 = 1 << 20;

/// A proxy that keeps answers in this folder, as far as so much memory is not to hold them.
fn configuration(origin: &Origin, folder: &tempfile::TempDir, memory: &str) -> String {
    format!(
        "{BOTH}[cache]\nmemory = \"{memory}\"\ndisk = {{ path = \"{}\", size = \"256MiB\" }}\n{}",
        folder.path().join("cache").display(),
        route(origin, "cache = { key = [\"path\", \"query\"], max_object = \"32MiB\" }")
    )
}

fn large(length: u64) -> Answer {
    let content = Bytes::from(vec![b'l'; length as usize]);
    Answer::status(200).framing(Framing::Length(length)).piece(content).header("ETag", "\"v\"")
}

/// The files of the answers, and the heads that stand beside them.
fn files(folder: &tempfile::TempDir) -> (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>) {
    let folders = std::fs::read_dir(folder.path().join("cache/v1/objects")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).partition(|path| path.extension().is_none())
}

#[tokio::test]
async fn what_is_found_good_again_is_fresh_at_once_and_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(counting(|seen, n| match seen.header("if-none-match") {
        // It is stale as it comes, and good for something all the same.
        None => {
            let answer = large(24 * MIB).header("Cache-Control", "max-age=600, stale-if-error=86400");
            answer.header("Age", "600").header("X-Own", "0")
        }
        Some(_) => Answer::status(304).header("Cache-Control", "max-age=600").header("X-Own", n.to_string()),
    }))
    .await;
    let proxy = Proxy::start(configuration(&origin, &folder, "4MiB")).await;
    proxy.get("/a").await.expect(200);
    proxy.until_metric("cache_entries", &[("tier", "disk")], 1.0).await;
    let (own, _) = files(&folder);
    let inode = std::fs::metadata(&own[0]).unwrap().ino();
    let part = || Request::get("/a").header("Range", "bytes=20000000-20000009");
    assert!(!status(&proxy.fetch(part()).await.expect(206)).contains("hit"));
    for _ in 0..40 {
        let again = proxy.fetch(part()).await.expect(206);
        assert!(status(&again).contains("; hit; ttl=") && status(&again).ends_with("; detail=disk"), "{again:?}");
        assert_eq!((again.header("x-own"), again.text().as_str()), (Some("1"), "llllllllll"));
    }
    assert_eq!(origin.requests().len(), 2, "one for all of it, and one that found it good");
    let proxy = proxy.stop().await;
    let (own, beside) = files(&folder);
    assert_eq!((own.len(), beside.len()), (1, 1));
    assert_eq!(std::fs::metadata(&own[0]).unwrap().ino(), inode, "its content was written once");
    let proxy = proxy.start().await;
    proxy.until_metric("cache_entries", &[("tier", "disk")], 1.0).await;
    let again = proxy.get("/a").await.expect(200);
    assert!(status(&again).contains("; hit; ttl=") && again.body.length == 24 * MIB, "{}", status(&again));
    assert_eq!((again.header("x-own"), origin.requests().len()), (Some("1"), 2));
    // What is changed takes both away.
    proxy.fetch(Request::new("POST", "/a")).await.expect(200);
    assert!(!status(&proxy.get("/a").await.expect(200)).contains("hit"));
    proxy.command(["purge", "/*"]).await.expect(0);
    proxy.stop().await;
    assert_eq!(files(&folder), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_takes_it_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(|_| large(6 * MIB).header("Cache-Control", "max-age=600")).await;
    let proxy = Proxy::start(configuration(&origin, &folder, "24MiB")).await;
    proxy.get("/a").await.expect(200);
    proxy.until_metric("cache_entries", &[("tier", "disk")], 1.0).await;
    let proxy = proxy.stop().await.start().await;
    proxy.until_metric("cache_entries", &[("tier", "disk")], 1.0).await;
    proxy.fetch(Request::get("/a").header("Range", "bytes=0-9")).await.expect(206);
    let before = proxy.rss();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Connection::to(proxy.address()).await);
    }
    for client in &mut clients {
        client.start(&Request::get("/a")).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer_head().await.0, 200);
    }
    let grown = proxy.rss().saturating_sub(before) / MIB;
    assert!(
        grown < 30,
        "{grown} MiB more for an answer of 6 MiB: with what eight readers hold it was 18, and 42 where each took it"
    );
    for client in &mut clients {
        assert!(client.bytes(6 * MIB as usize).await.iter().all(|byte| *byte == b'l'));
    }
    let again = proxy.get("/a").await.expect(200);
    assert!(status(&again).contains("; hit; ttl=") && !status(&again).contains("disk"), "it is in memory by now");
}

/// How many descriptors the proxy may have from here on.
fn descriptors(proxy: &Proxy, most: usize) {
    let limit = format!("--nofile={most}:");
    let told = Command::new("prlimit").args(["--pid", &proxy.pid().to_string(), &limit]).status().unwrap();
    assert!(told.success());
}

#[tokio::test]
async fn what_cannot_be_opened_for_want_of_descriptors_stays() {
    let folder = tempfile::tempdir().unwrap();
    let keeps = |answer: Answer| answer.header("Cache-Control", "max-age=600").header("Connection", "close");
    let origin = Origin::start(move |_| keeps(large(8 * MIB))).await;
    let proxy = Proxy::start(configuration(&origin, &folder, "4MiB")).await;
    proxy.get("/a").await.expect(200);
    proxy.until_metric("cache_entries", &[("tier", "disk")], 1.0).await;
    let mut client = proxy.connect().await;
    client.fetch(Request::new("HEAD", "/a")).await.expect(200);
    descriptors(&proxy, 3);
    let refused = client.fetch(Request::get("/a")).await;
    assert!(refused.status >= 500, "neither the file nor the origin can be had: {refused:?}");
    descriptors(&proxy, 1024);
    proxy.printed("cannot read from").await;
    let again = proxy.get("/a").await.expect(200);
    assert!(status(&again).contains("; hit; ttl=") && again.body.length == 8 * MIB, "{}", status(&again));
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(proxy.metric("cache_broken_total", &[("tier", "disk")]).await, 0.0);
}
