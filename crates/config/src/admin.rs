//! `[admin]` as written.

use document::{OneOrMany, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where maitred answers about itself: `/health`, `/ready`, `/metrics` and `/api/v1/status`.
///
/// The same is answered on a unix socket in the run folder, whatever is written here: `/run/maitred/admin.sock`, or
/// `$XDG_RUNTIME_DIR/maitred/admin.sock` for a user who may not write there, or `admin.sock` in the folder that
/// `$RUNTIME_DIRECTORY` names, which systemd sets for `RuntimeDirectory=`. File permissions decide who may use it.
///
/// ```toml
/// [admin]
/// address = "127.0.0.1:9911"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "admin")]
pub struct Config {
    /// One address or several: `127.0.0.1:9911`, `[::1]:9911`, `localhost:9911`, `:9911` for every address of the
    /// machine, or `unix:/path/of/a/socket`. An empty list leaves only the socket of the run folder. An address that
    /// other machines can reach needs a `token`. Default `"127.0.0.1:9911"`, unless another process has it. Takes effect
    /// at the next start.
    ///
    /// Example: `address = ["127.0.0.1:9911", "unix:/run/maitred/metrics.sock"]`
    pub address: Option<OneOrMany<String>>,
    /// What a request must carry as `Authorization: Bearer …` on addresses that other machines can reach; at least 16
    /// characters. `/health` and `/ready` are answered without it, and so is everything on loopback addresses and unix
    /// sockets. Default: none. Takes effect at the next start.
    ///
    /// Example: `token = "${file:/etc/maitred/admin.token}"`
    pub token: Option<Secret>,
}
