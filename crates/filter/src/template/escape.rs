//! How a value is made safe for the place that it is put into.

/// Where a text goes, and so how the values in it are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// A header value, a log line, plain text: values as they stand.
    #[default]
    Nothing,
    /// A path (RFC 3986 section 3.3). What came from the normalised path is inserted as it stands there; everything
    /// else is percent-encoded, slashes included.
    Path,
    /// The value of one query parameter (RFC 3986 section 3.4): `&`, `=`, `+` and `#` cannot end or change it.
    Query,
    /// HTML or XML text: `& < > " '` become references.
    Html,
    /// Inside a JSON string (RFC 8259 section 7).
    Json,
}

/// What a value is made of, which decides what is left to escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Part of the normalised path: percent-encoded already.
    Path,
    /// A whole query: percent-encoded, and with its own `&` and `=`.
    Query,
    /// The raw value of one query parameter: percent-encoded.
    Parameter,
    /// Of an alphabet that is harmless in URLs: a host, a method, a scheme, a request id.
    Plain,
    /// Anything that the client cared to send.
    Foreign,
}

impl Escape {
    /// Appends `value` to `out`.
    pub(super) fn append(self, source: Source, value: &str, out: &mut String) {
        match (self, source) {
            (Escape::Nothing, _) | (Escape::Path, Source::Path) | (Escape::Query, Source::Query) => out.push_str(value),
            (Escape::Path, Source::Foreign | Source::Plain) => percent_encode(value, b":", false, out),
            (Escape::Path, Source::Query | Source::Parameter) => percent_encode(value, b"", true, out),
            (Escape::Query, Source::Foreign) => percent_encode(value, b"/:", false, out),
            (Escape::Query, Source::Parameter) => percent_encode(value, b"/:+", true, out),
            (Escape::Query, Source::Path | Source::Plain) => percent_encode(value, b"/:", true, out),
            (Escape::Html, _) => html(value, out),
            (Escape::Json, _) => json(value, out),
        }
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3) and `also`; `keep` leaves `%` alone,
/// for text that is encoded already.
fn percent_encode(value: &str, also: &[u8], keep: bool, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value.as_bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || also.contains(&byte) || (keep && byte == b'%') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 0xF)]));
        }
    }
}

fn html(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
}

fn json(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
}
