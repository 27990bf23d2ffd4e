//! Successors that fail, hang or die, whatever signal was sent: the old process serves on, or puts another in their place.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use testkit::{Address, Answer, Connection, Framing, Gate, Origin, Proxy, Request, within};

const PAGE: &str = "[routes.\"/*\"]\nrespond = { body = \"x\" }\n";

/// A program in the proxy's folder that stands where the new maitred would.
fn program(proxy: &Proxy, interpreter: &str, text: &str) -> PathBuf {
    let path = proxy.folder().join("maitred-new");
    std::fs::write(&path, format!("#!{interpreter}\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The program itself, which starts once there is a file `go` in the proxy's folder.
fn held_up(proxy: &Proxy) -> PathBuf {
    let real = std::env::var("MAITRED_BIN").map_or_else(|_| testkit::binary(), PathBuf::from);
    let script = format!(
        "while [ ! -e go ]; do read -t 0.05 _ </dev/zero 2>/dev/null || :; done; exec {} \"$@\"",
        real.display()
    );
    program(proxy, "/bin/bash", &script)
}

/// A program that says hello as a maitred does, and then does this.
fn greeter(then: &str) -> String {
    format!(
        "import json, os, signal, socket, time\n\
         channel = socket.socket(fileno=0)\n\
         hello = {{'say': 'hello', 'version': 'x', 'pid': os.getpid(), 'keeps': ['limits', 'places'], 'stays': True}}\n\
         channel.send(json.dumps(hello).encode())\n\
         {then}"
    )
}

/// A proxy with a request under way that goes on for as long as the gate is shut, so that the process drains.
async fn busy() -> (Origin, Proxy, Gate, testkit::Connection) {
    let gate = Gate::new();
    let script = gate.clone();
    let origin =
        Origin::start(move |_| Answer::status(200).framing(Framing::Chunked).wait(&script).piece("late")).await;
    let proxy = Proxy::start(format!("{PAGE}[routes.slow]\npath = \"/slow\"\nupstream = \"{origin}\"\n")).await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/slow")).await;
    origin.request().await;
    (origin, proxy, gate, slow)
}

/// What was asked for in [`busy`] is answered whole, whoever serves by now.
async fn comes_to_its_end(gate: &Gate, slow: &mut testkit::Connection) {
    gate.open();
    assert_eq!(slow.answer_head().await.0, 200);
    assert_eq!(slow.chunk().await.unwrap(), "late");
}

/// Waits until another process answers to operators than `old`.
async fn another(proxy: &Proxy, old: u32) -> u32 {
    let other = async {
        loop {
            let status = proxy.command(["--json", "status"]).await;
            let pid =
                serde_json::from_str::<serde_json::Value>(&status.stdout).ok().and_then(|told| told["pid"].as_u64());
            if let Some(pid) = pid.filter(|pid| *pid != u64::from(old)) {
                return u32::try_from(pid).unwrap();
            }
        }
    };
    within("another process to answer", other).await
}

fn kill(signal: &str, pid: u32) {
    let killed =
        std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status();
    assert!(killed.unwrap().success(), "cannot send {signal} to {pid}");
}

#[tokio::test]
async fn one_that_dies_or_hangs_in_the_middle_of_the_talk_changes_nothing() {
    let mut proxy = Proxy::start(PAGE).await;
    let old = proxy.pid();
    for (text, why) in [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the new process ended before it was ready"),
        ("time.sleep(600)", "the new process was not ready in time"),
        ("channel.recv(100000)\nos.kill(os.getpid(), signal.SIGKILL)", "the new process ended before it was ready"),
        ("channel.send(b'{}')\ntime.sleep(600)", "cannot be talked to"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "the new process was not ready in time"),
        (
            "channel.send(json.dumps({'say': 'failed', 'report': 'not today'}).encode())\ntime.sleep(600)",
            "the new process cannot serve:\nnot today",
        ),
    ] {
        let binary = program(&proxy, "/usr/bin/env python3", &greeter(text));
        let exit = proxy.command(["upgrade", "--timeout", "2s", "--binary", binary.to_str().unwrap()]).await.expect(1);
        assert!(exit.stderr.contains(why), "{text}: {}", exit.stderr);
        proxy.get("/").await.expect(200);
        assert_eq!(proxy.admin("/api/v1/status").await.expect(200).json()["pid"], old);
    }
    proxy.upgrade(&[]).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn one_that_waits_and_dies_changes_nothing() {
    let proxy = Proxy::start(PAGE).await;
    let old = proxy.pid();
    let waiting = proxy.beside().argument("--upgrade").spawned();
    proxy.printed("a new process waits for the sockets").await;
    kill("KILL", waiting.pid());
    assert_eq!(waiting.wait().await.signal, Some(9));
    proxy.signal("QUIT").await;
    proxy.printed("QUIT: the new process ").await;
    proxy.get("/").await.expect(200);
    assert_eq!(proxy.admin("/api/v1/status").await.expect(200).json()["pid"], old);
}

#[tokio::test]
async fn one_that_was_started_by_hand_and_dies_while_the_old_one_drains_is_replaced() {
    let (_origin, mut proxy, gate, mut slow) = busy().await;
    let old = proxy.pid();
    let waiting = tokio::spawn(proxy.beside().argument("--upgrade").start());
    proxy.printed("a new process waits for the sockets").await;
    // Twice says no more than once.
    proxy.signal("QUIT").await;
    proxy.signal("QUIT").await;
    let next = waiting.await.unwrap();
    proxy.printed(" serves; draining").await;
    proxy.get("/").await.expect(200);
    next.signal("KILL").await;
    proxy.printed(&format!("the new process (pid {}) is gone without a word", next.pid())).await;
    proxy.get("/").await.expect(200);
    let third = another(&proxy, next.pid()).await;
    assert_ne!(third, old);
    proxy.succeeded_by(third);
    comes_to_its_end(&gate, &mut slow).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn one_that_was_started_by_hand_and_is_told_to_end_is_not_replaced() {
    let (_origin, proxy, gate, mut slow) = busy().await;
    let waiting = tokio::spawn(proxy.beside().argument("--upgrade").start());
    proxy.printed("a new process waits for the sockets").await;
    proxy.signal("QUIT").await;
    let next = waiting.await.unwrap();
    proxy.printed(" serves; draining").await;
    next.signal("TERM").await;
    next.wait().await.expect(0);
    proxy.until_refusing().await;
    gate.open();
    assert_eq!(slow.answer_head().await.0, 200);
    let exit = proxy.wait().await.expect(0);
    assert!(!exit.stderr.contains("starting") || !exit.stderr.contains("again"), "{}", exit.stderr);
}

#[tokio::test]
async fn term_while_one_that_was_started_by_hand_hangs_ends_the_old_process() {
    let proxy = Proxy::start(PAGE).await;
    let waiting = proxy.beside().argument("--upgrade").spawned();
    proxy.printed("a new process waits for the sockets").await;
    kill("STOP", waiting.pid());
    proxy.signal("QUIT").await;
    // What comes meanwhile is for later, or too much.
    proxy.signal("USR2").await;
    proxy.printed("an upgrade is under way already").await;
    proxy.get("/").await.expect(200);
    proxy.signal("TERM").await;
    proxy.signal("TERM").await;
    proxy.wait().await.expect(0);
    kill("CONT", waiting.pid());
    assert_ne!(waiting.wait().await.code, Some(0));
}

#[tokio::test]
async fn a_reload_that_is_asked_for_during_an_upgrade_is_not_forgotten() {
    let mut proxy = Proxy::start(PAGE).await;
    let other = |body: &str| PAGE.replace("\"x\"", &format!("\"{body}\""));
    // The new process fails: the old one reloads.
    let binary = program(&proxy, "/bin/sh", "exec sleep 600");
    let arguments = ["upgrade", "--timeout", "2s", "--binary", binary.to_str().unwrap()];
    let asking = async {
        proxy.printed("upgrade: started ").await;
        proxy.configure(other("second"));
        proxy.signal("HUP").await;
        proxy.printed("Reload has to wait: an upgrade is under way").await;
        assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    };
    let (exit, ()) = tokio::join!(proxy.command(arguments), asking);
    exit.expect(1);
    within("the reload", async { while proxy.get("/").await.expect(200).text() != "second" {} }).await;
    // The new process serves: it is told.
    let binary = held_up(&proxy);
    let arguments = ["--json", "upgrade", "--binary", binary.to_str().unwrap()];
    let before = proxy.lines().iter().filter(|line| line.contains("upgrade: started ")).count();
    let asking = async {
        within("the upgrade to begin", async {
            while proxy.lines().iter().filter(|line| line.contains("upgrade: started ")).count() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        proxy.signal("HUP").await;
        within("the signal to be taken", async {
            while proxy.lines().iter().filter(|line| line.contains("Reload has to wait")).count() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        std::fs::write(proxy.folder().join("go"), "").unwrap();
    };
    let (exit, ()) = tokio::join!(proxy.command(arguments), asking);
    let told: serde_json::Value = serde_json::from_str(&exit.expect(0).stdout).unwrap();
    let pid = u32::try_from(told["pid"].as_u64().unwrap()).unwrap();
    proxy.succeeded_by(pid);
    let reloaded = |line: &String| line.contains(" HUP: generation ");
    within("the new process to reload", async {
        while proxy.lines().iter().filter(|line| reloaded(line)).count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "second");
}

#[tokio::test]
async fn signals_that_come_twice_do_no_more_than_once() {
    let (_origin, mut proxy, gate, mut slow) = busy().await;
    let old = proxy.pid();
    for _ in 0..3 {
        proxy.signal("USR2").await;
    }
    proxy.printed(" serves; draining").await;
    let next = another(&proxy, old).await;
    proxy.succeeded_by(next);
    kill("USR2", old);
    proxy.printed("Upgrade comes too late: the process drains").await;
    proxy.get("/").await.expect(200);
    assert_eq!(proxy.lines().iter().filter(|line| line.contains(" serves; draining")).count(), 1);
    for _ in 0..2 {
        kill("TERM", old);
    }
    proxy.printed("Terminate(\"TERM\") comes too late: the process drains").await;
    comes_to_its_end(&gate, &mut slow).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn one_that_cannot_have_its_addresses_takes_no_socket_file_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().map(|address| (address, busy)).unwrap();
    let text = format!(
        "[listeners.a]\naddress = \"unix:{}\"\n[listeners.b]\naddress = \"127.0.0.1:0\"\n{PAGE}",
        path.display()
    );
    let socket = Address::Unix(path.clone());
    let ask = async || Connection::to(&socket).await.fetch(Request::get("/")).await.expect(200);
    let mut proxy = Proxy::start(&text).await;
    for more in [
        format!("[listeners.c]\naddress = \"{}\"\n", busy.0),
        format!("[admin]\naddress = [\"127.0.0.1:0\", \"{}\"]\n", busy.0),
    ] {
        proxy.configure(format!("{text}{more}"));
        let exit = proxy.command(["upgrade"]).await.expect(1);
        assert!(exit.stderr.contains(&busy.0.to_string()), "{}", exit.stderr);
        ask().await;
        proxy.command(["status"]).await.expect(0);
    }
    proxy.configure(&text);
    proxy.upgrade(&[]).await;
    ask().await;
    // One whose file somebody has removed can be reached again.
    std::fs::remove_file(&path).unwrap();
    proxy.upgrade(&[]).await;
    ask().await;
    // Whoever is the last removes it.
    proxy.signal("TERM").await;
    within("the file to be removed", async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn stop_during_an_upgrade_ends_the_old_process_and_the_new_one() {
    for order in ["{}", r#"{"now":true}"#] {
        let proxy = Proxy::start(PAGE).await;
        let binary = held_up(&proxy);
        let arguments = ["upgrade", "--binary", binary.to_str().unwrap()];
        let stopping = async {
            proxy.printed("upgrade: started ").await;
            let order = Request::post("/api/v1/stop", order).header("Content-Type", "application/json");
            Connection::to(&proxy.admin_socket()).await.fetch(order).await.expect(202);
            std::fs::write(proxy.folder().join("go"), "").unwrap();
        };
        let (exit, ()) = tokio::join!(proxy.command(arguments), stopping);
        assert_ne!(exit.code, Some(0), "{}", exit.stdout);
        proxy.until_refusing().await;
        proxy.wait().await.expect(0);
    }
}

/// A proxy whose new process was killed, in whose place none can be put while the file is wrong.
async fn without_heir() -> (Origin, Proxy, Gate, Connection, u32) {
    let (origin, proxy, gate, slow) = busy().await;
    proxy.signal("USR2").await;
    proxy.printed(" serves; draining").await;
    let next = another(&proxy, proxy.pid()).await;
    proxy.configure("[routes.a]\npath = \"/a\"\nupstrem = \"b\"\n");
    kill("KILL", next);
    proxy.printed("nobody accepts connections").await;
    (origin, proxy, gate, slow, next)
}

#[tokio::test]
async fn the_old_process_tries_again_for_as_long_as_it_drains() {
    let (origin, mut proxy, gate, mut slow, killed) = without_heir().await;
    // Whoever comes meanwhile waits, and is not refused.
    let mut early = proxy.connect().await;
    early.start(&Request::get("/")).await;
    proxy.configure(format!("{PAGE}[routes.slow]\npath = \"/slow\"\nupstream = \"{origin}\"\n"));
    assert_eq!(early.answer("GET").await.expect(200).text(), "x");
    let third = another(&proxy, killed).await;
    proxy.succeeded_by(third);
    comes_to_its_end(&gate, &mut slow).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn term_ends_the_attempts_to_put_another_one_in_its_place() {
    let (_origin, proxy, gate, mut slow, _) = without_heir().await;
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    gate.open();
    assert_eq!(slow.answer_head().await.0, 200);
    proxy.wait().await.expect(0);
}
