//! Clients that show a certificate: who is let in, what the origin is told, and what a connection is good for.

use std::process::Stdio;

use testkit::{Authority, Certificate, Connection, Curl, H2, Origin, Proxy, Request, TlsClient, curl, tool, within};
use tokio::io::AsyncWriteExt;

/// A listener for `localhost` that asks for certificates of `clients`, before an echoing origin.
struct Guarded {
    servers: Authority,
    clients: Authority,
    folder: tempfile::TempDir,
    proxy: Proxy,
    _origin: Origin,
}

impl Guarded {
    /// With these lines in the listener's table, beside `client_ca`; CLIENTS stands for the folder of that file.
    async fn open(lines: &str) -> Self {
        let (servers, clients, origin) = (Authority::new(), Authority::new(), Origin::echo().await);
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("clients.pem");
        std::fs::copy(clients.file(), &ca).unwrap();
        std::fs::write(folder.path().join("clients.crl"), clients.revoke(&[])).unwrap();
        let Certificate { cert_file, key_file, .. } = servers.issue(&["localhost", "other.example", "127.0.0.1"]);
        let lines = lines.replace("CLIENTS", folder.path().to_str().unwrap());
        let proxy = Proxy::start(format!(
            "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
             client_ca = {ca:?}\n{lines}\n[routes]\n\"/*\" = \"{origin}\"\n"
        ))
        .await;
        Self { servers, clients, folder, proxy, _origin: origin }
    }

    fn put(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.folder.path().join(name)).unwrap();
    }

    fn client(&self) -> TlsClient {
        self.servers.client()
    }

    /// Whether a request with this certificate is answered.
    async fn lets_in(&self, certificate: Option<&Certificate>) -> bool {
        self.curl(certificate, &[]).await.code == 0
    }

    async fn curl(&self, certificate: Option<&Certificate>, more: &[&str]) -> Curl {
        let url = format!("https://localhost:{}/", self.proxy.address().socket().port());
        let mut arguments = vec!["--cacert".to_owned(), self.servers.file().display().to_string(), url];
        if let Some(Certificate { cert_file, key_file, .. }) = certificate {
            let files = [cert_file, key_file].map(|file| file.display().to_string());
            arguments.extend(["--cert".to_owned(), files[0].clone(), "--key".to_owned(), files[1].clone()]);
        }
        arguments.extend(more.iter().map(|one| (*one).to_owned()));
        curl(arguments).await
    }

    async fn until(&self, what: &str, certificate: &Certificate, let_in: bool) {
        let reached = async { while self.lets_in(Some(certificate)).await != let_in {} };
        within(what, reached).await;
    }
}

/// What `Client-Cert` has to hold (RFC 9440): a PEM file is the same in other clothes.
fn field(certificate: &Certificate) -> String {
    let pem = certificate.pem().0;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    format!(":{body}:")
}

#[tokio::test]
async fn whoever_must_show_a_certificate_is_let_in_with_a_good_one_alone() {
    let guarded = Guarded::open("").await;
    let good = guarded.clients.issue(&["orders.partner.example"]);
    assert!(guarded.lets_in(Some(&good)).await);
    assert!(!guarded.lets_in(None).await);
    assert!(!guarded.lets_in(Some(&Authority::new().issue(&["orders.partner.example"]))).await);
    assert!(!guarded.lets_in(Some(&guarded.servers.issue(&["orders.partner.example"]))).await);
    guarded.proxy.until_metric("tls_handshakes_total", &[("result", "failed")], 3.0).await;
    assert_eq!(guarded.proxy.metric("tls_handshakes_total", &[("result", "ok")]).await, 1.0);
    // In TLS 1.3 the request is under way already when the certificate is found to be missing.
    for version in ["1.2", "1.3"] {
        let refused = guarded.curl(None, &["--tls-max", version]).await;
        assert!(refused.code != 0 && refused.stderr.contains("alert"), "{}", refused.stderr);
    }
    guarded.curl(Some(&good), &["--tls-max", "1.2"]).await.ok();
}

#[tokio::test]
async fn where_it_may_be_left_out_a_bad_one_is_refused_all_the_same() {
    let guarded = Guarded::open("client_auth = \"optional\"").await;
    assert!(guarded.lets_in(None).await);
    assert!(guarded.lets_in(Some(&guarded.clients.issue(&["a.example"]))).await);
    assert!(!guarded.lets_in(Some(&Authority::new().issue(&["a.example"]))).await);
}

#[tokio::test]
async fn the_origin_is_sent_the_certificate_and_nobody_can_forge_it() {
    let guarded = Guarded::open("client_auth = \"optional\"\ntrusted_proxies = \"127.0.0.1\"").await;
    let certificate = guarded.clients.issue(&["orders.partner.example"]);
    let forged = || {
        let request = Request::get("/").header("Client-Cert", ":Zm9yZ2Vk:").header("client_cert", ":Zm9yZ2Vk:");
        request.header("Client-Cert-Chain", ":Zm9yZ2Vk:")
    };
    let none: [&str; 0] = [];
    let h1 = guarded.client().identity(certificate.clone()).connect(guarded.proxy.address()).await;
    let h2 = guarded.client().alpn(&["h2"]).identity(certificate.clone()).connect(guarded.proxy.address()).await;
    for answer in [
        Connection::over(h1, "localhost").fetch(forged()).await.expect(200),
        H2::over(h2, "localhost").await.fetch(forged()).await.expect(200),
    ] {
        assert_eq!(answer.seen_all("client-cert"), [field(&certificate)]);
        assert_eq!(answer.seen_all("client_cert"), none);
        assert_eq!(answer.seen_all("client-cert-chain"), none);
    }
    // Without a certificate, even from a peer whose other words are believed.
    let stream = guarded.client().connect(guarded.proxy.address()).await;
    let answer = Connection::over(stream, "localhost").fetch(forged()).await.expect(200);
    for name in ["client-cert", "client_cert", "client-cert-chain"] {
        assert_eq!(answer.seen_all(name), none, "{name}");
    }
}

#[tokio::test]
async fn a_connection_is_good_for_the_host_that_it_was_made_for() {
    let guarded = Guarded::open("").await;
    let certificate = guarded.clients.issue(&["a.example"]);
    let address = guarded.proxy.address();
    let client = || guarded.client().identity(certificate.clone());

    let mut h1 = Connection::over(client().connect(address).await, "localhost");
    for host in ["localhost", "LOCALHOST:443", "localhost."] {
        h1.fetch(Request::get("/").host(host)).await.expect(200);
    }
    for host in ["other.example", "127.0.0.1", "localhost.example"] {
        let answer = h1.fetch(Request::get("/elsewhere").host(host)).await.expect(421);
        assert!(answer.text().contains("misdirected"), "{}", answer.text());
    }
    h1.fetch(Request::get("/")).await.expect(200);
    assert_eq!(guarded.proxy.logged("/elsewhere").await["error"], "misdirected");
    // What HTTP/1 calls the absolute form names the host as well.
    let absolute = Request::get("https://other.example/").host("other.example");
    h1.fetch(absolute).await.expect(421);

    let h2 = H2::over(client().alpn(&["h2"]).connect(address).await, "localhost").await;
    h2.fetch(Request::get("/")).await.expect(200);
    h2.fetch(Request::get("/").host("other.example")).await.expect(421);
    h2.fetch(Request::get("/")).await.expect(200);

    // A client that names no host has connected by address, and may ask for that.
    let nameless = client().name("127.0.0.1").connect(address).await;
    let mut nameless = Connection::over(nameless, "127.0.0.1");
    nameless.fetch(Request::get("/")).await.expect(200);
    nameless.fetch(Request::get("/").host("localhost")).await.expect(421);
}

#[tokio::test]
async fn a_listener_that_asks_for_none_serves_every_host_on_a_connection() {
    let (authority, origin) = (Authority::new(), Origin::echo().await);
    let Certificate { cert_file, key_file, .. } = authority.issue(&["localhost"]);
    let proxy = Proxy::start(format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {cert_file:?}, key = {key_file:?} }}\n\
         [routes]\n\"/*\" = \"{origin}\"\n"
    ))
    .await;
    let stream = authority.client().connect(proxy.address()).await;
    Connection::over(stream, "localhost").fetch(Request::get("/").host("other.example")).await.expect(200);
}

#[tokio::test]
async fn no_session_is_resumed_where_certificates_are_asked_for() {
    let guarded = Guarded::open("").await;
    let Certificate { cert_file, key_file, .. } = guarded.clients.issue(&["a.example"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = guarded.folder.path().join(format!("session{version}"));
        for way in ["-sess_out", "-sess_in"] {
            let mut command = tool("openssl", "openssl");
            command.args(["s_client", "-servername", "localhost", "-ign_eof", version, "-connect"]);
            command.arg(guarded.proxy.address().to_string());
            command.arg("-cert").arg(&cert_file).arg("-key").arg(&key_file);
            // TLS 1.3 leaves no session behind, so that there is none to come back with.
            if way == "-sess_out" || session.exists() {
                command.arg(way).arg(&session);
            }
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            child.stdin.take().unwrap().write_all(request).await.unwrap();
            let output = within("openssl to end", child.wait_with_output()).await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("HTTP/1.1 200"), "{version} {way}: {text}");
            assert!(text.contains("\nNew, TLSv1") && !text.contains("Reused,"), "{version} {way}: {text}");
        }
    }
}

#[tokio::test]
async fn authorities_change_while_they_are_trusted() {
    let guarded = Guarded::open("").await;
    let (old, next) = (guarded.clients.issue(&["a.example"]), Authority::new());
    let new = next.issue(&["a.example"]);
    assert!(guarded.lets_in(Some(&old)).await);
    assert!(!guarded.lets_in(Some(&new)).await);

    // What is no authority is not trusted, and the old one goes on.
    guarded.put("clients.pem", &new.pem().0);
    guarded.proxy.printed("is not that of an authority").await;
    assert!(guarded.lets_in(Some(&old)).await);

    guarded.put("clients.pem", &std::fs::read_to_string(next.file()).unwrap());
    guarded.until("the new authority to be trusted", &new, true).await;
    assert!(!guarded.lets_in(Some(&old)).await);
}

#[tokio::test]
async fn a_certificate_that_is_taken_back_is_refused_from_then_on() {
    let guarded = Guarded::open("client_crl = \"CLIENTS/clients.crl\"").await;
    let (lost, kept) = (guarded.clients.issue(&["lost.example"]), guarded.clients.issue(&["kept.example"]));
    assert!(guarded.lets_in(Some(&lost)).await);
    guarded.put("clients.crl", &guarded.clients.revoke(&[&lost]));
    guarded.until("the list to be heeded", &lost, false).await;
    assert!(guarded.lets_in(Some(&kept)).await);
}
