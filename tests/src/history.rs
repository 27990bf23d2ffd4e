//! Configurations that were in force come back, after a restart as well.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use testkit::{Proxy, within};

fn answers(body: &str) -> String {
    format!("[routes.\"/*\"]\nrespond = {{ body = \"{body}\" }}\n")
}

/// Number and origin of each generation that `maitred history` tells, the newest first.
async fn told(proxy: &Proxy) -> Vec<(u64, String)> {
    let json = proxy.command(["history", "--json"]).await.expect(0).stdout;
    let list: Vec<Value> = serde_json::from_str(&json).unwrap();
    list.iter().map(|one| (one["id"].as_u64().unwrap(), one["by"].as_str().unwrap().to_owned())).collect()
}

/// The files of the history below a server's folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files: Vec<_> = below(&folder.join("state/history")).iter().flat_map(|one| below(one)).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// Waits until so many generations are on disk: they are written beside the requests.
async fn until_kept(proxy: &Proxy, count: usize) {
    let kept = async {
        while files(proxy.folder()).len() != count {
            tokio::task::yield_now().await;
        }
    };
    within(format!("{count} generations on disk"), kept).await;
}

fn pairs(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(id, by)| (*id, (*by).to_owned())).collect()
}

#[tokio::test]
async fn a_server_goes_back_to_what_was_before_its_restart() {
    let proxy = Proxy::start(answers("one")).await;
    proxy.configure(answers("two"));
    proxy.command(["reload"]).await.expect(0);
    until_kept(&proxy, 2).await;
    let proxy = proxy.stop().await.start().await;
    // The file is what it was, so no generation is new.
    assert_eq!(told(&proxy).await, pairs(&[(2, "start"), (1, "start")]));
    assert_eq!(proxy.get("/").await.expect(200).text(), "two");
    proxy.command(["rollback"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "one");
    assert_eq!(told(&proxy).await[0], (3, "rollback".into()));
    until_kept(&proxy, 3).await;
    // The file still says otherwise, and whoever starts next runs the file.
    let diff = proxy.command(["show", "--diff"]).await.expect(1).stdout;
    assert!(diff.contains("\"one\" → \"two\""), "{diff}");
    let proxy = proxy.stop().await.start().await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "two");
    assert_eq!(told(&proxy).await[0], (4, "start".into()));
}

#[tokio::test]
async fn includes_and_secrets_are_kept_as_written_for_nobody_else_to_read() {
    let include = "include = \"conf.d/*.toml\"\n";
    let route = |name: &str| format!("[routes.{name}]\npath = \"/{name}\"\nrespond = {{ body = \"${{SECRET}}\" }}\n");
    let starter = Proxy::with(include).file("conf.d/a.toml", &route("a")).variable("SECRET", "never-on-disk");
    let proxy = starter.start().await;
    until_kept(&proxy, 1).await;
    std::fs::write(proxy.folder().join("conf.d/a.toml"), route("b")).unwrap();
    proxy.command(["reload"]).await.expect(0);
    proxy.get("/a").await.expect(404);
    until_kept(&proxy, 2).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in files(proxy.folder()) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("${SECRET}") && !text.contains("never-on-disk"), "{text}");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
    let proxy = proxy.stop().await.variable("SECRET", "another").start().await;
    proxy.command(["rollback", "1"]).await.expect(0);
    assert_eq!(proxy.get("/a").await.expect(200).text(), "another");
    proxy.command(["rollback", "99"]).await.expect(1);
}

#[tokio::test]
async fn a_new_process_goes_back_to_what_the_old_one_ran() {
    let mut proxy = Proxy::start(answers("one")).await;
    proxy.configure(answers("two"));
    proxy.command(["reload"]).await.expect(0);
    until_kept(&proxy, 2).await;
    proxy.upgrade(&[]).await;
    assert_eq!(told(&proxy).await, pairs(&[(3, "upgrade"), (2, "reload"), (1, "start")]));
    proxy.command(["rollback", "1"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "one");
}

#[tokio::test]
async fn a_torn_file_is_told_of_and_left_out() {
    let proxy = Proxy::start(answers("one")).await;
    proxy.configure(answers("two"));
    proxy.command(["reload"]).await.expect(0);
    until_kept(&proxy, 2).await;
    let starter = proxy.stop().await;
    let newest = files(starter.folder()).pop().unwrap();
    let text = std::fs::read_to_string(&newest).unwrap();
    std::fs::write(&newest, &text[..text.len() / 2]).unwrap();
    let proxy = starter.start().await;
    proxy.printed("is not a whole configuration and is left out of the history").await;
    assert_eq!(told(&proxy).await, pairs(&[(2, "start"), (1, "start")]));
    proxy.command(["rollback", "1"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "one");
}

#[tokio::test]
async fn without_a_place_on_disk_the_history_is_in_memory() {
    let starter = Proxy::with(answers("one")).file("state", "not a folder");
    let proxy = starter.start().await;
    proxy.printed("the history of configurations is kept in memory only").await;
    proxy.configure(answers("two"));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(told(&proxy).await, pairs(&[(2, "reload"), (1, "start")]));
    proxy.command(["rollback"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "one");
}
