//! What a configuration says of all endpoints of an upstream.

use std::time::Duration;

use crate::{breaker, outlier};

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
    /// Whether latencies matter to the policy.
    pub(crate) latency: bool,
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
