//! A new process takes the sockets over, and nobody notices.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::{SinkExt, StreamExt};
use testkit::{Address, Answer, Connection, Framing, Gate, Origin, Proxy, Request, within};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{BOTH, before, route};

const PAGE: &str = "[routes.\"/*\"]\nrespond = { body = \"x\" }\n";

/// A program in the proxy's folder that is no maitred.
fn program(proxy: &Proxy, text: &str) -> PathBuf {
    let path = proxy.folder().join("maitred-new");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Upgrades it by signal, which does not wait until the process of before has drained.
pub async fn succeed(proxy: &mut Proxy) {
    proxy.signal("USR2").await;
    let said = proxy.printed(" serves; draining").await;
    let pid = said.split_once(" (pid ").and_then(|(_, rest)| rest.split_once(')')).map(|(pid, _)| pid);
    proxy.succeeded_by(pid.unwrap().parse().unwrap());
}

#[tokio::test]
async fn who_has_just_connected_to_the_admin_plane_is_answered_by_the_old_process() {
    let (_origin, mut proxy) = before(|_| Answer::text("x")).await;
    let mut early = Connection::to(proxy.listener("admin")).await;
    early.send("GET /health HTTP/1.1\r\n").await;
    // Connections are accepted in turn: with an answer on the next one, this one is the old process's.
    proxy.admin("/health").await.expect(200);
    let asks = async {
        proxy.printed(" serves; draining ").await;
        early.send("Host: localhost\r\n\r\n").await;
        early.answer("GET").await.expect(200);
    };
    let (told, ()) = tokio::join!(proxy.command(["--json", "upgrade"]), asks);
    let told: serde_json::Value = serde_json::from_str(&told.expect(0).stdout).unwrap();
    proxy.succeeded_by(told["pid"].as_u64().unwrap() as u32);
}

#[tokio::test]
async fn connections_go_on_and_new_ones_reach_the_new_process() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/ws" => Answer::websocket(),
        "/long" => Answer::status(200).chunk("first").wait(&script).chunk("second"),
        _ => Answer::text("x"),
    })
    .await;
    let listener = "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n";
    let mut proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    let old = proxy.pid();
    let mut kept = proxy.connect().await;
    kept.fetch(Request::get("/")).await.expect(200);
    let mut long = proxy.connect().await;
    long.start(&Request::get("/long")).await;
    long.answer_head().await;
    assert_eq!(long.chunk().await.unwrap(), "first");
    let mut socket = proxy.websocket("/ws").await;
    let h2 = proxy.h2c().await;
    h2.fetch(Request::get("/")).await.expect(200);

    let upgrading = async {
        let told = proxy.command(["--json", "upgrade"]).await.expect(0);
        serde_json::from_str::<serde_json::Value>(&told.stdout).unwrap()
    };
    let going_on = async {
        proxy.printed("upgrade: ").await;
        proxy.printed(" serves; draining ").await;
        // What was under way is under way; who is busy is told with the next answer.
        let last = kept.fetch(Request::get("/")).await.expect(200);
        assert!(last.headers.has_token("connection", "close"), "{:?}", last.headers);
        proxy.get("/").await.expect(200);
        socket.send(Message::text("still")).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("still"));
        gate.open();
        assert_eq!(long.chunk().await.unwrap(), "second");
        assert_eq!(long.chunk().await.unwrap(), "");
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
    };
    let (told, ()) = tokio::join!(upgrading, going_on);
    assert_eq!(told["old_pid"], old);
    assert_ne!(told["pid"], old);
    proxy.succeeded_by(told["pid"].as_u64().unwrap() as u32);
    proxy.get("/").await.expect(200);
    let status = proxy.admin("/api/v1/status").await.expect(200).json();
    assert_eq!(status["pid"], told["pid"]);
    assert_eq!(proxy.logged("/").await["generation"], 1);
    proxy.get("/after").await.expect(200);
    assert_eq!(proxy.logged("/after").await["generation"], 2);
}

#[tokio::test]
async fn nobody_is_refused_or_cut_over_several_upgrades_and_reloads() {
    let (_origin, mut proxy) = before(|_| Answer::text("x")).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (address, stop, served) = (proxy.address().clone(), stop.clone(), served.clone());
        clients.spawn(async move {
            let mut kept: Option<Connection> = None;
            while !stop.load(Ordering::Relaxed) {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => Connection::to(&address).await,
                };
                let answer = connection.fetch(Request::get("/")).await.expect(200);
                served.fetch_add(1, Ordering::Relaxed);
                // Half of them keep their connection until they are told that it ends.
                kept = (number % 2 == 0 && !answer.headers.has_token("connection", "close")).then_some(connection);
            }
        });
    }
    let some_more = async |count: usize| {
        let goal = served.load(Ordering::Relaxed) + count;
        within("the clients to be served", async {
            while served.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    for _ in 0..3 {
        some_more(50).await;
        proxy.upgrade(&[]).await;
        some_more(50).await;
        proxy.command(["reload"]).await.expect(0);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn a_successor_that_fails_changes_nothing() {
    let mut proxy = Proxy::start(PAGE).await;
    let old = proxy.pid();
    for (text, why) in [
        ("exit 7", "the new process ended before it was ready (exit code 7)"),
        ("exec sleep 600", "the new process was not ready in time"),
        ("cat <&0 >/dev/null; exit 1", "the new process was not ready in time"),
    ] {
        let binary = program(&proxy, text);
        let exit = proxy.command(["upgrade", "--timeout", "1s", "--binary", binary.to_str().unwrap()]).await.expect(1);
        assert!(exit.stderr.contains(why), "{}", exit.stderr);
        proxy.get("/").await.expect(200);
    }
    let exit = proxy.command(["upgrade", "--binary", "/nowhere/maitred"]).await.expect(1);
    assert!(exit.stderr.contains("/nowhere/maitred"), "{}", exit.stderr);
    // The configuration on disk is wrong by now: the new process says so, and the old one serves on.
    proxy.configure("[routes.a]\npath = \"/a\"\nupstrem = \"b\"\n");
    let exit = proxy.command(["upgrade"]).await.expect(1);
    assert!(exit.stderr.contains("unknown key `upstrem`"), "{}", exit.stderr);
    proxy.get("/").await.expect(200);
    assert_eq!(proxy.admin("/api/v1/status").await.expect(200).json()["pid"], old);
    proxy.configure(PAGE);
    proxy.upgrade(&[]).await;
    proxy.get("/").await.expect(200);
}

#[tokio::test]
async fn what_a_new_process_would_not_hear_of_is_refused_while_it_starts() {
    let origin = Origin::text("x").await;
    let text = format!("{BOTH}[upstreams.app]\nbackends = \"{origin}\"\n[routes]\n\"/*\" = \"app\"\n");
    let proxy = Proxy::start(text).await;
    let go = proxy.folder().join("go");
    let binary = program(&proxy, &format!("until [ -e {} ]; do sleep 0.05; done; exit 7", go.display()));
    let backend = format!("app/{}", origin.socket());
    let orders = async |code: i32, told: &str| {
        for order in [&["backend", "drain", &backend][..], &["log", "level", "info"]] {
            let exit = proxy.command(order.iter().copied()).await.expect(code);
            assert!(exit.stderr.contains(told), "{}", exit.stderr);
        }
    };
    let upgrading = proxy.command(["upgrade", "--binary", binary.to_str().unwrap()]);
    let ordering = async {
        proxy.printed("upgrade: started ").await;
        orders(1, "an upgrade is under way").await;
        // What only looks, and what lies in files, is for whoever asks.
        proxy.command(["status"]).await.expect(0);
        std::fs::write(&go, "").unwrap();
    };
    let (failed, ()) = tokio::join!(upgrading, ordering);
    failed.expect(1);
    orders(0, "").await;
}

#[tokio::test]
async fn term_during_an_upgrade_ends_the_old_process_and_the_new_one() {
    let proxy = Proxy::start(PAGE).await;
    let binary = program(&proxy, "exec sleep 600");
    let arguments = ["upgrade", "--timeout", "60s", "--binary", binary.to_str().unwrap()];
    let upgrading = proxy.command(arguments);
    let ending = async {
        proxy.printed("upgrade: started ").await;
        proxy.signal("TERM").await;
    };
    let (exit, ()) = tokio::join!(upgrading, ending);
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn sockets_of_every_kind_and_number_go_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let many = |count: usize| {
        let addresses: Vec<String> = (0..count).map(|_| "\"127.0.0.1:0\"".to_owned()).collect();
        format!(
            "[listeners.app]\naddress = \"unix:{}\"\n[listeners.many]\naddress = [{}]\n{PAGE}",
            path.display(),
            addresses.join(", ")
        )
    };
    let mut proxy = Proxy::start(many(2)).await;
    // Opened while it runs, and more than Pingora hands over.
    proxy.hang_up(many(100)).await;
    let places = |status: serde_json::Value| status["listeners"].clone();
    let before = places(proxy.admin("/api/v1/status").await.json());
    let told = proxy.upgrade(&[]).await;
    assert!(told["sockets"].as_u64().unwrap() > 100, "{told}");
    assert_eq!(places(proxy.admin("/api/v1/status").await.json()), before);
    Connection::to(&Address::Unix(path.clone())).await.fetch(Request::get("/")).await.expect(200);
    for url in before[1]["addresses"].as_array().unwrap() {
        let address = url.as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Connection::to(&Address::Tcp(address)).await.fetch(Request::get("/")).await.expect(200);
    }
}

#[tokio::test]
async fn signals_upgrade_as_well() {
    let mut proxy = Proxy::start(PAGE).await;
    proxy.signal("QUIT").await;
    proxy.printed("QUIT: no new process waits").await;
    succeed(&mut proxy).await;
    proxy.get("/").await.expect(200);

    // By hand: a new process waits until the old one is told.
    let waiting = tokio::spawn(proxy.beside().argument("--upgrade").start());
    proxy.printed("a new process waits for the sockets").await;
    proxy.get("/").await.expect(200);
    let old = proxy.pid();
    proxy.signal("QUIT").await;
    let next = waiting.await.unwrap();
    assert_ne!(next.pid(), old);
    proxy.get("/").await.expect(200);
    // The old process stops answering as soon as it knows of the new one.
    within("the new process to answer", async {
        while proxy.admin("/api/v1/status").await.json()["pid"] != next.pid() {}
    })
    .await;
}

#[tokio::test]
async fn should_the_new_process_fail_the_old_one_puts_another_in_its_place() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin =
        Origin::start(move |_| Answer::status(200).framing(Framing::Chunked).wait(&script).piece("late")).await;
    let text = format!("{PAGE}[routes.slow]\npath = \"/slow\"\nupstream = \"{origin}\"\n");
    let mut proxy = Proxy::start(text).await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/slow")).await;
    origin.request().await;
    succeed(&mut proxy).await;
    for _ in 0..2 {
        let failed = proxy.pid();
        proxy.signal("KILL").await;
        proxy.printed(&format!("the new process (pid {failed}) has failed (signal: 9 (SIGKILL))")).await;
        // Whoever comes meanwhile waits, and is not refused.
        proxy.get("/").await.expect(200);
        let status = proxy.admin("/api/v1/status").await.expect(200).json();
        let serves = u32::try_from(status["pid"].as_u64().unwrap()).unwrap();
        assert_ne!(serves, failed);
        proxy.succeeded_by(serves);
    }
    // What was under way in the first process is none the worse for it.
    gate.open();
    assert_eq!(slow.answer_head().await.0, 200);
    assert_eq!(slow.chunk().await.unwrap(), "late");
    // One that is told to end is not put back.
    proxy.signal("TERM").await;
    proxy.until_refusing().await;
    proxy.wait().await.expect(0);
}

/// The old process keeps what it gave away, in case the new one fails: that must not keep it open.
#[tokio::test]
async fn what_the_new_process_closes_is_closed_while_the_old_one_drains() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let listeners = "[listeners.a]\naddress = \"127.0.0.1:0\"\n";
    let text = format!("{listeners}{PAGE}[routes.slow]\npath = \"/slow\"\nupstream = \"{origin}\"\n");
    let mut proxy = Proxy::start(format!("[listeners.b]\naddress = \"127.0.0.1:0\"\n{text}")).await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/slow")).await;
    origin.request().await;
    let closing = proxy.listener("b").clone();
    succeed(&mut proxy).await;
    Connection::to(&closing).await.fetch(Request::get("/")).await.expect(200);
    proxy.hang_up(text).await;
    assert!(closing.try_connect().await.is_err(), "somebody still listens");
    Connection::to(proxy.listener("a")).await.fetch(Request::get("/")).await.expect(200);
}
