//! Header edits of requests and answers, the Host that the origin sees, and security headers.

use testkit::{Answer, Authority, Connection, Origin, Proxy, Request};

use crate::setting::{before, echoing, route};

#[tokio::test]
async fn request_fields_are_removed_set_and_added_in_this_order() {
    let lines = r#"
        [routes.app.request]
        set    = { X-Tenant = "{header.X-Who}", X-Client = "{client_ip} {method} {host}{path}?{query}", X-Empty = "{query.none}" }
        add    = { X-Tag = ["edge", "public"] }
        remove = ["Cookie", "X-Internal-*"]
    "#;
    let (_origin, proxy) = echoing(lines).await;
    let request = Request::get("/a?b=c")
        .host("a.example")
        .header("X-Who", "acme")
        .header("X-Tenant", "forged")
        .header("X-Tag", "own")
        .header("X-Empty", "forged")
        .header("Cookie", "a=1")
        .header("X-Internal-User", "root")
        .header("X-Internal-Role", "root");
    let answer = proxy.fetch(request).await.expect(200);
    assert_eq!(answer.seen_all("x-tenant"), ["acme"]);
    assert_eq!(answer.seen_all("x-client"), ["127.0.0.1 GET a.example/a?b=c"]);
    assert_eq!(answer.seen_all("x-tag"), ["own", "edge", "public"]);
    for gone in ["x-empty", "cookie", "x-internal-user", "x-internal-role"] {
        assert!(answer.seen(gone).is_none(), "{gone}");
    }
}

#[tokio::test]
async fn response_fields_are_edited_on_the_origins_answers_and_on_ours() {
    let lines = r#"
        max_body = "10B"
        [routes.app.response]
        set    = { Cache-Control = "no-store", X-Request-Id = "{request_id}" }
        add    = { Link = ["</a>; rel=preload", "</b>; rel=preload"] }
        remove = ["Server", "X-Powered-*"]
    "#;
    let answer = |_: &testkit::Seen| {
        Answer::text("x").header("Server", "Old/1.0").header("X-Powered-By", "Luck").header("Cache-Control", "public")
    };
    let origin = Origin::start(answer).await;
    let proxy = Proxy::start(route(&origin, lines)).await;
    let answer = proxy.get("/").await.expect(200);
    assert_eq!(answer.headers.all("cache-control"), ["no-store"]);
    assert_eq!(answer.headers.all("link"), ["</a>; rel=preload", "</b>; rel=preload"]);
    assert!(answer.header("x-powered-by").is_none());
    assert!(answer.header("server").is_none(), "nobody asked us to say who we are");
    assert_eq!(answer.request_id(), origin.request().await.header("x-request-id"));
    let ours = proxy.fetch(Request::post("/", "more than ten bytes")).await.expect_problem(413, "body_too_large");
    assert_eq!(ours.headers.all("link").len(), 2);
    assert_eq!(ours.headers.all("cache-control"), ["no-store"]);
}

#[tokio::test]
async fn the_path_and_its_captures_fill_templates() {
    let origin = Origin::echo().await;
    let text = format!(
        r#"
        [routes.files]
        path     = "/tenants/{{tenant}}/*"
        upstream = "{origin}"
        request  = {{ set = {{ X-Tenant = "{{tenant}}", X-Rest = "{{rest}}", X-Braces = "{{{{x}}}}" }} }}
        [routes.versions]
        path     = "~^/v([0-9]+)/(?<name>[a-z]+)$"
        upstream = "{origin}"
        request  = {{ set = {{ X-Version = "{{1}}", X-Name = "{{name}}" }} }}
        "#
    );
    let proxy = Proxy::start(text).await;
    let answer = proxy.get("/tenants/acme/a/b").await.expect(200);
    assert_eq!(answer.seen("x-tenant").as_deref(), Some("acme"));
    assert_eq!(answer.seen("x-rest").as_deref(), Some("/a/b"));
    assert_eq!(answer.seen("x-braces").as_deref(), Some("{x}"));
    let answer = proxy.get("/v12/users").await.expect(200);
    assert_eq!(answer.seen("x-version").as_deref(), Some("12"));
    assert_eq!(answer.seen("x-name").as_deref(), Some("users"));
}

#[tokio::test]
async fn a_capture_cannot_inject_a_field() {
    let (_origin, proxy) = echoing("request = { set = { X-Name = \"{query.name}\" } }").await;
    let answer = proxy.get("/?name=a%0d%0aX-Injected:%20yes").await;
    if answer.status == 200 {
        assert!(answer.seen("x-injected").is_none());
        assert!(!answer.seen("x-name").unwrap_or_default().contains('\n'));
    }
}

#[tokio::test]
async fn the_host_is_kept_replaced_or_the_upstreams() {
    let origin = Origin::echo().await;
    let text = format!(
        "[routes.keep]\npath = \"/keep\"\nupstream = \"{origin}\"\n\
         [routes.upstream]\npath = \"/upstream\"\nupstream = \"{origin}\"\nrequest = {{ host = \"upstream\" }}\n\
         [routes.literal]\npath = \"/literal\"\nupstream = \"{origin}\"\nrequest = {{ host = \"inner.example\" }}\n"
    );
    let proxy = Proxy::start(text).await;
    let upstream = origin.socket().to_string();
    for (path, host) in [("/keep", "a.example"), ("/upstream", upstream.as_str()), ("/literal", "inner.example")] {
        let answer = proxy.fetch(Request::get(path).host("a.example")).await.expect(200);
        assert_eq!(answer.seen_all("host"), [host], "{path}");
        assert_eq!(answer.seen_all("x-forwarded-host"), ["a.example"], "{path}");
    }
}

#[tokio::test]
async fn an_http_1_0_request_without_a_host_reaches_the_origin_with_one() {
    let (origin, proxy) = echoing("").await;
    let answer = proxy.exchange("GET /old HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{answer}");
    let seen = origin.request().await;
    assert_eq!(seen.version, "HTTP/1.1");
    assert_eq!(seen.headers.all("host"), [origin.socket().to_string()]);
}

#[tokio::test]
async fn security_headers_are_sent_and_telltales_hidden() {
    let answer = |seen: &testkit::Seen| match seen.target.as_str() {
        "/own" => Answer::text("x").header("X-Frame-Options", "SAMEORIGIN"),
        _ => Answer::text("x").header("Server", "Old/1.0").header("X-Powered-By", "Luck"),
    };
    let origin = Origin::start(answer).await;
    let proxy = Proxy::start(route(&origin, "security_headers = true\nmax_body = \"1B\"")).await;
    let ours = proxy.fetch(Request::post("/", "xx")).await.expect(413);
    for answer in [proxy.get("/").await.expect(200), ours] {
        assert_eq!(answer.headers.all("x-content-type-options"), ["nosniff"]);
        assert_eq!(answer.headers.all("x-frame-options"), ["DENY"]);
        assert_eq!(answer.headers.all("content-security-policy"), ["frame-ancestors 'none'"]);
        assert_eq!(answer.headers.all("referrer-policy"), ["strict-origin-when-cross-origin"]);
        assert!(answer.header("strict-transport-security").is_none(), "never over plain HTTP");
        assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
    }
    assert_eq!(proxy.get("/own").await.headers.all("x-frame-options"), ["SAMEORIGIN"]);
}

#[tokio::test]
async fn strict_transport_security_is_for_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost"]);
    let text = format!(
        "[listeners.https]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = {:?}, key = {:?} }}\n\
         [routes.app]\nrespond = {{ body = \"x\" }}\nsecurity_headers = {{ csp = \"default-src 'self'\", frame = \"same-origin\" }}\n",
        certificate.cert_file, certificate.key_file
    );
    let proxy = Proxy::start(text).await;
    let stream = authority.client().connect(proxy.address()).await;
    let answer = Connection::over(stream, "localhost").fetch(Request::get("/")).await.expect(200);
    assert_eq!(answer.headers.all("strict-transport-security"), ["max-age=31536000; includeSubDomains"]);
    assert_eq!(answer.headers.all("content-security-policy"), ["default-src 'self'"]);
    assert_eq!(answer.headers.all("x-frame-options"), ["SAMEORIGIN"]);
}

#[tokio::test]
async fn names_and_order_survive_both_ways() {
    let (origin, proxy) = before(|_| {
        Answer::text("x").header("X-CamelCase", "1").header("Set-Cookie", "a=1").header("Set-Cookie", "b=2")
    })
    .await;
    let answer = proxy.fetch(Request::get("/").header("X-MyHeader", "1").header("x-lower", "2")).await.expect(200);
    assert_eq!(answer.headers.all("set-cookie"), ["a=1", "b=2"]);
    assert!(answer.headers.0.iter().any(|(name, _)| name == "X-CamelCase"), "{:?}", answer.headers);
    let head = String::from_utf8(origin.request().await.head).unwrap();
    assert!(head.contains("\r\nX-MyHeader: 1\r\n") && head.contains("\r\nx-lower: 2\r\n"), "{head}");
}

const KEY: &str = "alice-has-a-key-of-32-characters";

/// As `sha256sum` says.
const KEY_HASH: &str = "f5068f529f14dcc60dcd3f6f506822d6142519adb78a3c971a4eb60fc3481702";

/// What the origin was sent and what the client got, in an order of its own and without what differs each time.
async fn both_heads(engine: &str, lines: &str) -> [Vec<(String, String)>; 2] {
    let origin = Origin::start(|_| {
        Answer::text("x").header("Server", "Old/1.0").header("X-Frame-Options", "SAMEORIGIN").header("RateLimit", "own")
    })
    .await;
    let proxy = Proxy::with(route(&origin, lines))
        .file(
            "keys.toml",
            &format!("[keys.one]\nconsumer = \"alice\"\nsha256 = \"{KEY_HASH}\"\ncreated = \"2026-01-01T00:00:00Z\"\n"),
        )
        .variable("MAITRED_ENGINE", engine)
        .start()
        .await;
    let request = Request::get("/").header("X-Api-Key", KEY).header("X-User", "forged");
    let answer = proxy.fetch(request.header("Cookie", "a=1").header("Origin", "https://a.test")).await.expect(200);
    let told = origin.request().await.headers;
    [told, answer.headers].map(|headers| {
        let differs = ["x-request-id", "traceparent", "date", "connection", "x-forwarded-host", "x-forwarded-port"];
        let fields = headers.0.into_iter().map(|(name, value)| (name.to_lowercase(), value));
        let mut fields: Vec<_> =
            fields.filter(|(name, _)| !differs.contains(&name.as_str()) && name != "host").collect();
        fields.sort();
        fields
    })
}

#[tokio::test]
async fn fields_are_the_same_wherever_in_the_head_they_are_put() {
    let whole = "auth = \"partners\"\nlimit = { rate = \"100/s\", key = \"ip\", x_headers = true }\nsecurity_headers = true\n\
                 request = { set = { X-Edge = \"{client_ip}\" }, add = { X-Tag = [\"a\", \"b\"] }, remove = [\"Cookie\"] }\n\
                 response = { set = { X-By = \"{user}\" }, add = { Link = \"</a>\" }, remove = [\"X-Old\"] }\n";
    let policy = "[auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\nforward = { user = \"X-User\" }\n";
    for (what, lines) in [
        ("concerns that leave each other alone", whole.to_owned()),
        ("a request edit of who calls", whole.replace("X-Edge", "X-User")),
        ("a request edit that hides who calls", whole.replace("\"Cookie\"", "\"X-U*\"")),
        ("a request edit of the client's address", whole.replace("X-Edge", "X-Forwarded-For")),
        ("an edit of a security field", whole.replace("X-By", "X-Frame-Options")),
        ("an edit of what is hidden", whole.replace("X-By", "Server")),
        ("an edit of a limit's field", whole.replace("X-By", "X-RateLimit-Limit")),
        (
            "security fields in the place of the origin's",
            whole.replace("= true\nrequest", "= { override = true }\nrequest"),
        ),
        (
            "cookies and CORS",
            format!("{}cors = {{ origins = \"https://a.test\" }}\n", whole.replace("Link", "Set-Cookie")),
        ),
    ] {
        let lines = format!("{lines}{policy}");
        let (own, general) = (both_heads("own", &lines).await, both_heads("general", &lines).await);
        assert_eq!(own, general, "{what}");
        let count = |name: &str| own[1].iter().filter(|(field, _)| field == name).count();
        assert_eq!(
            (count("x-frame-options"), count("server"), count("ratelimit-policy")),
            (1, 0, 1),
            "{what}: {own:?}"
        );
        assert!(
            own[0].contains(&("x-edge".into(), "127.0.0.1".into())) || !lines.contains("X-Edge"),
            "{what}: {own:?}"
        );
    }
}
