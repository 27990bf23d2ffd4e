//! The sections of the document.

use std::collections::BTreeMap;

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Route, admin::Config as Admin};

/// The whole configuration, its short forms spelt out and its defaults applied.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What concerns the whole process.
    pub server: Server,
    /// Where connections are accepted, by name.
    pub listeners: BTreeMap<String, listen::Config>,
    /// Where requests go, by name. Upstreams that are written in place of a name have one made of their URL.
    pub upstreams: BTreeMap<String, upstream::Config>,
    /// Which requests are taken and what happens to them, by name. The name of a route in its short form is its key.
    pub routes: BTreeMap<String, Route>,
    /// Ways to find out who calls, by name.
    pub auth: BTreeMap<String, auth::Config>,
    /// What is known of clients' addresses.
    pub access: access::Section,
    /// Limits that routes refer to, by name.
    pub limits: BTreeMap<String, limit::Written>,
    /// Where answers are kept.
    pub cache: cache::ZoneConfig,
    /// What several processes share.
    pub redis: Option<store::Config>,
    /// What is written down.
    pub logging: telemetry::Logging,
    /// Where operators look.
    pub admin: Admin,
    /// Requests, and what has to become of them, by name. The name of a test in its short form is its key.
    pub tests: BTreeMap<String, trial::Config>,
}

/// The configuration of maitred, as written in `maitred.toml` and the files that it includes.
#[derive(JsonSchema)]
#[schemars(title = "maitred.toml")]
#[allow(dead_code, reason = "the shape of the file, for the schema and the manual; the loader decodes it in parts")]
pub(crate) struct Sections {
    /// The address of a listener named `http`: short for `[listeners.http]` with that `address`.
    ///
    /// Example: `listen = ":8080"`
    listen: Option<OneOrMany<String>>,
    /// Other files to read, relative to this one: a path or a list of paths, in which `*` and `?` stand for letters of a
    /// name. They are written in the same language, and their sections are added to this file's. What is defined in two
    /// files is an error that shows both places. A pattern that no file fits is none; a file that is named must exist.
    ///
    /// Example: `include = ["conf.d/*.toml"]`
    include: Option<OneOrMany<String>>,
    server: Option<Server>,
    /// Where connections are accepted: `[listeners.NAME]`.
    listeners: Option<BTreeMap<String, listen::Config>>,
    /// Where requests go: `[upstreams.NAME]`.
    upstreams: Option<BTreeMap<String, upstream::Config>>,
    /// Which requests are taken and what happens to them: `[routes.NAME]`, or in short `"/path/*" = "upstream"`.
    routes: Option<BTreeMap<String, crate::route::Written>>,
    /// A route that every route starts from. A route's own key replaces the whole value given here, and `false` switches
    /// it off. A route with an `upstream`, `redirect` or `respond` of its own inherits none of these three.
    ///
    /// Example: `defaults = { timeout = "10s", max_body = "1MiB" }`
    defaults: Option<Route>,
    /// Ways to find out who calls: `[auth.NAME]`.
    auth: Option<BTreeMap<String, auth::Config>>,
    access: Option<access::Section>,
    /// Limits for routes to refer to: `[limits.NAME]`, or in short `NAME = "100/m per ip"`.
    limits: Option<BTreeMap<String, limit::Written>>,
    cache: Option<cache::ZoneConfig>,
    redis: Option<store::Config>,
    logging: Option<telemetry::Logging>,
    admin: Option<Admin>,
    /// Requests, and what has to become of them: `[tests.NAME]`, or in short `"GET /path" = "route"`.
    tests: Option<BTreeMap<String, crate::route::WrittenTest>>,
}

/// What concerns the whole process.
///
/// ```toml
/// [server]
/// threads      = 4
/// grace_period = "1m"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "server")]
pub struct Server {
    /// How many threads serve requests: `"auto"`, one for each core that the process may use, or a number from 1 to 1024.
    /// Default `"auto"`. Takes effect at the next start.
    ///
    /// Example: `threads = 4`
    pub threads: Option<Threads>,
    /// How long requests under way may take when maitred is told to stop. It ends as soon as the last one is done.
    /// Default `"30s"`.
    ///
    /// Example: `grace_period = "1m"`
    pub grace_period: Option<Duration>,
    /// Whether answers that maitred gives in place of an origin's say why in `Proxy-Status` (RFC 9209), as in
    /// `maitred; error=connection_timeout; details="connect_timeout"`. Answers of origins are left as they are. The reference of
    /// reasons says which error each is. Default `false`: it tells clients how things stand behind maitred.
    ///
    /// Example: `proxy_status = true`
    pub proxy_status: Option<bool>,
}

/// How many threads serve requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// One for each core.
    #[default]
    Auto,
    /// So many.
    Count(u16),
}

impl Threads {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            number => match number.parse::<i64>() {
                Ok(number) => Self::from_number(number),
                Err(_) => Err(format!("expected \"auto\" or a number from 1 to 1024, found {text:?}")),
            },
        }
    }

    fn from_number(number: i64) -> Result<Self, String> {
        match u16::try_from(number) {
            Ok(count @ 1..=1024) => Ok(Self::Count(count)),
            _ => Err(format!("expected \"auto\" or a number from 1 to 1024, found {number}")),
        }
    }
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Threads;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"auto\" or a number from 1 to 1024")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Threads, E> {
                Threads::from_text(text).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Threads, E> {
                Threads::from_number(number).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Threads {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Threads".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] })
    }
}
