//! How old an answer is, how long it is fresh, and how long it will do (RFC 9111 section 4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::{
    directives::{Delta, Reach, Said},
    policy::Policy,
    wire::{In, Out},
};

/// Milliseconds since 1970: the cache's clock. RFC 9111 counts seconds; a cache for half a second wants more.
pub type Millis = u64;

/// The moment.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// When an answer was asked for, and when its head was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the request was sent.
    pub asked: Millis,
    /// When the head was there.
    pub answered: Millis,
}

/// How long an answer will do, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    times: Times,
    initial_age: Millis,
    pub(crate) lifetime: Millis,
    pub(crate) while_revalidating: Millis,
    pub(crate) on_error: Millis,
    /// Must be asked for each time (`no-cache`).
    always_ask: bool,
    /// Must not be used once stale.
    never_stale: bool,
}

const SECOND: Millis = 1000;

/// The longest that anything is guessed to be fresh.
const LONGEST_GUESS: Millis = 24 * 60 * 60 * SECOND;

impl Freshness {
    /// Reads what the answer says, and fills in from the route's policy what it does not.
    pub fn of(
        said: &Said,
        targeted: bool,
        status: StatusCode,
        fields: &HeaderMap,
        policy: &Policy,
        times: Times,
    ) -> Self {
        let configured = policy.ttl_of(status);
        let lifetime = match configured.filter(|_| policy.replace) {
            Some(ttl) => ttl,
            None => explicit(said, targeted, fields, times)
                .or(configured)
                .or_else(|| heuristic(said, status, fields, times))
                .unwrap_or(0),
        };
        let never_stale = said.forbids_stale();
        let window = |told: Option<u64>, own: Millis| match told {
            _ if never_stale => 0,
            Some(seconds) => seconds * SECOND,
            None => own,
        };
        Self {
            times,
            initial_age: initial_age(fields, times),
            lifetime,
            while_revalidating: window(said.stale_while_revalidate.seconds(), policy.stale),
            on_error: window(said.stale_if_error.seconds(), policy.stale_if_error),
            always_ask: said.no_cache == Reach::Whole,
            never_stale,
        }
    }

    pub(crate) fn write(&self, out: &mut Out) {
        let Self { times, initial_age, lifetime, while_revalidating, on_error, always_ask, never_stale } = *self;
        for number in [times.asked, times.answered, initial_age, lifetime, while_revalidating, on_error] {
            out.number(number);
        }
        out.flag(always_ask);
        out.flag(never_stale);
    }

    pub(crate) fn read(from: &mut In<'_>) -> Option<Self> {
        Some(Self {
            times: Times { asked: from.number()?, answered: from.number()? },
            initial_age: from.number()?,
            lifetime: from.number()?,
            while_revalidating: from.number()?,
            on_error: from.number()?,
            always_ask: from.flag()?,
            never_stale: from.flag()?,
        })
    }

    /// For how long from now on it may be given without an answer of the origin, in one way or another.
    pub(crate) fn does_for(&self, now: Millis) -> Millis {
        let longest = self.lifetime.saturating_add(self.while_revalidating.max(self.on_error));
        if self.always_ask { 0 } else { longest.saturating_sub(self.age(now)) }
    }

    /// RFC 9111 section 4.2.3.
    pub fn age(&self, now: Millis) -> Millis {
        self.initial_age + now.saturating_sub(self.times.answered)
    }

    /// What is left of its freshness, or for how long it has been stale (negative), in milliseconds.
    pub fn left(&self, now: Millis) -> i64 {
        let signed = |millis: Millis| i64::try_from(millis).unwrap_or(i64::MAX);
        signed(self.lifetime).saturating_sub(signed(self.age(now)))
    }

    /// When the request was sent.
    pub fn asked(&self) -> Millis {
        self.times.asked
    }

    /// Whether it has to be asked for before each use.
    pub fn always_ask(&self) -> bool {
        self.always_ask
    }

    /// Whether it must not be used once it is stale.
    pub fn never_stale(&self) -> bool {
        self.never_stale
    }

    /// Whether it will ever do without an answer of the origin.
    pub fn is_useful(&self) -> bool {
        let age = self.initial_age;
        !self.always_ask && (self.lifetime > age || self.lifetime + self.while_revalidating.max(self.on_error) > age)
    }
}

/// RFC 9111 section 4.2.1, in its order of precedence; `None` where nothing is said.
fn explicit(said: &Said, targeted: bool, fields: &HeaderMap, times: Times) -> Option<Millis> {
    let seconds = said.s_maxage.seconds().or_else(|| said.max_age.seconds());
    if seconds.is_some() || targeted {
        return seconds.map(|seconds| seconds * SECOND);
    }
    let expires = fields.get(header::EXPIRES)?;
    let date = date(fields, &header::DATE).unwrap_or(times.answered);
    // RFC 9111 section 5.3: what is no date, "0" above all, is in the past.
    Some(read(expires.as_bytes()).map_or(0, |expires| expires.saturating_sub(date)))
}

/// RFC 9111 section 4.2.2: a tenth of the time since it was changed.
fn heuristic(said: &Said, status: StatusCode, fields: &HeaderMap, times: Times) -> Option<Millis> {
    if !is_heuristically_cacheable(status) && !said.public {
        return None;
    }
    let modified = date(fields, &header::LAST_MODIFIED)?;
    let date = date(fields, &header::DATE).unwrap_or(times.answered);
    Some((date.saturating_sub(modified) / 10).min(LONGEST_GUESS))
}

/// RFC 9110 section 15.1.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111 section 4.2.3: `corrected_initial_age`.
fn initial_age(fields: &HeaderMap, times: Times) -> Millis {
    let apparent = date(fields, &header::DATE).map_or(0, |date| times.answered.saturating_sub(date));
    let delay = times.answered.saturating_sub(times.asked);
    let told = fields.get(header::AGE).and_then(|age| age.as_bytes().split(|byte| *byte == b',').next());
    let told = told.and_then(|age| Delta::read(Some(age.trim_ascii())).seconds()).unwrap_or(0) * SECOND;
    // `Date` counts whole seconds, so that an answer of this very moment may seem almost a second old.
    let apparent = if apparent < SECOND { 0 } else { apparent };
    apparent.max(told + delay)
}

/// A date that can be read.
pub(crate) fn date(fields: &HeaderMap, name: &HeaderName) -> Option<Millis> {
    read(fields.get(name)?.as_bytes())
}

/// RFC 9110 section 5.6.7: all three forms of dates.
pub(crate) fn read(text: &[u8]) -> Option<Millis> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?.trim()).ok()?;
    Some(date.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as Millis)
}

#[cfg(test)]
mod tests;
