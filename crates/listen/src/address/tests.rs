//! Addresses as written, and which of them overlap.

use super::*;

fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
}

#[test]
fn addresses_are_written_as_they_are_read() {
    for text in [":8080", "127.0.0.1:8080", "[::1]:8080", "[::]:443", "0.0.0.0:0", "unix:/run/app.sock"] {
        assert_eq!(address(text).to_string(), text);
    }
}

#[test]
fn what_is_no_address_gets_its_advice() {
    for (text, instead) in [
        ("8080", ":8080"),
        ("localhost:3000", "127.0.0.1:3000"),
        ("*:80", ":80"),
        ("127.0.0.1", "127.0.0.1:8080"),
        ("::1", "[::1]:8080"),
        ("127.0.0.1:http", "127.0.0.1:8080"),
        ("127.0.0.1:99999", "127.0.0.1:8080"),
        ("unix:", "unix:/run/app.sock"),
    ] {
        let wrong = text.parse::<Address>().unwrap_err();
        assert_eq!(wrong.instead.as_deref(), Some(instead), "{text}");
        address(instead);
    }
    for text in ["", "web", "example.com:80"] {
        assert_eq!(text.parse::<Address>().unwrap_err().instead, None, "{text}");
    }
    assert!(format!("unix:/{}", "a".repeat(107)).parse::<Address>().is_err());
}

#[test]
fn who_takes_whose_connections() {
    let overlap = |one: &str, two: &str| {
        let (one, two) = (address(one), address(two));
        assert_eq!(one.overlaps(&two), two.overlaps(&one));
        one.overlaps(&two)
    };
    for (one, two) in [
        (":80", ":80"),
        (":80", "127.0.0.1:80"),
        (":80", "[::1]:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::]:80", "0.0.0.0:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("unix:/a", "unix:/a"),
    ] {
        assert!(overlap(one, two), "{one} {two}");
    }
    for (one, two) in [
        (":80", ":81"),
        (":0", ":0"),
        ("0.0.0.0:80", "[::1]:80"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("unix:/a", "unix:/b"),
        ("unix:/a", ":80"),
    ] {
        assert!(!overlap(one, two), "{one} {two}");
    }
}
