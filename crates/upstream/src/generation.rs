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
#[derive(Debug, Default)]
pub(crate) struct Generation(AtomicU64);

/// Spreads moments that differ by little over all keys.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Generation {
    /// Makes `peer` find the connections of now, none of which is older than `lifetime`, and each that waits for streams end
    /// with them.
    pub(crate) fn mark(&self, peer: &mut HttpPeer, lifetime: Duration, now: u64) {
        let ends = self.ends(lifetime, now);
        peer.group_key ^= ends.wrapping_mul(SPREAD);
        let left = Duration::from_millis(ends.saturating_sub(now));
        peer.options.idle_timeout = peer.options.idle_timeout.map(|idle| idle.min(left));
    }

    /// When those of now have had their time, in milliseconds. It stands for them in their key.
    fn ends(&self, lifetime: Duration, now: u64) -> u64 {
        let ends = self.0.load(Relaxed);
        // A reload may have made it shorter.
        if now < ends && ends <= now.saturating_add(millis(lifetime)) {
            return ends;
        }
        let next = now.saturating_add(millis(jittered(lifetime)));
        self.0.compare_exchange(ends, next, Relaxed, Relaxed).map_or_else(|other| other, |_| next)
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
        let first = generation.ends(lifetime, 1_000_000);
        assert!((1_090_000..=1_100_000).contains(&first), "{first}");
        assert_eq!(generation.ends(lifetime, first - 1), first);
        let second = generation.ends(lifetime, first);
        assert!(second > first);
        let shorter = generation.ends(Duration::from_secs(1), first + 1);
        assert_eq!(shorter, first + 1_001, "not ten seconds, and not later");
        assert_eq!(generation.ends(lifetime, first + 2), shorter);
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
        let ends = generation.ends(lifetime, 1_000_000);
        assert_eq!(key(ends - 5), (first, Duration::from_millis(5)));
        assert_ne!(key(ends).0, first);
    }
}
