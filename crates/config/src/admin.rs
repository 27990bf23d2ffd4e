//! `[admin]` as written.

use document::{OneOrMany, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where maitred answers about itself and is told what to do: `/health`, `/ready`, `/metrics` and `/api/v1/…`.
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
    /// other machines can reach needs a `token`. Default `"127.0.0.1:9911"`, unless another process has it.
    ///
    /// Example: `address = ["127.0.0.1:9911", "unix:/run/maitred/metrics.sock"]`
    pub address: Option<OneOrMany<String>>,
    /// What a request must carry as `Authorization: Bearer …` on addresses that other machines can reach, and to change
    /// something on loopback addresses, where nothing can be changed without a token; at least 16 characters. `/health`
    /// and `/ready` are answered without it, and so is everything on unix sockets and what only looks on loopback
    /// addresses. Default: none.
    ///
    /// Example: `token = "${file:/etc/maitred/admin.token}"`
    pub token: Option<Secret>,
    /// The audit log: a file, or a table. Every change through the admin plane, every reload, upgrade and stop by a signal, and
    /// every attempt of a caller to get in that failed (`attempts`), is a JSON object a line of it, with who, what and what came
    /// of it. Each line has the hash of the one before: `maitred audit verify` finds what was changed, removed or inserted. It is
    /// appended to, and opened again on the signal USR1. No worker waits for it: what cannot be written as fast as it comes is
    /// counted in `maitred_audit_dropped_total`, and the next line says how many are missing. The process log has the changes,
    /// as its target `audit`. Default: the process log alone.
    ///
    /// Example: `audit = "/var/log/maitred/audit.jsonl"`
    pub audit: Option<telemetry::audit::Written>,
}
