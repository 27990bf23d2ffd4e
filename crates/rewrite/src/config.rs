//! Rewrites, redirects and fixed responses, as written.

use std::collections::BTreeMap;

use document::OneOrMany;
use schemars::JsonSchema;
use serde::Deserialize;

/// What to change in the query before the origin sees it. Everything else is kept as it came and in its order.
///
/// ```toml
/// [routes.search.request]
/// query = { set = { v = "2" }, remove = ["debug"] }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "query")]
pub struct QueryConfig {
    /// Parameters to set: each takes the place of all parameters of that name, at the end of the query. The value is
    /// plain text with placeholders and is percent-encoded as needed.
    ///
    /// Example: `set = { tenant = "{header.X-Tenant}" }`
    pub set: Option<BTreeMap<String, String>>,
    /// Parameters to add behind those that are there: a value, or a list of them.
    ///
    /// Example: `add = { tag = ["a", "b"] }`
    pub add: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Names of parameters to remove, however they are spelt.
    ///
    /// Example: `remove = ["debug", "utm_source"]`
    pub remove: Option<OneOrMany<String>>,
}

/// Where to send the client instead of an origin.
///
/// Written as the location alone, or as a table with the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectConfig {
    pub(crate) to: Option<String>,
    pub(crate) status: Option<u16>,
}

/// Where to send the client instead of an origin.
///
/// ```toml
/// [routes.moved]
/// path     = "/old/*"
/// redirect = { to = "/new{rest}", status = 301 }
/// ```
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "redirect")]
pub(crate) struct RedirectTable {
    /// The new location: a path on the same host, or a URL. Placeholders may stand anywhere in the path and the query; in
    /// the host only `{host}` and `{port}`, so that no request chooses where it is sent. The client's query is kept
    /// unless there is one here (`"/new?"` drops it).
    ///
    /// Example: `to = "https://new.example.com{path}"`
    to: Option<String>,
    /// The status: 301, 302, 303, 307 or 308. With 307 and 308 the client repeats its method and body. Default 308.
    ///
    /// Example: `status = 302`
    status: Option<u16>,
}

impl From<RedirectTable> for RedirectConfig {
    fn from(table: RedirectTable) -> Self {
        Self { to: table.to, status: table.status }
    }
}

impl RedirectConfig {
    /// A location alone. Never fails: what is wrong with it is reported when it is compiled.
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { to: Some(text.into()), status: None })
    }
}

document::shorthand!(
    RedirectConfig,
    RedirectTable,
    "a location, or a table with `to` and `status`",
    str = RedirectConfig::from_text
);

/// An answer that stands in the configuration.
///
/// ```toml
/// [routes.gone]
/// path    = "/v1/*"
/// respond = { status = 410, body = "gone: use /v2{rest}" }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "respond")]
pub struct RespondConfig {
    /// The status, 200 to 599. Default 200.
    ///
    /// Example: `status = 410`
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// The body, which may hold placeholders. In HTML, XML and JSON their values are escaped. Nothing when missing.
    ///
    /// Example: `body = "gone"`
    pub body: Option<String>,
    /// Header fields, whose values may hold placeholders. `Content-Type` is `text/plain; charset=utf-8` when missing.
    ///
    /// Example: `headers = { Content-Type = "application/json", Cache-Control = "no-store" }`
    pub headers: Option<BTreeMap<String, String>>,
}
