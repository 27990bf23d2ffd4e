//! What the request means: rewritten paths, edited queries, redirects and fixed answers.

use testkit::{Origin, Proxy, Request};

use crate::setting::echoing;

/// A proxy with these routes, in which `ORIGIN` stands for an echoing origin.
async fn routes(text: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(text.replace("ORIGIN", &origin.to_string())).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_prefix_is_stripped_or_replaced() {
    let (_origin, proxy) = routes(
        r#"
        [routes.strip]
        path     = "/api/*"
        upstream = "ORIGIN"
        request  = { rewrite = "{rest}" }
        [routes.replace]
        path     = "/old/*"
        upstream = "ORIGIN"
        request  = { rewrite = "/new{rest}" }
        [routes.under]
        path     = "/v1/*"
        upstream = "ORIGIN"
        request  = { rewrite = "/internal{path}" }
        "#,
    )
    .await;
    for (asked, got) in [
        ("/api/users/7?x=1", "/users/7?x=1"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/api?x", "/?x"),
        ("/old/a%20b/c", "/new/a%20b/c"),
        ("/old", "/new"),
        ("/v1/a/../b", "/internal/v1/b"),
        ("//api//users", "/users"),
    ] {
        assert_eq!(proxy.get(asked).await.expect(200).target(), got, "{asked}");
    }
}

#[tokio::test]
async fn templates_and_regular_expressions_make_a_path() {
    let (_origin, proxy) = routes(
        r#"
        [routes.order]
        path     = "/users/{customer}/orders/{order}"
        upstream = "ORIGIN"
        request  = { rewrite = "/orders/{order}/of/{customer}" }
        [routes.version]
        path     = "~^/v([0-9]+)/(?<what>.*)$"
        upstream = "ORIGIN"
        request  = { rewrite = "/{what}/at/{1}" }
        "#,
    )
    .await;
    assert_eq!(proxy.get("/users/anna/orders/7").await.expect(200).target(), "/orders/7/of/anna");
    assert_eq!(proxy.get("/v2/users/7?x=y").await.expect(200).target(), "/users/7/at/2?x=y");
}

#[tokio::test]
async fn what_is_captured_cannot_leave_its_segment() {
    let (_origin, proxy) =
        routes("[routes.q]\npath = \"/find\"\nupstream = \"ORIGIN\"\nrequest = { rewrite = \"/by/{query.name}\" }\n")
            .await;
    for name in ["a%2f..%2f..%2fadmin", "../admin", "a?b", "a%23b", "a%0d%0ab"] {
        let answer = proxy.get(&format!("/find?name={name}")).await;
        if answer.status == 200 {
            let target = answer.target();
            let path = target.split('?').next().unwrap();
            assert!(path.starts_with("/by/") && !path[4..].contains('/'), "{name} became {target}");
        }
    }
}

#[tokio::test]
async fn query_parameters_are_set_added_and_removed() {
    let (_origin, proxy) = routes(
        r#"
        [routes.search]
        path     = "/search"
        upstream = "ORIGIN"
        [routes.search.request.query]
        set    = { v = "2", tenant = "{header.X-Tenant}" }
        add    = { tag = ["a", "b c"] }
        remove = ["debug", "utm_source"]
        "#,
    )
    .await;
    let request = Request::get("/search?q=x%20y&debug=1&v=1&v=0&utm%5Fsource=z&keep").header("X-Tenant", "a&b=c");
    let target = proxy.fetch(request).await.expect(200).target();
    let (path, query) = target.split_once('?').unwrap();
    assert_eq!(path, "/search");
    let parts: Vec<&str> = query.split('&').collect();
    assert_eq!(&parts[..2], ["q=x%20y", "keep"], "{target}");
    assert!(parts.contains(&"v=2") && !parts.contains(&"v=1") && !parts.contains(&"v=0"), "{target}");
    assert!(parts.contains(&"tag=a") && parts.iter().any(|part| matches!(*part, "tag=b%20c" | "tag=b+c")), "{target}");
    assert!(parts.contains(&"tenant=a%26b%3Dc"), "{target}");
    assert!(!query.contains("debug") && !query.contains("utm"), "{target}");
}

#[tokio::test]
async fn redirects_keep_the_query_unless_they_have_one() {
    let text = r#"
        [routes.moved]
        path     = "/old/*"
        redirect = "/new{rest}"
        [routes.away]
        path     = "/away/*"
        redirect = { to = "https://www.example.com{path}", status = 302 }
        [routes.fixed]
        path     = "/fixed"
        redirect = { to = "/target?from=fixed", status = 301 }
        [routes.dropped]
        path     = "/dropped"
        redirect = "/target?"
        [routes.host]
        path     = "/secure"
        redirect = "https://{host}/secure"
    "#;
    let proxy = Proxy::start(text).await;
    for (asked, status, location) in [
        ("/old/a/b?x=1", 308, "/new/a/b?x=1"),
        ("/old", 308, "/new"),
        ("/away/x?y", 302, "https://www.example.com/away/x?y"),
        ("/fixed?x=1", 301, "/target?from=fixed"),
        ("/dropped?x=1", 308, "/target"),
        ("/secure", 308, "https://shop.example.com/secure"),
    ] {
        let answer = proxy.fetch(Request::get(asked).host("shop.example.com")).await.expect(status);
        assert_eq!(answer.header("location"), Some(location), "{asked}");
    }
    assert_eq!(proxy.logged("/old/a/b").await["error"], serde_json::Value::Null, "a redirect is no error");
}

#[tokio::test]
async fn a_redirect_cannot_be_led_elsewhere() {
    let proxy = Proxy::start("[routes.moved]\npath = \"/*\"\nredirect = \"{rest}\"\n").await;
    for target in ["//evil.example/x", "/%2f/evil.example", "/\\evil.example", "/%5cevil.example"] {
        let answer = proxy.get(target).await;
        let location = answer.header("location").unwrap_or("/").to_owned();
        assert!(location.starts_with('/') && !location.starts_with("//") && !location.contains('\\'), "{location}");
    }
}

#[tokio::test]
async fn fixed_answers_have_status_headers_and_body() {
    let text = r#"
        [routes.gone]
        path    = "/gone/{what}"
        respond = { status = 410, body = "gone: {what}\n", headers = { Cache-Control = "max-age=60" } }
        [routes.json]
        path    = "/json"
        respond = { body = "{{\"name\":\"{query.name}\"}}", headers = { Content-Type = "application/json" } }
        [routes.none]
        path    = "/none"
        respond = { status = 204 }
    "#;
    let proxy = Proxy::start(text).await;
    let gone = proxy.get("/gone/this").await.expect(410);
    assert_eq!(gone.text(), "gone: this\n");
    assert_eq!(gone.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(gone.header("cache-control"), Some("max-age=60"));
    let json = proxy.get("/json?name=a%22b\\").await.expect(200);
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.json()["name"], "a%22b\\", "what the client sent, as it sent it, and never more than a value");
    let mut connection = proxy.connect().await;
    let none = connection.fetch(Request::get("/none")).await.expect(204);
    assert!(none.header("content-length").is_none() && none.header("transfer-encoding").is_none());
    let head = connection.fetch(Request::new("HEAD", "/gone/x")).await.expect(410);
    assert_eq!(head.header("content-length"), Some("8"));
    connection.fetch(Request::get("/none")).await.expect(204);
}

#[tokio::test]
async fn a_listener_can_send_everybody_to_https() {
    let text = "[listeners.http]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n[routes]\n\"/*\" = \"http://127.0.0.1:9\"\n";
    let proxy = Proxy::start(text).await;
    let answer = proxy.fetch(Request::post("/a?b=c", "x").host("shop.example.com:8080")).await.expect(308);
    assert_eq!(answer.header("location"), Some("https://shop.example.com/a?b=c"));
    let nowhere = proxy.exchange("GET /a HTTP/1.0\r\n\r\n").await;
    assert!(nowhere.starts_with("HTTP/1.1 400") && nowhere.contains("bad_host"), "{nowhere}");
}

#[tokio::test]
async fn options_with_an_asterisk_is_about_the_origin_as_a_whole() {
    let (_origin, proxy) = echoing("").await;
    let answer = proxy.fetch(Request::new("OPTIONS", "*").host("a.example")).await;
    if answer.status == 200 {
        assert_eq!(answer.target(), "*");
    } else {
        answer.expect(404);
    }
}
