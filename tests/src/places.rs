//! Which countries, networks and types of content may enter.

use testkit::{Mmdb, Origin, Proxy, Request, Response, maitred, within};

use crate::setting::TRUSTING;

fn database() -> Mmdb {
    Mmdb::default()
        .country("192.0.2.0/24", "DE")
        .country("198.51.100.0/24", "KP")
        .country("2001:db8::/32", "FR")
        .country("203.0.113.0/24", "DE")
        .number("203.0.113.0/24", 64496)
}

/// A proxy that knows where addresses are, with these lines in its route.
async fn guarded(geo: &str) -> (Origin, Proxy, tempfile::TempDir) {
    let (origin, folder) = (Origin::echo().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("places.mmdb");
    std::fs::write(&path, database().bytes()).unwrap();
    let text = format!(
        "{TRUSTING}[access]\ngeoip = {path:?}\n[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n{geo}\n\
         [routes.open]\npath = \"/open\"\nupstream = \"{origin}\"\n"
    );
    (origin, Proxy::start(text).await, folder)
}

async fn from(proxy: &Proxy, address: &str) -> Response {
    proxy.fetch(Request::get("/a").header("X-Forwarded-For", address)).await
}

#[tokio::test]
async fn countries_and_networks_are_let_in_and_kept_out() {
    let (origin, proxy, _folder) = guarded("geo = { deny = [\"KP\", \"AS64496\"] }").await;
    from(&proxy, "192.0.2.1").await.expect(200);
    from(&proxy, "10.0.0.1").await.expect(200);
    for address in ["198.51.100.7", "203.0.113.7", "::ffff:198.51.100.7"] {
        from(&proxy, address).await.expect_problem(403, "country_denied");
    }
    let asked = Request::get("/a").header("X-Forwarded-For", "198.51.100.7");
    proxy.h2c().await.fetch(asked).await.expect_problem(403, "country_denied");
    let mut upgrade = proxy.connect().await;
    let head = "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    upgrade.send(head).await;
    assert_eq!(upgrade.answer_head().await.0, 403);
    assert_eq!(origin.requests().len(), 2);
    proxy.fetch(Request::get("/open").header("X-Forwarded-For", "198.51.100.7")).await.expect(200);
    let (_origin, proxy, _folder) = guarded("geo = { allow = [\"DE\", \"FR\"], deny = \"AS64496\" }").await;
    for (address, status) in
        [("192.0.2.1", 200), ("2001:db8::1", 200), ("198.51.100.7", 403), ("203.0.113.7", 403), ("10.0.0.1", 403)]
    {
        assert_eq!(from(&proxy, address).await.status, status, "{address}");
    }
    let (_origin, proxy, _folder) = guarded("geo = { allow = \"unknown\" }").await;
    from(&proxy, "10.0.0.1").await.expect(200);
    from(&proxy, "192.0.2.1").await.expect(403);
}

#[tokio::test]
async fn a_new_database_is_in_force_at_once_and_a_broken_one_is_not() {
    let (_origin, proxy, folder) = guarded("geo = { deny = \"KP\" }").await;
    from(&proxy, "192.0.2.1").await.expect(200);
    let put = |bytes: Vec<u8>| {
        std::fs::write(folder.path().join("new"), bytes).unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("places.mmdb")).unwrap();
    };
    put(database().country("192.0.2.0/25", "KP").bytes());
    within("the new database", async { while from(&proxy, "192.0.2.1").await.status != 403 {} }).await;
    put(b"nothing".to_vec());
    proxy.printed("what it said before stays in force: it is not a MaxMind DB").await;
    // Without countries the list would be open.
    put(Mmdb::default().number("192.0.2.0/24", 1).bytes());
    proxy.printed("what it said before stays in force: it knows less than the one before it").await;
    from(&proxy, "192.0.2.1").await.expect(403);
    // Another file is another configuration.
    let other = folder.path().join("other.mmdb");
    std::fs::write(&other, database().bytes()).unwrap();
    let text = std::fs::read_to_string(proxy.folder().join("maitred.toml")).unwrap();
    proxy.hang_up(text.replace("places.mmdb", "other.mmdb")).await;
    from(&proxy, "192.0.2.1").await.expect(200);
    let shown = proxy.command(["show", "access"]).await.expect(0).stdout;
    assert!(shown.contains("other.mmdb"), "{shown}");
}

#[tokio::test]
async fn in_shadow_it_is_only_told_of_and_explained_it_is_judged() {
    let (_origin, proxy, _folder) = guarded("geo = { deny = \"KP\", mode = \"shadow\" }").await;
    from(&proxy, "198.51.100.7").await.expect(200);
    let line = proxy.logged("/a").await;
    assert_eq!((&line["shadow"], &line["country"]), (&"country_denied".into(), &"KP".into()));
    let (_origin, proxy, _folder) = guarded("geo = { deny = \"KP\" }").await;
    let told = proxy.command(["explain", "/a", "-H", "X-Forwarded-For: 198.51.100.7"]).await;
    assert!(told.stdout.contains("403") && told.stdout.contains("country_denied"), "{told:?}");
}

#[tokio::test]
async fn only_content_of_these_types_enters() {
    let origin = Origin::echo().await;
    let text = format!(
        "{}[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n\
         content_type = [\"application/json\", \"application/*+json\", \"image/*\"]\n",
        crate::setting::BOTH
    );
    let proxy = Proxy::start(text).await;
    let h2 = proxy.h2c().await;
    let post = |kind: &str| Request::post("/a", "{}").header("Content-Type", kind);
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "image/png"] {
        proxy.fetch(post(kind)).await.expect(200);
        h2.fetch(post(kind)).await.expect(200);
    }
    for kind in
        ["text/plain", "application/jsonx", "application/+json", "image/", "image", "", "application/json, text/plain"]
    {
        proxy.fetch(post(kind)).await.expect_problem(415, "content_type_refused");
        h2.fetch(post(kind)).await.expect_problem(415, "content_type_refused");
    }
    proxy.fetch(Request::post("/a", "{}")).await.expect(415);
    h2.fetch(Request::post("/a", "{}")).await.expect(415);
    proxy.fetch(Request::new("PUT", "/a").chunks(&[b"{}"])).await.expect(415);
    proxy.fetch(post("image/png").header("Content-Type", "text/plain")).await.expect(415);
    proxy.get("/a").await.expect(200);
    proxy.fetch(Request::new("DELETE", "/a")).await.expect(200);
    proxy.fetch(Request::get("/a").header("Content-Type", "text/plain")).await.expect(415);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("countries.mmdb"), Mmdb::default().country("10.0.0.0/8", "DE").bytes()).unwrap();
    std::fs::write(folder.path().join("broken.mmdb"), "x").unwrap();
    let refused = async |text: &str, told: &[&str]| {
        let text = format!("listen = \"127.0.0.1:0\"\n{text}");
        std::fs::write(folder.path().join("maitred.toml"), text).unwrap();
        let exit = maitred(folder.path(), ["check"]).await.expect(3);
        for told in told {
            assert!(exit.stdout.contains(told) || exit.stderr.contains(told), "{told}: {exit:?}");
        }
    };
    let route = "[routes.a]\npath = \"/a\"\nrespond = { status = 200 }\n";
    let known = "[access]\ngeoip = \"countries.mmdb\"\n";
    refused(&format!("{route}geo = {{ deny = \"KP\" }}"), &["`geo` needs a database", "[access]"]).await;
    refused(
        &format!("{known}{route}geo = {{ deny = \"AS1\" }}"),
        &["no database of `[access]` `geoip` knows networks"],
    )
    .await;
    refused(
        &format!("{known}{route}geo = {{ deny = [\"kp\", \"Germany\", \"AS\"] }}"),
        &["in capitals", "\"KP\"", "\"Germany\"", "\"AS\""],
    )
    .await;
    refused(&format!("{known}{route}geo = {{ mode = \"shadow\" }}"), &["neither who may enter nor who may not"]).await;
    refused(
        &format!("[access]\ngeoip = [\"broken.mmdb\", \"none.mmdb\"]\n{route}"),
        &["not a MaxMind DB", "No such file"],
    )
    .await;
    refused(&format!("{route}content_type = [\"json\", \"*/*\", \"a/*b*\"]"), &["\"json\"", "\"*/*\"", "\"a/*b*\""])
        .await;
    refused(&format!("{route}content_type = []"), &["no content may enter at all"]).await;
    // What this build would ignore is refused instead.
    let when = format!(
        "{route}auth = {{ type = \"jwt\", secret = \"{}\" }}\nrequire = {{ when = \"user == 'a'\" }}\n",
        "s".repeat(32)
    );
    refused(&when, &["E0504", "built without conditions", "--features cel"]).await;
    // Nobody is known to call where nobody asks.
    let nobody = "[routes.b]\npath = \"/b\"\nupstream = \"http://127.0.0.1:1\"\nrequest = { set = { X-User = \"{user}\", X-T = \"{claim.t}\" } }\n";
    refused(nobody, &["`{user}` is nobody on a route without `auth`", "`{claim.t}` is nobody", "add `auth`"]).await;
    refused(&format!("{nobody}auth = \"anonymous\"\n"), &["`{user}` is nobody on a route without `auth`"]).await;
}
