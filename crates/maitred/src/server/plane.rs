//! The admin plane's sockets: opened, exchanged in a reload, shared with a successor, closed.

use std::{io, os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use admin::{Admin, BindError, Settings, Shared, Socket};
use telemetry::audit::Attempts;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// How long answers may take to be written when the sockets are closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// The sockets that the admin plane answers on.
pub struct Plane {
    settings: Settings,
    shared: Vec<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl Plane {
    /// Begins to answer on `sockets`, which were opened as `settings` say.
    pub fn open(settings: Settings, sockets: Vec<Socket>, admin: Arc<Admin>) -> io::Result<Self> {
        let shared = sockets.iter().map(Socket::share).collect::<io::Result<_>>()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(admin::serve(sockets, admin, stopped));
        Ok(Self { settings, shared, stop, task })
    }

    /// The sockets that other settings need: those that are open once more, the rest from the system. `None` where the
    /// settings are the same.
    pub fn prepare(&self, settings: &Settings) -> Result<Option<Vec<Socket>>, BindError> {
        if self.settings == *settings {
            return Ok(None);
        }
        let open = |address: &admin::Address| {
            let shared = self.shared.iter().find(|shared| shared.written() == address)?;
            shared.as_fd().try_clone_to_owned().ok()
        };
        // Should nothing come of it, the files stay with those that are open.
        admin::bind(settings, open).map(Some)
    }

    /// Says that whoever had the sockets before leaves them to this one, with their files.
    pub fn own_files(&self) {
        self.shared.iter().for_each(|shared| shared.keep_file(false));
    }

    /// Answers on other sockets from now on. What is being answered on the old ones is answered.
    pub fn exchange(&mut self, settings: Settings, sockets: Vec<Socket>, admin: Arc<Admin>) -> io::Result<()> {
        let next = Self::open(settings, sockets, admin)?;
        next.own_files();
        let before = std::mem::replace(self, next);
        for shared in &before.shared {
            shared.keep_file(self.shared.iter().any(|kept| kept.written() == shared.written()));
        }
        let _ = before.stop.send(true);
        Ok(())
    }

    /// The audit log that is written.
    pub fn audit(&self) -> &Option<(PathBuf, Attempts)> {
        &self.settings.audit
    }

    /// The sockets, for a successor.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Stops answering. Whoever gave the order that brought the end waits for its answer, and gets it.
    pub async fn close(&mut self) {
        self.leave();
        let _ = timeout(FAREWELL, &mut self.task).await;
    }

    /// Accepts no more, and goes on with what has begun.
    pub fn leave(&self) {
        self.stop.send_replace(true);
    }
}
