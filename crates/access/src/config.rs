//! Limits of size and shape, as written.

use document::{Size, Toggle};
use schemars::JsonSchema;
use serde::Deserialize;

/// How large a request may be. These are keys of the route itself, and of `defaults`.
///
/// A listener has limits of its own for what it reads at all; a route's can only be tighter. A field block of more than
/// 100 fields is refused wherever it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "limits")]
pub struct Config {
    /// The largest request body. One that announces more is refused with 413 before the origin hears of it; one of
    /// unknown length is cut off where it grows larger. `false` means no limit.
    ///
    /// Default: `"10MiB"`. Example: `max_body = "1MiB"`.
    pub max_body: Option<Toggle<Size>>,

    /// The largest block of request header fields: names, values and four bytes for each field. Larger ones are refused
    /// with 431.
    ///
    /// Default: `"64KiB"`. Example: `max_header = "16KiB"`.
    pub max_header: Option<Size>,

    /// The longest request target, path and query together. Longer ones are refused with 414.
    ///
    /// Default: `"8KiB"`. Example: `max_url = "2KiB"`.
    pub max_url: Option<Size>,
}
