//! First messages as rustls writes them, and as nobody should.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs};

use super::*;

/// What a client that asks for `name` sends first.
fn hello(name: &str, sni: bool) -> Vec<u8> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.enable_sni = sni;
    let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same message in records of at most `size` bytes.
fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1][..], &(piece.len() as u16).to_be_bytes(), piece].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

/// A message with these extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]], &body[..]].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

/// A server name extension for this name.
fn extension(name: &str) -> Vec<u8> {
    let name = [&[0][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    let list = [&(name.len() as u16).to_be_bytes()[..], &name].concat();
    [&[0, 0][..], &(list.len() as u16).to_be_bytes(), &list].concat()
}

#[test]
fn the_name_is_found_however_the_message_is_cut() {
    let hello = hello("DB.example.com", true);
    let whole = Hello::Whole(Some("db.example.com".into()));
    assert_eq!(parse(&hello), whole);
    assert_eq!(parse(&[&hello[..], b"more"].concat()), whole);
    for size in [1, 3, 4, 5, 100] {
        assert_eq!(parse(&fragmented(&hello, size)), whole, "records of {size}");
    }
    for length in 0..hello.len() {
        assert_eq!(parse(&hello[..length]), Hello::Partial, "{length} bytes");
    }
}

#[test]
fn a_client_may_ask_for_no_name() {
    assert_eq!(parse(&hello("db.example.com", false)), Hello::Whole(None));
    assert_eq!(parse(&hello("127.0.0.1", true)), Hello::Whole(None));
    assert_eq!(parse(&with_extensions(&[])), Hello::Whole(None));
    assert_eq!(parse(&with_extensions(&extension("a.b"))), Hello::Whole(Some("a.b".into())));
}

#[test]
fn what_is_no_first_message_is_told_at_once() {
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x02",
        b"\x17\x03\x03",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x05\x02",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x40\x00\x01\x00\xff\xff",
        b"\x80\x2e\x01\x00\x02",
    ] {
        assert_eq!(parse(other), Hello::Other, "{other:?}");
    }
    let twice = [extension("a.b"), extension("c.d")].concat();
    let two_names = [&extension("a.b")[..2], &[0, 14, 0, 12, 0, 0, 3], b"a.b", &[0, 0, 3], b"c.d"].concat();
    for extensions in [twice, two_names, extension("a b"), extension(""), extension("a\0b"), vec![0, 0, 0, 9]] {
        assert_eq!(parse(&with_extensions(&extensions)), Hello::Other, "{extensions:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_get_one_verdict(mut bytes in any::<Vec<u8>>(), at in 0..400usize, change in any::<u8>(), real in any::<bool>()) {
        if real {
            bytes = hello("db.example.com", true);
            let at = at % bytes.len();
            bytes[at] = change;
        }
        let verdict = parse(&bytes);
        for length in 0..bytes.len() {
            let before = parse(&bytes[..length]);
            prop_assert!(before == Hello::Partial || before == verdict, "{before:?} became {verdict:?}");
        }
    }
}
