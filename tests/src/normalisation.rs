//! No spelling of a path gets past a route's rules, and the origin is sent what was matched.

use testkit::{Origin, Proxy, Request, Response};

/// A proxy whose `/admin/*` is closed and whose everything else goes to an echoing origin.
async fn guarded() -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let text = format!(
        "[routes.admin]\npath = \"/admin/*\"\nrespond = {{ status = 403, body = \"closed\" }}\n\
         [routes.public]\npath = \"/*\"\nupstream = \"{origin}\"\n"
    );
    (origin, Proxy::start(text).await)
}

/// Sends the target as it is, which a well-behaved client would not.
async fn fetch(proxy: &Proxy, target: &str) -> Response {
    proxy.fetch(Request::get(target)).await
}

#[tokio::test]
async fn a_guarded_path_is_guarded_however_it_is_spelt() {
    let (origin, proxy) = guarded().await;
    for target in [
        "/admin",
        "/admin/",
        "/admin/users",
        "/%61dmin",
        "/%61%64%6d%69%6e/users",
        "//admin",
        "///admin//users",
        "/x/../admin",
        "/x/y/../../admin/users",
        "/./admin",
        "/%2e/admin",
        "/x/%2e%2e/admin",
        "/x/%2E%2e/admin",
        "/x/.%2e/admin",
        "/admin;x",
        "/admin;x=1/users",
        "/admin?x=1",
        "/public/../admin?x",
    ] {
        let answer = fetch(&proxy, target).await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "closed"), "{target}");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn what_two_readers_could_read_differently_is_refused() {
    let (origin, proxy) = guarded().await;
    for target in [
        "/x/..%2fadmin",
        "/x/..%2Fadmin",
        "/%2fadmin",
        "/admin%2fusers",
        "/x/..\\admin",
        "/x/..%5cadmin",
        "/\\admin",
        "/x/..;/admin",
        "/;/admin",
        "/%00",
        "/admin%00",
        "/x%0a",
        "/%c0%afadmin",
        "/%c0%ae%c0%ae/admin",
        "/%",
        "/%zz",
        "/%2",
        "/../admin",
        "/x/../../admin",
    ] {
        fetch(&proxy, target).await.expect_problem(400, "bad_path");
    }
    assert!(origin.requests().is_empty());
    proxy.until_metric("http_errors_total", &[("reason", "bad_path")], 19.0).await;
}

#[tokio::test]
async fn the_origin_is_sent_what_was_matched() {
    let (_origin, proxy) = guarded().await;
    for (sent, got) in [
        ("/plain", "/plain"),
        ("/", "/"),
        ("//a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/", "/a/"),
        ("/a/.", "/a/"),
        ("/%7euser/%41", "/~user/A"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a+b", "/a+b"),
        ("/cars;color=red/7", "/cars;color=red/7"),
        ("/a?x=%61//&y=../z", "/a?x=%61//&y=../z"),
        ("/a?", "/a?"),
        ("/a?q=%2f", "/a?q=%2f"),
        ("/@user:1/$&'()*+,=!", "/@user:1/$&'()*+,=!"),
    ] {
        assert_eq!(fetch(&proxy, sent).await.expect(200).target(), got, "{sent}");
    }
}

#[tokio::test]
async fn http2_paths_are_judged_alike() {
    let origin = Origin::echo().await;
    let text = format!(
        "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n\
         [routes.admin]\npath = \"/admin/*\"\nrespond = {{ status = 403, body = \"closed\" }}\n\
         [routes.public]\npath = \"/*\"\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::start(text).await;
    let client = proxy.h2c().await;
    for target in ["/%61dmin", "//admin", "/x/../admin", "/admin;x"] {
        assert_eq!(client.fetch(Request::get(target)).await.status, 403, "{target}");
    }
    client.fetch(Request::get("/x/..%2fadmin")).await.expect_problem(400, "bad_path");
    assert_eq!(client.fetch(Request::get("/a/../b")).await.expect(200).target(), "/b");
}

#[tokio::test]
async fn captures_are_of_the_normalised_path() {
    let origin = Origin::echo().await;
    let text = format!(
        "[routes.user]\npath = \"/users/{{id}}\"\nupstream = \"{origin}\"\n\
         request = {{ rewrite = \"/internal/{{id}}\", set = {{ X-User = \"{{id}}\" }} }}\n"
    );
    let proxy = Proxy::start(text).await;
    let answer = fetch(&proxy, "/x/..//users/%61nna").await.expect(200);
    assert_eq!(answer.target(), "/internal/anna");
    assert_eq!(answer.seen("x-user").as_deref(), Some("anna"));
}
