//! All listeners of the process: opened, closed, counted.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pingora_core::server::{Fds, ListenFds, ShutdownWatch};
use telemetry::ListenerMeters;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Bound, Serve,
    accept::{Doorkeeper, Incoming},
    live::{Gate, Live},
};

/// The sockets of the process and the tasks that accept on them. Dropping it closes every listener.
pub struct Listeners {
    open: Mutex<HashMap<Arc<str>, Open>>,
    live: Arc<Live>,
    shutdown: ShutdownWatch,
    fds: Option<ListenFds>,
}

/// A listener that accepts.
#[derive(Debug)]
struct Open {
    gate: Arc<Gate>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// What it is called in Pingora's table of descriptors.
    fds: Vec<String>,
}

impl Listeners {
    /// No listener yet. `shutdown` is handed to every connection, and ends all accepting once it is true. In `fds`,
    /// Pingora's table, every listening socket is entered under its address while it is open, so that an upgrade can
    /// hand it over.
    pub fn new(shutdown: ShutdownWatch, fds: Option<ListenFds>) -> Self {
        Self { open: Mutex::default(), live: Arc::default(), shutdown, fds }
    }

    /// Begins to accept on a listener's sockets. Must be called within the runtime that is to serve the connections.
    ///
    /// # Errors
    ///
    /// When a listener of this name is open already, or the runtime cannot take a socket.
    pub fn open<S: Serve>(&self, bound: Bound, serve: Arc<S>, meters: Arc<ListenerMeters>) -> io::Result<()> {
        let Bound { listener, sockets } = bound;
        let mut open = self.lock();
        if open.contains_key(&listener.name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("listener `{}` is open", listener.name)));
        }
        let named = |socket: &crate::BoundSocket| -> (String, RawFd) {
            let name = socket.local().map_or_else(|| socket.address().to_string(), |local| local.to_string());
            (name, socket.as_raw_fd())
        };
        let fds: Vec<(String, RawFd)> = sockets.iter().map(named).collect();
        let incoming = sockets.into_iter().map(Incoming::new).collect::<io::Result<Vec<_>>>()?;
        if let Some(table) = &self.fds {
            let mut table = table.lock();
            fds.iter().for_each(|(name, fd)| table.add(name.clone(), *fd));
        }
        let gate = Gate::new(listener.max_connections, Arc::clone(&self.live));
        let (stop, stopped) = watch::channel(false);
        let accept = |incoming| {
            let doorkeeper = Doorkeeper {
                listener: Arc::clone(&listener),
                meters: Arc::clone(&meters),
                gate: Arc::clone(&gate),
                serve: Arc::clone(&serve),
                shutdown: self.shutdown.clone(),
            };
            tokio::spawn(doorkeeper.run(incoming, stopped.clone()))
        };
        let tasks = incoming.into_iter().map(accept).collect();
        let fds = fds.into_iter().map(|(name, _)| name).collect();
        open.insert(Arc::clone(&listener.name), Open { gate, stop, tasks, fds });
        Ok(())
    }

    /// Stops accepting on a listener and closes its sockets; its connections go on. When this returns, its addresses
    /// are free. Says whether there was such a listener.
    pub async fn close(&self, name: &str) -> bool {
        let Some(listener) = self.lock().remove(name) else { return false };
        self.end(listener).await;
        true
    }

    /// [`close`](Self::close)s every listener.
    pub async fn close_all(&self) {
        let all: Vec<Open> = self.lock().drain().map(|(_, listener)| listener).collect();
        all.iter().for_each(|listener| {
            let _ = listener.stop.send(true);
        });
        for listener in all {
            self.end(listener).await;
        }
    }

    async fn end(&self, listener: Open) {
        // First out of the table: a number that stands for another file by then must not be handed over.
        self.forget(&listener.fds);
        let _ = listener.stop.send(true);
        for task in listener.tasks {
            let _ = task.await;
        }
    }

    /// Pingora's table has no way to remove an entry, so it is made anew.
    fn forget(&self, names: &[String]) {
        let Some(table) = &self.fds else { return };
        let mut table = table.lock();
        let (known, fds) = table.serialize();
        let mut rest = Fds::new();
        let others = known.into_iter().zip(fds).filter(|(name, _)| !names.contains(name));
        others.for_each(|(name, fd)| rest.add(name, fd));
        *table = rest;
    }

    /// How many connections are open, on all listeners, those of closed ones included.
    pub fn live(&self) -> usize {
        self.live.open()
    }

    /// How many connections are open on a listener; `None` when no such listener is open.
    pub fn live_on(&self, name: &str) -> Option<usize> {
        self.lock().get(name).map(|listener| listener.gate.open())
    }

    /// Waits until no connection is open.
    pub async fn idle(&self) {
        self.live.idle().await;
    }

    /// The names of the open listeners, in no order.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
