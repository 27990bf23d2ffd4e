//! Policies as written.

use std::collections::BTreeMap;

use document::OneOrMany;
use filter::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

/// A way to find out who calls, which routes name: `[auth.NAME]`.
///
/// A request without credentials, or with wrong ones, is refused with 401 and never reaches the origin; the origin does
/// not get to see the credentials either, unless `hide_credentials = false`.
///
/// ```toml
/// [auth.partners]
/// type = "api_key"
/// keys = "/etc/maitred/keys.toml"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "auth")]
pub struct Config {
    /// What the client has to show. Required.
    ///
    /// Example: `type = "api_key"`
    pub r#type: Option<Kind>,
    /// `"enforce"`, or `"shadow"`: everybody passes, and the access log says under `shadow` who would not have. A route
    /// that takes any one of several policies is in shadow when all of them are. Default `"enforce"`.
    ///
    /// Example: `mode = "shadow"`
    pub mode: Option<Mode>,
    /// The protection space that clients are told of in `WWW-Authenticate`. Default: the name of the policy.
    ///
    /// Example: `realm = "orders"`
    pub realm: Option<String>,
    /// Facts about the caller that the origin is told, each with the name of the field that carries it: `user`, `key`,
    /// `plan`, `scope`, `role`, or a claim by its name; the members of a list have commas between them. Such fields
    /// of the client's own are removed from every request of the route.
    ///
    /// Example: `forward = { user = "X-User", plan = "X-Plan" }`
    pub forward: Option<BTreeMap<String, String>>,
    /// Whether the credentials are taken out of the request that the origin sees. Default `true`.
    ///
    /// Example: `hide_credentials = false`
    pub hide_credentials: Option<bool>,
    /// The header field that carries the key or token. Default for `api_key`: `"X-API-Key"`, beside
    /// `Authorization: ApiKey …`.
    ///
    /// Example: `header = "X-Partner-Key"`
    pub header: Option<String>,
    /// The query parameter that may carry the key, for clients that cannot set a header. Queries end up in logs and
    /// histories; maitred's own access log hides this parameter. Default: none.
    ///
    /// Example: `query = "api_key"`
    pub query: Option<String>,
    /// The file of keys of `type = "api_key"`, which `maitred key` writes: their SHA-256, never the keys. It is
    /// followed: a change is in force within a second.
    ///
    /// Example: `keys = "/etc/maitred/keys.toml"`
    pub keys: Option<String>,
}

/// What a client has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Kind {
    /// A key out of a file.
    ApiKey,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
        }
    }
}

/// What a route asks for: a policy by its name, or one written in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `"partners"`: `[auth.partners]`.
    Named(String),
    /// `{ type = "api_key", … }`.
    InPlace(Box<Config>),
}

impl Written {
    fn from_text(name: &str) -> Result<Self, String> {
        Ok(Self::Named(name.into()))
    }
}

impl From<Config> for Written {
    fn from(config: Config) -> Self {
        Self::InPlace(config.into())
    }
}

document::shorthand!(Written, Config, "the name of a policy or its table", str = Written::from_text);

/// What the caller has to be, or else is refused with 403. All that is given must hold.
///
/// ```toml
/// [routes.orders.require]
/// scope = "orders"
/// role  = ["admin", "editor"]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "require")]
pub struct Require {
    /// Scopes that the credential is good for: all of them.
    ///
    /// Example: `scope = ["orders", "orders:write"]`
    pub scope: Option<OneOrMany<String>>,
    /// Roles of the caller: any one of them.
    ///
    /// Example: `role = ["admin", "editor"]`
    pub role: Option<OneOrMany<String>>,
    /// Claims by name, each with its value or with a list of which any one will do. A claim that is itself a list has to
    /// contain it.
    ///
    /// Example: `claims = { tenant = "acme" }`
    pub claims: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Methods by role: the method has to be one that a role of the caller may use.
    ///
    /// Example: `method = { viewer = "GET", editor = ["GET", "PUT"] }`
    pub method: Option<BTreeMap<String, OneOrMany<String>>>,
    /// `"enforce"`, or `"shadow"`: the caller passes all the same, and the access log says under `shadow` that it would
    /// not have. Default `"enforce"`.
    ///
    /// Example: `mode = "shadow"`
    pub mode: Option<Mode>,
}
