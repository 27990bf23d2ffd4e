//! From the connection as written to what a store needs.

use std::{fs, path::PathBuf, time::Duration};

use document::{At, Code, Diagnostic, Report, Secret};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};

use crate::Config;

/// How long a request waits at most, where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(20);

/// Where Redis is, and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) url: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
    pub(crate) prefix: String,
}

/// Holds a password, which is not to be printed.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Compiles `[redis]`, which stands at `at`. `None` when anything is wrong.
pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Settings> {
    let errors = report.errors();
    let Some(url) = &config.url else {
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
    let settings = Settings {
        url: url.clone(),
        username: config.username.clone(),
        password: config.password.as_ref().map(Secret::expose).map(str::to_owned),
        ca,
        timeout,
        prefix: config.prefix.clone().unwrap_or_else(|| "maitred".into()),
    };
    address(&settings, at, report);
    (report.errors() == errors).then_some(settings)
}

fn authorities(file: &str, at: &At, report: &mut Report) -> Option<Vec<u8>> {
    fs::read(PathBuf::from(file))
        .map_err(|error| {
            report.add(Code::E0601, at, format!("cannot read `{file}`"), error.to_string());
        })
        .ok()
}

fn address(settings: &Settings, at: &At, report: &mut Report) {
    let at = at.key("url");
    let Ok(info) = settings.url.as_str().into_connection_info() else {
        report.push(
            Diagnostic::new(Code::E0108, "this is no address of a Redis")
                .label(at, "expected `redis://HOST:PORT`, `rediss://HOST:PORT` or `unix:/PATH`"),
        );
        return;
    };
    if info.redis_settings().password().is_some() || info.redis_settings().username().is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "the URL of Redis holds a user or a password")
                .label(&at, "URLs are shown and logged")
                .help("write `username` and `password` beside it"),
        );
    }
    if settings.ca.is_some() && !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        report.push(
            Diagnostic::new(Code::E0107, "`ca` without TLS")
                .label(&at, "this connection is not encrypted")
                .help("begin the URL with `rediss://`, or delete `ca`"),
        );
    }
    if let Err(error) = settings.client() {
        report.add(Code::E0108, &at, "Redis cannot be connected to like this", error.to_string());
    }
}

impl Settings {
    /// How long a request waits at most.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn client(&self) -> redis::RedisResult<Client> {
        let info = self.url.as_str().into_connection_info()?;
        let mut login = info.redis_settings().clone();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        let info = info.set_redis_settings(login);
        match &self.ca {
            None => Client::open(info),
            Some(ca) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) }),
        }
    }
}
