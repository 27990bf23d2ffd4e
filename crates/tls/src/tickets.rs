//! Session tickets: what a client keeps for us so that its next handshake is short (RFC 8446 section 2.2, RFC 5077).

mod keys;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    rand,
};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::clock;

pub use keys::{NotTicketKeys, TicketKeys};

/// How long a key seals tickets, in seconds.
const TURN: i64 = 6 * 3600;

/// How long a ticket is good for, in seconds; RFC 8446 section 4.6.1 allows a week.
const LIFETIME: u32 = 12 * 3600;

/// How long a key opens tickets: those that it sealed last live as long as any.
const OPENS: i64 = TURN + LIFETIME as i64;

/// How many keys that makes: the one that seals and the two before it.
const KEPT: usize = 3;

const NAME: usize = 16;
const SECRET: usize = 32;

/// The tickets of one listener. They are sealed with a key that nobody but this process and its successor has, and that
/// is forgotten after 18 hours: whoever steals it later cannot read what was recorded before.
///
/// A ticket is the key's name, a nonce, and what AES-256-GCM-SIV (RFC 8452) makes of the session. The nonce is random,
/// and this cipher forgives one that comes twice.
pub struct Tickets {
    /// The newest first.
    keys: ArcSwap<Vec<Arc<Key>>>,
    turning: Mutex<()>,
}

/// A key and since when it is used.
struct Key {
    name: [u8; NAME],
    secret: Zeroizing<[u8; SECRET]>,
    /// In seconds since the Unix epoch.
    born: i64,
    cipher: RandomizedNonceKey,
}

impl Key {
    fn generate(now: i64) -> Result<Self, Unspecified> {
        let (mut name, mut secret) = ([0; NAME], Zeroizing::new([0; SECRET]));
        rand::fill(&mut name)?;
        rand::fill(secret.as_mut_slice())?;
        Self::new(name, secret, now)
    }

    fn new(name: [u8; NAME], secret: Zeroizing<[u8; SECRET]>, born: i64) -> Result<Self, Unspecified> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM_SIV, secret.as_slice())?;
        Ok(Self { name, secret, born, cipher })
    }

    fn seals(&self, now: i64) -> bool {
        (self.born..self.born + TURN).contains(&now)
    }

    fn opens(&self, now: i64) -> bool {
        now < self.born + OPENS
    }
}

impl Tickets {
    fn new(now: i64) -> Result<Self, Unspecified> {
        Ok(Self::with(vec![Arc::new(Key::generate(now)?)]))
    }

    fn with(keys: Vec<Arc<Key>>) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), turning: Mutex::default() }
    }

    /// Makes a new key where the newest has served its time, and forgets those that no good ticket was sealed with.
    pub(crate) fn turn(&self, now: i64) {
        let in_order = |keys: &[Arc<Key>]| {
            keys.first().is_some_and(|newest| newest.seals(now)) && keys.iter().all(|key| key.opens(now))
        };
        if in_order(&self.keys.load()) {
            return;
        }
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.load();
        let mut next: Vec<Arc<Key>> = keys.iter().filter(|key| key.opens(now)).cloned().collect();
        if !next.first().is_some_and(|newest| newest.seals(now)) {
            match Key::generate(now) {
                Ok(key) => next.insert(0, Arc::new(key)),
                Err(Unspecified) => log::error!("no new key for session tickets: the system gives no random numbers"),
            }
        }
        next.truncate(KEPT);
        self.keys.store(Arc::new(next));
    }

    fn seal(&self, session: &[u8], now: i64) -> Option<Vec<u8>> {
        self.turn(now);
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut sealed = session.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name, &nonce.as_ref()[..], &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == name && key.opens(now))?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.cipher.open_in_place(nonce, Aad::from(key.name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.seal(session, clock::unix())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, clock::unix())
    }
}

/// Without the keys, and without their names, which tickets show to everybody.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
