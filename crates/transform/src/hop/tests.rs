//! What one connection is told stays on it.

use super::*;

fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.set_version(Version::HTTP_11);
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

fn stripped(fields: &[(&'static str, &str)], version: Version) -> RequestHeader {
    let client = request(fields);
    let mut head = client.clone();
    head.set_version(version);
    strip_request(&mut head, &client);
    head
}

fn response(status: u16, version: Version, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(status, None).unwrap();
    head.set_version(version);
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

#[test]
fn hop_by_hop_fields_end_here() {
    let fields = [
        ("Host", "a.test"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Accept", "*/*"),
    ];
    let head = stripped(&fields, Version::HTTP_11);
    let left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["host", "accept"]);
}

#[test]
fn a_client_withholds_what_would_have_reached_the_origin() {
    let fields = [("X-One", "1"), ("TE", "trailers"), ("HTTP2-Settings", "AA"), ("Keep-Alive", "5"), ("Cookie", "a=1")];
    for (connection, withholds) in [
        ("close", false),
        ("Keep-Alive, Upgrade", false),
        ("TE, http2-settings,, Cookie, X-Absent, \"", false),
        ("x-one", true),
        ("close, TE, X-One", true),
    ] {
        let fields: Vec<_> = fields.into_iter().chain([("Connection", connection)]).collect();
        assert_eq!(super::withholds(&request(&fields)), withholds, "{connection}");
    }
    assert!(!super::withholds(&request(&fields)));
}

#[test]
fn what_connection_names_is_removed_in_any_case_and_from_several_lines() {
    let fields = [
        ("Connection", "close, X-One ,, x-two"),
        ("Connection", "X-THREE"),
        ("X-One", "1"),
        ("X-Two", "2"),
        ("X-Three", "3"),
        ("X-Four", "4"),
    ];
    let head = stripped(&fields, Version::HTTP_11);
    assert_eq!(head.headers.keys().collect::<Vec<_>>(), ["x-four"]);
}

#[test]
fn nominations_count_even_when_the_engine_has_removed_connection_already() {
    let client = request(&[("Connection", "X-One"), ("X-One", "1")]);
    let mut head = client.clone();
    head.set_version(Version::HTTP_2);
    head.remove_header("connection");
    strip_request(&mut head, &client);
    assert!(head.headers.is_empty());
}

#[test]
fn a_client_cannot_have_fields_deleted_that_concern_every_recipient() {
    for name in ["Host", "Content-Length", "X-Forwarded-For", "X-Request-Id", "traceparent", "Authorization", "Cookie"]
    {
        let head = stripped(&[("Connection", name), (name, "1")], Version::HTTP_11);
        assert!(head.headers.contains_key(name), "{name}");
        assert!(!head.headers.contains_key("connection"));
    }
}

#[test]
fn malformed_options_name_nothing() {
    let fields = [("Connection", "\"X-One\", (, :authority, keep-alive"), ("X-One", "1")];
    assert_eq!(stripped(&fields, Version::HTTP_11).headers.len(), 1);
}

#[test]
fn an_upgrade_keeps_the_two_fields_that_make_it() {
    let fields = [("Connection", "keep-alive, Upgrade, X-Hop"), ("Upgrade", "tunnel/2"), ("X-Hop", "1")];
    let head = stripped(&fields, Version::HTTP_11);
    assert_eq!(head.headers["connection"], "Upgrade");
    assert_eq!(head.headers["upgrade"], "tunnel/2");
    assert_eq!(head.headers.len(), 2);
    assert!(stripped(&fields, Version::HTTP_2).headers.is_empty());
}

#[test]
fn h2c_and_half_an_upgrade_are_no_upgrade() {
    let cases = [
        &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "x")][..],
        &[("Connection", "Upgrade"), ("Upgrade", "websocket, H2C")],
        &[("Connection", "Upgrade"), ("Upgrade", "HTTP/2.0")],
        &[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c")],
        &[("Connection", "keep-alive"), ("Upgrade", "websocket")],
        &[("Connection", "Upgrade")],
    ];
    for fields in cases {
        assert!(stripped(fields, Version::HTTP_11).headers.is_empty(), "{fields:?}");
    }
}

#[test]
fn te_trailers_goes_on_where_trailers_do() {
    let fields = [("Connection", "TE"), ("TE", "gzip;q=0.5, trailers")];
    assert_eq!(stripped(&fields, Version::HTTP_2).headers["te"], "trailers");
    assert!(!stripped(&fields, Version::HTTP_11).headers.contains_key("te"));
    assert!(!stripped(&[("TE", "gzip")], Version::HTTP_2).headers.contains_key("te"));
}

#[test]
fn answers_are_stripped_too_and_keep_their_framing() {
    let fields = [
        ("Connection", "close, X-Internal, Content-Type"),
        ("X-Internal", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authentication-Info", "x"),
        ("Upgrade", "h2,h2c"),
        ("Trailer", "X-Sum"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Type", "text/plain"),
    ];
    let mut head = response(200, Version::HTTP_11, &fields);
    strip_response(&mut head, Version::HTTP_11);
    let left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["transfer-encoding", "content-type"]);
}

#[test]
fn a_101_keeps_its_upgrade_and_a_426_says_to_what() {
    let fields = [("Connection", "upgrade, X-Hop"), ("Upgrade", "websocket"), ("X-Hop", "1")];
    let mut head = response(101, Version::HTTP_11, &fields);
    strip_response(&mut head, Version::HTTP_11);
    assert_eq!(head.headers["connection"], "Upgrade");
    assert_eq!(head.headers["upgrade"], "websocket");
    assert_eq!(head.headers.len(), 2);

    let mut head = response(426, Version::HTTP_11, &fields);
    strip_response(&mut head, Version::HTTP_11);
    assert_eq!(head.headers.keys().collect::<Vec<_>>(), ["upgrade"]);
}

#[test]
fn trailer_is_kept_from_http_2_to_http_2() {
    for (origin, client, kept) in [
        (Version::HTTP_2, Version::HTTP_2, true),
        (Version::HTTP_2, Version::HTTP_11, false),
        (Version::HTTP_11, Version::HTTP_2, false),
    ] {
        let mut head = response(200, origin, &[("Trailer", "grpc-status")]);
        strip_response(&mut head, client);
        assert_eq!(head.headers.contains_key("trailer"), kept);
    }
}
