//! Which route a request takes, by everything that a route can match on.

use testkit::{Proxy, Request};

/// A proxy with routes that answer with their own names: each is a name and the lines of its match.
async fn proxy(routes: &[(&str, &str)]) -> Proxy {
    let route =
        |(name, matches): &(&str, &str)| format!("[routes.{name}]\n{matches}\nrespond = {{ body = \"{name}\" }}\n\n");
    Proxy::start(routes.iter().map(route).collect::<String>()).await
}

/// The name of the route that takes `request`.
async fn taken(proxy: &Proxy, request: Request) -> String {
    proxy.fetch(request).await.expect(200).text()
}

async fn by_path(proxy: &Proxy, path: &str) -> String {
    taken(proxy, Request::get(path)).await
}

async fn by_host(proxy: &Proxy, host: &str) -> String {
    taken(proxy, Request::get("/").host(host)).await
}

#[tokio::test]
async fn the_host_decides_before_the_path() {
    let proxy = proxy(&[
        ("exact", "host = \"api.example.com\""),
        ("wildcard", "host = \"*.example.com\""),
        ("deeper", "host = \"*.eu.example.com\""),
        ("anywhere", "path = \"/exactly/this\""),
        ("rest", "path = \"/*\""),
    ])
    .await;
    assert_eq!(by_host(&proxy, "api.example.com").await, "exact");
    assert_eq!(by_host(&proxy, "API.Example.COM").await, "exact");
    assert_eq!(by_host(&proxy, "api.example.com:8443").await, "exact");
    assert_eq!(by_host(&proxy, "api.example.com.").await, "exact");
    assert_eq!(by_host(&proxy, "www.example.com").await, "wildcard");
    assert_eq!(by_host(&proxy, "a.b.example.com").await, "wildcard");
    assert_eq!(by_host(&proxy, "a.eu.example.com").await, "deeper");
    assert_eq!(by_host(&proxy, "example.com").await, "rest");
    assert_eq!(by_host(&proxy, "notexample.com").await, "rest");
    let exactly = Request::get("/exactly/this");
    assert_eq!(taken(&proxy, exactly.clone().host("api.example.com")).await, "exact");
    assert_eq!(taken(&proxy, exactly).await, "anywhere");
}

#[tokio::test]
async fn an_exact_path_wins_over_a_template_a_prefix_and_a_regex() {
    let proxy = proxy(&[
        ("exact", "path = \"/users/me\""),
        ("template", "path = \"/users/{id}\""),
        ("orders", "path = \"/users/{id}/orders\""),
        ("prefix", "path = \"/users/*\""),
        ("longer", "path = \"/users/archive/*\""),
        ("regex", "path = \"~^/v[0-9]+/\""),
        ("root", "path = \"/\""),
    ])
    .await;
    for (path, route) in [
        ("/users/me", "exact"),
        ("/users/7", "template"),
        ("/users/7/orders", "orders"),
        ("/users/7/orders/1", "prefix"),
        ("/users", "prefix"),
        ("/users/", "prefix"),
        ("/users/archive/2020/1", "longer"),
        ("/v2/x", "regex"),
        ("/v2/users/me", "regex"),
        ("/", "root"),
    ] {
        assert_eq!(by_path(&proxy, path).await, route, "{path}");
    }
    for path in ["/usersettings", "/vx/1", "/users/../nothing", "/USERS/me"] {
        proxy.get(path).await.expect_problem(404, "no_route");
    }
}

#[tokio::test]
async fn a_method_that_does_not_match_makes_way_for_the_next_route() {
    let proxy = proxy(&[
        ("reads", "path = \"/items/{id}\"\nmethod = [\"GET\", \"HEAD\"]"),
        ("writes", "path = \"/items/*\"\nmethod = \"POST\""),
        ("rest", "path = \"/*\""),
    ])
    .await;
    assert_eq!(by_path(&proxy, "/items/1").await, "reads");
    assert_eq!(taken(&proxy, Request::post("/items/1", "")).await, "writes");
    assert_eq!(taken(&proxy, Request::new("DELETE", "/items/1")).await, "rest");
    assert_eq!(taken(&proxy, Request::new("BREW", "/items/1")).await, "rest");
}

#[tokio::test]
async fn headers_are_compared_present_absent_and_by_regex() {
    let proxy = proxy(&[
        ("v2", "header = { X-API-Version = \"v2\" }"),
        ("debug-v2", "header = { X-API-Version = \"v2\", X-Debug = true }"),
        ("mobile", "header = { User-Agent = \"~(?i)android|iphone\" }"),
        ("anonymous", "path = \"/who\"\nheader = { Authorization = false }"),
        ("known", "path = \"/who\""),
        ("plain", "path = \"/*\""),
    ])
    .await;
    let with = |name: &str, value: &str| Request::get("/").header(name, value);
    assert_eq!(by_path(&proxy, "/").await, "plain");
    assert_eq!(taken(&proxy, with("x-api-version", "v2")).await, "v2");
    assert_eq!(taken(&proxy, with("X-API-Version", "v3")).await, "plain");
    assert_eq!(taken(&proxy, with("X-API-Version", "v1").header("X-API-Version", "v2")).await, "v2");
    assert_eq!(taken(&proxy, with("X-API-Version", "v2").header("X-Debug", "")).await, "debug-v2");
    assert_eq!(taken(&proxy, with("User-Agent", "Android 16")).await, "mobile");
    assert_eq!(by_path(&proxy, "/who").await, "anonymous");
    assert_eq!(taken(&proxy, Request::get("/who").header("Authorization", "x")).await, "known");
}

#[tokio::test]
async fn query_parameters_are_compared_decoded_and_cookies_by_name() {
    let proxy = proxy(&[
        ("beta", "query = { beta = \"1\" }"),
        ("named", "query = { name = \"a b\" }"),
        ("traced", "query = { trace = true }"),
        ("pro", "cookie = { plan = \"~^pro\" }"),
        ("plain", "path = \"/*\""),
    ])
    .await;
    for (target, route) in [
        ("/?beta=1", "beta"),
        ("/?x=y&beta=1", "beta"),
        ("/?b%65ta=%31", "beta"),
        ("/?beta=2", "plain"),
        ("/?name=a+b", "named"),
        ("/?name=a%20b", "named"),
        ("/?trace", "traced"),
        ("/?tracer", "plain"),
    ] {
        assert_eq!(by_path(&proxy, target).await, route, "{target}");
    }
    let cookie = |value: &str| Request::get("/").header("Cookie", value);
    assert_eq!(taken(&proxy, cookie("a=1; plan=pro-2; b=2")).await, "pro");
    assert_eq!(taken(&proxy, cookie("plan=free")).await, "plain");
    assert_eq!(taken(&proxy, cookie("xplan=pro")).await, "plain");
}

#[tokio::test]
async fn a_cookie_that_http2_sends_in_crumbs_is_one() {
    let text = r#"
        [listeners.http]
        address = "127.0.0.1:0"
        protocols = ["h1", "h2c"]
        [routes.pro]
        cookie = { plan = "pro" }
        respond = { body = "pro" }
        [routes.plain]
        respond = { body = "plain" }
    "#;
    let proxy = Proxy::start(text).await;
    let crumbs = Request::get("/").header("cookie", "a=1").header("cookie", "plan=pro");
    assert_eq!(proxy.h2c().await.fetch(crumbs).await.expect(200).text(), "pro");
}

#[tokio::test]
async fn the_more_specific_condition_wins_whatever_the_order_of_the_file() {
    let proxy = proxy(&[
        ("a-plain", "path = \"/p\""),
        ("b-query", "path = \"/p\"\nquery = { x = \"1\" }"),
        ("c-header", "path = \"/p\"\nheader = { X = \"1\" }"),
        ("d-method", "path = \"/p\"\nmethod = \"GET\""),
    ])
    .await;
    let all = Request::get("/p?x=1").header("X", "1");
    assert_eq!(taken(&proxy, all).await, "d-method");
    let post = Request::post("/p?x=1", "").header("X", "1");
    assert_eq!(taken(&proxy, post).await, "c-header");
    assert_eq!(taken(&proxy, Request::post("/p?x=1", "")).await, "b-query");
    assert_eq!(taken(&proxy, Request::post("/p", "")).await, "a-plain");
}

#[tokio::test]
async fn a_route_can_belong_to_one_listener() {
    let text = r#"
        [listeners.public]
        address = "127.0.0.1:0"
        [listeners.internal]
        address = "127.0.0.1:0"
        [routes.admin]
        path = "/admin"
        listener = "internal"
        respond = { body = "admin" }
        [routes.plain]
        path = "/plain"
        scheme = "http"
        respond = { body = "plain" }
    "#;
    let proxy = Proxy::start(text).await;
    let internal = || testkit::Connection::to(proxy.listener("internal"));
    assert_eq!(internal().await.fetch(Request::get("/admin")).await.expect(200).text(), "admin");
    let mut public = testkit::Connection::to(proxy.listener("public")).await;
    public.fetch(Request::get("/admin")).await.expect_problem(404, "no_route");
    public.fetch(Request::get("/plain")).await.expect(200);
}

#[tokio::test]
async fn short_routes_name_a_path_or_a_host_with_a_path() {
    let (users, shop) = (testkit::Origin::text("users").await, testkit::Origin::text("shop").await);
    let text = format!(
        "[upstreams.shop]\nbackends = \"{shop}\"\n[routes]\n\"/api/users/*\" = \"{users}\"\n\
         \"shop.example.com/*\" = \"shop\"\n"
    );
    let proxy = Proxy::start(text).await;
    assert_eq!(by_path(&proxy, "/api/users/1").await, "users");
    assert_eq!(taken(&proxy, Request::get("/x").host("shop.example.com")).await, "shop");
    assert_eq!(users.request().await.target, "/api/users/1");
    assert_eq!(shop.request().await.target, "/x");
    proxy.get("/x").await.expect_problem(404, "no_route");
}

#[tokio::test]
async fn absolute_form_is_routed_by_its_own_host_and_sent_on_in_origin_form() {
    let origin = testkit::Origin::echo().await;
    let proxy = Proxy::start(format!("[routes]\n\"shop.example.com/*\" = \"{origin}\"")).await;
    let answer = proxy.exchange(
        "GET http://shop.example.com/cart?x=1 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.await.starts_with("HTTP/1.1 200"));
    let seen = origin.request().await;
    assert_eq!(seen.target, "/cart?x=1");
    assert_eq!(seen.headers.all("host"), ["shop.example.com"]);
}
