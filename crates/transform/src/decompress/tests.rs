//! What is unpacked, what is refused, and that bombs do not go off.

use std::io::{Read, Write};

use super::*;

const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

fn pack(coding: &str, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "gzip" => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), level);
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "deflate" => {
            let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "raw" => {
            let mut coder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        "br" => {
            let mut packed = Vec::new();
            brotli::CompressorReader::new(plain, 4096, 5, 20).read_to_end(&mut packed).unwrap();
            packed
        }
        "zstd" => zstd::encode_all(plain, 3).unwrap(),
        other => panic!("{other}"),
    }
}

fn fields(coding: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())])
}

/// Unpacks in pieces of so many bytes.
fn unpack(coding: &str, packed: &[u8], piece: usize, most: u64) -> Result<Vec<u8>, Reason> {
    let mut decoder = Decompress { max_ratio: 100 }.decoder(&fields(coding), Some(most)).unwrap();
    let mut plain = Vec::new();
    for piece in packed.chunks(piece) {
        let mut chunk = Some(Bytes::copy_from_slice(piece));
        decoder.chunk(&mut chunk, false).map_err(|reply| reply.reason)?;
        plain.extend_from_slice(&chunk.expect("no piece is the end to some"));
    }
    let mut chunk = None;
    decoder.chunk(&mut chunk, true).map_err(|reply| reply.reason)?;
    plain.extend_from_slice(&chunk.unwrap_or_default());
    Ok(plain)
}

/// Text that packs well, but not too well.
fn text() -> Vec<u8> {
    (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

#[test]
fn every_coding_is_taken_off_however_it_comes() {
    let plain = text();
    for coding in CODINGS {
        let packed = pack(coding, &plain);
        for piece in [1, 7, 1000, usize::MAX] {
            assert!(unpack(coding, &packed, piece, 1 << 20) == Ok(plain.clone()), "{coding} by {piece}");
        }
        assert_eq!(unpack(coding, b"", 1, 100), Ok(Vec::new()), "{coding}: nothing is nothing");
        assert_eq!(unpack(coding, &pack(coding, b""), 1, 100), Ok(Vec::new()), "{coding}: packed nothing");
    }
    assert!(unpack("deflate", &pack("raw", &plain), 100, 1 << 20) == Ok(plain.clone()), "bare deflate");
    assert!(unpack("X-GZip", &pack("gzip", &plain), 100, 1 << 20) == Ok(plain.clone()));
    for coding in ["gzip", "zstd"] {
        let twice = [pack(coding, b"one "), pack(coding, b"two")].concat();
        for piece in [1, 100] {
            assert_eq!(unpack(coding, &twice, piece, 100), Ok(b"one two".to_vec()), "{coding}: RFC 1952 section 2.2");
        }
    }
}

#[test]
fn what_comes_is_given_on_at_once() {
    for coding in ["gzip", "zstd"] {
        let mut decoder = Decompress { max_ratio: 100 }.decoder(&fields(coding), None).unwrap();
        // Two members: the first is whole, the second has only begun.
        let second = pack(coding, b"two");
        let packed = [&pack(coding, b"one")[..], &second[..second.len() / 2]].concat();
        let mut chunk = Some(packed.into());
        decoder.chunk(&mut chunk, false).unwrap();
        assert!(chunk.unwrap().starts_with(b"one"), "{coding}");
    }
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 64 << 20];
    for coding in CODINGS {
        let packed = pack(coding, &zeros);
        for piece in [100, usize::MAX] {
            assert_eq!(unpack(coding, &packed, piece, u64::MAX), Err(Reason::BodyTooLarge), "{coding}: the ratio");
        }
        // Within the ratio, but not within `max_body`.
        let packed = pack(coding, &text());
        let most = text().len() as u64;
        assert_eq!(unpack(coding, &packed, 1000, most - 1), Err(Reason::BodyTooLarge), "{coding}");
        assert!(unpack(coding, &packed, 1000, most).is_ok(), "{coding}");
        // Small as it is, it may become 64 KiB.
        let small = pack(coding, &zeros[..60 << 10]);
        assert!(unpack(coding, &small, usize::MAX, 1 << 20).is_ok(), "{coding}: {} bytes", small.len());
    }
    // Members without content: much comes, and nothing is made of it.
    let nothing = pack("gzip", b"").repeat(100);
    assert_eq!(unpack("gzip", &nothing, 1000, 1000), Err(Reason::BodyTooLarge));
}

#[test]
fn what_is_torn_or_nonsense_is_refused() {
    for coding in CODINGS {
        let packed = pack(coding, &text());
        assert_eq!(
            unpack(coding, &packed[..packed.len() - 1], 1000, 1 << 20),
            Err(Reason::BadContent),
            "{coding}: torn"
        );
        assert_eq!(unpack(coding, b"nonsense, and no end of it", 5, 1 << 20), Err(Reason::BadContent), "{coding}");
        let more = [&packed[..], b"nonsense"].concat();
        assert_eq!(unpack(coding, &more, 1000, 1 << 20), Err(Reason::BadContent), "{coding}: more behind it");
    }
    let mut wrong = pack("gzip", &text());
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    assert_eq!(unpack("gzip", &wrong, 1000, 1 << 20), Err(Reason::BadContent), "its sum is wrong");
}

#[test]
fn one_coding_is_understood_and_no_other() {
    for (written, packed) in [
        ("gzip", Ok(Some(Packed::Gzip))),
        ("GZIP", Ok(Some(Packed::Gzip))),
        ("identity, br", Ok(Some(Packed::Brotli))),
        ("identity", Ok(None)),
        ("", Ok(None)),
        ("gzip, gzip", Err(Reason::UnknownCoding)),
        ("gzip, br", Err(Reason::UnknownCoding)),
        ("compress", Err(Reason::UnknownCoding)),
        ("utf-8", Err(Reason::UnknownCoding)),
    ] {
        assert_eq!(Packed::of(&fields(written)), packed, "{written}");
    }
    assert_eq!(Packed::of(&HeaderMap::new()), Ok(None));
}

#[test]
fn the_head_says_no_more_of_how_it_was_packed() {
    let mut head = RequestHeader::build("POST", b"/", None).unwrap();
    for name in ["Content-Encoding", "Content-Length", "Content-Digest", "Content-MD5", "Content-Type"] {
        head.insert_header(name, "1").unwrap();
    }
    tell_unpacked(&mut head);
    assert_eq!(head.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["content-type"]);
}
