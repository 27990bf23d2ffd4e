//! Compression, as written.

use document::{OneOrMany, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// `compress` as written: `true`, or the table of [`CompressTable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompressConfig {
    pub(super) table: CompressTable,
}

document::shorthand!(
    CompressConfig,
    CompressTable,
    "`true` or a table about compression",
    bool = CompressConfig::from_bool
);

impl CompressConfig {
    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("expected `true` or a table about compression".into()) }
    }
}

impl From<CompressTable> for CompressConfig {
    fn from(table: CompressTable) -> Self {
        Self { table }
    }
}

/// Compresses answers for clients that ask for it with `Accept-Encoding`.
///
/// What is left as it is: answers that are encoded already, that forbid it (`Cache-Control: no-transform`), that are a
/// part of something (`Content-Range`), that are short, or whose type is not among `types`; and whatever a client of
/// HTTP/1.0 asks for. A compressed answer has `Vary: Accept-Encoding` and a weak `ETag`. One whose length is not known
/// beforehand, such as a stream of events, is sent on as it comes.
///
/// An answer that holds a secret beside text that an attacker can choose may give the secret away by its length (the
/// BREACH attack). Leave compression off where pages reflect what was asked and carry tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "compress")]
pub struct CompressTable {
    /// Which codings to use, the preferred one first: `"zstd"`, `"br"`, `"gzip"`. It decides among those that the client
    /// likes best.
    ///
    /// Default: `["zstd", "br", "gzip"]`. Example: `algorithms = ["br", "gzip"]`.
    pub algorithms: Option<OneOrMany<Algorithm>>,

    /// How hard to try, from 1 (fast) to 9 (small).
    ///
    /// Default: `6`. Example: `level = 4`.
    #[schemars(range(min = 1, max = 9))]
    pub level: Option<u32>,

    /// How long an answer has to be. One whose length is not known beforehand counts as long enough.
    ///
    /// Default: `"1KiB"`. Example: `min_size = "512B"`.
    pub min_size: Option<Size>,

    /// Which types of content to compress. `*` stands for anything.
    ///
    /// Default: text, JSON, XML, JavaScript, WebAssembly, SVG and uncompressed fonts. Example:
    /// `types = ["text/*", "application/json", "application/*+json"]`.
    pub types: Option<OneOrMany<String>>,
}

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// Zstandard (RFC 8878).
    #[serde(rename = "zstd")]
    Zstd,
    /// Brotli (RFC 7932).
    #[serde(rename = "br")]
    Brotli,
    /// gzip (RFC 1952).
    #[serde(rename = "gzip")]
    Gzip,
}

impl Algorithm {
    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Zstd => "zstd",
            Algorithm::Brotli => "br",
            Algorithm::Gzip => "gzip",
        }
    }
}
