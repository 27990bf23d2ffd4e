//! How long an endpoint's connections of HTTP/2 are used for new streams.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pingora_core::upstreams::peer::HttpPeer;

use crate::name::jittered;

/// Which of an endpoint's connections get new streams. Pingora's pool finds one by a key and shows nobody how old it is, so the
/// key changes once the oldest of them has had its time: those of before are not found any more, and end when their streams
/// have. One connection carries a hundred streams; where there are several of an endpoint they end with the oldest.
///
/// When the connections of now have had their time, in milliseconds, and in the bits below [`KEYS`] the number of their key.
/// Keys come around: what Pingora's pool has forgotten under one (see [`crate::counted`]) it drops when it next looks there.
#[derive(Debug, Default)]
pub(crate) struct Generation(AtomicU64);

/// So many keys, a power of two, that a stream would have to last for as many lifetimes to be joined by new ones.
const KEYS: u64 = 1024;

/// Spreads moments that differ by little over all keys.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Generation {
    /// Makes `peer` find the connections of now, none of which is older than `lifetime`, and each that waits for streams end
    /// with them.
    pub(crate) fn mark(&self, peer: &mut HttpPeer, lifetime: Duration, now: u64) {
        let current = self.current(lifetime, now);
        peer.group_key ^= (current % KEYS + 1).wrapping_mul(SPREAD);
        let left = Duration::from_millis((current / KEYS).saturating_sub(now));
        peer.options.idle_timeout = peer.options.idle_timeout.map(|idle| idle.min(left));
    }

    /// The one of now, or the next where that has ended.
    fn current(&self, lifetime: Duration, now: u64) -> u64 {
        let current = self.0.load(Relaxed);
        let ends = current / KEYS;
        // A reload may have made it shorter.
        if now < ends && ends <= now.saturating_add(millis(lifetime)) {
            return current;
        }
        // An endpoint that was gone and is back begins with another key than it had.
        let key = if current == 0 { now } else { current.wrapping_add(1) } % KEYS;
        let next = now.saturating_add(millis(jittered(lifetime))).saturating_mul(KEYS) | key;
        self.0.compare_exchange(current, next, Relaxed, Relaxed).map_or_else(|other| other, |_| next)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_generation_ends_with_the_lifetime_of_its_oldest() {
        let (generation, lifetime) = (Generation::default(), Duration::from_secs(100));
        let ends = |lifetime, now| generation.current(lifetime, now) / KEYS;
        let first = ends(lifetime, 1_000_000);
        assert!((1_090_000..=1_100_000).contains(&first), "{first}");
        assert_eq!(ends(lifetime, first - 1), first);
        let second = ends(lifetime, first);
        assert!(second > first);
        let shorter = ends(Duration::from_secs(1), first + 1);
        assert_eq!(shorter, first + 1_001, "not ten seconds, and not later");
        assert_eq!(ends(lifetime, first + 2), shorter);
    }

    #[test]
    fn connections_of_another_generation_are_not_found() {
        let (generation, lifetime) = (Generation::default(), Duration::from_secs(100));
        let key = |now| {
            let mut peer = HttpPeer::new((Ipv4Addr::LOCALHOST, 80), false, String::new());
            peer.options.idle_timeout = Some(Duration::from_secs(60));
            generation.mark(&mut peer, lifetime, now);
            (peer.group_key, peer.options.idle_timeout.unwrap())
        };
        let (first, idle) = key(1_000_000);
        assert_eq!(idle, Duration::from_secs(60));
        let ends = generation.current(lifetime, 1_000_000) / KEYS;
        assert_eq!(key(ends - 5), (first, Duration::from_millis(5)));
        assert_ne!(key(ends).0, first);
    }

    #[test]
    fn keys_come_around_and_one_without_an_end_goes_on_to_the_next_as_well() {
        let (generation, forever) = (Generation::default(), Duration::from_secs(u64::MAX / 1000));
        let key = |lifetime, now| generation.current(lifetime, now) % KEYS;
        let second = Duration::from_millis(1);
        let keys: Vec<u64> = (1..=KEYS).map(|now| key(second, now)).collect();
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        assert_eq!(key(second, KEYS + 1), keys[0]);
        let last = key(forever, KEYS + 2);
        assert_eq!(key(forever, KEYS + 3), last);
        assert_ne!(key(second, KEYS + 4), last);
    }
}
