//! Headers as they should be, as they should not, and as nobody ever wrote them.

use proptest::prelude::*;

use super::*;
use crate::{Version, encode};

fn client(source: &str, destination: &str) -> Told {
    Told::Client(Ends { source: source.parse().ok(), destination: destination.parse().ok() })
}

/// A header of version 2 with this command, family and payload.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [BINARY, &[command, family], &length, payload].concat()
}

#[test]
fn lines_of_version_1_are_read() {
    let whole = |text: &str| match parse(text.as_bytes()) {
        Parsed::Whole(length, told) => (length, told),
        other => panic!("{text:?}: {other:?}"),
    };
    let line = "PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n";
    assert_eq!(whole(&format!("{line}GET /")), (line.len(), client("192.0.2.7:50000", "10.0.0.1:443")));
    assert_eq!(whole("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n").1, client("[2001:db8::7]:0", "[::1]:65535"));
    assert_eq!(whole("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n").1, client("192.0.2.7:1", "[::1]:2"));
    assert_eq!(whole("PROXY UNKNOWN\r\n").1, Told::Nothing);
    assert_eq!(whole("PROXY UNKNOWN ffff::1 garbage\r\n").1, Told::Nothing);
}

#[test]
fn what_only_resembles_a_line_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n",
        "PROXY unknown\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Parsed::Malformed(Malformed::Unreadable), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
    assert_eq!(parse(long.as_bytes()), Parsed::Malformed(Malformed::TooLong));
    assert_eq!(parse("PROXY ü\r\n".as_bytes()), Parsed::Malformed(Malformed::Unreadable));
}

#[test]
fn headers_of_version_2_are_read() {
    let v4 = v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0xC3, 0x50, 0x01, 0xBB]);
    let told = client("192.0.2.7:50000", "10.0.0.1:443");
    assert_eq!(parse(&[&v4[..], b"\x16\x03"].concat()), Parsed::Whole(v4.len(), told));
    // With a field of its own after the addresses (PP2_TYPE_AUTHORITY).
    let more = v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0xC3, 0x50, 0x01, 0xBB, 2, 0, 1, b'a']);
    assert_eq!(parse(&more), Parsed::Whole(more.len(), told));
    for nothing in [
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0xC3, 0x50, 0x01, 0xBB]),
        v2(0x21, 0x00, &[1, 2, 3]),
        v2(0x21, 0x12, &[0; 12]),
        v2(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(parse(&nothing), Parsed::Whole(nothing.len(), Told::Nothing), "{nothing:?}");
    }
}

#[test]
fn what_only_resembles_version_2_is_refused() {
    for (header, why) in [
        (v2(0x11, 0x11, &[0; 12]), Malformed::Unsupported),
        (v2(0x22, 0x11, &[0; 12]), Malformed::Unsupported),
        (v2(0x21, 0x41, &[0; 12]), Malformed::Unsupported),
        (v2(0x21, 0x13, &[0; 12]), Malformed::Unsupported),
        (v2(0x21, 0x11, &[0; 11]), Malformed::Unreadable),
        (v2(0x21, 0x21, &[0; 35]), Malformed::Unreadable),
        (v2(0x21, 0x31, &[0; 215]), Malformed::Unreadable),
        (v2(0x21, 0x11, &[0; MAX_LENGTH]), Malformed::TooLong),
    ] {
        assert_eq!(parse(&header), Parsed::Malformed(why), "{:?}", &header[..FIXED]);
    }
}

#[test]
fn other_protocols_are_told_from_their_first_bytes() {
    for other in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n", b"PROXX", b"\r\n\r\nG", b"P?", b"S"]
    {
        assert_eq!(parse(other), Parsed::Absent, "{other:?}");
    }
    for partial in [&b""[..], b"P", b"PROXY", b"PROXY TCP4 1.1", b"\r\n\r\n", BINARY] {
        assert_eq!(parse(partial), Parsed::Partial, "{partial:?}");
    }
}

prop_compose! {
    fn address()(ip in any::<IpAddr>(), port in any::<u16>()) -> SocketAddr { SocketAddr::new(ip.to_canonical(), port) }
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in address(), destination in address(), v1 in any::<bool>(), rest in any::<[u8; 3]>()) {
        let ends = Ends { source: Some(source), destination: Some(destination) };
        let header = encode(if v1 { Version::V1 } else { Version::V2 }, &ends);
        let sent = [&header[..], &rest].concat();
        prop_assert_eq!(parse(&sent), Parsed::Whole(header.len(), Told::Client(ends)));
        for length in 0..header.len() {
            prop_assert_eq!(parse(&header[..length]), Parsed::Partial);
        }
        prop_assert!(header.len() <= MAX_LINE);
    }

    #[test]
    fn a_client_that_is_not_known_is_told_as_such(destination in proptest::option::of(address()), v1 in any::<bool>()) {
        let header = encode(if v1 { Version::V1 } else { Version::V2 }, &Ends { source: None, destination });
        prop_assert_eq!(parse(&header), Parsed::Whole(header.len(), Told::Nothing));
    }

    /// Whatever comes, a verdict once given stays: more bytes never change it.
    #[test]
    fn any_bytes_get_one_verdict(
        start in prop_oneof![Just(&b""[..]), Just(TEXT), Just(BINARY), Just(&b"PROXY TCP4 "[..]), Just(&b"PROXY TCP6 "[..])],
        rest in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[0-9a-f.: \r\n]{0,60}\r\n".prop_map(String::into_bytes),
            (0x1f..0x23u8, any::<u8>(), 0..2u8, any::<Vec<u8>>()).prop_map(|(a, b, c, mut d)| { d.splice(0..0, [a, b, c]); d }),
        ],
    ) {
        let bytes = [start, &rest[..]].concat();
        let verdict = parse(&bytes);
        for length in 0..bytes.len() {
            let before = parse(&bytes[..length]);
            prop_assert!(before == Parsed::Partial || before == verdict, "{before:?} became {verdict:?}");
        }
        if let Parsed::Whole(length, _) = verdict {
            prop_assert!(length <= bytes.len() && length <= MAX_LENGTH);
        }
    }
}
