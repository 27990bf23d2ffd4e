//! A running server is given another configuration.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use futures::{SinkExt, StreamExt};
use testkit::{Address, Answer, Connection, Gate, Origin, Proxy, Request, within};
use tokio_tungstenite::tungstenite::Message;

use crate::setting::{before, route};

fn answers(body: &str) -> String {
    format!("[routes.\"/*\"]\nrespond = {{ body = \"{body}\" }}\n")
}

#[tokio::test]
async fn the_next_request_sees_the_new_configuration() {
    let proxy = Proxy::start(answers("one")).await;
    let mut kept = proxy.connect().await;
    assert_eq!(kept.fetch(Request::get("/")).await.text(), "one");
    for (number, body) in [(2, "two"), (3, "three")] {
        let line = proxy.hang_up(answers(body)).await;
        assert!(line.contains(&format!("generation {number} applied in ")), "{line}");
        assert!(line.contains("~1 route (/*)"), "{line}");
        // The listener is as it was, and so is the connection.
        assert_eq!(kept.fetch(Request::get("/")).await.text(), body);
        assert_eq!(proxy.get("/").await.text(), body);
    }
    assert_eq!(proxy.metric("config_reloads_total", &[("result", "applied")]).await, 2.0);
}

#[tokio::test]
async fn a_request_ends_under_the_configuration_that_it_began_with() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |_| Answer::status(200).chunk("first").wait(&script).chunk("second")).await;
    let proxy = Proxy::start(route(&origin, "response = { set = { X-Which = \"old\" } }")).await;
    let mut under_way = proxy.connect().await;
    under_way.start(&Request::get("/")).await;
    let (_, headers) = under_way.answer_head().await;
    assert_eq!(headers.get("x-which"), Some("old"));
    proxy.hang_up(answers("new")).await;
    assert_eq!(proxy.get("/").await.text(), "new");
    gate.open();
    assert_eq!(under_way.chunk().await.unwrap(), "first");
    assert_eq!(under_way.chunk().await.unwrap(), "second");
    assert_eq!(under_way.chunk().await.unwrap(), "");
    assert_eq!(under_way.fetch(Request::get("/")).await.text(), "new");
}

#[tokio::test]
async fn websockets_go_on() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let proxy = Proxy::start(route(&origin, "")).await;
    let mut socket = proxy.websocket("/").await;
    proxy.hang_up(answers("new")).await;
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text(text));
    }
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    proxy.get("/").await.expect(200);
    let metrics = || async {
        let page = proxy.metrics().await;
        let own = |line: &&str| line.starts_with("maitred_") && !line.starts_with("maitred_config_");
        page.lines().filter(own).map(|line| line.split(' ').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let before = metrics().await;
    for wrong in [
        "[routes.a]\npath = \"/a\"\nupstrem = \"b\"\n",
        "[routes",
        "[routes.new]\npath = \"/new\"\nupstream = \"none\"\n",
    ] {
        let line = proxy.hang_up(wrong).await;
        assert!(line.contains("the configuration was refused; generation 1 is still served"), "{line}");
        proxy.get("/").await.expect(200);
    }
    proxy.printed("unknown key `upstrem` in `routes.a`").await;
    assert_eq!(metrics().await, before);
    assert_eq!(proxy.metric("config_reloads_total", &[("result", "refused")]).await, 3.0);
    assert_eq!(proxy.metric("config_last_reload_successful", &[]).await, 0.0);
    proxy.hang_up(answers("mended")).await;
    assert_eq!(proxy.get("/").await.text(), "mended");
    assert_eq!(proxy.metric("config_last_reload_successful", &[]).await, 1.0);
}

#[tokio::test]
async fn listeners_come_and_go() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (Address::Tcp(Address::refusing()), Address::Tcp(Address::refusing()));
    let with = |address: &str| {
        format!(
            "[listeners.kept]\naddress = \"127.0.0.1:0\"\n[listeners.other]\naddress = \"{address}\"\n{}",
            answers("x")
        )
    };
    let proxy = Proxy::start(with(&first.to_string())).await;
    let mut kept = Connection::to(proxy.listener("kept")).await;
    let mut other = Connection::to(&first).await;
    kept.fetch(Request::get("/")).await.expect(200);
    other.fetch(Request::get("/")).await.expect(200);

    let line = proxy.hang_up(with(&taken.local_addr().unwrap().to_string())).await;
    assert!(line.contains("refused"), "{line}");
    proxy.printed("error[E0604]").await;
    other.fetch(Request::get("/")).await.expect(200);

    let line = proxy.hang_up(with(&second.to_string())).await;
    assert!(line.contains("~1 listener (other)"), "{line}");
    Connection::to(&second).await.fetch(Request::get("/")).await.expect(200);
    assert!(first.try_connect().await.is_err());
    // A client that is busy on a listener that is gone is told with its next answer.
    let last = other.fetch(Request::get("/")).await.expect(200);
    assert!(last.headers.has_token("connection", "close"), "{:?}", last.headers);
    other.closed().await;
    kept.fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn what_is_gone_is_not_counted_any_more_and_what_stays_counts_on() {
    let two = |second: &str| {
        format!(
            "[routes]\n\"/a\" = {{ respond = {{ body = \"a\" }} }}\n\"/{second}\" = {{ respond = {{ body = \"b\" }} }}\n"
        )
    };
    let proxy = Proxy::start(two("b")).await;
    for path in ["/a", "/a", "/b"] {
        proxy.get(path).await.expect(200);
    }
    // Counted first, then logged.
    proxy.access_log(3).await;
    proxy.hang_up(two("c")).await;
    for path in ["/a", "/c"] {
        proxy.get(path).await.expect(200);
    }
    proxy.access_log(5).await;
    for (route, count) in [("/a", 3.0), ("/b", 0.0), ("/c", 1.0)] {
        assert_eq!(proxy.metric("http_requests_total", &[("route", route)]).await, count, "{route}");
    }
    assert!(!proxy.metrics().await.contains("route=\"/b\""));
}

#[tokio::test]
async fn the_access_log_moves_and_says_which_configuration_was_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let place = |file: &str| folder.path().join(file);
    let with =
        |file: &str| format!("[logging]\naccess = {{ output = \"{}\" }}\n{}", place(file).display(), answers("x"));
    let proxy = Proxy::start(with("one.log")).await;
    proxy.get("/first").await.expect(200);
    proxy.hang_up(with("two.log")).await;
    proxy.get("/second").await.expect(200);
    let has = |file: &str, path: &str, generation: u64| {
        let text = std::fs::read_to_string(place(file)).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(path)).map(str::to_owned);
        line.is_some_and(|line| line.contains(&format!("\"generation\":{generation}")))
    };
    within("both logs", async {
        while !(has("one.log", "/first", 1) && has("two.log", "/second", 2)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn watched_files_are_applied_when_they_change() {
    let proxy = Proxy::with(answers("one")).argument("--watch").start().await;
    proxy.configure(answers("two"));
    within("the change to be seen", async { while proxy.get("/").await.text() != "two" {} }).await;
    proxy.configure("[routes");
    proxy.printed("watch: the configuration was refused").await;
    assert_eq!(proxy.get("/").await.text(), "two");
}

#[tokio::test]
async fn the_admin_plane_moves() {
    let address = Address::Tcp(Address::refusing());
    let with = |address: &str| format!("{}[admin]\naddress = {address}\n", answers("x"));
    let proxy = Proxy::start(with("\"127.0.0.1:0\"")).await;
    let before = proxy.listener("admin").clone();
    let moved = with(&format!("[\"127.0.0.1:0\", \"{address}\"]"));
    // What only would change leaves everything where it is, the file of the unix socket too.
    proxy.configure(&moved);
    proxy.command(["reload", "--dry-run"]).await.expect(0);
    assert!(address.try_connect().await.is_err());
    for (configuration, kept) in [(moved, true), (with(&format!("\"{address}\"")), false)] {
        proxy.configure(&configuration);
        let exit = proxy.command(["reload"]).await.expect(0);
        assert!(exit.stdout.contains("~admin"), "{}", exit.stdout);
        Connection::to(&address).await.fetch(Request::get("/health")).await.expect(200);
        Connection::to(&proxy.admin_socket()).await.fetch(Request::get("/health")).await.expect(200);
        assert_eq!(before.try_connect().await.is_ok(), kept);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.configure(with(&format!("\"{}\"", taken.local_addr().unwrap())));
    let exit = proxy.command(["reload"]).await.expect(1);
    assert!(exit.stderr.contains("E0604") || exit.stdout.contains("E0604"), "{exit:?}");
    Connection::to(&address).await.fetch(Request::get("/health")).await.expect(200);
}

#[tokio::test]
async fn clients_are_told_the_generation_when_that_is_asked_for() {
    let with = |body: &str| {
        format!(
            "[routes.\"/*\"]\nrespond = {{ body = \"{body}\" }}\nresponse = {{ set = {{ X-Generation = \"{{generation}}\" }} }}\n"
        )
    };
    let proxy = Proxy::start(with("one")).await;
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("1"));
    proxy.hang_up(with("two")).await;
    assert_eq!(proxy.get("/").await.header("x-generation"), Some("2"));
    assert_eq!(proxy.metric("config_generation", &[]).await, 2.0);
}

#[tokio::test]
async fn what_nobody_confirms_goes_by_itself() {
    let proxy = Proxy::start(answers("old")).await;
    proxy.configure(answers("tried"));
    proxy.command(["reload", "--confirm", "1s"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "tried");
    proxy.printed("generation 2 is given up: nobody confirmed it within 1s").await;
    proxy.printed("abort: generation 3 applied").await;
    assert_eq!(proxy.get("/").await.text(), "old");

    proxy.command(["reload", "--confirm", "60s"]).await.expect(0);
    let exit = proxy.command(["confirm"]).await.expect(0);
    assert!(exit.stdout.contains("generation 4"), "{}", exit.stdout);
    proxy.command(["confirm"]).await.expect(1);
    assert_eq!(proxy.get("/").await.text(), "tried");
    proxy.command(["rollback"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "old");
    proxy.command(["rollback", "99"]).await.expect(1);
}

#[tokio::test]
async fn a_trial_that_is_ordered_again_goes_back_to_what_was_before_all_of_it() {
    let proxy = Proxy::start(answers("old")).await;
    for body in ["tried", "mended"] {
        proxy.configure(answers(body));
        let exit = proxy.command(["reload", "--confirm", "60s"]).await.expect(0);
        assert!(exit.stderr.contains("on trial: goes back by itself in 1m"), "{}", exit.stderr);
        assert_eq!(proxy.get("/").await.text(), body);
    }
    // Nothing has changed, and the time begins anew.
    let exit = proxy.command(["reload", "--confirm", "1s"]).await.expect(0);
    assert!(exit.stdout.contains("unchanged"), "{}", exit.stdout);
    assert!(exit.stderr.contains("on trial: goes back by itself in 1s"), "{}", exit.stderr);
    proxy.printed("generation 3 is given up: nobody confirmed it within 1s").await;
    proxy.printed("abort: generation 4 applied").await;
    assert_eq!(proxy.get("/").await.text(), "old");
}

#[tokio::test]
async fn what_nobody_has_decided_leaves_a_trial_as_it_is() {
    let proxy = Proxy::start(answers("old")).await;
    proxy.configure(answers("tried"));
    proxy.command(["reload", "--confirm", "5s"]).await.expect(0);
    let exit = proxy.command(["reload"]).await.expect(0);
    assert!(exit.stdout.contains("unchanged"), "{}", exit.stdout);
    assert!(exit.stderr.contains("on trial: goes back by itself in "), "{}", exit.stderr);
    let line = proxy.hang_up(answers("mended")).await;
    assert!(line.contains("generation 3 applied"), "{line}");
    assert_eq!(proxy.get("/").await.text(), "mended");
    proxy.printed("generation 3 is given up: nobody confirmed it within 5s").await;
    proxy.printed("abort: generation 4 applied").await;
    assert_eq!(proxy.get("/").await.text(), "old");
}

#[tokio::test]
async fn watched_files_are_on_trial_with_what_they_change() {
    let proxy = Proxy::with(answers("old")).argument("--watch").start().await;
    proxy.configure(answers("tried"));
    // Whichever of the two is first: nothing is on trial where the files were applied already.
    within("a trial", async {
        while !proxy.command(["reload", "--confirm", "5s"]).await.expect(0).stderr.contains("on trial") {
            proxy.command(["rollback", "1"]).await.expect(0);
        }
    })
    .await;
    proxy.configure(answers("mended"));
    within("the change to be seen", async { while proxy.get("/").await.text() != "mended" {} }).await;
    proxy.printed("is given up: nobody confirmed it within 5s").await;
    proxy.printed("abort: generation ").await;
    assert_eq!(proxy.get("/").await.text(), "old");
}

#[tokio::test]
async fn an_operator_ends_a_trial_and_nothing_new_begins_none() {
    let proxy = Proxy::start(answers("old")).await;
    let exit = proxy.command(["reload", "--confirm", "60s"]).await.expect(0);
    assert!(exit.stdout.contains("unchanged") && !exit.stderr.contains("on trial"), "{exit:?}");
    proxy.command(["confirm"]).await.expect(1);

    proxy.configure(answers("tried"));
    proxy.command(["reload", "--confirm", "60s"]).await.expect(0);
    proxy.hang_up(answers("mended")).await;
    let exit = proxy.command(["upgrade"]).await.expect(1);
    assert!(exit.stderr.contains("on trial"), "{}", exit.stderr);
    // The generation before was on trial as well.
    proxy.command(["rollback"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "old");
    proxy.command(["confirm"]).await.expect(1);

    proxy.command(["reload", "--confirm", "60s"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "mended");
    proxy.configure(answers("kept"));
    let exit = proxy.command(["reload"]).await.expect(0);
    assert!(!exit.stderr.contains("on trial"), "{}", exit.stderr);
    let exit = proxy.command(["confirm"]).await.expect(1);
    assert!(exit.stderr.contains("is not on probation"), "{}", exit.stderr);
    assert_eq!(proxy.get("/").await.text(), "kept");
}

#[tokio::test]
async fn a_guard_gives_up_what_answers_with_errors() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    let nobody = Address::refusing();
    proxy.configure(format!("[routes]\n\"/*\" = \"http://{nobody}\"\n"));
    proxy.command(["reload", "--confirm", "60s", "--abort-if", "5xx>1%"]).await.expect(0);
    for _ in 0..25 {
        proxy.get("/").await.expect(502);
    }
    proxy.printed("5xx>1%: 25 of 25 answers since (100.0 %)").await;
    proxy.printed("abort: generation 3 applied").await;
    proxy.get("/").await.expect(200);
    let exit = proxy.command(["reload", "--confirm", "1s", "--abort-if", "often"]).await.expect(1);
    assert!(exit.stderr.contains("`often` is no condition"), "{}", exit.stderr);
    let exit = proxy.command(["reload", "--abort-if", "5xx>1%"]).await;
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
}

fn order(path: &str, order: &str) -> Request {
    Request::post(path, order.to_owned()).header("Content-Type", "application/json")
}

#[tokio::test]
async fn a_reload_that_is_refused_leaves_admin_sockets_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (path, busy) = (folder.path().join("ctl.sock"), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let with = |more: &str| format!("{}[admin]\naddress = [\"unix:{}\"{more}]\n", answers("x"), path.display());
    let socket = Address::Unix(path.clone());
    let ask = async || Connection::to(&socket).await.fetch(Request::get("/health")).await.expect(200);
    let mut proxy = Proxy::start(with("")).await;
    proxy.configure(with(&format!(", \"{}\"", busy.local_addr().unwrap())));
    for command in [&["reload"][..], &["reload", "--dry-run"], &["upgrade"]] {
        proxy.command(command.iter().copied()).await.expect(1);
        ask().await;
    }
    proxy.configure(with(", \"127.0.0.1:0\""));
    proxy.command(["reload"]).await.expect(0);
    ask().await;
    proxy.upgrade(&[]).await;
    ask().await;
    proxy.configure(answers("x"));
    proxy.command(["reload"]).await.expect(0);
    within("what is not wanted any more to be removed", async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The system gives a connection to the narrowest socket that listens: one that only would be opened must not.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_only_change_costs_no_connection() {
    let (port, busy) = (Address::refusing().port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let with = |address: &str, admin: &str| {
        let page = answers("x");
        format!("[listeners.web]\naddress = \"{address}{port}\"\n{page}[admin]\naddress = [\"127.0.0.1:0\"{admin}]\n")
    };
    let proxy = Proxy::start(with(":", "")).await;
    let address = Address::Tcp(([127, 0, 0, 1], port).into());
    let stop = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let (address, stop) = (address.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Relaxed) {
                Connection::to(&address).await.fetch(Request::get("/")).await.expect(200);
            }
        })
    };
    let clients: Vec<_> = (0..4).map(client).collect();
    let reload = async |text: &str, code: u16| {
        Connection::to(&proxy.admin_socket()).await.fetch(order("/api/v1/reload", text)).await.expect(code);
    };
    for _ in 0..50 {
        proxy.configure(with("127.0.0.1:", ""));
        reload(r#"{"dry_run":true}"#, 200).await;
        proxy.configure(with("127.0.0.1:", &format!(", \"{}\"", busy.local_addr().unwrap())));
        reload("{}", 422).await;
    }
    proxy.configure(with("127.0.0.1:", ""));
    reload("{}", 200).await;
    Connection::to(&address).await.fetch(Request::get("/")).await.expect(200);
    stop.store(true, Relaxed);
    for client in clients {
        client.await.expect("a connection was lost");
    }
}

#[tokio::test]
async fn times_that_no_clock_has_are_refused() {
    let proxy = Proxy::start(answers("one")).await;
    proxy.configure(answers("two"));
    for (path, text) in [
        ("/api/v1/reload", r#"{"confirm":18446744073709551615}"#),
        ("/api/v1/upgrade", r#"{"timeout":18446744073709551615}"#),
    ] {
        let told = Connection::to(&proxy.admin_socket()).await.fetch(order(path, text)).await.expect(400);
        assert!(told.text().contains("365 days"), "{}", told.text());
    }
    assert_eq!(proxy.get("/").await.text(), "one");
    proxy.command(["reload", "--confirm", "365d"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "two");
}
