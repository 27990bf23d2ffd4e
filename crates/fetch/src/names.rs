//! The addresses of hosts, looked up again now and then; the last ones serve while a look-up fails.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{net::lookup_host, sync::Mutex as Turn, time::timeout};

/// How long addresses are taken for the host's.
const FRESH: Duration = Duration::from_secs(10);
/// How long a look-up may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many hosts are known at once: more than a configuration has.
const MOST: usize = 1024;
/// How many addresses of a host are kept.
const ADDRESSES: usize = 8;

/// Every host that was asked for.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<Place, Arc<Name>>>);

/// A host and a port.
type Place = (Box<str>, u16);

/// The addresses, and when they were looked up.
type Known = (Instant, Arc<[SocketAddr]>);

#[derive(Default)]
struct Name {
    known: Mutex<Option<Known>>,
    /// One at a time looks it up.
    turn: Turn<()>,
}

impl Names {
    /// The addresses of a host, at least one.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, port)].into());
        }
        let name = {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= MOST {
                names.clear();
            }
            names.entry((host.into(), port)).or_default().clone()
        };
        name.addresses(host, port).await
    }
}

impl Name {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        let known = self.known();
        if let Some((since, addresses)) = &known {
            let free = self.turn.try_lock().is_ok();
            if since.elapsed() < FRESH || !free {
                return Ok(addresses.clone());
            }
        }
        let _turn = self.turn.lock().await;
        if let Some((since, addresses)) = self.known()
            && since.elapsed() < FRESH
        {
            return Ok(addresses);
        }
        let found = match timeout(PATIENCE, lookup_host((host, port))).await {
            Ok(found) => found.map(|found| found.take(ADDRESSES).collect::<Arc<[_]>>()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let found =
            found.and_then(
                |found| {
                    if found.is_empty() { Err(io::Error::other("the host has no address")) } else { Ok(found) }
                },
            );
        let addresses = found.or_else(|error| known.map(|(_, addresses)| addresses).ok_or(error))?;
        let now = Some((Instant::now(), addresses.clone()));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(addresses)
    }

    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
