//! The query as a list of parameters, compared decoded.

use std::borrow::Cow;

use crate::template::Input;

/// The bytes that a parameter's name or value stands for (WHATWG URL section 5.1): `+` is a space, triplets are bytes,
/// anything else stands for itself. Allocates only where something has to be decoded.
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Cow::Owned(out),
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(high) << 4 | digit(low));
                after
            }
            [byte, after @ ..] => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                after
            }
        };
    }
}

/// The raw parameters of a query: name and value, in order; the value is `""` where there is no `=`.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The raw value of the first parameter of this raw name.
pub fn first<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    parameters(query).find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// What stands for a value that nobody is to be shown.
pub const HIDDEN: &str = "***";

/// The query without the values that are secret, for people to read.
pub fn shown(query: &str, secret: &dyn Fn(&Input<'_>) -> bool) -> String {
    let pair = |pair: &'_ str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if secret(&Input::Parameter(name)) { format!("{name}={HIDDEN}") } else { pair.to_owned() }
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split_and_decoded() {
        let decoded = |text| String::from_utf8_lossy(&decode(text)).into_owned();
        let found: Vec<_> = parameters("a=1&&b%65=x%20y+z%&flag").map(|(n, v)| (decoded(n), decoded(v))).collect();
        let expected = [("a", "1"), ("be", "x y z%"), ("flag", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_string(), value.to_string())));
    }
}
