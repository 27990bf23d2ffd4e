//! What was found out lately, so that it need not be found out again: a bounded memory of good credentials.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use filter::Identity;

/// How many parts it has: threads that look up different credentials seldom meet.
const SHARDS: usize = 16;

/// What is remembered of one credential.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub identity: Arc<Identity>,
    /// Until when, in seconds since 1970.
    pub until: Option<i64>,
    /// What it was found with: other keys would have to find it anew.
    pub keys: u64,
}

/// What is known, by the hash of a credential. Good ones and bad ones never share one, so that nobody drives good ones
/// out with guesses.
pub(crate) struct Verdicts<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    /// How many each half of a shard may have.
    room: usize,
}

/// Two halves: when the young one is full it becomes the old one, and what nobody asked for meanwhile is forgotten.
struct Shard<T> {
    young: HashMap<[u8; 32], T>,
    old: HashMap<[u8; 32], T>,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Clone> Verdicts<T> {
    /// A memory of about `room` credentials.
    pub(crate) fn new(room: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, room: (room / SHARDS / 2).max(1) }
    }

    /// What is known of the credential.
    pub(crate) fn get(&self, hash: &[u8; 32]) -> Option<T> {
        let mut shard = self.shard(hash)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.young.get(hash) {
            return Some(known.clone());
        }
        let known = shard.old.remove(hash)?;
        shard.put(*hash, known.clone(), self.room);
        Some(known)
    }

    pub(crate) fn put(&self, hash: [u8; 32], known: T) {
        if let Some(shard) = self.shard(&hash) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).put(hash, known, self.room);
        }
    }

    fn shard(&self, hash: &[u8; 32]) -> Option<&Mutex<Shard<T>>> {
        self.shards.get(usize::from(hash[0]) % SHARDS)
    }
}

impl<T> Shard<T> {
    fn put(&mut self, hash: [u8; 32], known: T, room: usize) {
        if self.young.len() >= room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, known);
    }
}

impl<T> fmt::Debug for Verdicts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verdicts")
    }
}

#[cfg(test)]
mod tests {
    use filter::Credential;

    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let verdicts = Verdicts::new(64);
        let known = |keys| Known { identity: Arc::new(Identity::new("p".into(), Credential::Jwt)), until: None, keys };
        let hash = |number: u32| {
            let mut hash = [0; 32];
            hash[1..5].copy_from_slice(&number.to_le_bytes());
            hash
        };
        for number in 0..1000 {
            verdicts.put(hash(number), known(1));
            assert!(verdicts.get(&hash(0)).is_some(), "{number}");
        }
        assert!(verdicts.get(&hash(1)).is_none());
        let kept: usize =
            verdicts.shards.iter().map(|shard| shard.lock().unwrap()).map(|s| s.young.len() + s.old.len()).sum();
        assert!(kept <= 4, "{kept}");
    }
}
