//! Where a listener listens.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// An address to listen on, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `:8080`: every address of this machine, IPv4 and IPv6.
    Any(u16),
    /// `127.0.0.1:8080` or `[::1]:8080`.
    Ip(SocketAddr),
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
}

/// Why a text is no address, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnAddress {
    /// What is wrong, in a few words.
    pub problem: String,
    /// How to mend it, in words.
    pub help: String,
    /// What was probably meant.
    pub instead: Option<String>,
}

/// The longest path of a unix socket: `sun_path` of unix(7), less its final NUL.
const LONGEST_PATH: usize = 107;

impl Address {
    /// The TCP port; 0 when the system is to choose one, `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Any(port) => Some(*port),
            Self::Ip(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Whether only one of the two can be listened on: the system does not let a port be taken twice where one of the
    /// takers means every address.
    pub fn overlaps(&self, other: &Self) -> bool {
        if let (Self::Unix(one), Self::Unix(two)) = (self, other) {
            return one == two;
        }
        let same_port = self.port().is_some_and(|port| port != 0 && Some(port) == other.port());
        same_port
            && match (self.ip(), other.ip()) {
                (Some(one), Some(two)) => one == two || takes(one, two) || takes(two, one),
                _ => true,
            }
    }

    /// The one address meant; `None` for every one.
    fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Any(_) | Self::Unix(_) => None,
        }
    }
}

/// Whether who listens on `all` gets the connections to `one`. `[::]` takes IPv4 as well.
fn takes(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if text.parse::<IpAddr>().is_ok() {
            let ip = if text.contains(':') { format!("[{text}]") } else { text.into() };
            return Err(meant("the port is missing", format!("{ip}:8080")));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(match text.parse::<u16>() {
                Ok(port) => meant("a port alone is not an address", format!(":{port}")),
                Err(_) => NotAnAddress {
                    problem: "neither an address with a port nor a unix socket".into(),
                    help: "write `:8080`, `127.0.0.1:8080` or `unix:/run/app.sock`".into(),
                    instead: None,
                },
            });
        };
        let Ok(port) = port.parse::<u16>() else {
            return Err(meant("the port is not a number from 0 to 65535", format!("{host}:8080")));
        };
        match host {
            "" => Ok(Self::Any(port)),
            "*" => Err(meant("every address of this machine is written without the `*`", format!(":{port}"))),
            "localhost" => Err(meant("a name is not an address", format!("127.0.0.1:{port}"))),
            _ => Err(NotAnAddress {
                problem: "neither an IPv4 address nor an IPv6 address in brackets".into(),
                help: format!("write `:{port}`, `127.0.0.1:{port}` or `[::1]:{port}`"),
                instead: None,
            }),
        }
    }
}

fn unix(path: &str) -> Result<Address, NotAnAddress> {
    match path.len() {
        0 => Err(meant("the path is missing", "unix:/run/app.sock".into())),
        1..=LONGEST_PATH => Ok(Address::Unix(path.into())),
        length => Err(NotAnAddress {
            problem: format!("a socket's path has at most {LONGEST_PATH} bytes, this one has {length}"),
            help: "choose a shorter one, for example under `/run`".into(),
            instead: None,
        }),
    }
}

/// A mistake with an obvious remedy.
fn meant(problem: &str, instead: String) -> NotAnAddress {
    NotAnAddress { problem: problem.into(), help: "write".into(), instead: Some(instead) }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, ":{port}"),
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
