//! The audit log: who tried to get in and who changed what, in a chain that shows whatever is done to it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::{Answer, Origin, Proxy, Request, Starter, maitred, within};

use crate::setting::BOTH;

fn text(origin: &Origin, audit: &str) -> String {
    format!(
        "{BOTH}[admin]\naddress = \"127.0.0.1:0\"\naudit = {audit}\n\
         [auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\n\
         [routes.open]\npath = \"/open\"\nrespond = {{ status = 204 }}\n\
         [routes.shadowed]\npath = \"/shadowed\"\nauth = {{ type = \"api_key\", keys = \"keys.toml\", mode = \"shadow\" }}\n\
         respond = {{ status = 204 }}\n\
         [routes.app]\npath = \"/*\"\nauth = \"partners\"\nrequire = {{ method = {{ reader = \"GET\" }} }}\nupstream = \"{origin}\"\n"
    )
}

async fn starter(audit: &str) -> (Origin, Starter, String) {
    let origin = Origin::start(|seen| {
        if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
    })
    .await;
    let starter = Proxy::with(text(&origin, audit));
    let arguments = ["key", "add", "acme", "--role", "reader", "--file", "keys.toml"];
    let key = maitred(starter.folder(), arguments).await.expect(0).stdout.trim().to_owned();
    (origin, starter, key)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until `count` lines are there.
async fn until(path: &Path, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            // A line may be on its way to the disk.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= count {
                return lines(path);
            }
            tokio::task::yield_now().await;
        }
    };
    within(format!("{count} lines in the audit log"), there).await
}

fn file(proxy: &Proxy) -> PathBuf {
    proxy.folder().join("audit.jsonl")
}

#[tokio::test]
async fn whoever_tries_and_fails_is_written_down_and_no_credential_is() {
    let (_origin, starter, key) = starter("\"audit.jsonl\"").await;
    let proxy = starter.start().await;
    let path = file(&proxy);
    let h2 = proxy.h2c().await;
    let with = |request: Request, key: &str| request.header("X-API-Key", key);
    proxy.get("/a?secret=7").await.expect(401);
    h2.fetch(with(Request::get("/b"), "mtd_guessed_key")).await.expect(401);
    proxy.fetch(with(Request::post("/c", ""), &key)).await.expect(403);
    proxy.get("/shadowed").await.expect(204);
    let mut socket = proxy.connect().await;
    let head = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.send(head).await;
    assert_eq!(socket.answer_head().await.0, 401);
    // These are no failures.
    proxy.fetch(with(Request::get("/ok"), &key)).await.expect(200);
    proxy.get("/open").await.expect(204);
    let lines = until(&path, 5).await;
    let brief: Vec<String> = lines
        .iter()
        .map(|line| ["kind", "auth", "result", "path", "route"].map(|key| line[key].as_str().unwrap_or("-")).join(" "))
        .collect();
    assert_eq!(
        brief,
        [
            "attempt partners missing /a app",
            "attempt partners invalid /b app",
            "attempt partners forbidden /c app",
            "attempt shadowed missing /shadowed shadowed",
            "attempt partners missing /live app",
        ]
    );
    assert_eq!((&lines[2]["user"], &lines[2]["key"]), (&"acme".into(), &key.split('_').nth(1).unwrap().into()));
    assert_eq!((&lines[3]["shadow"], &lines[0]["client_ip"]), (&true.into(), &"127.0.0.1".into()));
    assert_eq!(lines[0]["request_id"], proxy.logged("/a").await["request_id"]);
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in ["guessed", "secret=7", key.rsplit('_').next().unwrap()] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
        0o640
    );
    proxy.command(["audit", "verify"]).await.expect(0);
}

#[tokio::test]
async fn two_processes_of_an_upgrade_leave_a_file_that_is_moved_away_at_the_same_place() {
    let (_origin, starter, _) = starter("\"audit.jsonl\"").await;
    let mut proxy = starter.start().await;
    let path = file(&proxy);
    // Half a request each, so that the old process has something to write down later.
    let mut halves = Vec::new();
    for name in ["one", "two"] {
        let mut half = proxy.connect().await;
        half.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\n")).await;
        halves.push(half);
    }
    proxy.until_metric("connections", &[("listener", "http")], 2.0).await;
    proxy.get("/before").await.expect(401);
    proxy.signal("USR2").await;
    let said = proxy.printed(" serves; draining").await;
    let pid = said.split_once(" (pid ").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
    proxy.succeeded_by(pid.parse().unwrap());
    proxy.get("/after").await.expect(401);
    for (number, half) in halves.iter_mut().enumerate() {
        let had = until(&path, 1).await.len();
        std::fs::rename(&path, path.with_extension(number.to_string())).unwrap();
        // The one that serves is told, and the one that drains is not.
        proxy.signal("USR1").await;
        until(&path, 1).await;
        half.send("\r\n").await;
        assert_eq!(half.answer_head().await.0, 401);
        proxy.get("/next").await.expect(401);
        until(&path, 3).await;
        let closed = lines(&path.with_extension(number.to_string()));
        assert!(closed.len() > had && closed.last().unwrap()["kind"] == "closed", "{closed:#?}");
    }
    let arguments = ["audit", "verify", "audit.0", "audit.1", "audit.jsonl"];
    let verified = maitred(proxy.folder(), arguments).await.expect(0).stdout;
    assert!(verified.contains("none changed"), "{verified}");
    let last: Vec<String> = lines(&path).iter().map(|line| line["path"].to_string()).collect();
    assert!(last.contains(&"\"/two\"".to_owned()), "{last:?}");
}

#[tokio::test]
async fn the_chain_holds_through_reload_rotation_and_restart_and_shows_what_was_done_to_it() {
    let (origin, starter, key) = starter("{ file = \"audit.jsonl\", attempts = \"all\" }").await;
    let proxy = starter.start().await;
    let path = file(&proxy);
    let moved = path.with_extension("1");
    let good = || Request::get("/a").header("X-API-Key", &key);
    for _ in 0..3 {
        proxy.fetch(good()).await.expect(200);
    }
    until(&path, 3).await;
    // A key is revoked: who may enter has changed.
    proxy.command(["key", "add", "beta"]).await.expect(0);
    // Two places name the file.
    let lines = until(&path, 5).await;
    assert_eq!(
        (&lines[3]["what"], &lines[3]["order"]["path"], &lines[3]["outcome"]),
        (&"file".into(), &"keys.toml".into(), &"applied".into())
    );
    std::fs::rename(&path, &moved).unwrap();
    proxy.signal("USR1").await;
    proxy.printed("log files opened anew").await;
    proxy.hang_up(text(&origin, "{ file = \"audit.jsonl\", attempts = \"none\" }")).await;
    proxy.fetch(good()).await.expect(200);
    proxy.get("/a").await.expect(401);
    until(&path, 2).await;
    let starter = proxy.stop().await;
    let proxy = starter.start().await;
    let whats: Vec<_> = until(&path, 3).await.iter().skip(1).map(|line| line["what"].to_string()).collect();
    assert_eq!(whats, ["\"reload\"", "\"stop\""]);
    proxy.hang_up(text(&origin, "\"audit.jsonl\"")).await;
    proxy.get("/a").await.expect(401);
    let lines = until(&path, 5).await;
    let head = lines[4]["hash"].as_str().unwrap().to_owned();
    let verify = async |more: &[&str]| {
        let arguments = ["audit", "verify", "audit.1", "audit.jsonl"];
        maitred(proxy.folder(), arguments.iter().chain(more).copied()).await
    };
    let told = verify(&["--head", &head]).await.expect(0).stdout;
    let count = self::lines(&moved).len() + lines.len();
    assert!(told.contains(&format!("{count} lines, none changed")) && told.contains(&head), "{told}");
    let alone = maitred(proxy.folder(), ["audit", "verify", "audit.jsonl"]).await.expect(0).stdout;
    assert!(alone.contains("older files go before"), "{alone}");
    // Any tool can check a line: the hash is that of what stands before it.
    let text = std::fs::read_to_string(&path).unwrap();
    let (body, _) = text.lines().last().unwrap().rsplit_once(",\"hash\":").unwrap();
    let script = format!("printf %s '{body}' | sha256sum");
    let sum = tokio::process::Command::new("sh").args(["-c", &script]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&sum.stdout).split(' ').next(), Some(&*head));
    // Cut off, changed, removed.
    std::fs::write(&path, text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(&[]).await.expect(0);
    assert!(verify(&["--head", &head]).await.expect(1).stderr.contains("lines were cut off"));
    std::fs::write(&path, text.replace("\"missing\"", "\"ok\"")).unwrap();
    let changed = verify(&[]).await.expect(1).stderr;
    assert!(changed.contains("it is not what was written"), "{changed}");
    std::fs::write(&path, text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    assert!(verify(&[]).await.expect(1).stderr.contains("audit.jsonl:1: it does not follow the line before"));
}

#[tokio::test]
async fn a_disk_that_is_full_ends_no_request() {
    let (_origin, starter, key) = starter("{ file = \"/dev/full\", attempts = \"all\" }").await;
    let proxy = starter.start().await;
    for _ in 0..20 {
        proxy.fetch(Request::get("/a").header("X-API-Key", &key)).await.expect(200);
        proxy.get("/a").await.expect(401);
    }
    proxy.printed("the audit log `/dev/full` cannot be written").await;
    let (_origin, starter, _) = self::starter("{ attempts = \"all\" }").await;
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("error[E0106]: `audit` does not say where"));
}
