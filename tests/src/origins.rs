//! Every kind of origin: plain, by name, by unix socket, HTTP/2, TLS with an authority, a name and a client certificate.

use testkit::{Answer, Authority, Gate, Origin, Proxy, Request};

use crate::setting::{BOTH, route};

/// A proxy whose upstream `app` has these lines and takes everything.
async fn upstream(lines: &str) -> Proxy {
    let text = format!("{BOTH}[upstreams.app]\n{lines}\n[routes.app]\npath = \"/*\"\nupstream = \"app\"\n");
    Proxy::start(text).await
}

#[tokio::test]
async fn a_backend_can_be_named() {
    let origin = Origin::echo().await;
    let proxy = upstream(&format!("backends = \"http://localhost:{}\"", origin.port())).await;
    let answer = proxy.get("/named").await.expect(200);
    assert_eq!(answer.target(), "/named");
    let upstream_host = Proxy::start(format!(
        "[routes.app]\npath = \"/*\"\nupstream = \"http://localhost:{}\"\nrequest = {{ host = \"upstream\" }}\n",
        origin.port()
    ));
    let answer = upstream_host.await.get("/").await.expect(200);
    assert_eq!(answer.seen_all("host"), [format!("localhost:{}", origin.port())]);
}

#[tokio::test]
async fn a_backend_can_be_a_unix_socket() {
    let origin = Origin::builder().unix().start(|_| Answer::echo()).await;
    let proxy = upstream(&format!("backends = \"{origin}\"")).await;
    for n in 0..3 {
        let answer = proxy.fetch(Request::post(&format!("/{n}"), "body").host("a.example")).await.expect(200);
        assert_eq!(answer.json()["body"], "body");
        assert_eq!(answer.seen_all("host"), ["a.example"]);
    }
    assert!(origin.connections() < 3);
}

#[tokio::test]
async fn a_backend_can_speak_http2_in_plaintext() {
    let origin = Origin::builder().h2c().start(|_| Answer::echo()).await;
    let proxy = upstream(&format!("backends = \"{origin}\"")).await;
    let request =
        Request::post("/a/../b?c", "body").host("a.example").header("Connection", "close").header("Cookie", "a=1");
    for answer in [
        proxy.fetch(request.clone()).await.expect(200),
        proxy.h2c().await.fetch(Request::post("/b?c", "body").host("a.example")).await.expect(200),
    ] {
        assert_eq!(answer.target(), "/b?c");
        assert_eq!(answer.json()["version"], "HTTP/2");
        assert_eq!(answer.json()["body"], "body");
        assert_eq!(answer.seen_all(":authority"), ["a.example"]);
        assert!(answer.seen("connection").is_none());
        assert_eq!(answer.seen_all("x-forwarded-for"), ["127.0.0.1"]);
    }
}

#[tokio::test]
async fn streams_to_an_http2_backend_share_connections() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::builder().h2c().start(move |_| Answer::text("x").after(&script)).await;
    let proxy = upstream(&format!("backends = \"{origin}\"")).await;
    let client = proxy.h2c().await;
    let mut all = Vec::new();
    // One after the other: streams that begin at the same moment do not wait for each other's connection.
    for n in 1..=50 {
        all.push(client.open(&Request::get("/")).await);
        gate.reached_by(n).await;
    }
    gate.open();
    for (_, incoming) in &mut all {
        assert_eq!(incoming.head().await.unwrap().0, 200);
    }
    assert!(origin.connections() <= 2, "50 streams took {} connections", origin.connections());
}

#[tokio::test]
async fn a_tls_backend_is_checked_against_its_own_authority() {
    let authority = Authority::new();
    let origin = Origin::builder().tls(authority.issue(&["127.0.0.1"])).start(|_| Answer::echo()).await;
    let proxy = upstream(&format!("backends = \"{origin}\"\ntls = {{ ca = {:?} }}", authority.file())).await;
    for _ in 0..3 {
        proxy.fetch(Request::get("/").host("a.example")).await.expect(200);
    }
    assert!(origin.connections() < 3);
}

#[tokio::test]
async fn a_tls_backend_is_asked_for_the_name_it_must_have() {
    let authority = Authority::new();
    let origin = Origin::builder().tls(authority.issue(&["crm.internal"])).start(|_| Answer::echo()).await;
    let tls = format!("tls = {{ ca = {:?}, sni = \"crm.internal\" }}", authority.file());
    let proxy = upstream(&format!("backends = \"{origin}\"\n{tls}")).await;
    proxy.get("/").await.expect(200);
    assert_eq!(origin.request().await.server_name.as_deref(), Some("crm.internal"));
    let localhost = Origin::builder().tls(authority.issue(&["localhost"])).start(|_| Answer::echo()).await;
    let url = format!("https://localhost:{}", localhost.port());
    let by_url = upstream(&format!("backends = \"{url}\"\ntls = {{ ca = {:?} }}", authority.file())).await;
    by_url.get("/").await.expect(200);
    assert_eq!(localhost.request().await.server_name.as_deref(), Some("localhost"));
}

#[tokio::test]
async fn a_tls_backend_gets_our_certificate_when_it_asks() {
    let authority = Authority::new();
    let origin = Origin::builder().tls(authority.issue(&["127.0.0.1"])).client_ca(&authority);
    let origin = origin.start(|_| Answer::echo()).await;
    let ours = authority.issue(&["maitred.internal"]);
    let tls = format!("ca = {:?}, cert = {:?}, key = {:?}", authority.file(), ours.cert_file, ours.key_file);
    let proxy = upstream(&format!("backends = \"{origin}\"\ntls = {{ {tls} }}")).await;
    proxy.get("/").await.expect(200);
    assert!(origin.request().await.client_certificate);
    let without = upstream(&format!("backends = \"{origin}\"\ntls = {{ ca = {:?} }}", authority.file())).await;
    let answer = without.get("/").await.expect(502);
    let reason = answer.reason().unwrap();
    assert!(reason == "upstream_tls" || reason == "upstream_reset", "{reason}");
}

#[tokio::test]
async fn a_backend_with_a_wrong_certificate_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stranger = Origin::builder().tls(other.issue(&["127.0.0.1"])).start(|_| Answer::echo()).await;
    let misnamed = Origin::builder().tls(authority.issue(&["other.internal"])).start(|_| Answer::echo()).await;
    for origin in [&stranger, &misnamed] {
        let proxy = upstream(&format!("backends = \"{origin}\"\ntls = {{ ca = {:?} }}", authority.file())).await;
        proxy.get("/tls").await.expect_problem(502, "upstream_tls");
        assert_eq!(proxy.logged("/tls").await["error"], "upstream_tls");
        assert!(origin.requests().is_empty());
        let unchecked = upstream(&format!("backends = \"{origin}\"\ntls = {{ verify = false }}")).await;
        unchecked.get("/").await.expect(200);
    }
    let system = upstream(&format!("backends = \"{misnamed}\"")).await;
    system.get("/").await.expect_problem(502, "upstream_tls");
}

#[tokio::test]
async fn one_backends_trust_is_not_anothers() {
    let (mine, other) = (Authority::new(), Authority::new());
    let origin = Origin::builder().tls(mine.issue(&["127.0.0.1"])).start(|_| Answer::echo()).await;
    let text = format!(
        "[upstreams.good]\nbackends = \"{origin}\"\ntls = {{ ca = {:?} }}\n\
         [upstreams.bad]\nbackends = \"{origin}\"\ntls = {{ ca = {:?} }}\n\
         [routes]\n\"/good\" = \"good\"\n\"/bad\" = \"bad\"\n",
        mine.file(),
        other.file()
    );
    let proxy = Proxy::start(text).await;
    proxy.get("/good").await.expect(200);
    proxy.get("/bad").await.expect_problem(502, "upstream_tls");
}

#[tokio::test]
async fn http2_is_spoken_over_tls_where_it_is_asked_for() {
    let authority = Authority::new();
    let origin = Origin::builder().h2(authority.issue(&["127.0.0.1"])).start(|_| Answer::echo()).await;
    let proxy = upstream(&format!("backends = \"{origin}\"\ntls = {{ ca = {:?} }}", authority.file())).await;
    let answer = proxy.fetch(Request::post("/", "body").host("a.example")).await.expect(200);
    assert_eq!(answer.json()["version"], "HTTP/2");
    assert_eq!(answer.seen_all(":scheme"), ["https"]);
    assert_eq!(answer.seen_all(":authority"), ["a.example"]);
}

#[tokio::test]
async fn a_backend_written_in_place_of_a_name_is_one() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(route(&origin, "")).await;
    proxy.get("/in-place").await.expect(200);
    let line = proxy.logged("/in-place").await;
    assert_eq!(line["backend"], origin.socket().to_string());
}
