//! `Accept-Encoding`, reduced to what tells answers apart.

use http::{HeaderMap, header};

/// The codings that origins use, in the order in which they are asked for.
const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];

/// What of our codings a client takes, always in the same order and without weights: the hundreds of ways in which clients
/// say the same are one.
pub fn accepted(fields: &HeaderMap) -> String {
    let mut takes = [false; CODINGS.len()];
    for line in fields.get_all(header::ACCEPT_ENCODING) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let refused = parts.any(is_zero);
            for (takes, known) in takes.iter_mut().zip(CODINGS) {
                if coding.eq_ignore_ascii_case(known.as_bytes()) {
                    *takes = !refused;
                }
            }
        }
    }
    let names: Vec<&str> = CODINGS.into_iter().zip(takes).filter_map(|(name, takes)| takes.then_some(name)).collect();
    names.join(", ")
}

/// RFC 9110 section 12.4.2: a weight of 0 is "not acceptable".
fn is_zero(parameter: &[u8]) -> bool {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    value.is_some_and(|value| value.starts_with(b"0") && value.iter().all(|byte| matches!(byte, b'0' | b'.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (line, expected) in [
            ("gzip, deflate, br, zstd", "zstd, br, gzip"),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br, gzip"),
            ("GZIP ; q=0.5", "gzip"),
            ("gzip;q=0, br;q=0.000", ""),
            ("identity", ""),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(header::ACCEPT_ENCODING, line.parse().unwrap());
            assert_eq!(accepted(&fields), expected, "{line}");
        }
    }
}
