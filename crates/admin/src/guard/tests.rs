//! What browsers and strangers may not do.

use std::sync::Arc;

use http::HeaderValue;

use super::*;

fn asked(reach: &Reach, method: Method, path: &str, fields: &[(&'static str, &str)]) -> u16 {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    match admit(&Question { method: &method, path, headers: &headers }, reach) {
        Ok(()) => 200,
        Err(answer) => answer.status.as_u16(),
    }
}

#[test]
fn a_name_that_somebody_else_controls_is_refused_on_loopback() {
    for own in ["localhost", "LocalHost:9911", "127.0.0.1:9911", "[::1]:9911", "[::1]", "10.1.2.3"] {
        assert_eq!(asked(&Reach::Loopback(None), Method::GET, "/metrics", &[("host", own)]), 200, "{own}");
    }
    for other in
        ["evil.example", "evil.example:9911", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "", "[::1"]
    {
        assert_eq!(asked(&Reach::Loopback(None), Method::GET, "/metrics", &[("host", other)]), 421, "{other}");
    }
    assert_eq!(asked(&Reach::Loopback(None), Method::GET, "/metrics", &[]), 421);
    assert_eq!(asked(&Reach::File, Method::GET, "/metrics", &[("host", "maitred")]), 200);
}

#[test]
fn another_site_may_not_write() {
    let host = ("host", "localhost:9911");
    let post = |fields: &[(&'static str, &str)]| asked(&Reach::Loopback(None), Method::POST, "/metrics", fields);
    assert_eq!(post(&[host]), 405);
    assert_eq!(post(&[host, ("origin", "http://localhost:9911"), ("sec-fetch-site", "same-origin")]), 405);
    assert_eq!(post(&[host, ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(post(&[host, ("sec-fetch-site", "same-site")]), 403);
    assert_eq!(post(&[host, ("origin", "https://evil.example")]), 403);
    assert_eq!(post(&[host, ("origin", "null")]), 403);
}

#[test]
fn the_network_needs_the_token_except_for_probes() {
    let network = Reach::Network(Arc::new(Secret::new("0123456789abcdef")));
    let with = |value: &str| asked(&network, Method::GET, "/metrics", &[("authorization", value)]);
    assert_eq!(with("Bearer 0123456789abcdef"), 200);
    assert_eq!(with("bearer  0123456789abcdef "), 200);
    for wrong in [
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Bearer ",
        "Basic 0123456789abcdef",
        "",
        "Bear",
    ] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
    assert_eq!(asked(&network, Method::GET, "/metrics", &[]), 401);
    assert_eq!(asked(&network, Method::GET, "/ready", &[]), 200);
    assert_eq!(asked(&network, Method::GET, "/ready/", &[]), 401);
}
