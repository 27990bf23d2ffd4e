//! What the origin is told about the client, and what clients cannot make it believe.

use testkit::{Origin, Proxy, Request, Response, maitred};

use crate::setting::{BOTH, echoing, route, trusting};

/// Every field that the forgery tests send, with what an honest one would not say.
const FORGED: &[(&str, &str)] = &[
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Server", "evil.example"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Forwarded", "for=6.6.6.6;proto=https"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Client-IP", "6.6.6.6"),
    ("True-Client-IP", "6.6.6.6"),
    ("CF-Connecting-IP", "6.6.6.6"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-Request-Id", "forged"),
    ("X-Forwarded-Client-Cert", "By=evil"),
    ("Proxy", "http://evil.example"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("x-forwarded_for", "6.6.6.6"),
];

fn forged() -> Request {
    FORGED.iter().fold(Request::get("/who"), |request, (name, value)| request.header(name, value))
}

fn assert_honest(answer: &Response, port: u16) {
    assert_eq!(answer.seen_all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.seen_all("x-forwarded-proto"), ["http"]);
    assert_eq!(answer.seen_all("x-forwarded-port"), [port.to_string()]);
    assert_ne!(answer.seen("x-request-id").as_deref(), Some("forged"));
}

#[tokio::test]
async fn the_origin_is_told_who_asked_for_what() {
    let (_origin, proxy) = echoing("").await;
    let port = proxy.address().socket().port();
    let answer = proxy.fetch(Request::get("/who").host("shop.example.com:8443")).await.expect(200);
    assert_honest(&answer, port);
    assert_eq!(answer.seen_all("host"), ["shop.example.com:8443"]);
    assert_eq!(answer.seen_all("x-forwarded-host"), ["shop.example.com:8443"]);
    assert_eq!(answer.seen_all("forwarded"), [""; 0]);
    let trace = answer.seen("traceparent").unwrap();
    let parts: Vec<&str> = trace.split('-').collect();
    assert_eq!([parts[0].len(), parts[1].len(), parts[2].len(), parts[3].len()], [2, 32, 16, 2], "{trace}");
    let logged = proxy.logged("/who").await;
    assert_eq!(logged["trace_id"], parts[1]);
    assert_eq!(logged["client_ip"], "127.0.0.1");
    assert_eq!(logged["host"], "shop.example.com");
}

#[tokio::test]
async fn http2_clients_are_told_of_alike() {
    let (_origin, proxy) = echoing("").await;
    let answer = proxy.h2c().await.fetch(forged().host("shop.example.com")).await.expect(200);
    assert_honest(&answer, proxy.address().socket().port());
    assert_eq!(answer.seen_all("host"), ["shop.example.com"]);
    assert_eq!(answer.seen_all("x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(answer.json()["version"], "HTTP/1.1");
}

#[tokio::test]
async fn what_a_stranger_claims_is_dropped() {
    let (_origin, proxy) = echoing("").await;
    let answer = proxy.fetch(forged().host("a.example")).await.expect(200);
    assert_honest(&answer, proxy.address().socket().port());
    assert_eq!(answer.seen_all("x-forwarded-host"), ["a.example"]);
    for (name, value) in FORGED {
        assert!(!answer.seen_all(name).contains(&(*value).to_owned()), "{name} came through");
    }
    for gone in ["forwarded", "x-real-ip", "x-original-url", "proxy", "x_forwarded_for", "x-forwarded_for"] {
        assert!(answer.seen(gone).is_none(), "{gone}");
    }
    assert_eq!(proxy.logged("/who").await["client_ip"], "127.0.0.1");
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_believed_and_continued() {
    let (_origin, proxy) = trusting("").await;
    let request = Request::get("/who")
        .host("inner.example")
        .header("X-Forwarded-For", "6.6.6.6, 203.0.113.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.example.com")
        .header("X-Forwarded-Port", "8443")
        .header("X-Request-Id", "from-the-edge")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("tracestate", "vendor=1");
    let answer = proxy.fetch(request).await.expect(200);
    assert_eq!(answer.seen_all("x-forwarded-for"), ["6.6.6.6, 203.0.113.7, 127.0.0.1"]);
    assert_eq!(answer.seen_all("x-forwarded-proto"), ["https"]);
    assert_eq!(answer.seen_all("x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(answer.seen_all("x-forwarded-port"), ["8443"]);
    assert_eq!(answer.seen_all("x-request-id"), ["from-the-edge"]);
    let trace = answer.seen("traceparent").unwrap();
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{trace}");
    assert!(!trace.contains("00f067aa0ba902b7"), "the proxy is a span of its own: {trace}");
    assert_eq!(answer.seen_all("tracestate"), ["vendor=1"]);
    let logged = proxy.logged("/who").await;
    assert_eq!(logged["client_ip"], "203.0.113.7");
    assert_eq!(logged["scheme"], "https");
    assert_eq!(logged["request_id"], "from-the-edge");
    assert_eq!(logged["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn a_trace_is_told_the_generation_where_that_is_asked_for() {
    let (origin, proxy) = echoing("request = { tracestate = true }").await;
    let request = || {
        Request::get("/")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .header("tracestate", "vendor=1,maitred=g:999")
    };
    for generation in 1..=2 {
        let answers = [proxy.fetch(request()).await, proxy.h2c().await.fetch(request()).await];
        for answer in answers {
            let told = answer.expect(200).seen_all("tracestate");
            assert_eq!(told, [format!("maitred=g:{generation},vendor=1")]);
        }
        // A trace that begins here says so as well.
        let told = proxy.get("/").await.expect(200).seen_all("tracestate");
        assert_eq!(told, [format!("maitred=g:{generation}")]);
        proxy.hang_up(format!("{BOTH}{}", route(&origin, "timeout = \"9s\"\nrequest = { tracestate = true }"))).await;
    }
    let logged = proxy.logged("/").await;
    assert_eq!(logged["generation"], 1);
}

#[tokio::test]
async fn only_the_addresses_behind_trusted_ones_count() {
    let (_origin, proxy) = trusting("").await;
    for (told, client) in [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 127.0.0.1", "198.51.100.1"),
        ("nonsense", "127.0.0.1"),
        ("203.0.113.7, nonsense", "127.0.0.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.7:5555", "203.0.113.7"),
    ] {
        let path = format!("/{}", told.replace([' ', ',', ':'], "-"));
        proxy.fetch(Request::get(&path).header("X-Forwarded-For", told)).await.expect(200);
        assert_eq!(proxy.logged(&path).await["client_ip"], client, "{told}");
    }
}

#[tokio::test]
async fn a_request_id_that_is_no_id_is_replaced_even_from_a_trusted_proxy() {
    let (_origin, proxy) = trusting("").await;
    let long = "x".repeat(300);
    for id in ["with space", long.as_str(), ""] {
        let answer = proxy.fetch(Request::get("/").header("X-Request-Id", id)).await.expect(200);
        assert_ne!(answer.seen("x-request-id").as_deref(), Some(id));
        assert!(answer.seen("x-request-id").is_some_and(|id| !id.is_empty()));
    }
}

#[tokio::test]
async fn a_broken_traceparent_begins_a_new_trace() {
    let (_origin, proxy) = trusting("").await;
    for broken in
        ["nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f-00f067aa0ba902b7-01"]
    {
        let request = Request::get("/").header("traceparent", broken).header("tracestate", "vendor=1");
        let answer = proxy.fetch(request).await.expect(200);
        assert!(!answer.seen("traceparent").unwrap().contains("-00f067aa0ba902b7-"));
        assert_eq!(answer.seen_all("tracestate"), [""; 0], "{broken}");
    }
}

#[tokio::test]
async fn forwarded_is_written_where_it_is_asked_for() {
    let (_origin, proxy) = echoing("request = { forwarded = true }").await;
    let request = Request::get("/").host("shop.example.com:8443").header("Forwarded", "for=6.6.6.6");
    let answer = proxy.fetch(request).await.expect(200);
    assert_eq!(answer.seen_all("forwarded"), ["for=127.0.0.1;host=\"shop.example.com:8443\";proto=http"]);
    let (_origin, proxy) = trusting("request = { forwarded = true }").await;
    let request = Request::get("/").host("shop.example.com").header("Forwarded", "for=203.0.113.7;proto=https");
    let answer = proxy.fetch(request).await.expect(200);
    let told = answer.seen("forwarded").unwrap();
    assert!(told.starts_with("for=203.0.113.7;proto=https, for=127.0.0.1;host=shop.example.com"), "{told}");
}

/// Whatever the route says about these fields comes after what maitred says, in either engine.
#[tokio::test]
async fn a_route_may_change_what_the_origin_is_told() {
    for engine in ["", "general"] {
        let origin = Origin::echo().await;
        let edits = "request = { set = { X-Forwarded-Proto = \"gopher\" }, remove = [\"X-Forwarded-Port\"] }";
        let text = format!("{BOTH}{}", route(&origin, edits));
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let answer = proxy.fetch(Request::get("/").header("X-Forwarded-Proto", "https")).await.expect(200);
        assert_eq!(answer.seen_all("x-forwarded-proto"), ["gopher"]);
        assert!(answer.seen_all("x-forwarded-port").is_empty());
        assert_eq!(answer.seen_all("x-forwarded-for"), ["127.0.0.1"]);
    }
}

/// Many origins know the caller by `X-Forwarded-User`, which a client could claim.
#[tokio::test]
async fn the_caller_may_be_told_by_a_field_of_the_same_family() {
    for engine in ["", "general"] {
        let origin = Origin::echo().await;
        let auth =
            "[auth.staff]\ntype = \"api_key\"\nkeys = \"keys.toml\"\nforward = { user = \"X-Forwarded-User\" }\n";
        let text = format!("{BOTH}{auth}{}", route(&origin, "auth = \"staff\""));
        let starter = Proxy::with(text).variable("MAITRED_ENGINE", engine);
        let made = maitred(starter.folder(), ["key", "add", "ann", "--file", "keys.toml"]).await.expect(0);
        let proxy = starter.start().await;
        let request = Request::get("/").header("X-API-Key", made.stdout.trim()).header("X-Forwarded-User", "root");
        assert_eq!(proxy.fetch(request).await.expect(200).seen_all("x-forwarded-user"), ["ann"]);
    }
}

#[tokio::test]
async fn where_methods_rule_a_client_names_no_other_one() {
    let origin = Origin::echo().await;
    let routes = format!(
        "[routes.read]\npath = \"/items/{{id}}\"\nmethod = [\"GET\", \"HEAD\"]\nupstream = \"{origin}\"\n\
         [routes.rest]\npath = \"/items/*\"\nupstream = \"{origin}\"\n\
         [routes.shop]\npath = \"/shop/*\"\nupstream = \"{origin}\"\n"
    );
    let forged = |target: &str| {
        let names = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override"];
        names.iter().fold(Request::get(target), |request, name| request.header(name, "DELETE"))
    };
    let told = |answer: Response| {
        let named = answer.expect(200).json()["headers"].clone();
        let names = named.as_array().unwrap().iter().map(|field| field[0].as_str().unwrap().to_lowercase());
        names.filter(|name| name.contains("method")).count()
    };
    let proxy = Proxy::start(format!("{BOTH}{routes}")).await;
    let h2 = proxy.h2c().await;
    // The one that names a method, one that takes what it leaves, and one that has nothing to do with it.
    for (target, expected) in [("/items/7", 0), ("/items/7/parts", 0), ("/shop/7", 4)] {
        assert_eq!(told(proxy.fetch(forged(target)).await), expected, "{target}");
        assert_eq!(told(h2.fetch(forged(target)).await), expected, "{target}");
    }
    // A proxy that is believed may name one, by its own name.
    let (_origin, trusting) = trusting("method = \"GET\"").await;
    assert_eq!(told(trusting.fetch(forged("/a")).await), 3);
}
