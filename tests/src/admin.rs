//! The admin plane of the real binary, and the commands that talk to it.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use testkit::{Answer, Authority, Proxy, Request, binary, maitred, within};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

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
        ["maitred ", "ready", &format!("pid {}", proxy.pid()), &folder.display().to_string(), "1 in all", "1/1 up "]
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

/// Writes another configuration over the one of this proxy, with its first lines as they are.
fn write(proxy: &Proxy, text: &str) {
    let whole = format!("listen = \"{}\"\n{text}[admin]\naddress = \"127.0.0.1:0\"\n", proxy.address());
    std::fs::write(proxy.folder().join("maitred.toml"), whole).unwrap();
}

fn answers(body: &str) -> String {
    format!("[routes.app]\npath = \"/*\"\nrespond = {{ body = \"{body}\" }}\n")
}

/// A proxy whose configuration may be replaced by [`write`] without another listener.
async fn replaceable(body: &str) -> Proxy {
    let proxy = Proxy::start(answers(body)).await;
    write(&proxy, &answers(body));
    proxy.command(["reload"]).await.expect(0);
    proxy
}

#[tokio::test]
async fn reload_says_what_changed_or_everything_that_is_wrong() {
    let proxy = replaceable("one").await;
    write(
        &proxy,
        &format!("{}[routes.invoices]\npath = \"/invoices\"\nrespond = {{ body = \"i\" }}\n", answers("two")),
    );
    let dry = proxy.command(["reload", "--dry-run"]).await.expect(0);
    assert!(dry.stdout.contains("would apply") && dry.stdout.contains("+1 route (invoices)"), "{}", dry.stdout);
    assert_eq!(proxy.get("/").await.text(), "one");
    let applied = proxy.command(["reload"]).await.expect(0);
    assert!(
        applied.stdout.starts_with("applied in ") && applied.stdout.contains("+1 route (invoices)"),
        "{}",
        applied.stdout
    );
    assert_eq!(proxy.get("/").await.text(), "two");
    assert!(proxy.command(["reload"]).await.expect(0).stdout.starts_with("unchanged"));

    write(&proxy, "[routes.app]\npath = \"/*\"\nupstrem = \"x\"\n");
    let refused = proxy.command(["reload"]).await.expect(1);
    assert!(refused.stderr.contains("error[E0102]") && refused.stderr.contains("maitred.toml:"), "{}", refused.stderr);
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("refused: still serving the configuration of ") && last.contains("(sha "), "{last}");
    let json: Value = serde_json::from_str(&proxy.command(["reload", "--json"]).await.expect(1).stdout).unwrap();
    assert_eq!((&json["outcome"], &json["diagnostics"][0]["code"]), (&"refused".into(), &"E0102".into()));
    assert_eq!(proxy.get("/").await.text(), "two");
    let status = proxy.command(["status"]).await.expect(0).stdout;
    assert!(status.contains("reload     refused at "), "{status}");
}

#[tokio::test]
async fn what_waits_for_an_upgrade_is_said() {
    let proxy = replaceable("one").await;
    write(&proxy, &format!("{}[server]\nthreads = 3\n", answers("two")));
    let applied = proxy.command(["reload"]).await.expect(0);
    assert!(applied.stdout.starts_with("applied in "), "{}", applied.stdout);
    assert!(applied.stderr.contains("1 change waits for an upgrade: `server.threads`"), "{}", applied.stderr);
    assert!(applied.stderr.contains("hint: run `maitred upgrade`"), "{}", applied.stderr);
    let old = proxy.pid();
    let upgraded = proxy.command(["reload", "--upgrade-if-needed"]).await.expect(0);
    assert!(
        upgraded.stdout.contains("new ") && upgraded.stdout.contains(&format!("(pid {old})")),
        "{}",
        upgraded.stdout
    );
    let status: Value = serde_json::from_str(&proxy.command(["status", "--json"]).await.expect(0).stdout).unwrap();
    assert_eq!(status["threads"], 3);
    assert_ne!(status["pid"], old);
    proxy.command(["stop"]).await.expect(0);
}

#[tokio::test]
async fn what_is_on_trial_is_confirmed_and_what_was_is_brought_back() {
    let proxy = replaceable("one").await;
    let nothing = proxy.command(["confirm"]).await.expect(1);
    assert!(nothing.stderr.contains("not on probation"), "{}", nothing.stderr);
    write(&proxy, &answers("two"));
    let tried = proxy.command(["reload", "--confirm", "5m"]).await.expect(0);
    assert!(tried.stderr.contains("5m") && tried.stderr.contains("maitred confirm"), "{}", tried.stderr);
    let confirmed = proxy.command(["confirm"]).await.expect(0);
    assert!(confirmed.stdout.starts_with("confirmed: generation "), "{}", confirmed.stdout);
    let ids = async || {
        let history = proxy.command(["history", "--json"]).await.expect(0).stdout;
        let history: Value = serde_json::from_str(&history).unwrap();
        history.as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let before = ids().await;
    proxy.command(["rollback"]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "one");
    assert_eq!(ids().await.len(), before.len() + 1);
    proxy.command(["rollback", &before[0].to_string()]).await.expect(0);
    assert_eq!(proxy.get("/").await.text(), "two");
    let unknown = proxy.command(["rollback", "999"]).await.expect(1);
    assert!(unknown.stderr.contains("generation 999 is not kept"), "{}", unknown.stderr);
    let table = proxy.command(["history"]).await.expect(0).stdout;
    assert!(table.starts_with("→ ") && table.contains("rollback") && table.contains("reload"), "{table}");
}

#[tokio::test]
async fn stop_waits_until_the_process_has_ended() {
    for command in [&["stop"][..], &["stop", "--now"]] {
        let (_origin, proxy) = before(|_| Answer::text("x")).await;
        proxy.get("/").await.expect(200);
        let stopped = proxy.command(command.iter().copied()).await.expect(0);
        assert!(stopped.stdout.starts_with("stopped in "), "{}", stopped.stdout);
        assert!(!proxy.folder().join("run/admin.sock").exists(), "the socket's file is left behind");
        let exit = proxy.wait().await.expect(0);
        assert!(exit.stderr.contains("stop by uid "), "{}", exit.stderr);
    }
}

/// A command that goes on, and the lines that it prints.
fn following(proxy: &Proxy, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(proxy.folder()).env("RUNTIME_DIRECTORY", proxy.folder().join("run"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test]
async fn log_follow_prints_requests_as_they_end() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    let (_all, mut all) = following(&proxy, &["log", "follow", "--json"]);
    let (_failed, mut failed) = following(&proxy, &["log", "follow", "--route", "-", "--status", "4xx"]);
    // Both are there once they have told of one request each; until then these are lost.
    let told = async {
        let (first, second) = tokio::join!(all.next_line(), failed.next_line());
        (first.unwrap().unwrap(), second.unwrap().unwrap())
    };
    let asking = async {
        loop {
            proxy.get("/found").await.expect(200);
            proxy.exchange("GET /a b HTTP/1.1\r\n\r\n").await;
        }
    };
    let (first, second) = within("both to tell", async {
        tokio::select! { told = told => told, () = asking => unreachable!() }
    })
    .await;
    let line: Value = serde_json::from_str(&first).unwrap();
    assert!(line["path"].is_string() || line["status"] == 400, "{line}");
    assert!(second.contains("  400  "), "{second}");
    proxy.get("/the-last").await.expect(200);
    within("the last one to be told", async {
        while !all.next_line().await.unwrap().unwrap().contains("/the-last") {}
    })
    .await;
}

#[tokio::test]
async fn without_an_access_log_there_is_nothing_to_follow() {
    let proxy = Proxy::start(format!("{APP}[logging]\naccess = false\n")).await;
    let exit = proxy.command(["log", "follow"]).await.expect(1);
    assert!(exit.stderr.contains("logging.access"), "{}", exit.stderr);
}

#[tokio::test]
async fn the_log_level_changes_while_the_server_runs() {
    let proxy = Proxy::start(format!("{APP}[logging]\nlevel = \"warn\"\n")).await;
    assert_eq!(proxy.command(["log", "level"]).await.expect(0).stdout, "warn\n");
    let wrong = proxy.command(["log", "level", "loud"]).await.expect(1);
    assert!(wrong.stderr.contains("`loud` is not a log level"), "{}", wrong.stderr);
    let set = proxy.command(["log", "level", "debug", "--for", "1h"]).await.expect(0);
    assert!(set.stdout.starts_with("debug until "), "{}", set.stdout);
    proxy.signal("USR1").await;
    proxy.printed("log files opened anew").await;
    assert_eq!(proxy.command(["log", "level", "--reset"]).await.expect(0).stdout, "warn\n");
    let short = proxy.command(["log", "level", "trace", "--for", "1ms"]).await.expect(0);
    assert!(short.stdout.starts_with("trace until "), "{}", short.stdout);
    proxy.printed("set_log_level by maitred itself: done").await;
    assert_eq!(proxy.command(["log", "level"]).await.expect(0).stdout, "warn\n");
}

#[tokio::test]
async fn a_reload_changes_the_log_level_too() {
    let proxy = replaceable("one").await;
    write(&proxy, &format!("{}[logging]\nlevel = \"error\"\n", answers("one")));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(proxy.command(["log", "level"]).await.expect(0).stdout, "error\n");
}

fn audited(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line: &Value| line["kind"] == "act").collect()
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_who_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
    let configuration = |body: &str| {
        let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\naudit = \"{}\"\n", path.display());
        format!("listen = \"127.0.0.1:0\"\n{}{admin}", answers(body))
    };
    let proxy = Proxy::start(configuration("one")).await;
    let file = proxy.folder().join("maitred.toml");
    std::fs::write(&file, configuration("two")).unwrap();
    proxy.command(["reload"]).await.expect(0);
    std::fs::write(&file, "[routes").unwrap();
    proxy.signal("HUP").await;
    proxy.printed("reload by signal HUP: refused").await;
    std::fs::rename(&path, &moved).unwrap();
    proxy.signal("USR1").await;
    proxy.printed("log files opened anew").await;
    let url = format!("http://{}", proxy.listener("admin"));
    std::fs::write(&file, configuration("two")).unwrap();
    proxy.command(["--admin", &url, "reload"]).await.expect(1);
    proxy.signal("TERM").await;
    proxy.wait().await.expect(0);

    let before = audited(&moved);
    let brief = |line: &Value| {
        [&line["what"], &line["outcome"], &line["before"], &line["after"]].map(Value::to_string).join(" ")
    };
    assert_eq!(
        before.iter().map(brief).collect::<Vec<_>>(),
        ["\"reload\" \"applied\" 1 2", "\"reload\" \"refused\" 2 2"]
    );
    assert!(before[0]["who"]["process"]["pid"].is_u64(), "{}", before[0]);
    assert_eq!(before[1]["who"]["signal"], "HUP");
    let after = audited(&path);
    assert_eq!(after.iter().map(brief).collect::<Vec<_>>(), ["\"reload\" \"denied\" 2 2", "\"stop\" \"done\" 2 2"]);
    assert!(after[0]["who"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", after[0]);
    assert_eq!(after[1]["who"]["signal"], "TERM");
}

#[tokio::test]
async fn a_reload_moves_the_audit_log_and_a_file_that_cannot_be_written_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = |audit: &Path, body: &str| {
        format!("{}[admin]\naddress = \"127.0.0.1:0\"\naudit = \"{}\"\n", answers(body), audit.display())
    };
    let (first, second) = (folder.path().join("first.jsonl"), folder.path().join("second.jsonl"));
    let proxy = Proxy::start(format!("listen = \"127.0.0.1:0\"\n{}", configuration(&first, "one"))).await;
    let put = |text: String| {
        let whole = format!("listen = \"{}\"\n{text}", proxy.address());
        std::fs::write(proxy.folder().join("maitred.toml"), whole).unwrap();
    };
    put(configuration(&second, "two"));
    proxy.command(["reload"]).await.expect(0);
    put(configuration(Path::new("/nowhere/audit.jsonl"), "three"));
    proxy.command(["reload"]).await.expect(1);
    proxy.signal("TERM").await;
    proxy.wait().await.expect(0);

    assert_eq!(audited(&first), Vec::<Value>::new());
    let outcomes: Vec<_> = audited(&second).iter().map(|line| line["outcome"].to_string()).collect();
    assert_eq!(outcomes, ["\"applied\"", "\"refused\"", "\"done\""]);
}

#[tokio::test]
async fn the_token_is_never_shown() {
    let token = "0123456789abcdef-secret";
    let text = format!("{APP}[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"{token}\"\n");
    let proxy = Proxy::start(text).await;
    for path in ["/api/v1/config", "/api/v1/config?format=toml", "/api/v1/config/source", "/api/v1/status"] {
        let shown = proxy.admin(path).await.expect(200).text();
        assert!(!shown.contains(token), "{path}: {shown}");
        assert!(!path.contains("config") || shown.contains("<redacted>"), "{path}: {shown}");
    }
}

#[tokio::test]
async fn routes_upstreams_and_certificates_are_told_of() {
    let (origin, proxy) = before(|seen| Answer::status(if seen.target == "/bad" { 503 } else { 200 })).await;
    for path in ["/good", "/good", "/bad"] {
        proxy.get(path).await;
    }
    proxy.fetch(Request::get("/good").host("x y")).await;
    proxy.access_log(4).await;
    let json = async |path: &str| proxy.admin(path).await.expect(200).json();
    let app = json("/api/v1/routes/app").await;
    assert_eq!((&app["classes"]["2xx"], &app["classes"]["5xx"], &app["in_flight"]), (&2.into(), &1.into(), &0.into()));
    assert!(app["latency"]["p99"].as_f64().is_some_and(|seconds| seconds > 0.0), "{app}");
    assert_eq!(app["config"]["path"], "/*");
    let routes = json("/api/v1/routes").await;
    let unmatched = routes.as_array().unwrap().iter().find(|route| route["name"] == "-").unwrap();
    assert_eq!(unmatched["classes"]["4xx"], 1);
    let upstreams = json("/api/v1/upstreams").await;
    let backend = &upstreams[0]["backends"][0];
    assert_eq!(backend["address"], origin.socket().to_string());
    assert_eq!((&backend["answers"]["200"], &backend["answers"]["503"]), (&2.into(), &1.into()));
    assert_eq!(json("/api/v1/certificates").await, Value::Array(Vec::new()));
    proxy.admin("/api/v1/routes/nobody").await.expect(404);

    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (cert, key) = authority.issue(&["www.example.com"]).pem();
    std::fs::write(folder.path().join("a.pem"), cert).unwrap();
    std::fs::write(folder.path().join("a.key"), key).unwrap();
    let files = format!("cert = {:?}, key = {:?}", folder.path().join("a.pem"), folder.path().join("a.key"));
    let secure =
        Proxy::start(format!("[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ {files} }}\n{APP}")).await;
    let certificates = secure.admin("/api/v1/certificates").await.expect(200).json();
    assert_eq!(
        (&certificates[0]["listener"], &certificates[0]["names"][0]),
        (&"https".into(), &"www.example.com".into())
    );
    assert!(certificates[0]["days_left"].as_i64().is_some_and(|days| days > 0), "{certificates}");
}

#[tokio::test]
async fn top_without_a_terminal_is_one_frame() {
    let (_origin, proxy) = before(|_| Answer::text("x")).await;
    let frame = async {
        loop {
            // All the while: which second is looked at is not ours to say.
            let load = async {
                loop {
                    proxy.get("/").await.expect(200);
                }
            };
            let top = tokio::select! {
                top = proxy.command(["top"]) => top.expect(0).stdout,
                never = load => never,
            };
            let app = top.lines().find(|line| line.starts_with("app ")).map(str::to_owned);
            if app.is_some_and(|line| !line.contains(" 0.0        -")) {
                return top;
            }
        }
    };
    let frame = within("a frame with requests in it", frame).await;
    for told in ["maitred ", "ready", "ROUTE", "UPSTREAM", " in flight", "p99"] {
        assert!(frame.contains(told), "{told} is missing in:\n{frame}");
    }
    assert!(!frame.contains('\x1b'), "{frame}");
    let json: Value = serde_json::from_str(&proxy.command(["top", "--json"]).await.expect(0).stdout).unwrap();
    assert!(json["total"]["requests_per_second"].is_number(), "{json}");
}

#[tokio::test]
async fn the_interface_is_described_as_it_is() {
    let proxy = Proxy::start(APP).await;
    let document = proxy.admin("/api/v1/openapi.json").await.expect(200).json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "999").replace("{name}", "nobody");
        let mut connection = testkit::Connection::to(&proxy.admin_socket()).await;
        // What is not described there is not there either.
        let other = if methods.get("delete").is_some() { "PUT" } else { "DELETE" };
        let answer = connection.fetch(Request::new(other, &path)).await.expect(405);
        let allowed = answer.header("allow").unwrap().to_ascii_lowercase();
        for method in methods.as_object().unwrap().keys() {
            assert!(allowed.contains(method.as_str()), "{method} {path}: {allowed}");
        }
    }
}

#[tokio::test]
async fn what_happens_is_an_event() {
    let proxy = replaceable("one").await;
    write(&proxy, &answers("two"));
    proxy.command(["reload"]).await.expect(0);
    proxy.get("/").await.expect(200);
    let url = "/api/v1/events";
    let answer = testkit::Connection::to(&proxy.admin_socket()).await.fetch(Request::get(url)).await.expect(200);
    let all = answer.json();
    let told = |kind: &str, part: &str| {
        let events = all.as_array().unwrap();
        events.iter().any(|event| event["kind"] == kind && event["message"].as_str().unwrap().contains(part))
    };
    assert!(told("phase", "the server is ready"), "{all:#}");
    assert!(told("info", "applied in "), "{all:#}");
    assert!(told("act", "reload by uid "), "{all:#}");
}

#[tokio::test]
async fn log_follow_goes_on_with_the_new_process() {
    let proxy = replaceable("one").await;
    let (_follow, mut lines) = following(&proxy, &["log", "follow", "--json"]);
    let mut until = async |path: &str| {
        let told = async { while !lines.next_line().await.unwrap().unwrap().contains(path) {} };
        let asking = async {
            loop {
                proxy.get(path).await.expect(200);
            }
        };
        within("a line to be told", async {
            tokio::select! { () = told => {}, () = asking => {} }
        })
        .await;
    };
    until("/before").await;
    proxy.command(["upgrade"]).await.expect(0);
    until("/after").await;
    proxy.command(["stop"]).await.expect(0);
}
