//! Limits of size and shape, as written.

use document::{OneOrMany, Size, Toggle};
use filter::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

/// How large a request may be, and from where it may come. These are keys of the route itself, and of `defaults`.
///
/// A listener has limits of its own for what it reads at all; a route's can only be tighter. A field block of more than
/// 100 fields is refused wherever it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "limits")]
pub struct Config {
    /// The largest request body. One that announces more is refused with 413 before the origin hears of it; one of
    /// unknown length is cut off where it grows larger. A size, or a table that says with `mode` whether larger ones are
    /// refused. `false` means no limit.
    ///
    /// Default: `"10MiB"`. Example: `max_body = "1MiB"`.
    pub max_body: Option<Toggle<SizeLimit>>,

    /// The largest block of request header fields: names, values and four bytes for each field. Larger ones are refused
    /// with 431. A size, or a table as for `max_body`; in shadow only what a listener reads at all is the limit: 256 KiB,
    /// or 64 KiB over HTTP/2.
    ///
    /// Default: `"64KiB"`. Example: `max_header = "16KiB"`.
    pub max_header: Option<SizeLimit>,

    /// The longest request target, path and query together. Longer ones are refused with 414. A size, or a table as for
    /// `max_body`; in shadow only what a listener reads at all is the limit, 63 KiB.
    ///
    /// Default: `"8KiB"`. Example: `max_url = "2KiB"`.
    pub max_url: Option<SizeLimit>,

    /// Which addresses may enter; others are refused with 403 before anything else is looked at. A client behind
    /// `trusted_proxies` is judged by the address that they tell. `false`: all.
    ///
    /// Example: `ip = { allow = ["10.0.0.0/8"], deny = "/etc/maitred/deny.txt" }`.
    pub ip: Option<Toggle<Ip>>,

    /// Which countries and networks may enter, by the databases of `[access]`; others are refused with 403. A client behind
    /// `trusted_proxies` is judged by the address that they tell. `false`: all.
    ///
    /// Example: `geo = { deny = ["KP", "AS64496"] }`.
    pub geo: Option<Toggle<Geo>>,

    /// The types of content that requests may bring, or else they are refused with 415: `"application/json"`, `"image/*"`,
    /// `"application/*+json"`. A request that names no type may bring nothing. A type, a list of them, or a table that says
    /// with `mode` whether others are refused. `false`: every type.
    ///
    /// Default: `false`. Example: `content_type = ["application/json", "application/*+json"]`.
    pub content_type: Option<Toggle<ContentTypes>>,
}

/// A size that nothing may exceed, as written: the size alone, or the table of [`SizeLimitTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit {
    /// The most that there may be.
    pub size: Size,
    /// Whether what is larger is refused.
    pub mode: Mode,
}

/// A size that nothing may exceed.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[schemars(title = "size limit")]
pub struct SizeLimitTable {
    /// The most that there may be.
    ///
    /// Example: `size = "1MiB"`.
    pub size: Size,

    /// `"enforce"`, or `"shadow"`: what is larger passes, and the access log says under `shadow` why it would not have. Default
    /// `"enforce"`.
    ///
    /// Example: `mode = "shadow"`.
    pub mode: Option<Mode>,
}

document::shorthand!(SizeLimit, SizeLimitTable, "a size such as \"64KiB\", or a table with `size`", short = Size);

impl From<Size> for SizeLimit {
    fn from(size: Size) -> Self {
        Self { size, mode: Mode::default() }
    }
}

impl From<SizeLimitTable> for SizeLimit {
    fn from(SizeLimitTable { size, mode }: SizeLimitTable) -> Self {
        Self { size, mode: mode.unwrap_or_default() }
    }
}

/// The types of content that may enter, as written: the list alone, or the table of [`ContentTypesTable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTypes {
    /// Those that may.
    pub allow: OneOrMany<String>,
    /// Whether others are refused.
    pub mode: Mode,
}

/// The types of content that may enter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "content types")]
pub struct ContentTypesTable {
    /// The only types that may enter.
    ///
    /// Example: `allow = ["application/json", "application/*+json"]`.
    pub allow: OneOrMany<String>,

    /// `"enforce"`, or `"shadow"`: every type enters, and the access log says under `shadow` which would not have. Default
    /// `"enforce"`.
    ///
    /// Example: `mode = "shadow"`.
    pub mode: Option<Mode>,
}

document::shorthand!(
    ContentTypes,
    ContentTypesTable,
    "a type such as \"application/json\", a list of them, or a table with `allow`",
    short = OneOrMany<String>,
);

impl From<OneOrMany<String>> for ContentTypes {
    fn from(allow: OneOrMany<String>) -> Self {
        Self { allow, mode: Mode::default() }
    }
}

impl From<ContentTypesTable> for ContentTypes {
    fn from(ContentTypesTable { allow, mode }: ContentTypesTable) -> Self {
        Self { allow, mode: mode.unwrap_or_default() }
    }
}

/// What is known of clients' addresses.
///
/// ```toml
/// [access]
/// geoip = ["/var/lib/GeoIP/GeoLite2-Country.mmdb", "/var/lib/GeoIP/GeoLite2-ASN.mmdb"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "access")]
pub struct Section {
    /// Databases of countries or networks (MaxMind DB: GeoLite2, DB-IP, IPinfo), which you get and renew yourself. They are
    /// followed: a new one is in force within a second. Default: none.
    ///
    /// Example: `geoip = "/var/lib/GeoIP/GeoLite2-Country.mmdb"`.
    pub geoip: Option<OneOrMany<String>>,
}

/// Which countries and networks may enter. An entry is a country by its two letters (ISO 3166-1), a network by its number
/// (`"AS64496"`), or `"unknown"`: every address of which no country is known, such as those of your own network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "geo")]
pub struct Geo {
    /// The only ones that may enter. Default: all.
    ///
    /// Example: `allow = ["DE", "AT", "CH", "unknown"]`.
    pub allow: Option<OneOrMany<String>>,

    /// Those that may not enter, whatever `allow` says. Default: none.
    ///
    /// Example: `deny = "AS64496"`.
    pub deny: Option<OneOrMany<String>>,

    /// `"enforce"`, or `"shadow"`: everybody enters, and the access log says under `shadow` who would not have. Default
    /// `"enforce"`.
    ///
    /// Example: `mode = "shadow"`.
    pub mode: Option<Mode>,
}

/// Which addresses may enter. An entry is an address, a network, or a file of them: its path begins with `/` or `./`, or
/// ends in `.txt`. Such a file has one a line, and `#` begins a remark; it is followed, and a change is in force within a
/// second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "ip")]
pub struct Ip {
    /// The only addresses that may enter. Default: all.
    ///
    /// Example: `allow = ["10.0.0.0/8", "2001:db8::/32"]`.
    pub allow: Option<OneOrMany<String>>,

    /// Addresses that may not enter, whatever `allow` says. Default: none.
    ///
    /// Example: `deny = ["192.0.2.7", "/etc/maitred/deny.txt"]`.
    pub deny: Option<OneOrMany<String>>,

    /// `"enforce"`, or `"shadow"`: everybody enters, and the access log says under `shadow` who would not have. Default
    /// `"enforce"`.
    ///
    /// Example: `mode = "shadow"`.
    pub mode: Option<Mode>,
}
