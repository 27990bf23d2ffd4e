//! Cross-origin sharing, as written.

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

/// Which web origins may call the route from a browser (CORS, part of the Fetch standard).
///
/// A preflight is answered with 204 by maitred itself, before authentication, limits and everything else, and never
/// reaches the origin server; one from an origin that is not listed is answered without the headers that would permit
/// the call. Every other answer, errors of maitred included, carries the headers for its origin; those that the origin
/// server sent are replaced, and `Vary: Origin` is added where the answer depends on who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "cors")]
pub struct Config {
    /// The web origins that may call: exact (`"https://app.example.com"`), with any subdomains
    /// (`"https://*.example.com"`), as a regular expression for the whole origin
    /// (`"~https://pr-[0-9]+\\.example\\.com"`), `"*"` for every one, or `"null"` for sandboxed pages and local files,
    /// which anybody can pretend to be.
    ///
    /// Required. Example: `origins = ["https://app.example.com", "https://*.example.org"]`.
    pub origins: Option<OneOrMany<String>>,

    /// The methods that may be used. `"*"` permits the one that is asked for.
    ///
    /// Default: `["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]`. Example: `methods = ["GET", "POST"]`.
    pub methods: Option<OneOrMany<String>>,

    /// The request headers that may be sent besides those that browsers always may. `"*"` permits those that are asked
    /// for.
    ///
    /// Default: `["Authorization", "Content-Type"]`. Example: `headers = ["Authorization", "X-Requested-With"]`.
    pub headers: Option<OneOrMany<String>>,

    /// The response headers that a script may read besides those that it always may. `"*"` shows all of them, which
    /// browsers heed only without credentials.
    ///
    /// Default: none. Example: `expose = ["X-Request-Id"]`.
    pub expose: Option<OneOrMany<String>>,

    /// Whether cookies and other credentials may be sent along. Not with `origins = ["*"]`, which would let every web
    /// site act as its visitor.
    ///
    /// Default: `false`. Example: `credentials = true`.
    pub credentials: Option<bool>,

    /// For how long a browser may remember the answer to a preflight, in whole seconds. Chromium remembers for two
    /// hours at most, Firefox for a day.
    ///
    /// Default: not sent, which browsers take for 5 seconds. Example: `max_age = "10m"`.
    pub max_age: Option<Duration>,

    /// Whether pages from the public internet may call although the route is on a private network
    /// (`Access-Control-Allow-Private-Network`).
    ///
    /// Default: `false`. Example: `private_network = true`.
    pub private_network: Option<bool>,
}
