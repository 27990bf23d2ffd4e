//! What a configuration says of all endpoints of an upstream.

use std::time::Duration;

use crate::{adaptive, breaker, outlier};

/// The rules of one upstream.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) outlier: Option<outlier::Rules>,
    pub(crate) breaker: Option<breaker::Rules>,
    /// How long a new endpoint takes to its full share, in milliseconds.
    pub(crate) slow_start: Option<u64>,
    pub(crate) panic: Panic,
    /// How many requests an endpoint has at a time.
    pub(crate) max_connections: Option<u32>,
    /// How long a request waits for a place.
    pub(crate) queue: Duration,
    /// What of latencies matters to the policy.
    pub(crate) latency: Option<Measure>,
    /// How the number of requests under way is found that is not too many.
    pub(crate) adaptive: Option<adaptive::Rules>,
}

/// What is made of how long answers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The longest of late, and failures as if they were slow.
    Peak,
    /// What is usual.
    Typical,
}

/// When endpoints are used that are not healthy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Panic {
    /// Never: then nobody answers.
    Never,
    /// When none is healthy.
    NoneHealthy,
    /// When fewer than this share are, or none.
    Below(f32),
}
