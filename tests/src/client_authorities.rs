//! Routes that take the certificates of some authorities only, of all that their listener trusts.

use std::{path::Path, time::Duration};

use testkit::{Authority, Certificate, Connection, H2, Origin, Proxy, Request, Response, maitred, within};

/// A listener that trusts partners and staff, a route for partners alone and one for both.
struct Site {
    servers: Authority,
    partners: Authority,
    staff: Authority,
    folder: tempfile::TempDir,
    proxy: Proxy,
    origin: Origin,
}

fn put(folder: &Path, name: &str, authorities: &[&Authority]) {
    let all: String = authorities.iter().map(|one| std::fs::read_to_string(one.file()).unwrap()).collect();
    let beside = folder.join("beside");
    std::fs::write(&beside, all).unwrap();
    std::fs::rename(beside, folder.join(name)).unwrap();
}

impl Site {
    async fn open() -> Self {
        let (servers, partners, staff) = (Authority::new(), Authority::new(), Authority::new());
        let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::echo().await);
        put(folder.path(), "all.pem", &[&partners, &staff]);
        put(folder.path(), "partners.pem", &[&partners]);
        let Certificate { cert_file, key_file, .. } = servers.issue(&["localhost"]);
        let file = |name: &str| folder.path().join(name);
        let proxy = Proxy::start(format!(
            "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
             client_ca = {:?}\nclient_auth = \"optional\"\n\
             [auth.partners]\ntype = \"mtls\"\nca = {:?}\nsan = \"*.example\"\nforward = {{ user = \"X-User\" }}\n\
             [routes.app]\npath = \"/*\"\nauth = \"partners\"\nupstream = \"{origin}\"\n\
             [routes.any]\npath = \"/any\"\nauth = {{ type = \"mtls\" }}\nupstream = \"{origin}\"\n",
            file("all.pem"),
            file("partners.pem"),
        ))
        .await;
        Self { servers, partners, staff, folder, proxy, origin }
    }

    async fn h1(&self, certificate: Option<&Certificate>) -> Connection {
        let client = self.servers.client();
        let client = certificate.map_or_else(|| self.servers.client(), |own| client.identity(own.clone()));
        Connection::over(client.connect(self.proxy.address()).await, "localhost")
    }

    async fn h2(&self, certificate: Option<&Certificate>) -> H2 {
        let client = self.servers.client();
        let client = certificate.map_or_else(|| self.servers.client(), |own| client.identity(own.clone()));
        H2::over(client.alpn(&["h2"]).connect(self.proxy.address()).await, "localhost").await
    }

    /// What both protocols answer.
    async fn fetch(&self, target: &str, certificate: Option<&Certificate>) -> [Response; 2] {
        let h1 = self.h1(certificate).await.fetch(Request::get(target)).await;
        [h1, self.h2(certificate).await.fetch(Request::get(target)).await]
    }
}

#[tokio::test]
async fn a_route_takes_its_own_authoritys_clients_alone() {
    let site = Site::open().await;
    let partner = site.partners.issue(&["orders.example"]);
    let staff = site.staff.issue(&["orders.example"]);
    for answer in site.fetch("/a", Some(&partner)).await {
        assert_eq!(answer.expect(200).seen_all("x-user"), ["orders.example"]);
    }
    for _ in 0..2 {
        for answer in site.fetch("/a", Some(&staff)).await {
            answer.expect_problem(401, "auth_invalid");
        }
    }
    for answer in site.fetch("/a", None).await {
        let refused = answer.expect_problem(401, "auth_missing");
        assert_eq!(refused.headers.all("www-authenticate"), ["ClientCertificate realm=\"partners\""]);
    }
    // The right authority is not the right name.
    for answer in site.fetch("/a", Some(&site.partners.issue(&["orders.test"]))).await {
        answer.expect_problem(401, "auth_invalid");
    }
    for certificate in [&partner, &staff] {
        for answer in site.fetch("/any", Some(certificate)).await {
            answer.expect(200);
        }
    }
    assert_eq!(site.proxy.logged_error("auth_invalid").await["status"], 401);
    let others = site.origin.requests().iter().filter(|seen| seen.target == "/a").count();
    assert_eq!(others, 2, "nobody else has reached the origin");
}

#[tokio::test]
async fn what_came_along_with_a_certificate_leads_to_the_authority() {
    let site = Site::open().await;
    for (authority, status) in [(site.partners.intermediate(), 200), (site.staff.intermediate(), 401)] {
        let certificate = authority.issue(&["orders.example"]);
        let below = authority.intermediate().issue(&["deep.example"]);
        for answer in site.fetch("/a", Some(&certificate)).await.into_iter().chain(site.fetch("/a", Some(&below)).await)
        {
            answer.expect(status);
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_for_the_same_clients() {
    let site = Site::open().await;
    let upgrade = "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n";
    let staff = site.staff.issue(&["orders.example"]);
    let mut connection = site.h1(Some(&staff)).await;
    connection.send(upgrade).await;
    assert_eq!(connection.answer_head().await.0, 401);
    assert_eq!(site.origin.requests().len(), 0);
}

#[tokio::test]
async fn other_authorities_count_at_once_for_connections_that_are_open_too() {
    let site = Site::open().await;
    let (partner, staff) = (site.partners.issue(&["a.example"]), site.staff.issue(&["b.example"]));
    let (mut one, other) = (site.h1(Some(&partner)).await, site.h2(Some(&staff)).await);
    one.fetch(Request::get("/a")).await.expect(200);
    other.fetch(Request::get("/a")).await.expect_problem(401, "auth_invalid");

    // What is no authority is not trusted, and the old one goes on.
    std::fs::write(site.folder.path().join("partners.pem"), staff.pem().0).unwrap();
    site.proxy.printed("is not that of an authority").await;
    one.fetch(Request::get("/a")).await.expect(200);

    put(site.folder.path(), "partners.pem", &[&site.staff]);
    within("the other authority to count", async { while other.fetch(Request::get("/a")).await.status != 200 {} })
        .await;
    one.fetch(Request::get("/a")).await.expect_problem(401, "auth_invalid");
    one.fetch(Request::get("/any")).await.expect(200);

    // So does a reload that names another file.
    put(site.folder.path(), "others.pem", &[&site.partners]);
    let file = site.proxy.folder().join("maitred.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("partners.pem", "others.pem")).unwrap();
    site.proxy.command(["reload"]).await.expect(0);
    one.fetch(Request::get("/a")).await.expect(200);
    other.fetch(Request::get("/a")).await.expect_problem(401, "auth_invalid");
}

#[tokio::test]
async fn a_certificate_ends_while_its_connection_goes_on() {
    let site = Site::open().await;
    let certificate = site.partners.issue_lasting(&["a.example"], Duration::from_secs(6));
    let (mut h1, h2) = (site.h1(Some(&certificate)).await, site.h2(Some(&certificate)).await);
    h1.fetch(Request::get("/a")).await.expect(200);
    h2.fetch(Request::get("/a")).await.expect(200);
    within("the certificate to end", async { while h2.fetch(Request::get("/a")).await.status == 200 {} }).await;
    h1.fetch(Request::get("/a")).await.expect_problem(401, "auth_expired");
    h2.fetch(Request::get("/a")).await.expect_problem(401, "auth_expired");
    // Where nobody names an authority the handshake has the last word, as ever.
    h1.fetch(Request::get("/any")).await.expect(200);
}

#[tokio::test]
async fn authorities_that_cannot_be_meant_are_refused() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let Certificate { cert_file, key_file, .. } = servers.issue(&["localhost"]);
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
         [auth.lost]\ntype = \"mtls\"\nca = \"nowhere.pem\"\n\
         [auth.leaf]\ntype = \"mtls\"\nca = {cert_file:?}\n\
         [auth.text]\ntype = \"mtls\"\nca = \"maitred.toml\"\n\
         [auth.good]\ntype = \"mtls\"\nca = {:?}\n\
         [routes.app]\npath = \"/*\"\nauth = [\"good\", \"anonymous\"]\nupstream = \"http://127.0.0.1:1\"\n",
        clients.file()
    );
    let refused = maitred(Proxy::with(text).folder(), ["check", "-c", "maitred.toml"]).await.expect(3);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    for expected in [
        "error[E0401]: the authorities in `nowhere.pem` cannot be used",
        "No such file",
        "is not that of an authority: `CN=localhost` may not issue any",
        "error[E0401]: the authorities in `maitred.toml` cannot be used",
        "there is no certificate in it",
        "error[E0106]: route `app` wants a certificate, and its clients are never asked for one",
        "add `client_ca` to the listener",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}
