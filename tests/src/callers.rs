//! Passwords, certificates and addresses: who is let in by what they know, what they show, and where they come from.

use std::{process::Stdio, time::Instant};

use testkit::{Authority, Certificate, Connection, Origin, Proxy, Request, binary, curl, maitred, within};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::setting::{BOTH, TRUSTING};

/// What `maitred hash` makes of a password.
pub async fn hashed(password: &str) -> String {
    let mut command = Command::new(binary());
    let mut child = command.arg("hash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).await.unwrap();
    let output = within("a password to be hashed", child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn user(name: &str, hash: &str) -> String {
    format!("[users.{name}]\npassword = \"{hash}\"\nroles = [\"{name}s\"]\n")
}

#[tokio::test]
async fn a_password_is_hashed_once_and_forgotten_with_its_file() {
    let origin = Origin::echo().await;
    let text = format!(
        "{BOTH}[auth.staff]\ntype = \"basic\"\nusers = \"users.toml\"\nforward = {{ user = \"X-User\" }}\n\
         [routes.app]\npath = \"/*\"\nauth = \"staff\"\nupstream = \"{origin}\"\n\
         [routes.admin]\npath = \"/admin\"\nauth = \"staff\"\nrequire = {{ role = \"adas\" }}\nupstream = \"{origin}\"\n"
    );
    let (ada, bob) = (hashed("s3cret: of ada").await, hashed("bob").await);
    assert!(ada.starts_with("$argon2id$v=19$"), "{ada}");
    let file = format!("{}{}", user("ada", &ada), user("bob", &bob));
    let proxy = Proxy::with(text).file("users.toml", &file).start().await;
    let asked = async |user: &str, path: &str| {
        let url = proxy.url(path);
        let told = curl(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", user, &url]).await;
        String::from_utf8(told.stdout).unwrap()
    };
    assert_eq!(asked("ada:s3cret: of ada", "/a").await, "200");
    assert_eq!(asked("ada:s3cret: of ada", "/admin").await, "200");
    assert_eq!(asked("bob:bob", "/admin").await, "403");
    for wrong in ["ada:bob", "ada:", "nobody:bob", "ada:s3cret: of adA"] {
        assert_eq!(asked(wrong, "/a").await, "401", "{wrong}");
    }
    let refused = proxy.get("/a").await.expect_problem(401, "auth_missing");
    assert_eq!(refused.headers.all("www-authenticate"), ["Basic realm=\"staff\", charset=\"UTF-8\""]);
    let told =
        proxy.fetch(Request::get("/b").header("Authorization", "Basic YWRhOnMzY3JldDogb2YgYWRh")).await.expect(200);
    assert_eq!((told.seen("x-user").as_deref(), told.seen("authorization")), (Some("ada"), None));
    for odd in ["Basic", "Basic !!!", "Basic YWRh", "Basic /////w=="] {
        proxy.fetch(Request::get("/a").header("Authorization", odd)).await.expect_problem(401, "auth_invalid");
    }
    // Another password: the one that was good, and remembered, is so no more.
    let other = user("ada", &bob);
    std::fs::write(proxy.folder().join("users.toml"), other).unwrap();
    within("the change to be in force", async { while asked("ada:s3cret: of ada", "/a").await != "401" {} }).await;
    assert_eq!(asked("ada:bob", "/a").await, "200");
    assert!(!proxy.lines().iter().any(|line| line.contains("argon2id") || line.contains("s3cret")));
}

/// Three digits in base64.
fn three_digits(number: u32) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = [number / 100, number / 10 % 10, number % 10].iter().fold(0, |bits, digit| bits << 8 | (48 + digit));
    (0..4).rev().map(|place| char::from(LETTERS[(bits >> (6 * place)) as usize & 63])).collect()
}

#[tokio::test]
async fn guesses_by_the_hundred_keep_nobody_waiting_who_is_known() {
    let origin = Origin::echo().await;
    let text = format!(
        "{BOTH}[auth.staff]\ntype = \"basic\"\nusers = \"users.toml\"\n[routes.app]\npath = \"/*\"\nauth = \"staff\"\n\
         upstream = \"{origin}\"\n[routes.open]\npath = \"/open\"\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::with(text).file("users.toml", &user("ada", &hashed("ada").await)).start().await;
    let good = || Request::get("/a").header("Authorization", "Basic YWRhOmFkYQ==");
    proxy.fetch(good()).await.expect(200);
    let guesses = (0..200).map(|number| {
        let guess = Request::get("/a").header("Authorization", &format!("Basic YWRhOjAw{}", three_digits(number)));
        proxy.fetch(guess)
    });
    let (answers, ()) = tokio::join!(futures::future::join_all(guesses), async {
        for _ in 0..20 {
            proxy.fetch(good()).await.expect(200);
            proxy.get("/open").await.expect(200);
        }
    });
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 503)));
    let refused = answers.iter().filter(|answer| answer.reason().as_deref() == Some("auth_unavailable")).count();
    assert!(refused > 0, "no more than 64 wait");
}

#[tokio::test]
async fn a_certificate_of_the_right_name_is_let_in() {
    let (servers, clients, origin) = (Authority::new(), Authority::new(), Origin::echo().await);
    let Certificate { cert_file, key_file, .. } = servers.issue(&["localhost"]);
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
         client_ca = {:?}\nclient_auth = \"optional\"\n\
         [auth.partners]\ntype = \"mtls\"\nsan = \"*.partner.example\"\nforward = {{ user = \"X-User\", serial = \"X-Serial\" }}\n\
         [routes.app]\npath = \"/*\"\nauth = \"partners\"\nupstream = \"{origin}\"\n\
         [routes.old]\npath = \"/old\"\nupstream = \"{origin}\"\n\
         auth = {{ type = \"mtls\", cn = \"orders.other.example\", forward = {{ user = \"X-User\", cn = \"X-Name\" }} }}\n",
        clients.file()
    );
    let proxy = Proxy::start(text).await;
    let fetch_at = async |target: &str, certificate: Option<Certificate>| {
        let client = match certificate {
            Some(own) => servers.client().identity(own),
            None => servers.client(),
        };
        let stream = client.connect(proxy.address()).await;
        Connection::over(stream, "localhost").fetch(Request::get(target).header("X-User", "admin")).await
    };
    let fetch = async |certificate| fetch_at("/", certificate).await;
    let good = fetch(Some(clients.issue(&["orders.partner.example"]))).await.expect(200);
    assert_eq!(good.seen_all("x-user"), ["orders.partner.example"]);
    assert!(good.seen("x-serial").is_some());
    fetch(Some(clients.issue(&["orders.other.example"]))).await.expect_problem(401, "auth_invalid");
    fetch(None).await.expect_problem(401, "auth_missing");
    // Older authorities give the name in the subject alone.
    let old = fetch_at("/old", Some(clients.issue(&["orders.other.example", "b.example"]))).await.expect(200);
    assert_eq!((old.seen("x-user").as_deref(), old.seen("x-name")), (Some("orders.other.example"), old.seen("x-user")));
    fetch_at("/old", Some(clients.issue(&["b.example", "orders.other.example"])))
        .await
        .expect_problem(401, "auth_invalid");
}

#[tokio::test]
async fn addresses_are_judged_as_trusted_proxies_tell_them_and_lists_are_followed() {
    let origin = Origin::echo().await;
    let text = format!(
        "{TRUSTING}[routes.app]\npath = \"/*\"\nip = {{ allow = [\"10.0.0.0/8\", \"2001:db8::/32\"], deny = \"deny.txt\" }}\n\
         upstream = \"{origin}\"\n[routes.shadow]\npath = \"/shadow\"\nip = {{ deny = \"0.0.0.0/0\", mode = \"shadow\" }}\n\
         upstream = \"{origin}\"\n[routes.open]\npath = \"/open\"\nupstream = \"{origin}\"\n\
         [tests.lan]\nrequest = \"GET /x\"\nfrom = \"10.1.2.3\"\nexpect = \"app\"\n\
         [tests.world]\nrequest = \"GET /x\"\nfrom = \"203.0.113.7\"\nexpect = {{ status = 403, reason = \"address_denied\" }}\n"
    );
    let many: String =
        (0..100_000_u32).map(|n| format!("172.{}.{}.{}/32\n", 16 + n / 65536, n / 256 % 256, n % 256)).collect();
    let list = |more: &str| format!("# {} ranges\n{many}10.9.0.0/16 # them\n{more}", 100_001);
    let proxy = Proxy::with(text).file("deny.txt", &list("")).start().await;
    let from = async |address: &str| proxy.fetch(Request::get("/x").header("X-Forwarded-For", address)).await;
    for (address, status) in [("10.1.2.3", 200), ("2001:db8::7", 200), ("10.9.1.1", 403), ("203.0.113.7", 403)] {
        assert_eq!(from(address).await.status, status, "{address}");
    }
    proxy.get("/x").await.expect_problem(403, "address_denied");
    proxy.get("/open").await.expect(200);
    proxy.get("/shadow").await.expect(200);
    assert_eq!(proxy.logged("/shadow").await["shadow"], "address_denied");
    let h2 = proxy.h2c().await;
    h2.fetch(Request::get("/x").header("X-Forwarded-For", "10.9.1.1")).await.expect_problem(403, "address_denied");
    let upgrade =
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.1.1\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n";
    let mut connection = proxy.connect().await;
    connection.send(upgrade).await;
    assert_eq!(connection.answer_head().await.0, 403);
    std::fs::write(proxy.folder().join("deny.txt"), list("10.1.2.3\n")).unwrap();
    within("the list to be in force", async { while from("10.1.2.3").await.status != 403 {} }).await;
}

#[tokio::test]
async fn how_long_a_refusal_takes_tells_nobody_which_users_exist() {
    let text = format!(
        "{BOTH}[auth.staff]\ntype = \"basic\"\nusers = \"users.toml\"\n[routes.app]\npath = \"/*\"\nauth = \"staff\"\n\
         respond = {{ body = \"in\" }}\n"
    );
    let file = user("ada", &hashed("good").await);
    let proxy = Proxy::with(text).file("users.toml", &file).start().await;
    let time = async |credentials: &str| {
        let began = Instant::now();
        let guess = Request::get("/").header("Authorization", &format!("Basic {credentials}"));
        proxy.fetch(guess).await.expect_problem(401, "auth_invalid");
        began.elapsed().as_secs_f64()
    };
    time("eWV0OmI=").await; // the hash that nobody has is made once
    // Of several times the shortest, in turn: what else the machine does only adds to them, and now to one, now to the other.
    let (mut known, mut unknown) = (f64::MAX, f64::MAX);
    for round in 1..=40 {
        known = known.min(time("YWRhOmI=").await);
        unknown = unknown.min(time("bm9ib2R5OmI=").await);
        if round >= 9 && (0.5..2.0).contains(&(unknown / known)) {
            return;
        }
    }
    panic!("{known} s for ada, {unknown} s for nobody");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let text = r#"
        listen = "127.0.0.1:0"
        [auth.nobody]
        type = "basic"
        [auth.weak]
        type  = "basic"
        users = "users.toml"
        san   = "x"
        [auth.names]
        type        = "mtls"
        san         = ["a.*.example", "*."]
        fingerprint = "abc"
        [routes."/a"]
        ip = { allow = ["10.0.0.1/8", "example.com"], deny = "nowhere.txt" }
        upstream = "http://127.0.0.1:1"
        [routes."/b"]
        ip = {}
        upstream = "http://127.0.0.1:1"
    "#;
    let starter = Proxy::with(text).file("users.toml", "[users.ada]\npassword = \"hush\"\n");
    let refused = maitred(starter.folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0106]: the policy `nobody` has no `users`",
        "error[E0501]: the file of users `users.toml` cannot be used",
        "user `ada`: `password` is not an Argon2id hash",
        "error[E0107]: `san` means nothing to `type = \"basic\"`",
        "error[E0108]: \"a.*.example\" is not a name of a certificate",
        "error[E0108]: this is not the SHA-256 of a certificate",
        "error[E0108]: \"10.0.0.1/8\" is neither an address nor a network",
        "error[E0108]: \"example.com\" is neither an address nor a network",
        "error[E0501]: the list of addresses `nowhere.txt` cannot be used",
        "error[E0106]: `ip` says neither who may enter nor who may not",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert!(!told.contains("hush"), "{told}");
}
