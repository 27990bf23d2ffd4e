//! Policies as written.

use std::collections::BTreeMap;

use document::{Duration, OneOrMany, Secret};
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
    /// Where clients read how they get a token for this (OAuth 2.0 Protected Resource Metadata, RFC 9728), as clients of the Model
    /// Context Protocol do: the challenges of `type = "jwt"` and `type = "introspection"` name it. An https URL, or http on this
    /// machine. A route with `respond` can answer there. Default: none.
    ///
    /// Example: `resource_metadata = "https://api.example.com/.well-known/oauth-protected-resource"`
    pub resource_metadata: Option<String>,
    /// Facts about the caller that the origin is told, each with the name of the field that carries it: `user`, `key`,
    /// `plan`, `scope`, `role`, or a claim by its name. Scopes have spaces between them, the members of other lists commas. Such fields
    /// of the client's own are removed from every request of the route.
    ///
    /// Example: `forward = { user = "X-User", plan = "X-Plan" }`
    pub forward: Option<BTreeMap<String, String>>,
    /// Whether the credentials are taken out of the request that the origin sees. Default `true`.
    ///
    /// Example: `hide_credentials = false`
    pub hide_credentials: Option<bool>,
    /// The header field that carries the key or token. Default for `api_key`: `"X-API-Key"`, beside
    /// `Authorization: ApiKey …`; for `jwt` and `introspection`: `Authorization: Bearer …`.
    ///
    /// Example: `header = "X-Partner-Key"`
    pub header: Option<String>,
    /// The query parameter that may carry the key, for clients that cannot set a header. Queries end up in logs and
    /// histories; maitred's own access log hides this parameter. Default: none.
    ///
    /// Example: `query = "api_key"`
    pub query: Option<String>,
    /// The cookie that may carry the key or token, for pages whose scripts cannot set a header, such as those that open a
    /// WebSocket or show a picture. It is looked at last, and is hidden from the origin, which gets all other cookies as they
    /// were written. Two cookies of that name are refused: who reads them does not agree on which one counts. Browsers
    /// send cookies on their own, also for what other sites make them ask for: set it with `SameSite` and `HttpOnly`.
    /// Default: none.
    ///
    /// Example: `cookie = "api_key"`
    pub cookie: Option<String>,
    /// Who makes the tokens, or of `type = "oidc"` where users log in: what their `iss` has to be, exactly. Where `type = "jwt"` and neither `jwks`, `public_key` nor
    /// `secret` is given, its keys are found by discovery (`ISSUER/.well-known/openid-configuration`). Default: any.
    ///
    /// Example: `issuer = "https://login.example.com/"`
    pub issuer: Option<String>,
    /// Whom the tokens are meant for: their `aud` has to have any one of these. Default: anybody, which is seldom right
    /// where an issuer makes tokens for more than one service.
    ///
    /// Example: `audience = "api"`
    pub audience: Option<OneOrMany<String>>,
    /// The URL of the issuer's keys (JWKS). They are fetched before the first request, every ten minutes, and when a token
    /// names one that is not known, at most every 30 seconds; while they cannot be had, the last ones serve for a day.
    ///
    /// Example: `jwks = "https://login.example.com/jwks.json"`
    pub jwks: Option<String>,
    /// The public key or certificate that tokens are checked with: a PEM file.
    ///
    /// Example: `public_key = "/etc/maitred/jwt.pem"`
    pub public_key: Option<String>,
    /// The secret that tokens are made and checked with (HMAC), of at least 32 bytes. Whoever has it can make tokens.
    ///
    /// Example: `secret = "${JWT_SECRET}"`
    pub secret: Option<Secret>,
    /// How tokens may be signed; whatever a token says, nothing else is looked at, and nothing that the type of the key
    /// does not fit. Default: RS256, PS256, ES256 and EdDSA; with `secret` HS256.
    ///
    /// Example: `algorithms = ["RS256", "ES256"]`
    pub algorithms: Option<OneOrMany<String>>,
    /// How far the issuer's clock may be from ours. Default `"1m"`.
    ///
    /// Example: `leeway = "30s"`
    pub leeway: Option<Duration>,
    /// What kind of token it has to be, as its header says in `typ` (RFC 8725 section 3.11). Default: any.
    ///
    /// Example: `typ = "at+jwt"`
    pub typ: Option<String>,
    /// The claim that names the user. Default `"sub"`. For `type = "forward"`: the field of the service's answer that does.
    /// Default: none.
    ///
    /// Example: `user = "preferred_username"`
    pub user: Option<String>,
    /// The claim that has the user's roles; one within another is written with a dot. Default `"roles"`. For
    /// `type = "forward"`: the field of the service's answer that has them, with commas between. Default: none.
    ///
    /// Example: `roles = "realm_access.roles"`
    pub roles: Option<String>,
    /// The claim that names what the user has subscribed to, which limits with `plans` go by; one within another is written with a dot,
    /// and one that is a list names none. For `type = "forward"`: the field of the service's answer that does. Default: none.
    ///
    /// Example: `plan = "plan"`
    pub plan: Option<String>,
    /// The service that is asked: of `type = "introspection"` the issuer's endpoint (RFC 7662), of `type = "forward"` the one
    /// that decides. While it is away, slow or answers nonsense, requests are refused with 503 (`auth_unavailable`).
    ///
    /// A service that decides is asked with GET and told what the request is for: `X-Forwarded-Method`, `-Proto`, `-Host`,
    /// `-Port`, `-Uri` (the path as it was normalised, and the query) and `-For`, and `X-Request-Id`. An answer of 2xx lets
    /// the request pass. One of 401, 403, or a redirect is what the client gets, with its `WWW-Authenticate`, `Location`,
    /// `Set-Cookie` and content. Any other is no decision.
    ///
    /// Example: `url = "http://authz:9000/check"`
    pub url: Option<String>,
    /// The client's header fields that the service of `type = "forward"` is shown. Default `["Authorization", "Cookie"]`.
    ///
    /// Example: `send = ["Cookie", "X-API-Key"]`
    pub send: Option<OneOrMany<String>>,
    /// The fields of the answer of `type = "forward"` that the origin gets. Such fields of the client's own are removed
    /// from every request of the route, and so are those that `user`, `roles` and `plan` name. What they say can be required as a claim by the field's name in lower case.
    /// Default: none.
    ///
    /// Example: `copy = ["X-User", "X-Groups"]`
    pub copy: Option<OneOrMany<String>>,
    /// For how long an answer of the service at `url` is believed; requests that ask the same meanwhile do not ask again. Of
    /// `type = "introspection"` a token, never beyond its `exp`. Of `type = "forward"` whatever the service is told, field
    /// by field, so that another path or address asks anew; refusals are never kept, nor answers of
    /// `Cache-Control: no-store`. At most `"1h"`; `"0s"`: every request asks. Default: `"30s"` for `introspection`, `"0s"`
    /// for `forward`.
    ///
    /// Example: `cache = "1m"`
    pub cache: Option<Duration>,
    /// How long the service at `url`, or the provider of `type = "oidc"`, may take to answer. At most `"30s"`. Default `"2s"`.
    ///
    /// Example: `timeout = "500ms"`
    pub timeout: Option<Duration>,
    /// As whom maitred asks the issuer of `type = "introspection"` or the provider of `type = "oidc"` (RFC 6749 section 2.3.1).
    ///
    /// Example: `client_id = "maitred"`
    pub client_id: Option<String>,
    /// The secret that goes with `client_id`.
    ///
    /// Example: `client_secret = "${file:/run/secrets/client}"`
    pub client_secret: Option<Secret>,
    /// The authorities that the certificates of `issuer`, `jwks` or `url` may be from: a PEM file. Default: the system's.
    ///
    /// Of `type = "mtls"` those that clients' certificates have to be from. The listener's `client_ca` decides who may connect
    /// at all, and has to hold them too; it may hold more, for other routes. The file is followed: a change is in force within
    /// a second, for connections that are there already as well. Default: any that the listener trusts.
    ///
    /// Example: `ca = "/etc/maitred/internal-ca.pem"`
    pub ca: Option<String>,
    /// What is asked for of the provider of `type = "oidc"`, besides `openid`. Many give a refresh token, with which a session
    /// outlives its ID token, only for `offline_access`. Default `["profile", "email"]`.
    ///
    /// Example: `scopes = ["profile", "offline_access"]`
    pub scopes: Option<OneOrMany<String>>,
    /// The path that the provider of `type = "oidc"` sends users back to. With scheme and host before it, it is the redirect URI
    /// that has to be registered there. maitred answers it on every host that a route with the policy serves. Default
    /// `"/oauth2/callback"`.
    ///
    /// Example: `callback = "/login/done"`
    pub callback: Option<String>,
    /// The path that ends a session of `type = "oidc"`, here and, where the provider has an `end_session_endpoint`, there.
    /// Default `"/oauth2/logout"`.
    ///
    /// Example: `logout = "/logout"`
    pub logout: Option<String>,
    /// The path that users come to who have logged out of `type = "oidc"`; at the provider it has to be registered as well.
    /// Default `"/"`.
    ///
    /// Example: `after_logout = "/bye"`
    pub after_logout: Option<String>,
    /// How long after the login a session of `type = "oidc"` ends at the latest. Before that it ends with its ID token, where the
    /// provider gives no refresh token. From `"1m"` to `"30d"`. Default `"12h"`.
    ///
    /// Example: `session = "8h"`
    pub session: Option<Duration>,
    /// What the cookies of `type = "oidc"` are encrypted with, of at least 32 bytes: the first of a list encrypts, all of them
    /// decrypt, so that one is exchanged by putting the new one first. Every instance needs the same. Default: a key made of
    /// `client_secret`.
    ///
    /// Example: `cookie_secret = ["${COOKIE_SECRET}", "${OLD_COOKIE_SECRET}"]`
    pub cookie_secret: Option<OneOrMany<Secret>>,
    /// The file of users of `type = "basic"`, with the Argon2id hashes of their passwords that `maitred hash` makes. It is
    /// followed: a change is in force within a second.
    ///
    /// Example: `users = "/etc/maitred/users.toml"`
    pub users: Option<String>,
    /// Names of which a certificate of `type = "mtls"` has to have any one (subjectAltName: a host, an e-mail address, a
    /// URI or an address); `*.` stands for one label. The name is the user. Default: every certificate that the listener
    /// has verified, whose subject is the user.
    ///
    /// Example: `san = "*.partner.example"`
    pub san: Option<OneOrMany<String>>,
    /// The common name in the subject of a certificate of `type = "mtls"`, or several of which any one will do. It is the user. A
    /// certificate with two common names has none. With `san` either will do. Default: any.
    ///
    /// Example: `cn = "orders"`
    pub cn: Option<OneOrMany<String>>,
    /// The SHA-256 of certificates, in hexadecimal, of which it has to be any one. Default: any.
    ///
    /// Example: `fingerprint = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
    pub fingerprint: Option<OneOrMany<String>>,
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
    /// A token that its issuer has signed (RFC 7519).
    Jwt,
    /// A name and a password (RFC 7617).
    Basic,
    /// A certificate, which a listener with `client_ca` has verified.
    Mtls,
    /// A token that its issuer is asked about (RFC 7662).
    Introspection,
    /// Whatever another service asks for.
    Forward,
    /// A session in a browser, begun by logging in at a provider (OpenID Connect).
    Oidc,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Basic => "basic",
            Self::Mtls => "mtls",
            Self::Introspection => "introspection",
            Self::Forward => "forward",
            Self::Oidc => "oidc",
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
    /// A condition in CEL, the Common Expression Language, over `user`, `key`, `plan`, `scopes`, `roles`, `claims`, and `request`
    /// with `method`, `scheme`, `host`, `path` (as routes see it, without path parameters), `query`, `client_ip` and `headers` (by
    /// names in lower case). What cannot be told does not hold. Only in builds with the feature `cel`; `maitred version --features`
    /// says whether this one has it.
    ///
    /// Example: `when = "request.path.startsWith('/tenants/' + claims.tenant + '/')"`
    pub when: Option<String>,
    /// `"enforce"`, or `"shadow"`: the caller passes all the same, and the access log says under `shadow` that it would
    /// not have. Default `"enforce"`.
    ///
    /// Example: `mode = "shadow"`
    pub mode: Option<Mode>,
}
