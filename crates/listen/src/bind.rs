//! Sockets taken, or the reason why not in words that help.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{
    Address, Listener,
    holder::{self, Holder},
};

/// How many connections may wait to be accepted; the system's own limit (`somaxconn`) is the same since Linux 5.4.
const BACKLOG: i32 = 4096;

/// After how long a silent peer is asked whether it is still there (RFC 9293 section 3.8.4), so that connections whose
/// client has vanished do not live for ever.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);

/// Who may connect to a unix socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// A listener with its sockets, not yet accepting.
#[derive(Debug)]
pub struct Bound {
    pub(crate) listener: Arc<Listener>,
    pub(crate) sockets: Vec<BoundSocket>,
}

/// A socket that clients can connect to.
#[derive(Debug)]
pub struct BoundSocket {
    address: Address,
    local: Option<SocketAddr>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket, removed when the listener is closed unless somebody else has put another in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Why an address could not be listened on. `Display` is the sentence, [`BindError::help`] says how to mend it.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What is in the way.
    pub cause: BindCause,
}

/// What is in the way of listening.
#[derive(Debug)]
pub enum BindCause {
    /// Somebody has the port or the socket already; who, if that can be seen.
    InUse(Option<Holder>),
    /// The port is privileged (below `net.ipv4.ip_unprivileged_port_start`).
    Privileged,
    /// The address is not one of this machine's.
    NotOurs,
    /// There is a file with the socket's name that is no socket.
    NotASocket,
    /// Anything else.
    Other(io::Error),
}

/// Takes all sockets of a listener, or none.
///
/// # Errors
///
/// The first address that cannot be had, with the reason.
pub fn bind(listener: Arc<Listener>) -> Result<Bound, BindError> {
    let take = |address: &Address| {
        let taken = match address {
            Address::Any(port) => tcp_any(*port),
            Address::Ip(address) => tcp(*address).map_err(|error| tcp_cause(&error, *address)),
            Address::Unix(path) => unix(path),
        };
        let (kind, local) = taken.map_err(|cause| BindError { address: address.clone(), cause })?;
        Ok(BoundSocket { address: address.clone(), local, kind })
    };
    let sockets = listener.addresses.iter().map(take).collect::<Result<_, _>>()?;
    Ok(Bound { listener, sockets })
}

type Taken = (Kind, Option<SocketAddr>);

/// Every address: an IPv6 socket that takes IPv4 as well, or an IPv4 socket on a system without IPv6.
fn tcp_any(port: u16) -> Result<Taken, BindCause> {
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match tcp(everywhere) {
        Ok(taken) => Ok(taken),
        Err(error) if is_without_ipv6(&error) => {
            let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            tcp(everywhere).map_err(|error| tcp_cause(&error, everywhere))
        }
        Err(error) => Err(tcp_cause(&error, everywhere)),
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn tcp(address: SocketAddr) -> io::Result<Taken> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Linux hands these two down to accepted sockets (tcp(7)): two system calls less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((Kind::Tcp(listener), Some(local)))
}

fn tcp_cause(error: &io::Error, address: SocketAddr) -> BindCause {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let ip = (!address.ip().is_unspecified()).then(|| address.ip());
            BindCause::InUse(holder::of_port(address.port(), ip))
        }
        io::ErrorKind::PermissionDenied => BindCause::Privileged,
        io::ErrorKind::AddrNotAvailable => BindCause::NotOurs,
        _ => BindCause::Other(copy(error)),
    }
}

/// `io::Error` cannot be cloned; its number says the same.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn unix(path: &Path) -> Result<Taken, BindCause> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindCause::NotASocket),
        // A process that ended without removing its socket leaves one on which nobody answers.
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(BindCause::Other)?;
            }
            _ => return Err(BindCause::InUse(holder::of_path(path))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BindCause::Other(error)),
    }
    let made = || -> io::Result<Taken> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        // Nobody can connect before this, so nobody gets in under the mode that the file had at first.
        socket.listen(BACKLOG)?;
        let made = fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.into(), device: made.dev(), inode: made.ino() };
        Ok((Kind::Unix(UnixListener::from(std::os::fd::OwnedFd::from(socket)), file), None))
    };
    made().map_err(BindCause::Other)
}

impl Bound {
    /// Its sockets, one for each address.
    pub fn sockets(&self) -> &[BoundSocket] {
        &self.sockets
    }

    /// The listener.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }
}

impl BoundSocket {
    /// The address as written.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address as taken, with the port that the system chose where it was to choose; `None` for a unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }
}

impl AsRawFd for BoundSocket {
    fn as_raw_fd(&self) -> RawFd {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_raw_fd(),
            Kind::Unix(socket, _) => socket.as_raw_fd(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl BindError {
    /// What can be done about it: one line each, the first a sentence, the others commands or settings.
    pub fn help(&self) -> Vec<String> {
        match &self.cause {
            BindCause::InUse(_) => {
                let next = self.address.port().and_then(free_port);
                let elsewhere = next.map(|port| format!("stop it, or listen elsewhere: `--listen :{port}`"));
                vec![elsewhere.unwrap_or_else(|| "stop it, or listen elsewhere".into())]
            }
            BindCause::Privileged => vec![
                "give maitred the capability, or use a port above 1023".into(),
                format!("sudo setcap cap_net_bind_service=+ep {}", program()),
                "AmbientCapabilities=CAP_NET_BIND_SERVICE   # in the [Service] section of the systemd unit".into(),
            ],
            BindCause::NotOurs => vec!["`ip address` lists the addresses of this machine".into()],
            BindCause::NotASocket => vec!["remove it, or choose another path".into()],
            BindCause::Other(_) => Vec::new(),
        }
    }
}

/// This program's file, for a command that the user can copy.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "/usr/bin/maitred".into(), |path| path.display().to_string())
}

/// The first of the next ports that nobody has.
fn free_port(taken: u16) -> Option<u16> {
    (taken.checked_add(1)?..=taken.saturating_add(20))
        .find(|port| TcpListener::bind(SocketAddr::from((IpAddr::from(Ipv4Addr::UNSPECIFIED), *port))).is_ok())
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        match &self.cause {
            BindCause::InUse(Some(holder)) => write!(f, "`{address}` is in use by {holder}"),
            BindCause::InUse(None) => write!(f, "`{address}` is in use by another process"),
            BindCause::Privileged => write!(f, "`{address}` needs CAP_NET_BIND_SERVICE"),
            BindCause::NotOurs => write!(f, "`{address}` is not an address of this machine"),
            BindCause::NotASocket => write!(f, "`{address}` exists and is not a socket"),
            BindCause::Other(error) => write!(f, "`{address}` cannot be listened on: {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            BindCause::Other(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
