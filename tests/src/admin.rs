//! The admin plane of the real binary, and the commands that talk to it.

use serde_json::Value;
use testkit::{Answer, Proxy, maitred};

use crate::setting::before;

const APP: &str = "[routes.app]\npath = \"/app\"\nrespond = { body = \"x\" }\n";

#[tokio::test]
async fn where_nobody_answers_the_places_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), "[admin]\naddress = \"unix:/nowhere/admin.sock\"\n").unwrap();
    for command in [&["status"][..], &["reload"], &["stop"], &["upgrade"], &["drain"], &["history"]] {
        let exit = maitred(folder.path(), command.iter().copied()).await.expect(4);
        for told in ["no running maitred answers", "run/admin.sock: ", "unix:/nowhere/admin.sock: ", "--admin"] {
            assert!(exit.stderr.contains(told), "{told} is missing in {}", exit.stderr);
        }
    }
    let quiet = maitred(folder.path(), ["status", "--quiet"]).await.expect(4);
    assert_eq!(quiet.stdout + &quiet.stderr, "");
    maitred(folder.path(), ["status", "--admin", "ftp://x/y"]).await.expect(2);
}

#[tokio::test]
async fn status_is_one_screen_or_json_or_an_exit_code() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    proxy.get("/").await.expect(200);
    proxy.access_log(1).await;
    let screen = proxy.command(["status"]).await.expect(0).stdout;
    let folder = proxy.folder().canonicalize().unwrap();
    for told in
        ["maitred ", "ready", &format!("pid {}", proxy.pid()), &folder.display().to_string(), "1 in all", "1 backend "]
    {
        assert!(screen.contains(told), "{told} is missing in:\n{screen}");
    }
    let json: Value = serde_json::from_str(&proxy.command(["status", "--json"]).await.expect(0).stdout).unwrap();
    assert_eq!((&json["pid"], &json["requests_total"]), (&proxy.pid().into(), &1.into()));
    let quiet = proxy.command(["status", "-q"]).await.expect(0);
    assert_eq!(quiet.stdout, "");
}

#[tokio::test]
async fn drain_turns_load_balancers_away_while_requests_are_served() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    let drained = proxy.command(["drain"]).await.expect(0);
    assert!(drained.stdout.contains("`draining`"), "{}", drained.stdout);
    proxy.admin("/ready").await.expect(503);
    proxy.get("/").await.expect(200);
    proxy.command(["status", "--quiet"]).await.expect(1);
    proxy.printed("drain by uid ").await;
    proxy.command(["drain", "--undo"]).await.expect(0);
    proxy.admin("/ready").await.expect(200);
    proxy.command(["status", "--quiet"]).await.expect(0);
}

#[tokio::test]
async fn a_command_for_one_file_never_reaches_the_server_of_another() {
    let proxy = Proxy::start(APP).await;
    std::fs::write(proxy.folder().join("other.toml"), format!("{APP}[admin]\naddress = []\n")).unwrap();
    let exit = proxy.command(["-c", "other.toml", "drain"]).await.expect(4);
    assert!(exit.stderr.contains("runs ") && exit.stderr.contains("maitred.toml"), "{}", exit.stderr);
    proxy.admin("/ready").await.expect(200);
    proxy.command(["-c", "maitred.toml", "drain"]).await.expect(0);
    proxy.admin("/ready").await.expect(503);
}

#[tokio::test]
async fn over_tcp_one_may_look_but_change_only_with_the_token() {
    let free = Proxy::start(APP).await;
    let url = format!("http://{}", free.listener("admin"));
    free.command(["--admin", &url, "status"]).await.expect(0);
    let refused = free.command(["--admin", &url, "drain"]).await.expect(1);
    assert!(refused.stderr.contains("admin.token"), "{}", refused.stderr);
    free.admin("/ready").await.expect(200);

    let text = format!("{APP}[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef\"\n");
    let guarded = Proxy::start(text).await;
    let url = format!("http://{}", guarded.listener("admin"));
    guarded.command(["--admin", &url, "drain"]).await.expect(0);
    guarded.admin("/ready").await.expect(503);
    std::fs::write(guarded.folder().join("stranger.toml"), "listen = \":8080\"\n").unwrap();
    let stranger = guarded.command(["-c", "stranger.toml", "--admin", &url, "drain", "--undo"]).await.expect(1);
    assert!(stranger.stderr.contains("Bearer"), "{}", stranger.stderr);
    guarded.admin("/ready").await.expect(503);
}
