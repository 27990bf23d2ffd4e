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
    for (text, help) in [
        ("8080", "write `:8080`, `127.0.0.1:8080` or `unix:/run/app.sock`"),
        ("localhost:3000", "write `127.0.0.1:3000`"),
        ("*:80", "write `:80` for every address of this machine"),
        ("127.0.0.1", "write `127.0.0.1:8080`"),
        ("::1", "write `[::1]:8080`"),
        ("127.0.0.1:http", "write `127.0.0.1:8080`"),
        ("127.0.0.1:99999", "write `127.0.0.1:8080`"),
        ("example.com:80", "write `:80`, `127.0.0.1:80` or `[::1]:80`"),
        ("unix:", "write `unix:/run/app.sock`"),
    ] {
        assert_eq!(text.parse::<Address>().unwrap_err().help, help, "{text}");
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
