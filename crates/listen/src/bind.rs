//! Sockets taken, or the reason why not in words that help.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    Address,
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

/// A socket that has its address. Clients can connect to one of TCP once it [listens](listen).
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub local: Option<SocketAddr>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket, removed when the listener is closed unless somebody else has put another in its place, or
/// another process has the socket as well.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    shared: Arc<AtomicBool>,
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

/// Takes the socket of an address. With `beside`, sockets of ours that are about to be closed and take some of the same
/// connections, it is taken beside them. One of TCP does not listen yet: the system gives a connection to the narrowest
/// socket that listens, and what waits on that is lost with it should nothing come of it.
///
/// # Errors
///
/// What is in the way.
pub(crate) fn bind(address: &Address, beside: &[BorrowedFd<'_>]) -> Result<BoundSocket, BindError> {
    share(beside, true);
    let taken = match address {
        Address::Any(port) => tcp_any(*port, !beside.is_empty()),
        Address::Ip(address) => tcp(*address, !beside.is_empty()).map_err(|error| tcp_cause(&error, *address)),
        Address::Unix(path) => unix(path),
    };
    share(beside, false);
    let (kind, local) = taken.map_err(|cause| BindError { address: address.clone(), cause })?;
    Ok(BoundSocket { local, kind })
}

/// Lets clients connect to a socket of TCP; to one of a path they can already. `beside` is as for [`bind`].
///
/// # Errors
///
/// What is in the way: somebody may listen there by now.
pub(crate) fn listen(address: &Address, bound: &BoundSocket, beside: &[BorrowedFd<'_>]) -> Result<(), BindError> {
    let (Kind::Tcp(socket), Some(local)) = (&bound.kind, bound.local) else { return Ok(()) };
    let socket = SockRef::from(socket);
    share(beside, true);
    // The system asks once more whether the port may be shared.
    let listens = socket.set_reuse_port(!beside.is_empty()).and_then(|()| socket.listen(BACKLOG));
    share(beside, false);
    let listens = listens.and_then(|()| socket.set_reuse_port(false));
    listens.map_err(|error| BindError { address: address.clone(), cause: tcp_cause(&error, local) })
}

/// Lets another socket of this user have the same port, or no longer. It is off but for the moment in which a socket takes
/// the place of another: a second maitred that is started by mistake must not share the connections of the first.
fn share(sockets: &[BorrowedFd<'_>], may: bool) {
    for socket in sockets {
        if let Err(error) = SockRef::from(socket).set_reuse_port(may) {
            log::debug!("a port stays as it is: {error}");
        }
    }
}

/// Whether the file of a unix socket is gone, so that nobody can reach the socket, whoever has it.
pub(crate) fn is_lost(address: &Address) -> bool {
    let Address::Unix(path) = address else { return false };
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A listening socket that another process of ours had before, and has still: the file of a unix socket is that one's to
/// remove until somebody [says otherwise](SocketFile::shared).
///
/// # Errors
///
/// When the descriptor is not a listening socket for such an address.
pub(crate) fn adopt(address: &Address, fd: OwnedFd) -> io::Result<BoundSocket> {
    let socket = Socket::from(fd);
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    socket.set_nonblocking(true)?;
    match address {
        Address::Unix(path) => {
            let file = SocketFile::of(path, true)?;
            Ok(BoundSocket { local: None, kind: Kind::Unix(UnixListener::from(OwnedFd::from(socket)), file) })
        }
        Address::Any(_) | Address::Ip(_) => {
            let listener = TcpListener::from(socket);
            let local = Some(listener.local_addr()?);
            Ok(BoundSocket { local, kind: Kind::Tcp(listener) })
        }
    }
}

type Taken = (Kind, Option<SocketAddr>);

/// Every address: an IPv6 socket that takes IPv4 as well, or an IPv4 socket on a system without IPv6.
fn tcp_any(port: u16, beside: bool) -> Result<Taken, BindCause> {
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match tcp(everywhere, beside) {
        Ok(taken) => Ok(taken),
        Err(error) if is_without_ipv6(&error) => {
            let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            tcp(everywhere, beside).map_err(|error| tcp_cause(&error, everywhere))
        }
        Err(error) => Err(tcp_cause(&error, everywhere)),
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn tcp(address: SocketAddr, beside: bool) -> io::Result<Taken> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Linux hands these two down to accepted sockets (tcp(7)): two system calls less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_reuse_port(beside)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(false)?;
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
        let file = SocketFile::of(path, false)?;
        Ok((Kind::Unix(UnixListener::from(OwnedFd::from(socket)), file), None))
    };
    made().map_err(BindCause::Other)
}

impl SocketFile {
    fn of(path: &Path, shared: bool) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        let shared = Arc::new(AtomicBool::new(shared));
        Ok(Self { path: path.into(), device: found.dev(), inode: found.ino(), shared })
    }

    /// Set it when another process has the socket as well: the file is its to remove then.
    pub(crate) fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared)
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| found.dev() == self.device && found.ino() == self.inode;
        if !self.shared.load(Ordering::Acquire) && fs::symlink_metadata(&self.path).is_ok_and(ours) {
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
