//! What the origin is told, and what it is not.

use filter::{Captures, Client, RequestId, Trace};

use super::*;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn client(peer: &str, trusted: bool) -> Client {
    Client {
        peer: peer.parse().ok(),
        address: None,
        trusted,
        scheme: Scheme::Https,
        port: 443,
        request_id: RequestId::from_peer(b"id-1").unwrap(),
        ..Client::local("public".into())
    }
}

/// Tells the origin of the client, under a generation.
fn told_to(forwarding: Forwarding, head: &mut RequestHeader, client: &Client, generation: u64) {
    let (captures, original) = (Captures::new(), head.clone());
    let view = View {
        generation,
        identity: None,
        head: &original,
        client,
        host: "a.test",
        path: "/",
        query: None,
        captures: &captures,
    };
    told(forwarding, head, &view);
}

fn sent(forwarded: bool, mut client: Client, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    client.trace = Trace::of_request(&head.headers, 0xA, 0xB);
    told_to(Forwarding { forwarded, ..Forwarding::default() }, &mut head, &client, 1);
    head
}

fn told(forwarding: Forwarding, head: &mut RequestHeader, view: &View<'_>) {
    let mut late = head.clone();
    forwarding.amend(head, view);
    if !view.client.trusted {
        says_the_same_at_the_end(&forwarding, &mut late, view, head);
    }
}

/// Fields that are written behind the others are the same that would have been put among them.
fn says_the_same_at_the_end(forwarding: &Forwarding, late: &mut RequestHeader, view: &View<'_>, head: &RequestHeader) {
    forwarding.clear(late, view);
    let mut wire = BytesMut::new();
    late.header_to_h1_wire(&mut wire);
    forwarding.write(late, view, &mut wire);
    let mut among = BytesMut::new();
    head.header_to_h1_wire(&mut among);
    let lines = |wire: &BytesMut| {
        let text = String::from_utf8(wire.to_vec()).unwrap().to_lowercase();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&wire), lines(&among));
}

fn all(head: &RequestHeader, name: &str) -> Vec<String> {
    head.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn an_untrusted_peer_is_named_and_its_claims_are_dropped() {
    let fields = [
        ("Host", "A.test:8443"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-For", "5.6.7.8"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Prefix", "/admin"),
        ("X-Real-IP", "1.2.3.4"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Request-Id", "forged"),
        ("True-Client-IP", "1.2.3.4"),
        ("X-Original-URL", "/admin"),
        ("Proxy", "http://evil.test"),
        ("X_Forwarded_For", "1.2.3.4"),
        ("Accept", "*/*"),
    ];
    let head = sent(false, client("203.0.113.7:4711", false), &fields);
    assert_eq!(all(&head, "x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(all(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&head, "x-forwarded-host"), ["A.test:8443"]);
    assert_eq!(all(&head, "x-forwarded-port"), ["443"]);
    assert_eq!(all(&head, "x-request-id"), ["id-1"]);
    let left: Vec<_> =
        head.headers.keys().map(|name| name.as_str()).filter(|name| !name.starts_with("x-for")).collect();
    let mut left = left;
    left.sort_unstable();
    assert_eq!(left, ["accept", "host", "traceparent", "x-request-id"]);
}

#[test]
fn a_trusted_peer_is_believed_and_the_chain_grows() {
    let fields = [
        ("Host", "inner.test"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-For", "10.0.0.9"),
        ("X-Forwarded-Host", "shop.test"),
        ("X-Real-IP", "203.0.113.7"),
        ("X-Forwarded-Prefix", "/shop"),
        ("X-Client_IP", "6.6.6.6"),
    ];
    let head = sent(false, client("[::ffff:10.0.0.1]:99", true), &fields);
    assert_eq!(all(&head, "x-forwarded-for"), ["203.0.113.7, 10.0.0.9, 10.0.0.1"]);
    assert_eq!(all(&head, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(all(&head, "x-real-ip"), ["203.0.113.7"]);
    assert_eq!(all(&head, "x-forwarded-prefix"), ["/shop"]);
    assert!(!head.headers.contains_key("x-client_ip"));
}

#[test]
fn without_a_host_none_is_told() {
    let head = sent(true, client("203.0.113.7:1", false), &[("X-Forwarded-Host", "evil.test")]);
    assert!(!head.headers.contains_key("x-forwarded-host"));
    assert_eq!(all(&head, "forwarded"), ["for=203.0.113.7;proto=https"]);
}

#[test]
fn http_2_names_its_host_in_the_target() {
    let mut head = RequestHeader::build_no_case("GET", b"/", None).unwrap();
    head.set_uri("https://b.test/".parse().unwrap());
    let (client, captures, original) = (client("203.0.113.7:1", false), Captures::new(), head.clone());
    let view = View {
        generation: 1,
        identity: None,
        head: &original,
        client: &client,
        host: "b.test",
        path: "/",
        query: None,
        captures: &captures,
    };
    Forwarding::default().amend(&mut head, &view);
    assert_eq!(all(&head, "x-forwarded-host"), ["b.test"]);
}

#[test]
fn forwarded_quotes_what_is_no_token() {
    let head = sent(true, client("[2001:db8::1]:4711", false), &[("Host", "a.test:8443"), ("Forwarded", "for=evil")]);
    assert_eq!(all(&head, "forwarded"), ["for=\"[2001:db8::1]\";host=\"a.test:8443\";proto=https"]);
    let head = sent(true, client("203.0.113.7:1", false), &[("Host", "a\"b\\c")]);
    assert_eq!(all(&head, "forwarded"), ["for=203.0.113.7;host=\"a\\\"b\\\\c\";proto=https"]);
    let head = sent(true, client("10.0.0.1:1", true), &[("Host", "a.test"), ("Forwarded", "for=203.0.113.7")]);
    assert_eq!(all(&head, "forwarded"), ["for=203.0.113.7, for=10.0.0.1;host=a.test;proto=http"]);
}

#[test]
fn a_unix_socket_has_no_address_to_tell() {
    let head = sent(true, client("", true), &[("Host", "a.test"), ("X-Forwarded-For", "203.0.113.7")]);
    assert_eq!(all(&head, "x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(all(&head, "forwarded"), ["for=unknown;host=a.test;proto=http"]);
    let head = sent(false, client("", false), &[("Host", "a.test"), ("X-Forwarded-For", "203.0.113.7")]);
    assert!(!head.headers.contains_key("x-forwarded-for"));
}

#[test]
fn a_trace_is_continued_and_its_state_kept_only_with_it() {
    let peer = || client("203.0.113.7:1", false);
    let head = sent(false, peer(), &[("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
    assert_eq!(all(&head, "traceparent"), ["00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-01"]);
    assert_eq!(all(&head, "tracestate"), ["a=1", "b=2"]);
    let head = sent(false, peer(), &[("traceparent", "00-nonsense"), ("tracestate", "a=1")]);
    assert_eq!(all(&head, "traceparent"), ["00-0000000000000000000000000000000a-000000000000000b-01"]);
    assert!(!head.headers.contains_key("tracestate"));
}

/// The `tracestate` that the origin gets under generation 42, of a caller that sends these.
fn state(parent: &str, states: &[&str]) -> Vec<String> {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.append_header("traceparent", parent).unwrap();
    for state in states {
        head.append_header("tracestate", *state).unwrap();
    }
    let mut client = client("203.0.113.7:1", false);
    client.trace = Trace::of_request(&head.headers, 0xA, 0xB);
    told_to(Forwarding { generation: true, ..Forwarding::default() }, &mut head, &client, 42);
    all(&head, "tracestate")
}

#[test]
fn a_trace_is_told_the_generation_before_what_others_have_put_there() {
    assert_eq!(state(TRACEPARENT, &[]), ["maitred=g:42"]);
    assert_eq!(state(TRACEPARENT, &["a=1, maitred=g:7", "", "b=2,,c=3"]), ["maitred=g:42,a=1,b=2,c=3"]);
    assert_eq!(state("00-nonsense", &["a=1"]), ["maitred=g:42"], "a state without its trace is nobody's");
}

#[test]
fn the_state_of_a_trace_stays_within_its_bounds() {
    let many: Vec<String> = (0..40).map(|number| format!("k{number}=v")).collect();
    let told = state(TRACEPARENT, &[&many.join(",")])[0].clone();
    let members: Vec<&str> = told.split(',').collect();
    assert_eq!((members.len(), members[0], members[31]), (32, "maitred=g:42", "k30=v"));
    // Long ones go first, and then the last ones.
    let (long, middle) = (format!("long={}", "x".repeat(200)), "y".repeat(115));
    let middles: Vec<String> = (0..5).map(|number| format!("m{number}={middle}")).collect();
    let told = state(TRACEPARENT, &["first=1", &long, &middles.join(",")])[0].clone();
    let keys: Vec<&str> = told.split(',').map(|member| member.split('=').next().unwrap()).collect();
    assert_eq!(keys, ["maitred", "first", "m0", "m1", "m2", "m3"]);
    assert!(told.len() <= 512, "{}", told.len());
}

#[test]
fn claims_are_known_by_any_spelling_and_nothing_else_is() {
    for claim in
        ["x-forwarded-for", "x_forwarded_for", "x-forwarded_by", "cf-connecting-ipv6", "ssl-client-verify", "proxy"]
    {
        assert!(is_claim(claim), "{claim}");
    }
    for other in ["x-forwarded", "forwarded"] {
        assert!(is_claim(other), "{other}");
    }
    for plain in ["accept", "x-requested-with", "x-api-key", "cookie", "proxy-status", "x-client-version", "x-hostname"]
    {
        assert!(!is_claim(plain), "{plain}");
    }
    let known = |claim: &&&str| is_claim(&claim.replace('*', "x"));
    assert_eq!(CLAIMS.iter().find(|claim| !known(claim)), None);
}
