//! Believing proxies, one hop at a time.

use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn client(peer: &str, fields: &[(&'static str, &str)]) -> String {
    let ours = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.segments()[0] == 0xfd00,
    };
    client_address(peer.parse().unwrap(), &headers(fields), ours).to_string()
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    assert_eq!(client("203.0.113.9", &[("x-forwarded-for", "1.2.3.4")]), "203.0.113.9");
    assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
}

#[test]
fn the_walk_goes_right_to_left_and_stops_at_the_first_stranger() {
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.2")]), "203.0.113.7");
    let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(client("10.0.0.1", &lines), "203.0.113.7");
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
    assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    assert_eq!(client("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:203.0.113.7")]), "203.0.113.7");
}

#[test]
fn what_is_no_address_ends_the_walk() {
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, unknown, 10.0.0.2")]), "10.0.0.2");
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, <script>")]), "10.0.0.1");
}

#[test]
fn nodes_may_have_ports_and_brackets() {
    for (node, address) in [
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", node)]), address);
    }
}

#[test]
fn forwarded_counts_where_there_is_no_older_field() {
    let value = "for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=https;host=\"a.test:8443\" , for=10.0.0.2;proto=http";
    assert_eq!(client("10.0.0.1", &[("forwarded", value)]), "2001:db8::1");
    assert_eq!(client("10.0.0.1", &[("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "5.6.7.8")]), "5.6.7.8");
    assert_eq!(client("10.0.0.1", &[("forwarded", "for=1.2.3.4, for=_hidden")]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &[("forwarded", "for=1.2.3.4, proto=http")]), "10.0.0.1");

    let told = headers(&[("forwarded", "for=1.2.3.4;Proto=HTTPS;host=\"a.test:8443\"")]);
    assert_eq!((scheme(&told), host(&told), port(&told)), (Some(Scheme::Https), Some("a.test:8443"), Some(8443)));
}

#[test]
fn of_several_values_the_last_counts() {
    let told = headers(&[
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-host", "evil.test, a.test"),
        ("x-forwarded-port", "1, 8080"),
    ]);
    assert_eq!((scheme(&told), host(&told), port(&told)), (Some(Scheme::Http), Some("a.test"), Some(8080)));
}

#[test]
fn what_cannot_be_read_is_not_told() {
    let told = headers(&[
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "a.test/../<b>"),
        ("x-forwarded-port", "70000"),
    ]);
    assert_eq!((scheme(&told), host(&told), port(&told)), (None, None, None));
    assert_eq!(host(&headers(&[("x-forwarded-host", "user@a.test")])), None);
    assert_eq!(port(&headers(&[("x-forwarded-proto", "https")])), Some(443));
    assert_eq!(port(&headers(&[("x-forwarded-port", "0")])), None);
}
