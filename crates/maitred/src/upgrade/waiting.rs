//! New processes that were started by hand wait here for the old one to be told to hand over.

use std::{
    fs,
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect as connect_to, listen, socket_with,
};
use tokio::net::UnixListener;

use super::Channel;

/// The folder below the run folder; only its owner gets into it.
const FOLDER: &str = "upgrade";
const SOCKET: &str = "upgrade.sock";

/// How long to wait before another process is let in when there was no descriptor for the last one.
const BREATHE: Duration = Duration::from_millis(100);

/// The socket on which new processes wait, and the last one that came.
pub struct Waiting {
    socket: Option<(UnixListener, PathBuf)>,
    came: Option<Channel>,
}

/// Connects to the running process.
pub fn connect() -> io::Result<Channel> {
    let places = admin::run_folders().into_iter().map(|folder| folder.join(FOLDER).join(SOCKET));
    let mut last = io::Error::new(ErrorKind::NotFound, "there is no run folder");
    for path in places {
        match connect_at(&path) {
            Ok(channel) => return Ok(channel),
            Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", path.display())),
        }
    }
    Err(last)
}

fn connect_at(path: &Path) -> io::Result<Channel> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect_to(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(Channel::from_fd(socket))
}

impl Waiting {
    /// Nobody can wait.
    pub fn none() -> Self {
        Self { socket: None, came: None }
    }

    /// Waits at the usual place. Where that cannot be had, by another server of this user most likely, only a process
    /// that this one starts can take over from it.
    pub fn open() -> Self {
        let socket = admin::run_folder().and_then(|folder| {
            open_in(&folder.join(FOLDER))
                .inspect_err(|error| log::debug!("no process that is started by hand can take over: {error}"))
                .ok()
        });
        Self { socket, came: None }
    }

    /// Takes in who comes, for ever. Whoever came before is let go.
    pub async fn admit(&mut self) {
        let Some((socket, _)) = &self.socket else { return std::future::pending().await };
        let accepted = async {
            let stream = socket.accept().await?.0.into_std()?;
            stream.set_nonblocking(false)?;
            Ok::<_, io::Error>(OwnedFd::from(stream))
        };
        match accepted.await {
            Ok(channel) => {
                log::info!("a new process waits for the sockets: `kill -QUIT {}` hands them over", std::process::id());
                self.came = Some(Channel::from_fd(channel));
            }
            Err(error) => {
                log::debug!("a new process cannot be let in: {error}");
                tokio::time::sleep(BREATHE).await;
            }
        }
    }

    /// The process that waits.
    pub fn take(&mut self) -> Option<Channel> {
        self.came.take()
    }

    /// Makes room for the successor's own.
    pub fn close(&mut self) {
        self.came = None;
        if let Some((_, path)) = self.socket.take() {
            // Whatever is in the way, the successor tells of it.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.close();
    }
}

fn open_in(folder: &Path) -> io::Result<(UnixListener, PathBuf)> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?,
    }
    let path = folder.join(SOCKET);
    if connect_at(&path).is_ok() {
        return Err(ErrorKind::AddrInUse.into());
    }
    // What a process that is gone has left behind.
    let _ = fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    listen(&socket, 1)?;
    // What std and tokio do with a listening socket does not depend on whether its connections keep packets apart.
    Ok((UnixListener::from_std(socket.into())?, path))
}
