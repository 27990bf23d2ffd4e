//! Step 7: meters and access log.

use std::time::Instant;

use filter::{Body, Reason, Reply};
use http::{HeaderValue, StatusCode, header};
use listen::Connection;
use pingora_core::{Error, ErrorType};
use pingora_proxy::Session;

use crate::context::Context;

/// Counts the request in, as soon as its route is known.
pub(crate) fn begin(ctx: &mut Context, connection: &Connection) {
    let _ = (ctx, connection);
}

/// What the attempt's connection cost.
pub(crate) fn connected(ctx: &mut Context, reused: bool) {
    let took = ctx.attempt.began.map(|began| began.elapsed()).unwrap_or_default();
    ctx.record.reused = Some(reused);
    ctx.record.connect = Some(if reused { std::time::Duration::ZERO } else { took });
}
