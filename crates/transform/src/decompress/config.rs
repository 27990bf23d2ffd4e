//! Decompression of requests, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// `decompress` as written: `true`, or the table of [`DecompressTable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecompressConfig {
    pub(super) table: DecompressTable,
}

document::shorthand!(
    DecompressConfig,
    DecompressTable,
    "`true` or a table about the decompression of requests",
    bool = DecompressConfig::from_bool
);

impl DecompressConfig {
    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("expected `true` or a table about decompression".into()) }
    }
}

impl From<DecompressTable> for DecompressConfig {
    fn from(table: DecompressTable) -> Self {
        Self { table }
    }
}

/// Unpacks what clients send packed, for origins that cannot: gzip, br, zstd and deflate, by `Content-Encoding`. The
/// origin gets plain content, without that field and in chunks over HTTP/1.
///
/// Another coding, or one over another, is refused with 415, and `Accept-Encoding` says which are known. What is not
/// what it says it is gets a 400. `max_body` counts for what comes and for what is made of it: more is refused with 413,
/// and so is what becomes longer than `max_ratio` allows. An upgraded connection is not looked into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "decompress")]
pub struct DecompressTable {
    /// How many times as long as it came content may become. Up to 64 KiB it may in any case.
    ///
    /// Default: `100`. Example: `max_ratio = 20`.
    #[schemars(range(min = 1))]
    pub max_ratio: Option<u32>,
}
