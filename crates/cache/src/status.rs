//! What is told of an answer: the field `Cache-Status` (RFC 9211).

use http::HeaderValue;

use crate::storing::Unkept;

/// What the cache had to do with an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it came from the cache, and nobody was asked.
    pub hit: bool,
    /// Why the origin was asked.
    pub forwarded: Option<Forward>,
    /// What the origin answered, where that is not what the client gets.
    pub origin: Option<u16>,
    /// Whether it is kept.
    pub stored: bool,
    /// Whether it was asked for together with others.
    pub collapsed: bool,
    /// For how many seconds it is fresh, or has been stale.
    pub ttl: Option<i64>,
    /// Why it is not kept.
    pub unkept: Option<Unkept>,
    /// Where it was, where that was not in memory.
    pub tier: Option<Tier>,
}

/// Where else than in memory answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// On disk.
    Disk,
    /// In Redis, shared with other processes.
    Redis,
}

impl Tier {
    const fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Redis => "redis",
        }
    }
}

/// Why the origin was asked (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The configuration says so.
    Bypass,
    /// The request says so.
    Request,
    /// Nothing is kept of this.
    UriMiss,
    /// What is kept is for other requests.
    VaryMiss,
    /// What is kept is stale.
    Stale,
    /// A part was asked for, and nothing is kept.
    Partial,
    /// The method is not one that is kept.
    Method,
}

impl Forward {
    const fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::Method => "method",
        }
    }
}

impl Status {
    /// Of an answer that the origin gave because of this.
    pub fn forwarded(why: Forward) -> Self {
        Self { forwarded: Some(why), ..Self::default() }
    }

    /// The value of the field.
    pub fn value(&self) -> Option<HeaderValue> {
        use std::fmt::Write as _;

        let mut text = String::with_capacity(64);
        text.push_str("maitred");
        if self.hit {
            text.push_str("; hit");
        }
        if let Some(why) = self.forwarded {
            text.push_str("; fwd=");
            text.push_str(why.word());
        }
        // Writing to a string cannot fail.
        if let Some(status) = self.origin {
            let _ = write!(text, "; fwd-status={status}");
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if let Some(detail) = self.unkept.map(Unkept::word).or(self.tier.map(Tier::word)) {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).ok()
    }
}
