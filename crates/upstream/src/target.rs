//! What a backend's URL says: how to speak, and to whom.

use std::net::{IpAddr, Ipv6Addr};

/// A backend's URL, read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) place: Place,
}

/// How a backend is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in the clear, with prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// Bytes, whatever they mean.
    Tcp,
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Address(IpAddr, u16),
    /// A name in lower case.
    Name(Box<str>, u16),
    Unix(Box<str>),
}

/// Why a URL is refused: the message, the words under it, and what would help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) label: String,
    pub(crate) help: Option<String>,
    /// The URL that was probably meant.
    pub(crate) instead: Option<String>,
}

impl Protocol {
    const ALL: [Self; 5] = [Self::Http, Self::Https, Self::H2c, Self::H2, Self::Tcp];

    /// Reads a URL's scheme.
    pub(crate) fn parse(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.scheme() == scheme)
    }

    /// The URL's scheme.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::H2 => "h2",
            Self::Tcp => "tcp",
        }
    }

    /// Whether the connection is encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }

    /// Whether it is HTTP/2: streams instead of connections, and no way to upgrade to a WebSocket.
    pub const fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }

    /// The port that a URL may leave out.
    const fn default_port(self) -> Option<u16> {
        match self {
            Self::Http | Self::H2c => Some(80),
            Self::Https | Self::H2 => Some(443),
            Self::Tcp => None,
        }
    }
}

impl Target {
    /// Reads a URL such as `http://10.0.1.11:8080` or `unix:/run/app.sock`.
    pub(crate) fn parse(url: &str) -> Result<Self, Mistake> {
        if let Some(path) = url.strip_prefix("unix:") {
            return unix(path);
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Err(no_scheme(url)) };
        let scheme = scheme.to_ascii_lowercase();
        let Some(protocol) = Protocol::parse(&scheme) else {
            return Err(other_scheme(&scheme, rest));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if !matches!(tail, "" | "/") {
            return Err(Mistake::new(format!("a backend's URL ends after its host and port, found `{tail}`"))
                .help("the path is the route's to say: `request = { rewrite = \"/prefix{path}\" }`")
                .instead(format!("{scheme}://{authority}")));
        }
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(Mistake::new("a user name or password in the URL would stand in logs and metrics")
                .help("set an `Authorization` header with `request.set` in the route")
                .instead(format!("{scheme}://{host}")));
        }
        let place = place(authority, protocol.default_port())?;
        Ok(Self { protocol, place })
    }

    /// `10.0.2.11:8080`, `users.internal:8080`, `[::1]:80` or `/run/app.sock`: the backend's name in logs and metrics.
    pub(crate) fn label(&self) -> String {
        match &self.place {
            Place::Address(IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
            Place::Address(ip, port) => format!("{ip}:{port}"),
            Place::Name(host, port) => format!("{host}:{port}"),
            Place::Unix(path) => path.to_string(),
        }
    }

    /// What a Host field of the origin's own would say (RFC 9110 section 7.2): the port only where it is not the
    /// scheme's own.
    pub(crate) fn authority(&self) -> String {
        let default = self.protocol.default_port();
        match &self.place {
            Place::Unix(_) => "localhost".into(),
            Place::Address(IpAddr::V6(ip), port) if Some(*port) == default => format!("[{ip}]"),
            Place::Address(ip, port) if Some(*port) == default => ip.to_string(),
            Place::Name(host, port) if Some(*port) == default => host.to_string(),
            Place::Address(..) | Place::Name(..) => self.label(),
        }
    }

    /// The name to ask for and to verify in a TLS handshake. Never empty: with an empty one Pingora's connector would
    /// not verify anything.
    pub(crate) fn server_name(&self) -> Option<String> {
        match &self.place {
            Place::Address(ip, _) => Some(ip.to_string()),
            // The dot that ends a complete name is no part of it in TLS (RFC 6066 section 3).
            Place::Name(host, _) => Some(host.trim_end_matches('.').to_string()),
            Place::Unix(_) => None,
        }
    }
}

impl Mistake {
    fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), help: None, instead: None }
    }

    fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    fn instead(mut self, url: impl Into<String>) -> Self {
        self.instead = Some(url.into());
        self
    }
}

/// The longest path that `sockaddr_un` holds, its closing NUL included.
const LONGEST_SOCKET_PATH: usize = 107;

fn unix(path: &str) -> Result<Target, Mistake> {
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') {
        return Err(
            Mistake::new("the path of a unix socket starts at the root").help("write it as `unix:/run/app.sock`")
        );
    }
    if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        return Err(Mistake::new(format!("a unix socket's path has at most {LONGEST_SOCKET_PATH} bytes")));
    }
    Ok(Target { protocol: Protocol::Http, place: Place::Unix(path.into()) })
}

fn no_scheme(url: &str) -> Mistake {
    let mistake = Mistake::new("expected a scheme: http, https, h2c, h2, tcp or unix");
    match url {
        _ if url.starts_with('/') => mistake.instead(format!("unix:{url}")),
        _ if !url.is_empty() && Target::parse(&format!("http://{url}")).is_ok() => {
            mistake.instead(format!("http://{url}"))
        }
        _ => mistake.help("write it as `http://10.0.1.11:8080` or `unix:/run/app.sock`"),
    }
}

fn other_scheme(scheme: &str, rest: &str) -> Mistake {
    let mistake = Mistake::new(format!("`{scheme}` is not one of http, https, h2c, h2, tcp and unix"));
    let as_tcp = format!("tcp://{rest}");
    match scheme {
        "ws" => mistake.help("a WebSocket begins as an HTTP request").instead(format!("http://{rest}")),
        "wss" => mistake.help("a WebSocket begins as an HTTP request").instead(format!("https://{rest}")),
        "grpc" => mistake.help("gRPC is HTTP/2").instead(format!("h2c://{rest}")),
        "grpcs" => mistake.help("gRPC is HTTP/2").instead(format!("h2://{rest}")),
        "amqp" | "mongodb" | "mqtt" | "mysql" | "postgres" | "postgresql" | "redis"
            if Target::parse(&as_tcp).is_ok() =>
        {
            mistake.help("a protocol other than HTTP is passed on as it is").instead(as_tcp)
        }
        _ => mistake,
    }
}

fn place(authority: &str, default_port: Option<u16>) -> Result<Place, Mistake> {
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').ok_or_else(|| bad_host(authority))?)),
        Some(None) => return Err(Mistake::new("the bracket of the IPv6 address is not closed")),
        None if authority.matches(':').count() > 1 => {
            let bare = authority.parse::<Ipv6Addr>().is_ok();
            let mistake = Mistake::new("an IPv6 address stands in brackets: `[::1]:8080`");
            return Err(if bare { mistake.help(format!("write `[{authority}]`")) } else { mistake });
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => default_port.ok_or_else(|| {
            Mistake::new("the port is missing").help("write it after the host: `tcp://10.0.1.11:5432`")
        })?,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&port| port > 0 && !text.starts_with('+'))
            .ok_or_else(|| Mistake::new(format!("a port is a number from 1 to 65535, found `{text}`")))?,
    };
    if authority.starts_with('[') {
        let ip: Ipv6Addr = host.parse().map_err(|_| bad_host(host))?;
        return Ok(Place::Address(ip.into(), port));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(Place::Address(ip, port));
    }
    if is_host_name(host) { Ok(Place::Name(host.to_ascii_lowercase().into(), port)) } else { Err(bad_host(host)) }
}

fn bad_host(host: &str) -> Mistake {
    match host {
        "" => Mistake::new("the host is missing"),
        _ if !host.is_ascii() => Mistake::new(format!("`{host}` is not a host name"))
            .help("write an international name in its ASCII form, which begins with `xn--`"),
        _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            Mistake::new(format!("`{host}` is not an IP address"))
        }
        _ => Mistake::new(format!("`{host}` is not a host name or an IP address")),
    }
}

/// A name that DNS can carry (RFC 1035 section 2.3.4); underscores as well, which container names have.
pub(crate) fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A last label of digits alone is a mistyped address, not a name (RFC 1123 section 2.1).
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(url: &str) -> String {
        Target::parse(url).map(|target| format!("{} {}", target.protocol.scheme(), target.label())).unwrap()
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(label("http://10.0.1.11:8080"), "http 10.0.1.11:8080");
        assert_eq!(label("http://10.0.1.11"), "http 10.0.1.11:80");
        assert_eq!(label("HTTPS://CRM.internal/"), "https crm.internal:443");
        assert_eq!(label("h2://[2001:db8::1]"), "h2 [2001:db8::1]:443");
        assert_eq!(label("h2c://[::1]:50051"), "h2c [::1]:50051");
        assert_eq!(label("http://user_service.:81"), "http user_service.:81");
        assert_eq!(label("tcp://db.internal:5432"), "tcp db.internal:5432");
        assert_eq!(label("unix:/run/app.sock"), "http /run/app.sock");
        assert_eq!(label("unix:///run/app.sock"), "http /run/app.sock");
    }

    #[test]
    fn what_is_refused_says_what_would_do() {
        let refused = [
            ("localhost:3000", Some("http://localhost:3000")),
            ("/run/app.sock", Some("unix:/run/app.sock")),
            ("http://a/b", Some("http://a")),
            ("http://a?q=1", Some("http://a")),
            ("http://u:p@a:80", Some("http://a:80")),
            ("ws://a:80", Some("http://a:80")),
            ("grpc://a", Some("h2c://a")),
            ("ftp://a", None),
            ("tcp://a", None),
            ("redis://a:6379", Some("tcp://a:6379")),
            ("postgres://u:p@a:5432/db", None),
            ("", None),
            ("http://", None),
            ("http://:80", None),
            ("http://a:0", None),
            ("http://a:65536", None),
            ("http://a:+80", None),
            ("http://::1", None),
            ("http://[::1", None),
            ("http://[::1]80", None),
            ("http://[fe80::1%eth0]", None),
            ("http://1.2.3.256", None),
            ("http://bücher.example", None),
            ("http://a b", None),
            ("http://-a", None),
            ("http://a..b", None),
            ("unix:run/app.sock", None),
        ];
        for (url, instead) in refused {
            let mistake = Target::parse(url).expect_err(url);
            assert_eq!(mistake.instead.as_deref(), instead, "{url}: {}", mistake.label);
        }
    }

    #[test]
    fn the_authority_leaves_out_the_schemes_own_port() {
        for (url, authority) in [
            ("http://a:80", "a"),
            ("http://a:443", "a:443"),
            ("https://a", "a"),
            ("h2c://[::1]:80", "[::1]"),
            ("unix:/run/a", "localhost"),
        ] {
            assert_eq!(Target::parse(url).unwrap().authority(), authority);
        }
    }

    #[test]
    fn the_server_name_is_never_empty() {
        for url in ["https://a.", "https://10.0.0.1", "h2://[::1]"] {
            assert!(!Target::parse(url).unwrap().server_name().unwrap().is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(url in "(unix:|https?://|h2c?://|[a-z]{0,3}:)?[\\[\\]a-zA-Z0-9:./@?#_%é -]{0,40}") {
            if let Ok(target) = Target::parse(&url) {
                let again = match target.place {
                    Place::Unix(_) => format!("unix:{}", target.label()),
                    _ => format!("{}://{}", target.protocol.scheme(), target.label()),
                };
                assert_eq!(Target::parse(&again).as_ref(), Ok(&target));
                assert!(http::HeaderValue::try_from(target.authority()).is_ok());
            }
        }
    }
}
