//! How clients are kept at one backend, as written.

use document::{Duration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a client is kept at the backend that answered it first.
#[derive(Debug, Clone, Default)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: Option<String>,
    /// What cookies are signed with.
    pub secret: Option<Secret>,
    /// How long browsers keep the cookie.
    pub max_age: Option<Duration>,
    /// Below which paths browsers send it.
    pub path: Option<String>,
    /// Whether it comes with requests that another site has begun.
    pub same_site: Option<SameSite>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
}

/// How a client is kept at the backend that answered it first: by a cookie, which is signed, and which says to nobody but
/// maitred which backend that is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "sticky")]
pub struct StickyTable {
    /// The cookie's name. Required.
    ///
    /// Example: `cookie = "backend"`
    pub cookie: Option<String>,

    /// What cookies are signed with: 16 bytes or more. Several maitreds with the same secret know each other's cookies, and a
    /// restart changes nothing. Default: a random key, which reloads and upgrades keep.
    ///
    /// Example: `secret = "${file:/run/secrets/sticky}"`
    pub secret: Option<Secret>,

    /// How long browsers keep the cookie, counted from when they were given it. Default: until they are closed.
    ///
    /// Example: `max_age = "8h"`
    pub max_age: Option<Duration>,

    /// Below which path browsers send it. Default `"/"`.
    ///
    /// Example: `path = "/app"`
    pub path: Option<String>,

    /// Whether it comes with requests that another site has begun: `"strict"`, `"lax"`, only where the user goes to this site
    /// with them, or `"none"`, which browsers take over TLS only. Default `"lax"`.
    ///
    /// Example: `same_site = "strict"`
    pub same_site: Option<SameSite>,
}

/// The cookie attribute of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Never with a request that another site has begun.
    Strict,
    /// Only where the user goes to this site with it.
    #[default]
    Lax,
    /// Always.
    None,
}

impl Sticky {
    fn from_text(text: &str) -> Result<Self, String> {
        let cookie = text.strip_prefix("cookie:");
        let cookie = cookie.ok_or_else(|| format!("`{text}` is nothing that a client is kept by: `cookie:NAME`"))?;
        Ok(Self { cookie: Some(cookie.to_owned()), ..Self::default() })
    }
}

impl From<StickyTable> for Sticky {
    fn from(StickyTable { cookie, secret, max_age, path, same_site }: StickyTable) -> Self {
        Self { cookie, secret, max_age, path, same_site, is_table: true }
    }
}

document::shorthand!(Sticky, StickyTable, "`\"cookie:NAME\"` or a table", str = Sticky::from_text);
