//! Who calls: keys shown, refused and revoked, what callers may do, and what the origin is told of them.

use testkit::{Answer, Origin, Proxy, Request, Starter, maitred, within};

use crate::setting::BOTH;

/// A policy of keys, and two routes that ask for it; ORIGIN stands for their upstream.
const PARTNERS: &str = r#"
    [auth.partners]
    type    = "api_key"
    keys    = "keys.toml"
    query   = "k"
    forward = { user = "X-User", plan = "X-Plan", scope = "X-Scopes", tenant = "X-Tenant" }

    [routes.open]
    path     = "/open/*"
    upstream = "ORIGIN"

    [routes.app]
    path     = "/*"
    auth     = "partners"
    upstream = "ORIGIN"

    [routes.orders]
    path     = "/orders/*"
    auth     = "partners"
    require  = { scope = "orders" }
    upstream = "ORIGIN"
"#;

/// A proxy with a file of keys, about to start.
struct Keyed {
    origin: Origin,
    starter: Starter,
}

impl Keyed {
    async fn new(configuration: &str) -> Self {
        let origin = Origin::start(|seen| {
            if seen.headers.has_token("upgrade", "websocket") { Answer::websocket() } else { Answer::echo() }
        })
        .await;
        let text = format!("{BOTH}{}", configuration.replace("ORIGIN", &origin.to_string()));
        Self { origin, starter: Proxy::with(text) }
    }

    /// Makes a key by the command, and gives it.
    async fn key(&self, consumer: &str, more: &[&str]) -> String {
        key(self.starter.folder(), consumer, more).await
    }
}

async fn key(folder: &std::path::Path, consumer: &str, more: &[&str]) -> String {
    let arguments = ["key", "add", consumer, "--file", "keys.toml"];
    let told = maitred(folder, arguments.iter().chain(more).copied()).await.expect(0);
    told.stdout.trim().to_owned()
}

fn with_key(target: &str, key: &str) -> Request {
    Request::get(target).header("X-API-Key", key)
}

#[tokio::test]
async fn a_key_opens_and_everything_else_is_refused_with_its_reason() {
    let keyed = Keyed::new(PARTNERS).await;
    let key = keyed.key("acme", &["--plan", "gold", "--scope", "orders"]).await;
    let weak = keyed.key("beta", &[]).await;
    let proxy = keyed.starter.start().await;
    let h2 = proxy.h2c().await;
    for target in ["/a", "/orders/7"] {
        proxy.get(target).await.expect_problem(401, "auth_missing");
        h2.fetch(Request::get(target)).await.expect_problem(401, "auth_missing");
        proxy.fetch(with_key(target, "mtd_wrong")).await.expect_problem(401, "auth_invalid");
        h2.fetch(with_key(target, "mtd_wrong")).await.expect_problem(401, "auth_invalid");
        proxy.fetch(with_key(target, &key)).await.expect(200);
        h2.fetch(with_key(target, &key)).await.expect(200);
    }
    proxy.fetch(with_key("/orders/7", &weak)).await.expect_problem(403, "forbidden");
    h2.fetch(with_key("/orders/7", &weak)).await.expect_problem(403, "forbidden");
    proxy.fetch(with_key("/a", &weak)).await.expect(200);
    proxy.get("/open/x").await.expect(200);
    let refused = proxy.get("/a").await;
    assert_eq!(refused.headers.all("www-authenticate"), ["ApiKey realm=\"partners\""]);
    // The other two places of a key, and more than one is none.
    proxy.fetch(Request::get("/a").header("Authorization", &format!("apikey {key}"))).await.expect(200);
    proxy.get(&format!("/a?x=1&k={key}")).await.expect(200);
    let twice = with_key("/a", &key).header("X-API-Key", &key);
    proxy.fetch(twice).await.expect_problem(401, "auth_invalid");
    assert!(
        keyed.origin.requests().iter().all(|seen| seen.target != "/orders/7" || seen.header("x-user") == Some("acme"))
    );
}

#[tokio::test]
async fn an_upgrade_skips_no_policy() {
    let keyed = Keyed::new(PARTNERS).await;
    let (key, weak) = (keyed.key("acme", &["--scope", "orders"]).await, keyed.key("beta", &[]).await);
    let proxy = keyed.starter.start().await;
    let upgrade = |key: Option<&str>| {
        let key = key.map(|key| format!("X-API-Key: {key}\r\n")).unwrap_or_default();
        format!(
            "GET /orders/live HTTP/1.1\r\nHost: a\r\n{key}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    for (key, status) in [(None, 401), (Some("mtd_wrong"), 401), (Some(&*weak), 403), (Some(&*key), 101)] {
        let mut connection = proxy.connect().await;
        connection.send(upgrade(key)).await;
        assert_eq!(connection.answer_head().await.0, status, "{key:?}");
    }
    let seen = keyed.origin.requests();
    assert_eq!((seen.len(), seen[0].header("x-api-key"), seen[0].header("x-user")), (1, None, Some("acme")));
}

#[tokio::test]
async fn the_origin_is_told_who_calls_and_not_how_they_proved_it() {
    let keyed = Keyed::new(PARTNERS).await;
    let key = keyed.key("acme", &["--plan", "gold", "--scope", "orders", "--scope", "read"]).await;
    let proxy = keyed.starter.start().await;
    let forged = with_key(&format!("/a?b=1&k={key}&c=2"), &key)
        .header("X-User", "admin")
        .header("x_user", "admin")
        .header("X-Tenant", "other")
        .header("Authorization", "ApiKey x");
    let answer = proxy.fetch(forged).await.expect(200);
    assert_eq!(answer.seen_all("x-user"), ["acme"]);
    assert_eq!(answer.seen_all("x-plan"), ["gold"]);
    assert_eq!(answer.seen_all("x-scopes"), ["orders read"]);
    let none: [&str; 0] = [];
    for gone in ["x_user", "x-tenant", "x-api-key", "authorization"] {
        assert_eq!(answer.seen_all(gone), none, "{gone}");
    }
    assert_eq!(answer.target(), "/a?b=1&c=2");
    let line = proxy.logged("/a").await;
    let id = key.split('_').nth(1).unwrap();
    assert_eq!((&line["auth"], &line["user"], &line["key"]), (&"partners".into(), &"acme".into(), &id.into()));
    let secret = key.rsplit('_').next().unwrap();
    assert!(!proxy.lines().iter().any(|line| line.contains(secret)), "{:?}", proxy.lines());
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second_and_a_damaged_file_changes_nothing() {
    let keyed = Keyed::new(PARTNERS).await;
    let (one, two) = (keyed.key("acme", &[]).await, keyed.key("acme", &[]).await);
    let third = maitred(keyed.starter.folder(), ["key", "add", "acme", "--file", "keys.toml"]).await.expect(1);
    assert!(third.stderr.contains("acme has 2 live keys already"), "{}", third.stderr);
    let proxy = keyed.starter.start().await;
    proxy.fetch(with_key("/a", &one)).await.expect(200);
    // The file is found in the configuration; the key may be named by itself.
    proxy.command(["key", "revoke", &one]).await.expect(0);
    let began = std::time::Instant::now();
    until(&proxy, &one, 401).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    proxy.fetch(with_key("/a", &two)).await.expect(200);
    let new = proxy.command(["key", "add", "acme"]).await.expect(0);
    until(&proxy, new.stdout.trim(), 200).await;
    let file = proxy.folder().join("keys.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[keys.x]\nconsumer = ")).unwrap();
    proxy.printed("cannot be used, what it said before stays in force: line ").await;
    proxy.fetch(with_key("/a", &two)).await.expect(200);
    let listed = proxy.command(["key", "list"]).await.expect(1);
    assert!(listed.stderr.contains("keys.toml: line "), "{}", listed.stderr);
    std::fs::write(&file, good).unwrap();
    let listed = proxy.command(["key", "list"]).await.expect(0).stdout;
    let id = two.split('_').nth(1).unwrap();
    assert!(listed.lines().count() == 2 && listed.contains(id) && !listed.contains(&two), "{listed}");
}

#[tokio::test]
async fn a_key_is_revoked_within_a_second_while_another_file_takes_its_time() {
    let keyed = Keyed::new(&PARTNERS.replace("[routes.app]", "[routes.app]\n    ip = { deny = \"deny.txt\" }")).await;
    let one = keyed.key("acme", &[]).await;
    let proxy = keyed.starter.file("deny.txt", "").start().await;
    proxy.fetch(with_key("/a", &one)).await.expect(200);
    // Whoever reads a pipe waits for whoever writes it.
    let (pipe, list) = (proxy.folder().join("pipe"), proxy.folder().join("deny.txt"));
    assert!(tokio::process::Command::new("mkfifo").arg(&pipe).status().await.unwrap().success());
    std::fs::rename(&pipe, &list).unwrap();
    // This succeeds once somebody is at the other end, and ends the reading by what is written last.
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(list));
    let held = within("the list to be read", opened).await.unwrap().unwrap();
    proxy.command(["key", "revoke", &one]).await.expect(0);
    let began = std::time::Instant::now();
    until(&proxy, &one, 401).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    std::io::Write::write_all(&mut &held, b"127.0.0.1\n").unwrap();
    drop(held);
    until(&proxy, &one, 403).await;
}

/// Waits until a request with this key has this status.
async fn until(proxy: &Proxy, key: &str, status: u16) {
    let reached = async { while proxy.fetch(with_key("/a", key)).await.status != status {} };
    within(format!("a key to get {status}"), reached).await;
}

#[tokio::test]
async fn an_ended_key_says_so_and_results_are_counted() {
    let keyed = Keyed::new(PARTNERS).await;
    let ended = keyed.key("old", &["--expires", "2020-01-31"]).await;
    let weak = keyed.key("beta", &[]).await;
    let proxy = keyed.starter.start().await;
    proxy.fetch(with_key("/a", &ended)).await.expect_problem(401, "auth_expired");
    proxy.fetch(with_key("/a", &weak)).await.expect(200);
    proxy.fetch(with_key("/orders/7", &weak)).await.expect(403);
    proxy.get("/a").await.expect(401);
    for (result, count) in [("ok", 1.0), ("missing", 1.0), ("invalid", 0.0), ("expired", 1.0), ("forbidden", 1.0)] {
        assert_eq!(proxy.metric("auth_total", &[("auth", "partners"), ("result", result)]).await, count, "{result}");
    }
}

#[tokio::test]
async fn in_shadow_everybody_passes_and_is_told_of() {
    let shadow = PARTNERS.replace("query   = \"k\"", "mode = \"shadow\"");
    let keyed = Keyed::new(&shadow).await;
    let key = keyed.key("acme", &[]).await;
    let proxy = keyed.starter.start().await;
    let answer = proxy.fetch(Request::get("/a").header("X-User", "admin")).await.expect(200);
    assert_eq!(answer.seen("x-user"), None);
    assert_eq!(proxy.logged("/a").await["shadow"], "auth_missing");
    let known = proxy.fetch(with_key("/b", &key)).await.expect(200);
    assert_eq!(known.seen("x-user").as_deref(), Some("acme"));
    assert!(proxy.logged("/b").await["shadow"].is_null());
    // What is required is a policy of its own.
    proxy.fetch(with_key("/orders/1", &key)).await.expect(403);
}

#[tokio::test]
async fn a_list_takes_any_one_and_anonymous_takes_whoever_shows_nothing() {
    let text = r#"
        [auth.one]
        type = "api_key"
        keys = "keys.toml"
        [auth.two]
        type   = "api_key"
        header = "X-Other"
        keys   = "other.toml"
        [routes.both]
        path = "/both"
        auth = ["one", "two"]
        upstream = "ORIGIN"
        [routes.free]
        path = "/free"
        auth = ["one", "anonymous"]
        upstream = "ORIGIN"
    "#;
    let keyed = Keyed::new(text).await;
    let (one, two) = (keyed.key("acme", &[]).await, keyed.key("beta", &[]).await);
    let folder = keyed.starter.folder().to_owned();
    std::fs::copy(folder.join("keys.toml"), folder.join("other.toml")).unwrap();
    let proxy = keyed.starter.start().await;
    let refused = proxy.get("/both").await.expect(401);
    assert_eq!(refused.headers.all("www-authenticate"), ["ApiKey realm=\"one\"", "ApiKey realm=\"two\""]);
    proxy.fetch(with_key("/both", &one)).await.expect(200);
    let other = proxy.fetch(Request::get("/both").header("X-Other", &two)).await.expect(200);
    assert_eq!(other.seen("x-other"), None);
    proxy.fetch(with_key("/both", "wrong").header("X-Other", &two)).await.expect(200);
    proxy.get("/free").await.expect(200);
    proxy.fetch(with_key("/free", "wrong")).await.expect_problem(401, "auth_invalid");
}

#[tokio::test]
async fn what_would_become_of_a_caller_can_be_asked_and_tested() {
    let keyed = Keyed::new(&format!(
        "{PARTNERS}\n[tests.strangers]\nrequest = \"GET /orders/7\"\nexpect = {{ status = 401, reason = \"auth_missing\" }}\n\
         [tests.acme]\nrequest = \"GET /orders/7\"\nas = \"acme\"\nexpect = {{ route = \"orders\", request = {{ X-User = \"acme\", X-Plan = \"gold\" }} }}\n\
         [tests.others]\nrequest = \"GET /orders/7\"\nas = \"nobody\"\nexpect = 403\n"
    ))
    .await;
    let key = keyed.key("acme", &["--plan", "gold", "--scope", "orders"]).await;
    let folder = keyed.starter.folder();
    maitred(folder, ["check", "-c", "maitred.toml"]).await.expect(0);
    let explained = async |more: &[&str]| {
        let arguments = ["explain", "/orders/7", "-c", "maitred.toml"];
        maitred(folder, arguments.iter().chain(more).copied()).await.expect(0).stdout
    };
    let nobody = explained(&[]).await;
    assert!(nobody.contains("auth      partners: refuses with 401 Unauthorized (auth_missing)"), "{nobody}");
    let acme = explained(&["--as", "acme"]).await;
    assert!(acme.contains("partners: user `acme`, key `") && acme.contains("plan `gold`"), "{acme}");
    let other = explained(&["--as", "other"]).await;
    assert!(other.contains("user `other` lacks the scope `orders`: refuses with 403"), "{other}");
    let shown = explained(&["-H", &format!("X-API-Key: {key}")]).await;
    assert!(shown.contains("user `acme`") && !shown.contains(&key), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let text = r#"
        listen = "127.0.0.1:0"
        [auth.none]
        [auth.lost]
        type = "api_key"
        keys = "nowhere.toml"
        realm = "a\"b"
        forward = { user = "Host" }
        [auth.open]
        type = "api_key"
        keys = "open.toml"
        [auth.anonymous]
        type = "api_key"
        [auth.biscuits]
        type = "api_key"
        keys = "open.toml"
        cookie = "a b"
        [auth.certified]
        type = "mtls"
        cookie = "a"
        [auth.pinned]
        type = "jwt"
        public_key = "open.pem"
        [routes."/d"]
        ip = { deny = "./open.txt" }
        upstream = "http://127.0.0.1:1"
        [routes."/a"]
        auth = "partner"
        require = { scope = "a b", method = { x = "G T" } }
        upstream = "http://127.0.0.1:1"
        [routes."/b"]
        require = { role = "admin" }
        upstream = "http://127.0.0.1:1"
        [routes."/c"]
        auth = "none"
        require = {}
        upstream = "http://127.0.0.1:1"
    "#;
    let starter = Proxy::with(text).file("open.toml", "").file("open.txt", "").file("open.pem", "");
    for open in ["open.toml", "open.txt", "open.pem"] {
        let open = starter.folder().join(open);
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    }
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    for expected in [
        "error[E0106]: the policy `none` does not say what clients have to show",
        "error[E0501]: the file of keys `nowhere.toml` cannot be used",
        "error[E0108]: this cannot be a realm",
        "error[E0108]: `Host` cannot carry a fact about the caller",
        "error[E0503]: `open.toml` can be changed by every user of the machine",
        "error[E0503]: `./open.txt` can be changed by every user of the machine",
        "error[E0503]: `open.pem` can be changed by every user of the machine",
        "error[E0108]: \"a b\" is not the name of a cookie",
        "error[E0107]: `cookie` means nothing to `type = \"mtls\"`",
        "error[E0105]: `anonymous` is what anybody passes as, and cannot be defined",
        "error[E0201]: route `/a` asks for a policy that does not exist",
        "error[E0108]: \"a b\" is not a scope",
        "error[E0108]: \"G T\" is not a method",
        "error[E0502]: nobody says who calls, so nothing can be required of them",
        "error[E0106]: `require` requires nothing",
    ] {
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}
