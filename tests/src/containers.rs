//! maitred as the first process of a container: it stays for those after it, takes in orphans, and ends as they do.

use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::Value;
use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, within};

use crate::setting::route;

/// Whether this machine lets a test have a namespace of processes of its own. Where it does not, what stands in the place
/// of the test is said, loudly: nothing of it was tried.
fn may_unshare() -> bool {
    let tried = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    let may = tried.as_ref().is_ok_and(|tried| tried.status.success());
    if !may {
        eprintln!("NOT TESTED: the first process of a container, since `unshare --pid` is refused here: {tried:?}");
    }
    may
}

/// The id outside of the namespace of its first process.
fn first(proxy: &Proxy) -> u32 {
    child(proxy.pid())
}

/// A process that this one has started, in whichever of its threads.
fn child(parent: u32) -> u32 {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children: String = children.collect::<Vec<_>>().join(" ");
    children.split_whitespace().next().expect("a child").parse().unwrap()
}

/// The states of the processes in the namespace of `first`, by command.
fn processes(first: u32) -> Vec<(String, char)> {
    let namespace = fs::read_link(format!("/proc/{first}/ns/pid")).ok();
    let stat = |entry: fs::DirEntry| {
        let folder = entry.path();
        let same = fs::read_link(folder.join("ns/pid")).ok() == namespace;
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        let (before, after) = text.rsplit_once(") ")?;
        // What a zombie was in cannot be seen any more: its parent says it.
        let parent = after.split_whitespace().nth(1) == Some(&first.to_string());
        let command = before.split_once('(')?.1.to_owned();
        (same || parent).then(|| (command, after.chars().next().unwrap_or('?')))
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| stat(entry.ok()?)).collect()
}

fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(killed.unwrap().success(), "cannot send {signal}");
}

/// Leaves two processes behind in the namespace whose parent is gone, one of which ends at once.
fn orphan(first: u32) {
    let script = "(exec -a gone sleep 0) & (exec -a left sleep 600) & exit 0";
    let entered = Command::new("nsenter")
        .args(["--target", &first.to_string(), "--pid", "--mount", "bash", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(entered.unwrap().success());
}

/// Waits until nobody is left of those who have ended, and of those left behind only who lives.
async fn until_taken_in(first: u32, left: usize) {
    let are_left = |all: &[(String, char)]| all.iter().filter(|(command, _)| command == "sleep").count();
    let have_ended = |all: &[(String, char)]| all.iter().any(|(_, state)| *state == 'Z');
    within("those who have ended to be taken in", async {
        while have_ended(&processes(first)) || are_left(&processes(first)) != left {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until another process than `before` answers to operators; the id that it has in the namespace.
async fn serving(proxy: &Proxy, before: u64) -> u64 {
    let answers = async {
        loop {
            let status = proxy.command(["--json", "status"]).await;
            let told = serde_json::from_str::<Value>(&status.stdout).ok();
            if let Some(pid) = told.and_then(|told| told["pid"].as_u64()).filter(|pid| *pid != before) {
                return pid;
            }
        }
    };
    within("another process to answer", answers).await
}

#[tokio::test]
async fn the_first_process_stays_for_those_after_it() {
    if !may_unshare() {
        return;
    }
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Answer::text("late").after(&script),
        _ => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::with(route(&origin, "")).first_process().start().await;
    let first = first(&proxy);
    assert_eq!(serving(&proxy, 0).await, 1, "it is the first one");
    // Before there is a successor.
    orphan(first);
    until_taken_in(first, 1).await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/slow")).await;
    gate.reached().await;

    // By signal, as from outside of the container; what is under way is under way.
    kill("USR2", first);
    let second = serving(&proxy, 1).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    gate.open();
    assert_eq!(slow.answer("GET").await.expect(200).text(), "late");
    // Once it has drained it does nothing but stay: it takes in who has ended, and hands signals on.
    orphan(first);
    until_taken_in(first, 2).await;
    within("a reload by the one that serves", async {
        while !proxy.lines().iter().any(|line| line.contains(" HUP: ")) {
            kill("HUP", first);
            tokio::task::yield_now().await;
        }
    })
    .await;
    kill("USR2", first);
    let third = serving(&proxy, second).await;
    assert_ne!(third, 1);
    until_maitreds(first, 2).await;
    until_taken_in(first, 2).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    // The container ends when its server does, and as that one does.
    kill("TERM", first);
    proxy.wait().await.expect(0);
}

/// Waits until the namespace has so many maitreds.
async fn until_maitreds(first: u32, count: usize) {
    within(format!("{count} processes to be left"), async {
        while processes(first).iter().filter(|(command, _)| command.starts_with("maitred")).count() > count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_end_is_for_whoever_serves_while_others_drain() {
    if !may_unshare() {
        return;
    }
    let (of_second, of_third) = (Gate::new(), Gate::new());
    let (one, other) = (of_second.clone(), of_third.clone());
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/second" => Answer::text("second").after(&one),
        "/third" => Answer::text("third").after(&other),
        _ => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::with(route(&origin, "")).first_process().start().await;
    let first = first(&proxy);
    kill("USR2", first);
    let second = serving(&proxy, 1).await;
    // While an upgrade is under way no other one begins, and whoever asks for the end means both.
    proxy.printed(&format!("(pid {second}) serves")).await;
    let mut with_second = proxy.connect().await;
    with_second.start(&Request::get("/second")).await;
    of_second.reached().await;
    kill("USR2", first);
    let third = serving(&proxy, second).await;
    proxy.printed(&format!("(pid {third}) serves")).await;
    let mut with_third = proxy.connect().await;
    with_third.start(&Request::get("/third")).await;
    of_third.reached().await;
    kill("TERM", first);
    proxy.until_refusing().await;
    // That the one in between ends is not the end.
    of_second.open();
    assert_eq!(with_second.answer("GET").await.expect(200).text(), "second");
    until_maitreds(first, 2).await;
    of_third.open();
    assert_eq!(with_third.answer("GET").await.expect(200).text(), "third");
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn term_to_the_first_process_lets_requests_end_and_cuts_them_after_the_grace_period() {
    if !may_unshare() {
        return;
    }
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/cut" => Answer::hang(),
        _ => Answer::text("late").after(&script),
    })
    .await;
    let start = |grace: &str| {
        let text = format!("{}[server]\ngrace_period = \"{grace}\"\n", route(&origin, ""));
        // Pingora's engine does not tell of what is cut.
        Proxy::with(text).variable("MAITRED_ENGINE", "").first_process().start()
    };
    let proxy = start("60s").await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/slow")).await;
    gate.reached().await;
    kill("TERM", first(&proxy));
    proxy.until_refusing().await;
    gate.open();
    assert_eq!(slow.answer("GET").await.expect(200).text(), "late");
    proxy.wait().await.expect(0);

    let proxy = start("300ms").await;
    let mut cut = proxy.connect().await;
    cut.start(&Request::get("/cut")).await;
    origin.nth(1).await;
    kill("TERM", first(&proxy));
    let exit = proxy.wait().await.expect(0);
    assert!(exit.stdout.contains(r#""error":"stopping""#), "{}", exit.stdout);
}

/// It stays, so that nothing ends with it: neither the connections that it has, nor what they have to tell.
#[tokio::test]
async fn the_first_process_cuts_what_outlasts_the_grace_period_and_stays() {
    if !may_unshare() {
        return;
    }
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/cut" => Answer::hang(),
        _ => Answer::text("x"),
    })
    .await;
    let text = format!("{}[server]\ngrace_period = \"300ms\"\n", route(&origin, ""));
    let proxy = Proxy::with(text).variable("MAITRED_ENGINE", "").first_process().start().await;
    let first = first(&proxy);
    let mut cut = proxy.connect().await;
    cut.start(&Request::get("/cut")).await;
    origin.request().await;
    kill("USR2", first);
    let second = serving(&proxy, 1).await;
    cut.closed().await;
    assert_eq!(proxy.logged("/cut").await["error"], "stopping");
    assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    assert_eq!(serving(&proxy, 0).await, second);
    // Should the one that serves be killed, the container ends, and says how.
    kill("KILL", child(first));
    proxy.wait().await.expect(137);
}

/// Has the second process drain, with a request under way, and the third one serve; the id of that in the namespace.
async fn third_while_second_drains(proxy: &Proxy, gate: &Gate) -> (Connection, u64) {
    let first = first(proxy);
    kill("USR2", first);
    let second = serving(proxy, 1).await;
    until_known(proxy, second).await;
    let mut slow = proxy.connect().await;
    slow.start(&Request::get("/second")).await;
    gate.reached().await;
    kill("USR2", first);
    let third = serving(proxy, second).await;
    until_known(proxy, third).await;
    (slow, third)
}

/// Waits until the process before this one knows that it serves.
async fn until_known(proxy: &Proxy, serves: u64) {
    proxy.printed(&format!("(pid {serves}) serves; draining")).await;
}

#[tokio::test]
async fn one_that_was_put_in_the_place_of_another_tells_who_serves_after_it() {
    if !may_unshare() {
        return;
    }
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/second" => Answer::text("second").after(&script),
        _ => Answer::text("x"),
    })
    .await;
    let proxy = Proxy::with(route(&origin, "")).first_process().start().await;
    let first = first(&proxy);
    let (mut slow, third) = third_while_second_drains(&proxy, &gate).await;
    kill("KILL", child(child(first)));
    let fourth = serving(&proxy, third).await;
    gate.open();
    assert_eq!(slow.answer("GET").await.expect(200).text(), "second");
    until_maitreds(first, 2).await;
    kill("USR2", first);
    let fifth = serving(&proxy, fourth).await;
    // That the fourth one ends, which was started by one that is gone, is not the end.
    until_maitreds(first, 2).await;
    orphan(first);
    until_taken_in(first, 1).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    assert_eq!(serving(&proxy, 0).await, fifth);
    kill("TERM", first);
    proxy.wait().await.expect(0);
}

#[tokio::test]
async fn the_container_goes_on_while_another_process_is_started_in_the_place_of_one_that_failed() {
    if !may_unshare() {
        return;
    }
    let (gate, keys, late) = (Gate::new(), Gate::new(), Arc::new(AtomicBool::new(false)));
    let (script, of_keys, are_late) = (gate.clone(), keys.clone(), late.clone());
    let origin = Origin::start(move |seen| match (seen.target.as_str(), are_late.load(Relaxed)) {
        ("/second", _) => Answer::text("second").after(&script),
        ("/keys", true) => Answer::text(r#"{"keys":[]}"#).after(&of_keys),
        ("/keys", false) => Answer::text(r#"{"keys":[]}"#),
        _ => Answer::text("x"),
    })
    .await;
    let text = format!(
        "{}[auth.customers]\ntype = \"jwt\"\njwks = \"{origin}/keys\"\naudience = \"api\"\n\
         [routes.own]\npath = \"/own\"\nauth = \"customers\"\nupstream = \"{origin}\"\n",
        route(&origin, "")
    );
    let proxy = Proxy::with(text).first_process().start().await;
    let first = first(&proxy);
    let (mut slow, third) = third_while_second_drains(&proxy, &gate).await;
    late.store(true, Relaxed);
    kill("KILL", child(child(first)));
    // The one that takes its place cannot serve yet, and the first process has a look meanwhile.
    keys.reached().await;
    kill("HUP", first);
    orphan(first);
    until_taken_in(first, 1).await;
    keys.open();
    assert_eq!(proxy.get("/").await.expect(200).text(), "x");
    assert_ne!(serving(&proxy, third).await, 1);
    // What was meant for whoever serves has waited for one.
    proxy.printed(" HUP: generation ").await;
    gate.open();
    assert_eq!(slow.answer("GET").await.expect(200).text(), "second");
    kill("TERM", first);
    proxy.wait().await.expect(0);
}
