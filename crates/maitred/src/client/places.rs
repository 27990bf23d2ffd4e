//! Where a running maitred may answer.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use document::{At, Report, Secret};

use crate::{cli::Global, exit::Failure};

/// How long a connection may take to make.
const CONNECT: Duration = Duration::from_secs(3);

/// One place where a maitred may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp(authority) => write!(f, "http://{authority}"),
        }
    }
}

/// A connection.
pub enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

/// The places to look at, in their order, each with the token to show there.
pub fn places(global: &Global) -> Result<Vec<(Place, Option<Secret>)>, Failure> {
    if let Some(text) = &global.admin {
        let place = parse(text)?;
        let token = if matches!(place, Place::Tcp(_)) { configured(global).token } else { None };
        return Ok(vec![(place, token)]);
    }
    let sockets = admin::run_folders().into_iter().map(|folder| (Place::Unix(folder.join("admin.sock")), None));
    let settings = configured(global);
    let others = settings.addresses.iter().map(|address| (reachable(address), settings.token.clone()));
    let mut places: Vec<(Place, Option<Secret>)> = Vec::new();
    for (place, token) in sockets.chain(others) {
        if places.iter().all(|(known, _)| *known != place) {
            places.push((place, token));
        }
    }
    Ok(places)
}

/// `unix:/path` or `http://host:port`.
fn parse(text: &str) -> Result<Place, Failure> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Place::Unix(path.strip_prefix("//").unwrap_or(path).into()));
    }
    let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') {
        let message = format!("{text:?} is no admin address: expected unix:/path/admin.sock or http://127.0.0.1:9911");
        return Err(Failure { code: 2, message });
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(Place::Tcp(if has_port { authority.to_owned() } else { format!("{authority}:9911") }))
}

/// What the configuration says of the admin listener; what it would say by default where there is none, or where it
/// is wrong, which is no reason not to reach a server that runs.
fn configured(global: &Global) -> admin::Settings {
    let loaded = config::find(global.config.as_deref()).ok().and_then(|path| config::load(&path).config);
    let written = loaded.map(|config| config.admin).unwrap_or_default();
    let at = At::root().key("admin");
    let compile = |written: &config::admin::Config| admin::compile(written, &at, &mut Report::new());
    let none = || admin::Settings { addresses: Vec::new(), token: None, assumed: true, run_socket: true, audit: None };
    compile(&written).or_else(|| compile(&Default::default())).unwrap_or_else(none)
}

/// Where to connect to for an address that may mean all of the machine's.
fn reachable(address: &admin::Address) -> Place {
    match address {
        admin::Address::Unix(path) => Place::Unix(path.clone()),
        admin::Address::Tcp(address) if address.ip().is_unspecified() => {
            Place::Tcp(format!("localhost:{}", address.port()))
        }
        admin::Address::Tcp(address) => Place::Tcp(address.to_string()),
    }
}

impl Place {
    /// Connects; nothing that is read or written may take longer than `patience`.
    pub fn connect(&self, patience: Duration) -> io::Result<Stream> {
        let stream = match self {
            Place::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Place::Tcp(authority) => Stream::Tcp(connect_to_any(authority.to_socket_addrs()?)?),
        };
        stream.set_read_timeout(patience)?;
        match &stream {
            Stream::Unix(stream) => stream.set_write_timeout(Some(patience))?,
            Stream::Tcp(stream) => stream.set_write_timeout(Some(patience))?,
        }
        Ok(stream)
    }

    /// What to say in the Host field.
    pub fn host(&self) -> &str {
        match self {
            Place::Unix(_) => "localhost",
            Place::Tcp(authority) => authority,
        }
    }
}

/// `localhost` may be an address of IPv6 and one of IPv4.
fn connect_to_any(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Stream {
    /// Bounds how long a read may wait.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.flush(),
            Stream::Tcp(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_a_socket_or_a_url() {
        let tcp = |text: &str| Place::Tcp(text.into());
        for (text, place) in [
            ("unix:/run/maitred/admin.sock", Place::Unix("/run/maitred/admin.sock".into())),
            ("unix:///run/x", Place::Unix("/run/x".into())),
            ("http://127.0.0.1:9911/", tcp("127.0.0.1:9911")),
            ("http://[::1]:9911", tcp("[::1]:9911")),
            ("edge-1", tcp("edge-1:9911")),
        ] {
            assert_eq!(parse(text).unwrap(), place, "{text}");
        }
        for wrong in ["", "http://", "https://edge:9911", "http://edge:9911/api"] {
            assert_eq!(parse(wrong).unwrap_err().code, 2, "{wrong}");
        }
    }

    #[test]
    fn every_address_of_the_machine_is_reached_over_loopback() {
        let address = |text: &str| reachable(&admin::Address::Tcp(text.parse().unwrap()));
        assert_eq!(address("[::]:9911"), Place::Tcp("localhost:9911".into()));
        assert_eq!(address("10.0.0.5:9911"), Place::Tcp("10.0.0.5:9911".into()));
    }
}
