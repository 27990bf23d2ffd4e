//! From the connection as written to what a store needs.

use std::{fs, path::PathBuf, time::Duration};

use document::{At, Code, Diagnostic, Report, Secret};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::Config;

/// How long a request waits at most, where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(20);

/// Where Redis is, and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) urls: Vec<String>,
    pub(crate) reach: Reach,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
    pub(crate) prefix: String,
}

/// How the Redis is found that holds a key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There is one, and its address is known.
    Direct,
    /// By the slot of the key.
    Cluster,
    /// Sentinels know which one is the primary of this name.
    Sentinel { primary: String, password: Option<String> },
}

/// Holds passwords, which are not to be printed.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Compiles `[redis]`, which stands at `at`. `None` when anything is wrong.
pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Settings> {
    let errors = report.errors();
    let Some(urls) = config.url.as_ref().filter(|urls| !urls.0.is_empty()) else {
        let diagnostic = Diagnostic::new(Code::E0106, "`redis` does not say where it is");
        report.push(diagnostic.label(at, "`url` is missing").help("add `url = \"redis://localhost:6379\"`"));
        return None;
    };
    let ca = config.ca.as_ref().and_then(|file| authorities(file, &at.key("ca"), report));
    let timeout = config.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&timeout) {
        let message = format!("requests cannot wait {} for Redis", document::Duration(timeout));
        report.add(Code::E0103, &at.key("timeout"), message, "from \"1ms\" to \"1s\"");
    }
    let text = |secret: &Option<Secret>| secret.as_ref().map(Secret::expose).map(str::to_owned);
    let settings = Settings {
        urls: urls.0.clone(),
        reach: reach(config, at, report),
        username: config.username.clone(),
        password: text(&config.password),
        ca,
        timeout,
        prefix: config.prefix.clone().unwrap_or_else(|| "maitred".into()),
    };
    let sound = addresses(&settings, &at.key("url"), report);
    if sound && let Err(error) = crate::connect::check(&settings) {
        report.add(Code::E0108, &at.key("url"), "Redis cannot be connected to like this", error.to_string());
    }
    (report.errors() == errors).then_some(settings)
}

fn reach(config: &Config, at: &At, report: &mut Report) -> Reach {
    let cluster = config.cluster == Some(true);
    let password = config.sentinel_password.as_ref().map(|secret| secret.expose().to_owned());
    if config.sentinel.is_none() && password.is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "`sentinel_password` without `sentinel`")
                .label(at.key("sentinel_password").name(), "no sentinel is asked")
                .help("add `sentinel = \"mymaster\"`, or delete it"),
        );
    }
    if cluster && config.sentinel.is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "`cluster` and `sentinel` do not go together")
                .label(at.key("sentinel"), "the nodes of a cluster watch each other")
                .label(at.key("cluster").name(), "with this")
                .help("keep one of them"),
        );
    }
    let several = config.url.as_ref().is_some_and(|urls| urls.0.len() > 1);
    match &config.sentinel {
        Some(primary) => Reach::Sentinel { primary: primary.clone(), password },
        None if cluster => Reach::Cluster,
        None => {
            if several {
                report.push(
                    Diagnostic::new(Code::E0107, "several addresses of one Redis")
                        .label(at.key("url"), "each would count for itself")
                        .help("say what they are: `cluster = true`, or `sentinel = \"mymaster\"`"),
                );
            }
            Reach::Direct
        }
    }
}

fn authorities(file: &str, at: &At, report: &mut Report) -> Option<Vec<u8>> {
    fs::read(PathBuf::from(file))
        .map_err(|error| {
            report.add(Code::E0601, at, format!("cannot read `{file}`"), error.to_string());
        })
        .ok()
}

/// Whether each address is one.
fn addresses(settings: &Settings, at: &At, report: &mut Report) -> bool {
    let errors = report.errors();
    for (index, url) in settings.urls.iter().enumerate() {
        address(settings, url, &at.index(index), report);
    }
    report.errors() == errors
}

fn address(settings: &Settings, url: &str, at: &At, report: &mut Report) {
    let Ok(info) = url.into_connection_info() else {
        report.push(
            Diagnostic::new(Code::E0108, "this is no address of a Redis")
                .label(at, "expected `redis://HOST:PORT`, `rediss://HOST:PORT` or `unix:/PATH`"),
        );
        return;
    };
    if info.redis_settings().password().is_some() || info.redis_settings().username().is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "the URL of Redis holds a user or a password")
                .label(at, "URLs are shown and logged")
                .help("write `username` and `password` beside it"),
        );
    }
    if settings.ca.is_some() && !is_secure(&info) {
        report.push(
            Diagnostic::new(Code::E0107, "`ca` without TLS")
                .label(at, "this connection is not encrypted")
                .help("begin the URL with `rediss://`, or delete `ca`"),
        );
    }
}

/// Whether it is reached over TLS.
pub(crate) fn is_secure(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

impl Settings {
    /// How long a request waits at most.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        let urls = self.urls.join(", ");
        match &self.reach {
            Reach::Direct => urls,
            Reach::Cluster => format!("the cluster at {urls}"),
            Reach::Sentinel { primary, .. } => format!("{primary} of the sentinels at {urls}"),
        }
    }
}
