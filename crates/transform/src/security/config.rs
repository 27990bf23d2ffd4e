//! Security headers, as written.

use document::{Duration, Toggle};
use schemars::JsonSchema;
use serde::Deserialize;

/// `security_headers` as written: `true`, or the table of [`SecurityTable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityConfig {
    pub(super) table: SecurityTable,
}

document::shorthand!(
    SecurityConfig,
    SecurityTable,
    "`true` or a table of security headers",
    bool = SecurityConfig::from_bool
);

impl SecurityConfig {
    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("expected `true` or a table of security headers".into()) }
    }
}

impl From<SecurityTable> for SecurityConfig {
    fn from(table: SecurityTable) -> Self {
        Self { table }
    }
}

/// Headers that tell browsers to be careful, sent with every answer of the route, those of maitred itself included.
///
/// `security_headers = true` sends `X-Content-Type-Options: nosniff`, `X-Frame-Options: DENY` with
/// `Content-Security-Policy: frame-ancestors 'none'`, `Referrer-Policy: strict-origin-when-cross-origin` and, over
/// HTTPS only, `Strict-Transport-Security: max-age=31536000; includeSubDomains`; and it removes what tells which
/// software the origin runs. A table changes some of it and keeps the rest.
///
/// A header that the origin or `response.set` sent already stays as it is, unless `override = true`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "security_headers")]
pub struct SecurityTable {
    /// `Strict-Transport-Security` (RFC 6797): for how long browsers shall use HTTPS only. A duration, a table with
    /// `max_age`, `subdomains` and `preload`, or `false`. Never sent over plain HTTP, as the RFC demands.
    ///
    /// Default: `"365d"` with subdomains. Example: `hsts = { max_age = "730d", preload = true }`.
    pub hsts: Option<Toggle<HstsConfig>>,

    /// Who may show the page in a frame: `"deny"`, `"same-origin"`, or `false` for everybody. Sent as `X-Frame-Options`
    /// and, where `csp` is not given, as `Content-Security-Policy: frame-ancestors` as well.
    ///
    /// Default: `"deny"`. Example: `frame = "same-origin"`.
    pub frame: Option<Toggle<Frame>>,

    /// `Content-Security-Policy`, as it shall be sent.
    ///
    /// Default: only the `frame-ancestors` that `frame` makes. Example: `csp = "default-src 'self'"`.
    pub csp: Option<String>,

    /// `Referrer-Policy`: `"no-referrer"`, `"same-origin"`, `"strict-origin"`, `"strict-origin-when-cross-origin"`, …,
    /// or `false`.
    ///
    /// Default: `"strict-origin-when-cross-origin"`. Example: `referrer = "no-referrer"`.
    pub referrer: Option<Toggle<Referrer>>,

    /// `X-Content-Type-Options: nosniff`: browsers believe the content type.
    ///
    /// Default: `true`. Example: `nosniff = false`.
    pub nosniff: Option<bool>,

    /// `Permissions-Policy`, as it shall be sent.
    ///
    /// Default: none. Example: `permissions = "camera=(), microphone=(), geolocation=()"`.
    pub permissions: Option<String>,

    /// `Cross-Origin-Opener-Policy`: `"same-origin"`, `"same-origin-allow-popups"`, `"noopener-allow-popups"` or
    /// `"unsafe-none"`.
    ///
    /// Default: none. Example: `coop = "same-origin"`.
    pub coop: Option<Opener>,

    /// `Cross-Origin-Embedder-Policy`: `"require-corp"`, `"credentialless"` or `"unsafe-none"`.
    ///
    /// Default: none. Example: `coep = "require-corp"`.
    pub coep: Option<Embedder>,

    /// `Cross-Origin-Resource-Policy`: `"same-origin"`, `"same-site"` or `"cross-origin"`.
    ///
    /// Default: none. Example: `corp = "same-site"`.
    pub corp: Option<Resource>,

    /// Whether to remove `Server`, `X-Powered-By`, `X-AspNet-Version`, `X-AspNetMvc-Version`, `X-Generator` and
    /// `X-Runtime`, which tell an attacker what to try.
    ///
    /// Default: `true`. Example: `hide = false`.
    pub hide: Option<bool>,

    /// Whether these headers take the place of those that the origin sent.
    ///
    /// Default: `false`. Example: `override = true`.
    #[serde(rename = "override")]
    pub replace: Option<bool>,
}

/// `hsts` as written: `true`, a duration, or the table of [`HstsTable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HstsConfig {
    pub(super) table: HstsTable,
}

document::shorthand!(
    HstsConfig,
    HstsTable,
    "a duration such as \"365d\", `true` or a table",
    str = HstsConfig::from_text,
    bool = HstsConfig::from_bool,
);

impl HstsConfig {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { table: HstsTable { max_age: Some(text.parse()?), ..HstsTable::default() } })
    }

    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("expected `true`, a duration or a table".into()) }
    }
}

impl From<HstsTable> for HstsConfig {
    fn from(table: HstsTable) -> Self {
        Self { table }
    }
}

/// `Strict-Transport-Security` (RFC 6797): for how long browsers shall use HTTPS only, and for which hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "hsts")]
pub struct HstsTable {
    /// For how long, in whole seconds; `"0s"` makes browsers forget.
    ///
    /// Default: `"365d"`. Example: `max_age = "30d"`.
    pub max_age: Option<Duration>,

    /// Whether all subdomains are meant as well.
    ///
    /// Default: `true`. Example: `subdomains = false`.
    pub subdomains: Option<bool>,

    /// Whether the host asks to be built into browsers (hstspreload.org). Easy to get into and slow to get out of;
    /// needs `subdomains` and a `max_age` of a year or more.
    ///
    /// Default: `false`. Example: `preload = true`.
    pub preload: Option<bool>,
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $type:ident { $($(#[doc = $what:literal])+ $name:ident $written:literal = $sent:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
        pub enum $type { $($(#[doc = $what])+ #[serde(rename = $written)] $name,)+ }

        impl $type {
            /// The value of the header.
            pub(super) const fn sent(self) -> &'static str {
                match self { $($type::$name => $sent,)+ }
            }
        }
    };
}

words! {
    /// Who may show a page in a frame.
    Frame {
        /// Nobody.
        Deny "deny" = "DENY";
        /// Pages of the same origin.
        SameOrigin "same-origin" = "SAMEORIGIN";
    }
}

words! {
    /// How much of the page's address a browser tells where it leads.
    Referrer {
        /// Nothing.
        NoReferrer "no-referrer" = "no-referrer";
        /// Everything, but nothing from HTTPS to HTTP.
        NoReferrerWhenDowngrade "no-referrer-when-downgrade" = "no-referrer-when-downgrade";
        /// The origin only.
        Origin "origin" = "origin";
        /// Everything to the same origin, the origin to others.
        OriginWhenCrossOrigin "origin-when-cross-origin" = "origin-when-cross-origin";
        /// Everything to the same origin, nothing to others.
        SameOrigin "same-origin" = "same-origin";
        /// The origin only, but nothing from HTTPS to HTTP.
        StrictOrigin "strict-origin" = "strict-origin";
        /// Everything to the same origin, the origin to others, but nothing from HTTPS to HTTP.
        StrictOriginWhenCrossOrigin "strict-origin-when-cross-origin" = "strict-origin-when-cross-origin";
        /// Everything to everybody.
        UnsafeUrl "unsafe-url" = "unsafe-url";
    }
}

words! {
    /// Which windows keep a hold of each other.
    Opener {
        /// Those of the same origin.
        SameOrigin "same-origin" = "same-origin";
        /// Those of the same origin, and pop-ups.
        SameOriginAllowPopups "same-origin-allow-popups" = "same-origin-allow-popups";
        /// None, but pop-ups may be opened.
        NoopenerAllowPopups "noopener-allow-popups" = "noopener-allow-popups";
        /// All.
        UnsafeNone "unsafe-none" = "unsafe-none";
    }
}

words! {
    /// What a page may embed from other origins.
    Embedder {
        /// What allows it.
        RequireCorp "require-corp" = "require-corp";
        /// Anything, asked for without credentials.
        Credentialless "credentialless" = "credentialless";
        /// Anything.
        UnsafeNone "unsafe-none" = "unsafe-none";
    }
}

words! {
    /// Who may embed the answer.
    Resource {
        /// Pages of the same origin.
        SameOrigin "same-origin" = "same-origin";
        /// Pages of the same site.
        SameSite "same-site" = "same-site";
        /// Everybody.
        CrossOrigin "cross-origin" = "cross-origin";
    }
}
