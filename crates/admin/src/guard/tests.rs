//! What browsers and strangers may not do.

use std::sync::Arc;

use http::HeaderValue;

use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn status(checked: Result<(), Answer>) -> u16 {
    checked.map_or_else(|answer| answer.status.as_u16(), |()| 200)
}

fn asked(reach: &Reach, fields: &[(&'static str, &str)]) -> u16 {
    status(admit(&headers(fields), false, reach))
}

fn token() -> Arc<Secret> {
    Arc::new(Secret::new("0123456789abcdef"))
}

#[test]
fn a_name_that_somebody_else_controls_is_refused_on_loopback() {
    for own in ["localhost", "LocalHost:9911", "127.0.0.1:9911", "[::1]:9911", "[::1]", "10.1.2.3"] {
        assert_eq!(asked(&Reach::Loopback(None), &[("host", own)]), 200, "{own}");
    }
    for other in
        ["evil.example", "evil.example:9911", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "", "[::1"]
    {
        assert_eq!(asked(&Reach::Loopback(None), &[("host", other)]), 421, "{other}");
    }
    assert_eq!(asked(&Reach::Loopback(None), &[]), 421);
    assert_eq!(asked(&Reach::File, &[("host", "maitred")]), 200);
}

#[test]
fn another_site_may_not_write() {
    let host = ("host", "localhost:9911");
    let post = |fields: &[(&'static str, &str)]| status(admit_change(&headers(fields), &Reach::File));
    assert_eq!(post(&[host]), 200);
    assert_eq!(post(&[host, ("origin", "http://localhost:9911"), ("sec-fetch-site", "same-origin")]), 200);
    assert_eq!(post(&[host, ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(post(&[host, ("sec-fetch-site", "same-site")]), 403);
    assert_eq!(post(&[host, ("origin", "https://evil.example")]), 403);
    assert_eq!(post(&[host, ("origin", "null")]), 403);
}

#[test]
fn the_network_needs_the_token_except_for_probes() {
    let network = Reach::Network(token());
    let with = |value: &str| asked(&network, &[("authorization", value)]);
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
    assert_eq!(asked(&network, &[]), 401);
    assert_eq!(status(admit(&HeaderMap::new(), true, &network)), 200);
}

#[test]
fn a_change_over_tcp_needs_the_token_even_from_this_machine() {
    let change = |reach: &Reach, fields: &[(&'static str, &str)]| status(admit_change(&headers(fields), reach));
    let bearer = [("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(change(&Reach::Loopback(Some(token())), &bearer), 200);
    assert_eq!(change(&Reach::Loopback(Some(token())), &[]), 401);
    assert_eq!(change(&Reach::Loopback(Some(token())), &[("authorization", "Bearer 0")]), 401);
    assert_eq!(change(&Reach::Loopback(None), &[]), 403);
    assert_eq!(change(&Reach::Loopback(None), &bearer), 403, "no token is configured, so none is right");
    assert_eq!(change(&Reach::File, &[]), 200);
}
