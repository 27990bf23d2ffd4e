//! A disk that does not answer: nobody but who needs it waits, and who does not for long.

use std::{path::Path, process::Command};

use bytes::Bytes;
use futures::future::join_all;
use testkit::{Answer, Connection, Framing, Origin, Proxy, Request};

use crate::{
    caching::{counting, numbered, status},
    setting::{BOTH, route},
};

const LARGE: u64 = 8 << 20;

/// More than may wait for the disk at the same time.
const FILES: usize = 40;

/// A proxy that keeps answers in this folder, and what is large in files alone.
async fn keeping(folder: &tempfile::TempDir) -> (Origin, Proxy) {
    let large = Bytes::from(vec![b'l'; LARGE as usize]);
    let origin = Origin::start(counting(move |seen, n| {
        let answer = match seen.target.as_str() {
            "/large" => Answer::status(200).framing(Framing::Length(LARGE)).piece(large.clone()),
            _ => numbered(n),
        };
        answer.header("Cache-Control", "max-age=3600")
    }))
    .await;
    let cache = "cache = { key = [\"path\", \"query\"], max_object = \"16MiB\", purge = [\"127.0.0.1\"] }";
    let configuration = format!(
        "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = \"{}\", size = \"64MiB\" }}\n{}",
        folder.path().join("cache").display(),
        route(&origin, cache)
    );
    (origin, Proxy::start(configuration).await)
}

/// Whoever opens it waits for somebody who never comes.
fn hang(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The same with answers on disk, none of which can be read any more, and requests that wait for them.
async fn hanging(folder: &tempfile::TempDir) -> (Origin, Proxy) {
    let (origin, proxy) = keeping(folder).await;
    let paths: Vec<_> = (0..FILES).map(|number| format!("/{number}")).collect();
    for path in &paths {
        proxy.get(path).await.expect(200);
    }
    proxy.until_metric("cache_entries", &[("tier", "disk")], FILES as f64).await;
    let proxy = proxy.stop().await.start().await;
    proxy.until_metric("cache_entries", &[("tier", "disk")], FILES as f64).await;
    for shelf in std::fs::read_dir(folder.path().join("cache/v1/objects")).unwrap() {
        for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
            hang(&file.unwrap().path());
        }
    }
    for answer in join_all(paths.iter().map(|path| proxy.get(path))).await {
        assert!(!status(&answer.expect(200)).contains("hit"));
    }
    (origin, proxy)
}

#[tokio::test]
async fn nothing_else_waits_for_a_disk_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (_origin, proxy) = hanging(&folder).await;
    assert!(proxy.metrics().await.contains("maitred_cache_entries"));
    proxy.command(["purge", "/0"]).await.expect(0);
    proxy.command(["reload"]).await.expect(0);
}

#[tokio::test]
async fn what_goes_to_disk_as_it_comes_is_answered_whole_though_the_disk_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (_origin, proxy) = hanging(&folder).await;
    let answer = proxy.get("/large").await.expect(200);
    assert_eq!((answer.body.length, answer.cut.is_none()), (LARGE, true));
}

#[tokio::test]
async fn however_many_purge_nothing_else_waits_for_the_disk_and_memory_does_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, proxy) = keeping(&folder).await;
    let paths: Vec<_> = (0..FILES).map(|number| format!("/{number}")).collect();
    for path in &paths {
        proxy.get(path).await.expect(200);
    }
    proxy.until_metric("cache_entries", &[("tier", "disk")], FILES as f64).await;
    hang(&folder.path().join("cache/v1/purged.new"));
    let mut purging = Vec::new();
    for path in &paths {
        let mut connection = Connection::to(proxy.address()).await;
        connection.start(&Request::new("PURGE", path)).await;
        purging.push(connection);
    }
    proxy.until_metric("http_requests_in_flight", &[("route", "app")], FILES as f64).await;
    proxy.until_metric_is("cache_entries", &[("tier", "memory")], 0.0).await;
    let asked = origin.requests().len();
    for path in &paths {
        assert!(!status(&proxy.get(path).await.expect(200)).contains("hit"), "{path}");
    }
    assert_eq!(origin.requests().len(), asked + FILES);
}
