//! What is compressed, what is left alone, and that real decoders read it.

use std::io::Read;

use bytes::Bytes;
use document::{At, Report};
use filter::Inspect;
use pingora_http::{RequestHeader, ResponseHeader};

use super::*;

fn compress(table: CompressTable) -> Compress {
    Compress::compile(&table.into(), &At::root(), &mut Report::new()).unwrap()
}

fn request(version: Version, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.set_version(version);
    for (name, value) in fields {
        request.append_header(*name, *value).unwrap();
    }
    request
}

fn answer(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");
const LONG: (&str, &str) = ("Content-Length", "5000");

fn decoded(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match algorithm {
        Algorithm::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut content).unwrap(),
        Algorithm::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut content).unwrap(),
        Algorithm::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut content).unwrap(),
    };
    content
}

#[test]
fn decoders_read_what_encoders_wrote_however_it_came() {
    let content: Vec<u8> = (0..200_000u32).flat_map(|n| format!("{} ", n % 977).into_bytes()).collect();
    for algorithm in [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd] {
        for (flushes, size) in [(false, 16_384), (true, 16_384), (true, 1_000_000)] {
            let mut encoder = Encoder::new(algorithm, 6, flushes).unwrap();
            let mut encoded = Vec::new();
            for piece in content.chunks(size) {
                let mut chunk = Some(Bytes::copy_from_slice(piece));
                encoder.chunk(&mut chunk, false).unwrap();
                encoded.extend_from_slice(&chunk.unwrap());
            }
            let mut end = None;
            encoder.chunk(&mut end, true).unwrap();
            encoded.extend_from_slice(&end.unwrap());
            assert!(decoded(algorithm, &encoded) == content, "{algorithm:?} {flushes} {size}");
            assert!(encoded.len() < content.len() / 3, "{algorithm:?} made {} bytes", encoded.len());
        }
    }
}

#[test]
fn a_stream_can_be_read_before_it_ends() {
    for algorithm in [Algorithm::Gzip, Algorithm::Brotli, Algorithm::Zstd] {
        let mut encoder = Encoder::new(algorithm, 6, true).unwrap();
        let mut encoded = Vec::new();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            let mut chunk = Some(Bytes::from_static(event.as_bytes()));
            encoder.chunk(&mut chunk, false).unwrap();
            encoded.extend_from_slice(&chunk.unwrap());
            let mut seen = vec![0; event.len()];
            let mut so_far: Box<dyn Read> = match algorithm {
                Algorithm::Gzip => Box::new(flate2::read::GzDecoder::new(&encoded[..])),
                Algorithm::Brotli => Box::new(brotli::Decompressor::new(&encoded[..], 4096)),
                Algorithm::Zstd => Box::new(zstd::stream::read::Decoder::new(&encoded[..]).unwrap()),
            };
            if event.contains('2') {
                so_far.read_exact(&mut vec![0; event.len()]).unwrap();
            }
            so_far.read_exact(&mut seen).unwrap();
            assert_eq!(String::from_utf8_lossy(&seen), event, "{algorithm:?}");
        }
    }
}

#[test]
fn the_head_of_a_compressed_answer_tells_the_truth() {
    let compress = compress(CompressTable::default());
    let fields = [JSON, LONG, ("ETag", "\"v1\""), ("Accept-Ranges", "bytes"), ("Content-MD5", "x"), ("Vary", "Origin")];
    let mut head = answer(200, &fields);
    assert!(compress.begin(&request(Version::HTTP_11, &[("Accept-Encoding", "gzip, br")]), &mut head).is_some());
    let all = |name: &str| head.headers.get_all(name).into_iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("content-encoding"), ["br"]);
    assert_eq!(all("vary"), ["Origin", "Accept-Encoding"]);
    assert_eq!(all("etag"), ["W/\"v1\""]);
    assert_eq!(all("transfer-encoding"), ["chunked"]);
    for gone in ["content-length", "accept-ranges", "content-md5"] {
        assert!(all(gone).is_empty(), "{gone}");
    }
    let mut head = answer(200, &[JSON, LONG]);
    assert!(compress.begin(&request(Version::HTTP_2, &[("Accept-Encoding", "gzip")]), &mut head).is_some());
    assert!(!head.headers.contains_key("transfer-encoding"), "HTTP/2 frames by itself");
}

#[test]
fn what_is_not_to_be_compressed_is_left_alone() {
    let compress = compress(CompressTable::default());
    let asked = request(Version::HTTP_11, &[("Accept-Encoding", "gzip")]);
    for (status, fields) in [
        (200, &[("Content-Type", "image/png"), LONG][..]),
        (200, &[LONG]),
        (200, &[JSON, ("Content-Length", "1023")]),
        (200, &[JSON, LONG, ("Content-Encoding", "br")]),
        (200, &[JSON, LONG, ("Cache-Control", "max-age=1, No-Transform")]),
        (206, &[JSON, LONG, ("Content-Range", "bytes 0-9/1023")]),
        (206, &[("Content-Type", "image/png"), LONG, ("Content-Range", "bytes 0-4999/9000")]),
        (416, &[JSON, LONG, ("Content-Range", "bytes */9000")]),
        (304, &[JSON]),
        (204, &[JSON]),
        (101, &[JSON]),
    ] {
        let (before, mut head) = (answer(status, fields), answer(status, fields));
        assert!(compress.begin(&asked, &mut head).is_none(), "{status} {fields:?}");
        assert_eq!(before.headers, head.headers, "{status} {fields:?}");
    }
    let mut head = answer(200, &[JSON, LONG]);
    let careful = request(Version::HTTP_11, &[("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")]);
    assert!(compress.begin(&careful, &mut head).is_none());
}

#[test]
fn a_part_depends_on_what_its_whole_does_rfc_9110_15_3_7() {
    let compress = compress(CompressTable::default());
    for (range, asked) in [
        ("bytes 0-9/9000", &[("Accept-Encoding", "gzip")][..]),
        ("bytes 0-9/*", &[]),
        ("bytes 0-4999/5000", &[("Accept-Encoding", "identity")]),
    ] {
        let mut head = answer(206, &[JSON, ("Content-Length", "10"), ("Content-Range", range), ("ETag", "\"v\"")]);
        assert!(compress.begin(&request(Version::HTTP_11, asked), &mut head).is_none());
        assert_eq!(
            (&head.headers["vary"], &head.headers["etag"]),
            (&HeaderValue::from_static("Accept-Encoding"), &HeaderValue::from_static("\"v\"")),
            "{range}"
        );
        assert!(!head.headers.contains_key("content-encoding"), "{range}");
    }
}

#[test]
fn nothing_is_not_compressed() {
    let compress = compress(CompressTable { min_size: Some(document::Size(0)), ..CompressTable::default() });
    let asked = request(Version::HTTP_11, &[("Accept-Encoding", "gzip")]);
    for (length, is_compressed) in [(0, false), (1, true)] {
        let mut head = answer(200, &[JSON, ("Content-Length", &length.to_string())]);
        assert_eq!(compress.begin(&asked, &mut head).is_some(), is_compressed, "{length}");
        assert_eq!(head.headers.contains_key("transfer-encoding"), is_compressed, "{length}");
    }
}

#[test]
fn who_cannot_read_it_is_told_that_others_can() {
    let compress = compress(CompressTable::default());
    for asked in [request(Version::HTTP_11, &[]), request(Version::HTTP_10, &[("Accept-Encoding", "gzip")])] {
        let mut head = answer(200, &[JSON, LONG]);
        assert!(compress.begin(&asked, &mut head).is_none());
        assert_eq!(head.headers["vary"], "Accept-Encoding");
        assert_eq!(head.headers["content-length"], "5000");
    }
}

#[test]
fn head_is_told_what_get_would_be() {
    let compress = compress(CompressTable::default());
    let mut asked = request(Version::HTTP_11, &[("Accept-Encoding", "gzip")]);
    asked.set_method(Method::HEAD);
    let mut head = answer(200, &[JSON, LONG]);
    assert!(compress.begin(&asked, &mut head).is_none());
    assert_eq!(head.headers["content-encoding"], "gzip");
    assert!(!head.headers.contains_key("content-length"));
}

#[test]
fn whole_content_has_a_length() {
    let compress = compress(CompressTable::default());
    let mut head = answer(404, &[JSON, LONG]);
    let content = Bytes::from("abc".repeat(2000));
    let asked = request(Version::HTTP_11, &[("Accept-Encoding", "gzip")]);
    let encoded = compress.whole(&asked, &mut head, content.clone());
    assert_eq!(head.headers["content-length"], encoded.len().to_string());
    assert!(!head.headers.contains_key("transfer-encoding"));
    assert!(decoded(Algorithm::Gzip, &encoded) == content);
}

#[test]
fn types_are_matched_without_parameters_and_in_any_case() {
    let matches = |pattern: &str, kind: &str| Pattern::parse(pattern).unwrap().matches(kind.as_bytes());
    assert!(matches("text/*", "text/html") && matches("text/*", "Text/Plain"));
    assert!(matches("application/*+json", "application/problem+json"));
    assert!(!matches("application/*+json", "application/json") && !matches("text/*", "texts/html"));
    assert!(!matches("application/json", "application/jsonp"));
    for wrong in ["json", "/json", "text/", "*/*", "text/html; charset=utf-8", "a/b/c"] {
        assert!(Pattern::parse(wrong).is_err(), "{wrong}");
    }
}
