//! What an upstream is shown of maitred, as written.

use document::{Duration, OneOrMany, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the backends are shown so that they let maitred in: a fixed value, or a token that an issuer gives out for
/// `client_id` and `client_secret`.
///
/// ```toml
/// [upstreams.shipping]
/// backends    = "https://api.shipping.example"
/// credentials = { header = "X-API-Key", value = "${file:/run/secrets/shipping}" }
/// ```
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "credentials")]
pub struct Credentials {
    /// The header field that carries them. What a client sends in it does not get through. Default `"Authorization"`.
    ///
    /// Example: `header = "X-API-Key"`
    pub header: Option<String>,

    /// The value of the field. Either this or `token_url` is required.
    ///
    /// Example: `value = "Bearer ${file:/run/secrets/shipping}"`
    pub value: Option<Secret>,

    /// Where an issuer gives out tokens (OAuth 2.0 client credentials, RFC 6749 section 4.4). One token serves all requests;
    /// the next one is fetched before it ends, and when a backend answers 401. While there is none, requests are answered
    /// 502 (`upstream_credentials`).
    ///
    /// Example: `token_url = "https://login.shipping.example/token"`
    pub token_url: Option<String>,

    /// As whom maitred asks the issuer.
    ///
    /// Example: `client_id = "maitred"`
    pub client_id: Option<String>,

    /// The secret that goes with `client_id`.
    ///
    /// Example: `client_secret = "${file:/run/secrets/client}"`
    pub client_secret: Option<Secret>,

    /// What the token is to be good for. Default: whatever the issuer gives.
    ///
    /// Example: `scope = ["labels", "rates"]`
    pub scope: Option<OneOrMany<String>>,

    /// Whom the token is to be meant for, where the issuer wants to be told so. Default: it is not told.
    ///
    /// Example: `audience = "https://api.shipping.example"`
    pub audience: Option<String>,

    /// The authorities that the issuer's certificate may be from: a PEM file. Default: the system's.
    ///
    /// Example: `ca = "/etc/maitred/internal-ca.pem"`
    pub ca: Option<String>,

    /// How long the issuer may take to answer. At most `"30s"`. Default `"5s"`.
    ///
    /// Example: `timeout = "2s"`
    pub timeout: Option<Duration>,
}
