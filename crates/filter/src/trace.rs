//! Where a request belongs in a distributed trace: W3C Trace Context level 1.

use std::fmt;

use http::HeaderValue;

/// The place of one request in a trace: the trace's id, the id of our own span in it, and whether it is recorded.
///
/// The caller's `traceparent` is read strictly; one that breaks the rules is as if there were none, and a new trace
/// begins. Each attempt sent to an upstream has a span id of its own, made with [`child`](Trace::child).
///
/// ```
/// use maitred_filter::Trace;
///
/// let sent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = Trace::from_header(sent).unwrap().child(0x1122334455667788);
/// assert_eq!(trace.to_header().as_str(), "00-4bf92f3577b34da6a3ce929d0e0e4736-1122334455667788-01");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_id: Option<[u8; 8]>,
    sampled: bool,
    continued: bool,
}

/// Text of a fixed length on the stack: the forms in which ids are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<const LENGTH: usize>([u8; LENGTH]);

/// The length of a `traceparent` of version 00: `00-` 32 digits `-` 16 digits `-` 2 digits.
const LENGTH: usize = 55;

impl Trace {
    /// Begins a trace from random bits. The sampled flag is set: an origin that follows its caller's flag would
    /// otherwise stop recording as soon as a proxy stands before it.
    pub fn new(trace: u128, span: u64) -> Self {
        Self {
            trace_id: trace.max(1).to_be_bytes(),
            span_id: span.max(1).to_be_bytes(),
            parent_id: None,
            sampled: true,
            continued: false,
        }
    }

    /// Reads a `traceparent` value (section 3.2.2). A version above 00 is read as far as version 00 goes; `None` when
    /// the value is invalid. The span id is the caller's until [`child`](Trace::child) makes our own.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let (head, tail) = value.split_at_checked(LENGTH)?;
        let [version] = digits::<1>(&head[..2])?;
        let follows = match version {
            0x00 => tail.is_empty(),
            0xFF => false,
            _ => tail.is_empty() || tail[0] == b'-',
        };
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        let trace_id = digits::<16>(&head[3..35])?;
        let span_id = digits::<8>(&head[36..52])?;
        let [flags] = digits::<1>(&head[53..])?;
        let valid = follows && dashes && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, parent_id: None, sampled: flags & 1 == 1, continued: true })
    }

    /// The trace of a request: continued from its one valid `traceparent`, or begun from random bits. Two fields of
    /// that name are as invalid as a malformed one.
    pub fn of_request(headers: &http::HeaderMap, trace: u128, span: u64) -> Self {
        let mut values = headers.get_all(&NAME).into_iter();
        match (values.next(), values.next()) {
            (Some(one), None) => Self::from_header(one.as_bytes()).map(|caller| caller.child(span)),
            _ => None,
        }
        .unwrap_or_else(|| Self::new(trace, span))
    }

    /// The same trace one step further: `span` (random bits) is the new span, and the present one becomes its parent.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        Self { span_id: span.max(1).to_be_bytes(), parent_id: Some(self.span_id), ..*self }
    }

    /// Whether the trace was begun by the caller. Where it was not, a `tracestate` belongs to nothing and is dropped.
    pub fn is_continued(&self) -> bool {
        self.continued
    }

    /// Whether the caller may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id_hex(&self) -> Hex<32> {
        let mut text = [0; 32];
        write_hex(&self.trace_id, &mut text);
        Hex(text)
    }

    /// The id of our span: 16 hexadecimal digits.
    pub fn span_id_hex(&self) -> Hex<16> {
        let mut text = [0; 16];
        write_hex(&self.span_id, &mut text);
        Hex(text)
    }

    /// The id of the span that ours is a child of; `None` at the root of a trace.
    pub fn parent_id_hex(&self) -> Option<Hex<16>> {
        let mut text = [0; 16];
        write_hex(&self.parent_id?, &mut text);
        Some(Hex(text))
    }

    /// The `traceparent` to send: version 00, and of the flags only the one that version 00 defines.
    pub fn to_header(&self) -> Hex<LENGTH> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        text[54] = b'0' + u8::from(self.sampled);
        Hex(text)
    }

    /// [`to_header`](Trace::to_header) as a field value.
    pub fn to_header_value(&self) -> HeaderValue {
        // Hexadecimal digits and dashes are always a valid field value.
        HeaderValue::from_bytes(&self.to_header().0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl<const LENGTH: usize> Hex<LENGTH> {
    /// The digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const LENGTH: usize> fmt::Display for Hex<LENGTH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const LENGTH: usize> fmt::Debug for Hex<LENGTH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

static NAME: http::HeaderName = http::HeaderName::from_static("traceparent");

/// Reads lower-case hexadecimal digits; upper case is invalid (section 3.2.2.3).
fn digits<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.as_chunks_mut::<2>().0) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]];
    }
}

#[cfg(test)]
mod tests;
