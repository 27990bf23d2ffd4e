//! `[admin]` as run.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use config::admin::Config;
use document::{At, Code, Diagnostic, Report, Secret};
use telemetry::audit::{Attempts, Written};

/// Where the admin listener answers, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The addresses as configured.
    pub addresses: Vec<Address>,
    /// What requests on addresses that other machines can reach must carry.
    pub token: Option<Secret>,
    /// Whether nobody wrote the addresses, so that the server can do without them.
    pub assumed: bool,
    /// Whether there is a socket in the run folder besides.
    pub run_socket: bool,
    /// The file of the audit log, and which attempts to get in are lines of it.
    pub audit: Option<(PathBuf, Attempts)>,
}

/// One address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

/// The address where none is written.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9911);

/// The shortest token: 16 characters of base64 are 96 bits.
const SHORTEST_TOKEN: usize = 16;

/// The longest path of a unix socket on Linux, `sun_path` without its last NUL.
const LONGEST_PATH: usize = 107;

/// Checks `[admin]`, which stands at `at`.
pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Settings> {
    let token = token(config.token.as_ref(), &at.key("token"), report);
    let addresses = match &config.address {
        None => Some(vec![Address::Tcp(DEFAULT)]),
        Some(list) => addresses(list, config.token.is_some(), &at.key("address"), report),
    };
    let audit = audit(config.audit.as_ref(), &at.key("audit"), report);
    Some(Settings {
        addresses: addresses?,
        token: token?,
        assumed: config.address.is_none(),
        run_socket: true,
        audit: audit?,
    })
}

/// The audit log's file, which could be written if it were opened now.
fn audit(written: Option<&Written>, at: &At, report: &mut Report) -> Option<Option<(PathBuf, Attempts)>> {
    let Some(written) = written else { return Some(None) };
    let Some(path) = &written.file else {
        let missing = Diagnostic::new(Code::E0106, "`audit` does not say where the audit log is");
        report.push(missing.label(at, "`file` is missing").help("add `file = \"/var/log/maitred/audit.jsonl\"`"));
        return None;
    };
    match telemetry::writable(Path::new(path)) {
        Ok(()) => Some(Some((path.into(), written.attempts.unwrap_or_default()))),
        Err(reason) => {
            let message = format!("the audit log `{path}` cannot be written");
            let help = "create the folder and give the user that runs maitred the right to write there";
            report.push(Diagnostic::new(Code::E0601, message).label(at, reason).help(help));
            None
        }
    }
}

fn addresses(list: &[String], has_token: bool, at: &At, report: &mut Report) -> Option<Vec<Address>> {
    let mut addresses = Vec::with_capacity(list.len());
    let mut sound = true;
    for (index, text) in list.iter().enumerate() {
        let at = at.index(index);
        match address(text, &at) {
            Ok(found) if addresses.contains(&found) => {
                report.add(Code::E0108, &at, format!("`{text}` is listed twice"), "delete one");
                sound = false;
            }
            Ok(found) => {
                if !found.is_local() && !has_token {
                    report.push(needs_token(text, &at));
                    sound = false;
                }
                addresses.push(found);
            }
            Err(diagnostic) => {
                report.push(diagnostic);
                sound = false;
            }
        }
    }
    sound.then_some(addresses)
}

fn needs_token(text: &str, at: &At) -> Diagnostic {
    Diagnostic::new(Code::E0106, format!("`{text}` can be reached by other machines, and `admin` has no `token`"))
        .label(at, "anyone who can reach this address could read metrics and status")
        .help("add `token = \"${file:/etc/maitred/admin.token}\"`, or listen on `127.0.0.1`")
}

fn address(text: &str, at: &At) -> Result<Address, Diagnostic> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return unix(path).map_err(|label| invalid(text).label(at, label));
    }
    let parsed = match text.rsplit_once(':') {
        Some(("", port)) => port.parse().ok().map(|port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)),
        Some(("localhost", port)) => port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        _ => text.parse().ok(),
    };
    parsed.map(Address::Tcp).ok_or_else(|| {
        let help = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("add a port: `{text}:{}`", DEFAULT.port()),
            Ok(IpAddr::V6(_)) => format!("add a port: `[{text}]:{}`", DEFAULT.port()),
            Err(_) => format!("write for example `{DEFAULT}`, `:{}` or `unix:/run/admin.sock`", DEFAULT.port()),
        };
        invalid(text).label(at, "expected an IP address and a port, or `unix:` and a path").help(help)
    })
}

fn unix(path: &str) -> Result<Address, &'static str> {
    if !path.starts_with('/') {
        return Err("the path of a socket begins with `/`");
    }
    if path.len() > LONGEST_PATH || path.contains('\0') {
        return Err("the path of a socket has at most 107 bytes");
    }
    Ok(Address::Unix(path.into()))
}

fn invalid(text: &str) -> Diagnostic {
    Diagnostic::new(Code::E0108, format!("`{text}` is not an address for the admin listener"))
}

fn token(token: Option<&Secret>, at: &At, report: &mut Report) -> Option<Option<Secret>> {
    let Some(token) = token else { return Some(None) };
    let text = token.expose().trim_end_matches('\n');
    if text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() >= SHORTEST_TOKEN {
        return Some(Some(Secret::new(text)));
    }
    let message = format!("a token needs at least {SHORTEST_TOKEN} characters of visible ASCII");
    let diagnostic = Diagnostic::new(Code::E0108, message).label(at, "this one could be guessed, or not be sent");
    report.push(diagnostic.help("`openssl rand -base64 24` makes a good one"));
    None
}

#[cfg(test)]
mod tests;
