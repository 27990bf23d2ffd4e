//! TLS towards clients: certificates by name, both versions, both protocols, and what is refused.

use testkit::{Authority, Certificate, Connection, H2, Origin, Proxy, Request, Stream, TlsClient};

/// A listener with these certificates before an echoing origin.
struct Secured {
    authority: Authority,
    proxy: Proxy,
    _origin: Origin,
}

fn table(certificate: &Certificate) -> String {
    format!("{{ cert = {:?}, key = {:?} }}", certificate.cert_file, certificate.key_file)
}

async fn secured(names: &[&[&str]], lines: &str) -> Secured {
    let (authority, origin) = (Authority::new(), Origin::echo().await);
    let certificates: Vec<String> = names.iter().map(|names| table(&authority.issue(names))).collect();
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = [{}]\n{lines}\n[routes]\n\"/*\" = \"{origin}\"\n",
        certificates.join(", ")
    );
    let proxy = Proxy::start(text).await;
    Secured { authority, proxy, _origin: origin }
}

impl Secured {
    async fn connect(&self, client: TlsClient) -> Stream {
        client.connect(self.proxy.address()).await
    }

    /// Whether the certificate that is shown to whoever asks for `name` is good for `expected`.
    async fn shows(&self, name: &str, expected: &str) -> bool {
        self.authority.client().name(name).expecting(expected).try_connect(self.proxy.address()).await.is_ok()
    }
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let secured =
        secured(&[&["first.example"], &["second.example", "www.second.example"], &["*.wild.example"]], "").await;
    for (asked, expected) in [
        ("first.example", "first.example"),
        ("second.example", "second.example"),
        ("www.second.example", "second.example"),
        ("SECOND.example", "second.example"),
        ("a.wild.example", "b.wild.example"),
        ("nobody.example", "first.example"),
        ("wild.example", "first.example"),
    ] {
        assert!(secured.shows(asked, expected).await, "{asked} was not shown {expected}");
    }
    assert!(!secured.shows("second.example", "first.example").await);
}

#[tokio::test]
async fn requests_over_tls_are_told_of() {
    let secured = secured(&[&["localhost"]], "").await;
    let stream = secured.connect(secured.authority.client()).await;
    let answer = Connection::over(stream, "localhost").fetch(Request::get("/secure")).await.expect(200);
    assert_eq!(answer.seen_all("x-forwarded-proto"), ["https"]);
    assert_eq!(answer.seen_all("x-forwarded-port"), [secured.proxy.address().socket().port().to_string()]);
    let line = secured.proxy.logged("/secure").await;
    assert_eq!(
        (&line["scheme"], &line["tls"], &line["protocol"]),
        (&"https".into(), &"TLSv1.3".into(), &"HTTP/1.1".into())
    );
    let expiry = secured.proxy.metric("tls_certificate_expiry_timestamp_seconds", &[]).await;
    assert!(expiry > 1.8e9, "the certificate is said to end at {expiry}");
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let secured = secured(&[&["localhost"]], "").await;
    for (client, version) in
        [(secured.authority.client().tls12(), "TLSv1.2"), (secured.authority.client().tls13(), "TLSv1.3")]
    {
        let stream = secured.connect(client).await;
        let path = format!("/{version}");
        Connection::over(stream, "localhost").fetch(Request::get(&path)).await.expect(200);
        assert_eq!(secured.proxy.logged(&path).await["tls"], version);
        secured.proxy.until_metric("tls_handshakes_total", &[("version", version), ("result", "ok")], 1.0).await;
    }
}

#[tokio::test]
async fn the_client_chooses_the_protocol() {
    let secured = secured(&[&["localhost"]], "").await;
    let both = secured.connect(secured.authority.client().alpn(&["h2", "http/1.1"])).await;
    assert_eq!(both.alpn().as_deref(), Some(&b"h2"[..]));
    let answer = H2::over(both, "localhost").await.fetch(Request::post("/h2", "body")).await.expect(200);
    assert_eq!(answer.json()["body"], "body");
    assert_eq!(answer.seen_all("x-forwarded-proto"), ["https"]);
    assert_eq!(secured.proxy.logged("/h2").await["protocol"], "HTTP/2");
    for offer in [&["http/1.1"][..], &[]] {
        let stream = secured.connect(secured.authority.client().alpn(offer)).await;
        assert_ne!(stream.alpn().as_deref(), Some(&b"h2"[..]));
        Connection::over(stream, "localhost").fetch(Request::get("/")).await.expect(200);
    }
}

#[tokio::test]
async fn a_listener_can_speak_one_protocol_only() {
    let h1 = secured(&[&["localhost"]], "protocols = \"h1\"").await;
    let stream = h1.connect(h1.authority.client().alpn(&["h2", "http/1.1"])).await;
    assert_ne!(stream.alpn().as_deref(), Some(&b"h2"[..]));
    Connection::over(stream, "localhost").fetch(Request::get("/")).await.expect(200);
    let h2 = secured(&[&["localhost"]], "protocols = \"h2\"").await;
    let stream = h2.connect(h2.authority.client().alpn(&["h2", "http/1.1"])).await;
    H2::over(stream, "localhost").await.fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn plaintext_on_a_tls_port_is_counted_and_closed() {
    let secured = secured(&[&["localhost"]], "").await;
    let mut plain = secured.proxy.connect().await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = plain.rest().await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let failed = async {
        let all = || secured.proxy.metric("tls_handshakes_total", &[]);
        while all().await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    testkit::within("the handshake to be counted", failed).await;
    assert_eq!(secured.proxy.metric("tls_handshakes_total", &[("result", "ok")]).await, 0.0);
}

#[tokio::test]
async fn a_session_is_resumed_and_a_client_that_leaves_is_no_harm() {
    let secured = secured(&[&["localhost"]], "").await;
    for _ in 0..20 {
        let stream = secured.connect(secured.authority.client()).await;
        drop(stream);
        secured.proxy.stream().await.reset();
    }
    let stream = secured.connect(secured.authority.client()).await;
    Connection::over(stream, "localhost").fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn https_redirects_name_the_tls_listeners_port() {
    let authority = Authority::new();
    let (free, certificate) = (testkit::Address::refusing(), table(&authority.issue(&["localhost"])));
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
         [listeners.https]\naddress = \"{free}\"\ntls = {certificate}\n[routes.app]\nrespond = {{ body = \"x\" }}\n"
    );
    let proxy = Proxy::start(text).await;
    let request = Request::get("/a?b").host("localhost:8080");
    let answer = Connection::to(proxy.listener("http")).await.fetch(request).await.expect(308);
    assert_eq!(answer.header("location"), Some(&*format!("https://localhost:{}/a?b", free.port())));
}

#[tokio::test]
async fn wrong_certificates_are_told_of_before_anything_starts() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["one.example"]), authority.issue(&["two.example"]));
    let text = format!(
        "[listeners.a]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n\
         [listeners.b]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"/nowhere/cert.pem\", key = \"/nowhere/key.pem\" }}\n\
         [listeners.c]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"garbage.pem\", key = {:?} }}\n\
         [routes.app]\nrespond = {{ body = \"x\" }}\n",
        one.cert_file, two.key_file, one.key_file
    );
    let exit =
        Proxy::with(text).file("garbage.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n").refused().await.expect(3);
    for (what, told) in [
        ("the key of another certificate", "two.example.key"),
        ("a missing file", "/nowhere/cert.pem"),
        ("garbage", "garbage.pem"),
    ] {
        assert!(exit.stderr.contains(told), "{what} is not told of:\n{}", exit.stderr);
    }
    assert!(
        exit.stderr.matches("error[E04").count() + exit.stderr.matches("error[E06").count() >= 3,
        "{}",
        exit.stderr
    );
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}
