//! Takes a coding off content that is there as a whole (RFC 9110 section 8.4).

use std::io::Read;

use bytes::Bytes;

/// The content without its `coding`: gzip, br, zstd, or none. `None` where it cannot be undone, or would be longer than
/// `most`.
pub fn decode(coding: Option<&str>, content: &Bytes, most: usize) -> Option<Bytes> {
    let from = &content[..];
    match coding.unwrap_or("identity").trim().to_ascii_lowercase().as_str() {
        "identity" | "" => Some(content.clone()),
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(from), most),
        "br" => read(brotli::Decompressor::new(from, 4096), most),
        "zstd" => read(zstd::stream::read::Decoder::new(from).ok()?, most),
        _ => None,
    }
}

fn read(from: impl Read, most: usize) -> Option<Bytes> {
    let mut plain = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= most).then(|| plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn codings_are_taken_off_within_bounds() {
        let text = "the same again and ".repeat(50);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let mut br = Vec::new();
        brotli::CompressorReader::new(text.as_bytes(), 4096, 5, 20).read_to_end(&mut br).unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for (coding, bytes) in [("gzip", gzip.finish().unwrap()), ("BR", br), ("zstd", zstd)] {
            let bytes = Bytes::from(bytes);
            assert_eq!(decode(Some(coding), &bytes, text.len()).unwrap(), text, "{coding}");
            assert_eq!(decode(Some(coding), &bytes, text.len() - 1), None, "{coding} is too long");
            assert_eq!(decode(Some(coding), &Bytes::from_static(b"nonsense"), 1000), None, "{coding}");
        }
        assert_eq!(decode(None, &Bytes::from_static(b"plain"), 1).unwrap(), "plain");
        assert_eq!(decode(Some("compress"), &Bytes::from_static(b"x"), 1), None);
    }
}
