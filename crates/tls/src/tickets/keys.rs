//! The ticket keys of all listeners: found again by name over a reload, and handed over in an upgrade.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroizing;

use crate::{ServerError, clock};

use super::{KEPT, Key, NAME, SECRET, Tickets};

/// What the bytes of a hand-over begin with: a word that nothing else begins with, and the version of what follows.
const MARK: &[u8; 4] = b"mtk\x01";

/// The ticket keys of all listeners, by name. What is kept of TLS beside the configuration: a listener that is compiled
/// anew goes on with the keys that it had, so that its clients' sessions are resumed.
///
/// [`export`](Self::export) and [`import`](Self::import) hand them to a new process, whose clients then do not all come
/// with full handshakes at once.
///
/// ```
/// use maitred_tls::TicketKeys;
///
/// let old = TicketKeys::default();
/// let _tickets = old.of("https")?;
/// let new = TicketKeys::default();
/// new.import(&old.export()).unwrap();
/// assert_eq!(*new.export(), *old.export());
/// # Ok::<(), maitred_tls::ServerError>(())
/// ```
#[derive(Clone, Default)]
pub struct TicketKeys(Arc<Mutex<BTreeMap<Box<str>, Arc<Tickets>>>>);

/// The bytes are not those of ticket keys, or those of a release that writes them otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTicketKeys;

impl TicketKeys {
    /// The tickets of a listener; the same ones every time.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn of(&self, listener: &str) -> Result<Arc<Tickets>, ServerError> {
        let (now, mut all) = (clock::unix(), self.lock());
        forget_unused(&mut all, now);
        if let Some(found) = all.get(listener) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(Tickets::new(now).map_err(|_| ServerError::from(rustls::Error::FailedToGetRandomBytes))?);
        all.insert(listener.into(), Arc::clone(&made));
        Ok(made)
    }

    /// All keys as bytes, for a successor that is trusted with them: whoever has them can read every session that
    /// begins with a ticket.
    pub fn export(&self) -> Zeroizing<Vec<u8>> {
        let (now, mut all) = (clock::unix(), self.lock());
        forget_unused(&mut all, now);
        let listeners: Vec<_> = all.iter().map(|(name, tickets)| (name.as_bytes(), tickets.keys.load_full())).collect();
        let size: usize = listeners.iter().map(|(name, keys)| 3 + name.len() + keys.len() * Key::SIZE).sum();
        // Of the right size from the start: a vector that grows leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MARK.len() + size));
        bytes.extend_from_slice(MARK);
        for (name, keys) in listeners {
            let Ok(length) = u16::try_from(name.len()) else { continue };
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(name);
            bytes.push(keys.len() as u8); // at most KEPT
            keys.iter().for_each(|key| key.write(&mut bytes));
        }
        bytes
    }

    /// Goes on with the keys of another process, for the listeners that there are and for those that are yet to be
    /// compiled.
    ///
    /// # Errors
    ///
    /// When the bytes are not what [`export`](Self::export) gives; nothing has changed then.
    pub fn import(&self, bytes: &[u8]) -> Result<(), NotTicketKeys> {
        let mut rest = bytes.strip_prefix(MARK).ok_or(NotTicketKeys)?;
        let mut read = Vec::new();
        while !rest.is_empty() {
            read.push(listener(&mut rest).ok_or(NotTicketKeys)?);
        }
        let mut all = self.lock();
        for (name, keys) in read {
            match all.get(&name) {
                Some(tickets) => tickets.keys.store(Arc::new(keys)),
                None => drop(all.insert(name, Arc::new(Tickets::with(keys)))),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Arc<Tickets>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener that is gone may come back with the next reload, but not after its last ticket has ended.
fn forget_unused(all: &mut BTreeMap<Box<str>, Arc<Tickets>>, now: i64) {
    all.retain(|_, tickets| Arc::strong_count(tickets) > 1 || tickets.keys.load().iter().any(|key| key.opens(now)));
}

/// Reads a listener's name and keys off the front of `rest`.
fn listener(rest: &mut &[u8]) -> Option<(Box<str>, Vec<Arc<Key>>)> {
    let length = u16::from_be_bytes(take(rest)?);
    let (name, after) = rest.split_at_checked(usize::from(length))?;
    *rest = after;
    let [count] = take(rest)?;
    let count = usize::from(count);
    let keys: Option<Vec<_>> = (count <= KEPT).then(|| (0..count).map(|_| Key::read(rest).map(Arc::new)).collect())?;
    Some((std::str::from_utf8(name).ok()?.into(), keys?))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

impl Key {
    pub(super) const SIZE: usize = NAME + SECRET + size_of::<i64>();

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(self.secret.as_slice());
        bytes.extend_from_slice(&self.born.to_be_bytes());
    }

    fn read(rest: &mut &[u8]) -> Option<Self> {
        let (name, secret) = (take(rest)?, Zeroizing::new(take(rest)?));
        Self::new(name, secret, i64::from_be_bytes(take(rest)?)).ok()
    }
}

/// The listeners' names alone.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl fmt::Display for NotTicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these are no ticket keys of this release")
    }
}

impl std::error::Error for NotTicketKeys {}
