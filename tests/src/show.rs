//! `maitred show`: the effective configuration, its places, and that no secret is in it.

use serde_json::{Value, json};
use testkit::{Connection, Exit, Proxy, Request, maitred};

const MAIN: &str = r#"listen  = ":${PORT:-8080}"
include = "conf.d/*.toml"

[defaults]
timeout = "5s"

[admin]
address = []
token   = "sixteen-letters-or-more"

[routes]
"/users/*" = "http://10.0.0.1:8080"
"#;

const MORE: &str = "[routes.orders]\npath = \"/orders/*\"\nupstream = \"http://10.0.0.1:8080\"\ntimeout = \"9s\"\n";

/// Runs `show` with `arguments` on a configuration of two files.
async fn show(arguments: &[&str]) -> Exit {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), MAIN).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    std::fs::write(folder.path().join("conf.d/orders.toml"), MORE).unwrap();
    maitred(folder.path(), ["show"].iter().chain(arguments).copied()).await
}

#[tokio::test]
async fn the_whole_is_shown_with_the_place_of_everything() {
    let shown = show(&["--source"]).await.expect(0).stdout;
    insta::assert_snapshot!(shown, @r##"
[listeners.http]  # maitred.toml:1
address = ":${PORT:-8080}"  # maitred.toml:1

[upstreams.10-0-0-1-8080]  # maitred.toml:12
backends = "http://10.0.0.1:8080"  # maitred.toml:12

[routes."/users/*"]  # maitred.toml:12
upstream = "10-0-0-1-8080"  # maitred.toml:12
path     = "/users/*"       # maitred.toml:12
timeout  = "5s"             # maitred.toml:5

[routes.orders]  # conf.d/orders.toml:1
path     = "/orders/*"      # conf.d/orders.toml:2
upstream = "10-0-0-1-8080"  # conf.d/orders.toml:3
timeout  = "9s"             # conf.d/orders.toml:4

[admin]  # maitred.toml:7
address = []            # maitred.toml:8
token   = "<redacted>"  # maitred.toml:9
"##);
    let plain = show(&[]).await.expect(0).stdout;
    assert!(!plain.contains('#') && plain.contains("timeout  = \"5s\"\n"), "{plain}");
}

#[tokio::test]
async fn a_part_is_shown_by_its_path() {
    assert_eq!(show(&["routes./users/*.timeout"]).await.expect(0).stdout, "\"5s\"\n");
    let json: Value = serde_json::from_str(&show(&["--json", "routes.orders"]).await.expect(0).stdout).unwrap();
    assert_eq!(json["timeout"], "9s");
    let located = show(&["--json", "--source", "routes.orders"]).await.expect(0).stdout;
    let located: Value = serde_json::from_str(&located).unwrap();
    assert_eq!(located["source"]["routes.orders.timeout"], "conf.d/orders.toml:4");
    let none = show(&["routes.order"]).await.expect(1);
    assert!(none.stderr.contains("hint: there is `routes.orders`"), "{}", none.stderr);
}

#[tokio::test]
async fn secrets_are_never_shown() {
    for arguments in [&["--json"][..], &["--source"], &["admin"]] {
        let shown = show(arguments).await.expect(0);
        assert!(shown.stdout.contains("<redacted>"), "{}", shown.stdout);
        assert!(!format!("{}{}", shown.stdout, shown.stderr).contains("sixteen-letters"), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn what_only_the_service_can_fill_in_is_shown_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = "listen = \":80\"\n[admin]\ntoken = \"${file:/nowhere/token}\"\n\
                [routes.a]\npath = \"/${NOBODY_SET_THIS}\"\nupstream = \"${NOBODY_SET_THIS}\"\n";
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    let shown = maitred(folder.path(), ["show"]).await.expect(0);
    for part in ["token = \"${file:/nowhere/token}\"", "upstream = \"${NOBODY_SET_THIS}\"", "\"/${NOBODY_SET_THIS}\""] {
        assert!(shown.stdout.contains(part), "{}", shown.stdout);
    }
    assert!(shown.stderr.contains("`NOBODY_SET_THIS` is not set"), "{}", shown.stderr);
}

#[tokio::test]
async fn what_is_no_configuration_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("maitred.toml"), "listen = \":80\"\nnonsense = 1\n").unwrap();
    let exit = maitred(folder.path(), ["show"]).await.expect(3);
    assert!(exit.stdout.is_empty() && exit.stderr.contains("E0102"), "{}", exit.stderr);
}

#[tokio::test]
async fn what_a_reload_would_change_is_told() {
    let proxy = Proxy::start(MORE).await;
    let told = |exit: &Exit| exit.stdout.clone();
    assert_eq!(told(&proxy.command(["show", "--diff"]).await.expect(0)), "");
    let other = MORE.replace("9s", "5s").replace("10.0.0.1:8080", "10.0.0.2");
    proxy.configure(format!("{other}[routes]\n\"/new\" = \"http://10.0.0.3\"\n"));
    let diff = proxy.command(["show", "--diff"]).await.expect(1);
    let expected = "+ upstream 10-0-0-2\n+ upstream 10-0-0-3\n- upstream 10-0-0-1-8080\n";
    assert!(diff.stdout.contains("+ route /new\n"), "{}", diff.stdout);
    assert!(diff.stdout.contains("~ routes.orders.timeout: \"9s\" → \"5s\"\n"), "{}", diff.stdout);
    assert!(expected.lines().all(|line| diff.stdout.contains(line)), "{}", diff.stdout);
    assert!(diff.stderr.contains("maitred reload"), "{}", diff.stderr);
    let part = told(&proxy.command(["show", "--diff", "routes.orders.timeout", "--json"]).await.expect(1));
    let part: Value = serde_json::from_str(&part).unwrap();
    assert_eq!((part.as_array().unwrap().len(), &part[0]["at"]), (1, &"routes.orders.timeout".into()));
    assert_eq!((&part[0]["from"], &part[0]["to"]), (&"9s".into(), &"5s".into()));
    assert_eq!(told(&proxy.command(["show", "--live", "routes.orders.timeout"]).await.expect(0)), "\"9s\"\n");
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(told(&proxy.command(["show", "--diff"]).await.expect(0)), "");
}

#[tokio::test]
async fn a_secret_that_changed_is_told_of_and_not_shown() {
    let with = |token: &str, key: &str| {
        format!(
            "[routes.a]\npath = \"/a\"\nupstream = \"http://10.0.0.1\"\nrequest = {{ set = {{ X-API-Key = \"{key}\" }} }}\n\
             [auth.partners]\ntype = \"jwt\"\nsecret = \"{token}\"\n"
        )
    };
    let (first, other) = ("a-secret-of-thirty-two-bytes-or-more", "another-secret-of-32-bytes-and-more!");
    let proxy = Proxy::start(with(first, "one")).await;
    assert_eq!(proxy.command(["show", "--diff"]).await.expect(0).stdout, "");
    proxy.configure(with(other, "one"));
    let diff = proxy.command(["show", "--diff"]).await.expect(1);
    assert_eq!(diff.stdout, "~ auth.partners.secret: changed (secret)\n");
    let part = proxy.command(["show", "--diff", "--json", "auth"]).await.expect(1).stdout;
    let part: Value = serde_json::from_str(&part).unwrap();
    assert_eq!((&part[0]["at"], &part[0]["from"]), (&"auth.partners.secret".into(), &"<redacted>".into()));
    proxy.configure(with(other, "two"));
    let diff = proxy.command(["show", "--diff"]).await.expect(1);
    assert!(diff.stdout.contains("~ routes.a.request.set.X-API-Key: changed (secret)\n"), "{}", diff.stdout);
    for shown in [&diff.stdout, &diff.stderr] {
        assert!(!shown.contains("thirty-two") && !shown.contains("another-secret"), "{shown}");
    }
    // A reload takes it, and says what it was about.
    let told = proxy.command(["reload"]).await.expect(0).stdout;
    assert!(told.contains("~1 policy (partners)") && told.contains("~1 route (a)"), "{told}");
    assert_eq!(proxy.command(["show", "--diff"]).await.expect(0).stdout, "");
    // Over TCP nobody may ask without a token: it is a way to try guesses.
    let guess = json!({ "salt": "AAAAAAAAAAAAAAAAAAAAAAAA", "secrets": {} }).to_string();
    let asked = Request::post("/api/v1/config/secrets", guess).header("Content-Type", "application/json");
    Connection::to(proxy.listener("admin")).await.fetch(asked.clone()).await.expect(403);
    let asked = Connection::to(&proxy.admin_socket()).await.fetch(asked).await.expect(200);
    assert_eq!(asked.json(), json!([]));
}

#[tokio::test]
async fn every_section_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let text = "listen = \":80\"\n[auth.partners]\ntype = \"jwt\"\nsecret = \"${file:/nowhere/secret}\"\n\
                [limits]\nall = \"9/s per ip\"\n[redis]\nurl = \"redis://localhost\"\npassword = \"in-clear\"\n\
                [routes.a]\npath = \"/a\"\nupstream = \"http://10.0.0.1\"\nauth = \"partners\"\nlimit = \"all\"\n";
    std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
    let shown = maitred(folder.path(), ["show"]).await.expect(0).stdout;
    for part in ["[auth.partners]", "${file:/nowhere/secret}", "9/s per ip", "[redis]", "password = \"<redacted>\""] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("in-clear"), "{shown}");
}

#[tokio::test]
async fn a_running_server_tells_no_secret() {
    let text = "[admin]\naddress = [\"127.0.0.1:0\"]\ntoken = \"sixteen-letters-or-more\"\n\
                [routes.a]\npath = \"/${SECRET}\"\nupstream = \"http://10.0.0.1\"\n\
                request = { set = { Authorization = \"Basic YTpi\" } }\n";
    let proxy = Proxy::with(text).variable("SECRET", "never-to-be-seen").start().await;
    for path in ["/api/v1/config", "/api/v1/config?format=toml", "/api/v1/config/source"] {
        let shown = proxy.admin(path).await.expect(200).text();
        assert!(shown.contains("<redacted>") && shown.contains("${SECRET}"), "{path}: {shown}");
        for secret in ["sixteen-letters", "never-to-be-seen", "YTpi"] {
            assert!(!shown.contains(secret), "{path} tells {secret}: {shown}");
        }
    }
}

#[tokio::test]
async fn without_a_server_there_is_no_difference_to_be_told() {
    show(&["--diff"]).await.expect(4);
    show(&["--live"]).await.expect(4);
}
