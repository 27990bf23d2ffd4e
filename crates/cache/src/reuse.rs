//! Whether what is kept will do for a request (RFC 9111 section 4).

use crate::{directives::Asked, freshness::Millis, stored::Stored};

/// What may be done with a kept answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It may be given.
    Fresh,
    /// It is stale, and may be given all the same.
    Stale,
    /// It is stale, and may be given while it is asked for anew.
    StaleWhileRevalidating,
    /// The origin has to be asked first, because it is stale.
    Revalidate,
    /// The origin has to be asked first, because the request says so.
    Asked,
}

impl Reuse {
    /// Whether it may be given before the origin is asked.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale | Self::StaleWhileRevalidating)
    }
}

/// Judges a kept answer for a request.
pub fn judge(stored: &Stored, asked: &Asked, now: Millis) -> Reuse {
    let freshness = stored.freshness();
    let (age, left) = (freshness.age(now), stored.left(now));
    // RFC 9111 sections 5.2.1.1 and 5.2.1.4.
    if asked.no_cache || asked.max_age.is_some_and(|most| age / 1000 > most || (most == 0 && age > 0)) {
        return Reuse::Asked;
    }
    if freshness.always_ask() {
        return Reuse::Revalidate;
    }
    // RFC 9111 section 5.2.1.3.
    let wanted = asked.min_fresh.map_or(0, millis);
    if left > 0 {
        return if left >= wanted { Reuse::Fresh } else { Reuse::Asked };
    }
    if freshness.never_stale() || wanted > 0 {
        return Reuse::Revalidate;
    }
    // RFC 9111 section 5.2.1.2.
    if asked.max_stale.is_some_and(|most| -left <= millis(most)) {
        return Reuse::Stale;
    }
    if stored.does_while_revalidating(now) {
        return Reuse::StaleWhileRevalidating;
    }
    Reuse::Revalidate
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
