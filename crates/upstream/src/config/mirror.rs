//! Copies of requests for another upstream, as written.

use document::{Duration, OneOrMany, Size, Toggle};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where copies of a route's requests go.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    /// The upstream that gets them.
    pub upstream: Option<String>,
    /// The share of requests that are copied, in per cent.
    pub percent: Option<f64>,
    /// The longest content that is copied.
    pub max_body: Option<Size>,
    /// How long a copy may take.
    pub timeout: Option<Duration>,
    /// How many copies are under way at a time.
    pub concurrent: Option<u32>,
    /// Header fields that a copy does not have.
    pub remove: Option<OneOrMany<String>>,
    /// Whether the answers are compared.
    pub compare: Option<Toggle<Compare>>,
}

/// Where copies of a route's requests go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "mirror")]
pub struct MirrorTable {
    /// The upstream that gets the copies: its name, or a URL. Required. The name alone, `mirror = "orders-next"`, copies
    /// every request.
    ///
    /// Example: `upstream = "orders-next"`
    pub upstream: Option<String>,

    /// The share of requests that are copied, in per cent: above 0, at most 100. Default 100.
    ///
    /// Example: `percent = 10`
    #[schemars(range(max = 100))]
    pub percent: Option<f64>,

    /// The longest content that is copied, and the longest answer that is read to its end. A request with more is not
    /// copied. Default `"64KiB"`.
    ///
    /// Example: `max_body = "256KiB"`
    pub max_body: Option<Size>,

    /// How long a copy may take from being sent until its answer is read. Default `"5s"`.
    ///
    /// Example: `timeout = "2s"`
    pub timeout: Option<Duration>,

    /// How many copies are under way at a time. A request beyond is not copied: nothing ever waits. Default 100.
    ///
    /// Example: `concurrent = 20`
    #[schemars(range(min = 1))]
    pub concurrent: Option<u32>,

    /// Names of header fields that the copies do not have, such as credentials that the other upstream is not to see.
    /// Default: they have all that the origin is sent.
    ///
    /// Example: `remove = ["Authorization", "Cookie"]`
    pub remove: Option<OneOrMany<String>>,

    /// Compares the answer to a copy with the one that the client got: `true`, or a table. Default `false`: answers to
    /// copies are read and thrown away.
    ///
    /// What differs stands in the log, one line a second at most, and `maitred_mirror_requests_total` counts `same` and
    /// `different`.
    ///
    /// Example: `compare = { headers = ["Content-Type", "Cache-Control"], ignore = ["/updated_at"] }`
    pub compare: Option<Toggle<Compare>>,
}

/// What is compared of two answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compare {
    /// Header fields.
    pub headers: Option<OneOrMany<String>>,
    /// What of a JSON document does not matter.
    pub ignore: Option<OneOrMany<String>>,
}

/// What is compared of two answers: the status, header fields, and the content, which where it is JSON may be written in
/// another way.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "compare")]
pub struct CompareTable {
    /// Names of header fields that have to be the same. Default `["Content-Type"]`.
    ///
    /// Example: `headers = ["Content-Type", "Cache-Control"]`
    pub headers: Option<OneOrMany<String>>,

    /// What of a JSON document does not matter, as JSON pointers (RFC 6901); `*` stands for any key or index. Default:
    /// nothing.
    ///
    /// Example: `ignore = ["/updated_at", "/items/*/id"]`
    pub ignore: Option<OneOrMany<String>>,
}

impl Mirror {
    fn from_text(upstream: &str) -> Result<Self, String> {
        Ok(Self { upstream: Some(upstream.into()), ..Self::default() })
    }
}

impl From<MirrorTable> for Mirror {
    fn from(table: MirrorTable) -> Self {
        let MirrorTable { upstream, percent, max_body, timeout, concurrent, remove, compare } = table;
        Self { upstream, percent, max_body, timeout, concurrent, remove, compare }
    }
}

document::shorthand!(
    Mirror,
    MirrorTable,
    "the name of an upstream, or a table with `upstream`",
    str = Mirror::from_text
);

impl Compare {
    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("`false` is written without a table around it".into()) }
    }
}

impl From<CompareTable> for Compare {
    fn from(CompareTable { headers, ignore }: CompareTable) -> Self {
        Self { headers, ignore }
    }
}

document::shorthand!(Compare, CompareTable, "`true` or a table about what is compared", bool = Compare::from_bool);
