//! `[logging]` as written.

use document::{OneOrMany, Toggle};
use schemars::JsonSchema;
use serde::Deserialize;

/// What maitred says about itself and about requests.
///
/// ```toml
/// [logging]
/// level  = "info,maitred_upstream=debug"
/// access = { format = "json", output = "/var/log/maitred/access.log", redact = ["token"] }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "logging")]
pub struct Logging {
    /// How much maitred says about itself on standard error: `off`, `error`, `warn`, `info`, `debug` or `trace`, and
    /// after commas other levels for single parts of it. Default `"info"`.
    ///
    /// Example: `level = "info,maitred_upstream=debug"`
    pub level: Option<String>,
    /// The access log: one line for each request, refused ones too. `false` writes none. A worker never waits for it:
    /// lines that cannot be written as fast as they come are dropped and counted in
    /// `maitred_access_log_dropped_total`. Default: JSON on standard output.
    ///
    /// Example: `access = { format = "combined", output = "/var/log/maitred/access.log" }`
    pub access: Option<Toggle<Access>>,
}

/// What the access log looks like and where it goes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "access log")]
pub struct Access {
    /// The form of a line: `json`, or `combined` as Apache and nginx write it. Default `"json"`.
    ///
    /// Example: `format = "combined"`
    pub format: Option<Format>,
    /// Where lines go: `stdout`, `stderr`, or the path of a file, with a `/` in it. A file is appended to, and opened
    /// again on the signal USR1, so that logrotate can move it away. Default `"stdout"`.
    ///
    /// Example: `output = "/var/log/maitred/access.log"`
    pub output: Option<String>,
    /// Names whose values are written as `***`: query parameters, in the request's own URL and in the one that Referer
    /// holds, and the header fields Referer and User-Agent. Upper and lower case are the same. Credentials before the
    /// host of a Referer are never written; other header fields never are. Default: `access_token`, `api_key`, `apikey`,
    /// `authorization`, `client_secret`, `code`, `cookie`, `id_token`, `jwt`, `password`, `refresh_token`, `secret`,
    /// `sig`, `signature`, `token` and `x-amz-signature`.
    ///
    /// Example: `redact = ["token", "session"]`
    pub redact: Option<OneOrMany<String>>,
    /// The share of requests that are written, from 0.0 to 1.0. Requests that ended with an error (`error` is not null,
    /// or the status is 500 or above) are always written. Default `1.0`.
    ///
    /// Example: `sample = 0.1`
    pub sample: Option<f64>,
}

/// The form of a line of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "access log format")]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line, with a fixed order of fields.
    #[default]
    Json,
    /// Apache's combined log format.
    Combined,
}
