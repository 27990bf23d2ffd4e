//! Which coding a client gets (RFC 9110 section 12.5.3).

use http::{HeaderMap, header};

use super::Algorithm;
use crate::head::members;

/// The best of `ours`, which are in our order of preference, by what the client says; `None` for none of them.
///
/// What the client likes more wins, and we choose among equals. It may also like the content best as it is.
pub(super) fn choose(ours: &[Algorithm], request: &HeaderMap) -> Option<Algorithm> {
    let mut weights = [None; 3];
    let (mut identity, mut any) = (None, None);
    for member in members(request, &header::ACCEPT_ENCODING) {
        let Some((coding, weight)) = weighted(member) else { continue };
        match coding {
            b"*" => any = Some(weight),
            coding if coding.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            coding => {
                if let Some(place) = ours.iter().position(|algorithm| is(*algorithm, coding)) {
                    weights[place] = Some(weight);
                }
            }
        }
    }
    let mut best: Option<(Algorithm, u16)> = None;
    for (algorithm, weight) in ours.iter().zip(weights) {
        let weight = weight.or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((*algorithm, weight));
        }
    }
    best.filter(|(_, weight)| identity.is_none_or(|identity| identity <= *weight)).map(|(algorithm, _)| algorithm)
}

/// RFC 9110 section 8.4.1.3: `x-gzip` is `gzip`.
fn is(algorithm: Algorithm, coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(algorithm.name().as_bytes())
        || (algorithm == Algorithm::Gzip && coding.eq_ignore_ascii_case(b"x-gzip"))
}

/// A coding and its weight in thousandths; `None` for what cannot be read, which is as if it were not there.
fn weighted(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
        weight = thousandths(value)?;
    }
    Some((coding, weight))
}

/// RFC 9110 section 12.4.2: from 0 to 1 with at most three digits after the point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole] => (whole, &b""[..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut value = 0;
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match whole {
        b'0' => Some(value),
        b'1' if value == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

    fn chosen(ours: &[Algorithm], lines: &[&str]) -> Option<&'static str> {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        choose(ours, &request).map(Algorithm::name)
    }

    #[test]
    fn the_client_weighs_and_we_choose_among_equals() {
        for (lines, expected) in [
            (&["gzip, br, zstd"][..], Some("zstd")),
            (&["gzip, deflate, br"], Some("br")),
            (&["gzip", "br"], Some("br")),
            (&["br;q=0.8, gzip"], Some("gzip")),
            (&["gzip;q=0.5, br;q=0.5"], Some("br")),
            (&["GZIP"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["*"], Some("zstd")),
            (&["*;q=0.1, gzip"], Some("gzip")),
            (&["zstd;q=0, *"], Some("br")),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some("gzip")),
            (&["identity;q=0, gzip;q=0.001"], Some("gzip")),
        ] {
            assert_eq!(chosen(&OURS, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_refused_unknown_or_unreadable_is_not_used() {
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["deflate, compress"],
            &["gzip;q=0"],
            &["gzip;q=0.000, br;q=0"],
            &["*;q=0"],
            &["gzip;q=2"],
            &["gzip;q=0.5555"],
            &["gzip;q="],
            &["gzip;level=9"],
        ] {
            assert_eq!(chosen(&OURS, lines), None, "{lines:?}");
        }
        assert_eq!(chosen(&[Algorithm::Gzip], &["br, zstd, gzip;q=0.1"]), Some("gzip"));
    }
}
