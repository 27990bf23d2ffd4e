//! The sockets of the admin listener.

use std::{
    env,
    ffi::OsStr,
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use document::Secret;

use crate::{Address, Settings};

/// The name of the socket in the run folder.
const RUN_SOCKET: &str = "admin.sock";

/// Who may use a socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// An open socket of the admin listener, which is not served yet.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: Listener,
    written: Address,
    address: Address,
    pub(crate) reach: Reach,
    pub(crate) file: Option<SocketFile>,
}

/// A socket as another process is given it: a descriptor of its own, which stays open whatever becomes of the
/// [`Socket`].
#[derive(Debug)]
pub struct Shared {
    written: Address,
    descriptor: OwnedFd,
    kept: Option<Arc<AtomicBool>>,
}

/// The two kinds of socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who can reach a socket, and therefore what is asked of them.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// Whoever the file's permissions allow.
    File,
    /// Everybody on this machine, browsers among them; who changes something must know the token.
    Loopback(Option<Arc<Secret>>),
    /// Other machines, which must know the token.
    Network(Arc<Secret>),
}

/// An address that could not be opened.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// Why; [`io::ErrorKind::AddrInUse`] when another process has it.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the admin address `{}` cannot be opened: {}", self.address, self.error)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Socket {
    /// The address that it is bound to; where port 0 was configured, with the port that it got.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address as configured, by which another process finds it.
    pub fn written(&self) -> &Address {
        &self.written
    }

    /// Takes over the socket `descriptor`, which somebody else opened for the address `written` and has as well: the file
    /// of a unix socket is that one's to remove until [`Shared::keep_file`] says otherwise.
    ///
    /// # Errors
    /// The descriptor is not such a socket, or other machines can reach it and there is no token.
    pub fn inherited(written: Address, descriptor: OwnedFd, token: Option<&Secret>) -> io::Result<Self> {
        match written {
            Address::Tcp(_) => Self::over_tcp(written, TcpListener::from(descriptor), token),
            Address::Unix(path) => {
                let listener = UnixListener::from(descriptor);
                // A descriptor of another kind has no such address.
                listener.local_addr()?;
                Self::over_unix(path, listener, true)
            }
        }
    }

    /// What to give to another process.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn share(&self) -> io::Result<Shared> {
        let descriptor = match &self.listener {
            Listener::Tcp(listener) => listener.as_fd().try_clone_to_owned()?,
            Listener::Unix(listener) => listener.as_fd().try_clone_to_owned()?,
        };
        let kept = self.file.as_ref().map(|file| file.kept.clone());
        Ok(Shared { written: self.written.clone(), descriptor, kept })
    }

    fn tcp(address: SocketAddr, token: Option<&Secret>) -> io::Result<Self> {
        let listener = match TcpListener::bind(address) {
            // A machine without IPv6, for an address that means all of them.
            Err(error) if address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))?
            }
            bound => bound?,
        };
        Self::over_tcp(Address::Tcp(address), listener, token)
    }

    fn over_tcp(written: Address, listener: TcpListener, token: Option<&Secret>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = Address::Tcp(listener.local_addr()?);
        let token = token.map(|token| Arc::new(token.clone()));
        let reach = match (address.is_local(), token) {
            (true, token) => Reach::Loopback(token),
            (false, Some(token)) => Reach::Network(token),
            (false, None) => return Err(io::Error::other("an address that other machines can reach needs a token")),
        };
        Ok(Self { listener: Listener::Tcp(listener), written, address, reach, file: None })
    }

    fn unix(path: &Path) -> io::Result<Self> {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
        }
        // Made under another name and put in place with its final permissions, over what a dead process left behind.
        let mut beside = path.to_owned().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let placed = (|| {
            let listener = UnixListener::bind(&beside)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE))?;
            fs::rename(&beside, path)?;
            Ok(listener)
        })();
        let listener = placed.inspect_err(|_: &io::Error| drop(fs::remove_file(&beside)))?;
        Self::over_unix(path.to_owned(), listener, false)
    }

    fn over_unix(path: PathBuf, listener: UnixListener, kept: bool) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // A socket that was handed over works without its file too, and then has nothing to remove.
        let file = SocketFile::of(&path, kept).ok();
        let address = Address::Unix(path);
        Ok(Self { listener: Listener::Unix(listener), written: address.clone(), address, reach: Reach::File, file })
    }
}

impl Shared {
    /// The address as configured.
    pub fn written(&self) -> &Address {
        &self.written
    }

    /// Says whether another process has the socket now, so that the file of a unix socket stays when this one closes it.
    pub fn keep_file(&self, kept: bool) {
        if let Some(flag) = &self.kept {
            flag.store(kept, Ordering::Release);
        }
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens the configured addresses, and a socket in the [`run_folder`] where there is one. The default address may be
/// taken: a second server on a machine runs without it, and says so. A socket that another process handed over, which
/// `inherited` finds by its configured address, is taken instead of opened.
pub fn bind(settings: &Settings, inherited: impl FnMut(&Address) -> Option<OwnedFd>) -> Result<Vec<Socket>, BindError> {
    let run = if settings.run_socket { run_folder() } else { None };
    bind_in(settings, run.as_deref(), inherited)
}

fn bind_in(
    settings: &Settings,
    run: Option<&Path>,
    mut inherited: impl FnMut(&Address) -> Option<OwnedFd>,
) -> Result<Vec<Socket>, BindError> {
    let token = settings.token.as_ref();
    let mut open = |address: &Address| match (inherited(address), address) {
        (Some(descriptor), _) => Socket::inherited(address.clone(), descriptor, token),
        (None, Address::Tcp(address)) => Socket::tcp(*address, token),
        (None, Address::Unix(path)) => Socket::unix(path),
    };
    let mut sockets = Vec::with_capacity(settings.addresses.len() + 1);
    for address in &settings.addresses {
        match open(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) if settings.assumed && error.kind() == io::ErrorKind::AddrInUse => {
                log::warn!(
                    "another process has `{address}`, so metrics and status are not there; `admin.address` says where"
                );
            }
            Err(error) => return Err(BindError { address: address.clone(), error }),
        }
    }
    let run = run.map(|folder| Address::Unix(folder.join(RUN_SOCKET)));
    if let Some(address) = run.filter(|address| !settings.addresses.contains(address)) {
        match open(&address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => log::debug!("no admin socket at `{address}`: {error}"),
        }
    }
    Ok(sockets)
}

/// The folder for sockets of this user: the first of [`run_folders`] that can be written, made when it is not there;
/// `None` when there is none.
pub fn run_folder() -> Option<PathBuf> {
    run_folder_in(run_folders())
}

/// Where the folder for sockets may be: the one that `$RUNTIME_DIRECTORY` names, as systemd does for a unit with
/// `RuntimeDirectory=`; else `/run/maitred`, then `$XDG_RUNTIME_DIR/maitred`.
pub fn run_folders() -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    run_folders_of(variable("RUNTIME_DIRECTORY").as_deref(), variable("XDG_RUNTIME_DIR").as_deref())
}

fn run_folders_of(given: Option<&OsStr>, user: Option<&OsStr>) -> Vec<PathBuf> {
    // A unit may have several, with colons between them; a folder that was given is not looked for elsewhere.
    if let Some(given) = given.and_then(|given| env::split_paths(given).next()) {
        return vec![given];
    }
    let own = user.map(|user| Path::new(user).join("maitred"));
    std::iter::once(PathBuf::from("/run/maitred")).chain(own).collect()
}

fn run_folder_in(folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    use rustix::fs::Access;
    folders.into_iter().find(|folder| {
        if let Err(error) = fs::DirBuilder::new().mode(0o750).create(folder)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            log::debug!("no run folder at `{}`: {error}", folder.display());
            return false;
        }
        folder.is_dir() && rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

/// The file of a unix socket, removed when the socket is closed, unless another process has the socket too or has put
/// its own there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    kept: Arc<AtomicBool>,
}

impl SocketFile {
    fn of(path: &Path, kept: bool) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, kept: Arc::new(AtomicBool::new(kept)) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire)
            && identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::debug!("`{}` is left behind: {error}", self.path.display());
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
