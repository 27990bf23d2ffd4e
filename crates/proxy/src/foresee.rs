//! What the cache would do for a request that nobody sends, without asking anybody.

use cache::{Asked, Forward, Reuse};
use document::Duration;
use pingora_http::RequestHeader;

use crate::{context::Context, keyed};

/// What a route's cache would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// What the answer is kept under, in words; `None` for a request that has nothing to do with the cache.
    pub key: Option<String>,
    /// What would happen, and why; `None` where nobody knows, because no server runs.
    pub what: Option<String>,
}

/// Looks at what is kept, in memory and of the files on disk, where the snapshot is the one `in_force`. `upstream` is which of
/// a split's would be asked.
pub(crate) fn foresee(ctx: &Context, head: &RequestHeader, upstream: Option<&str>, in_force: bool) -> Option<Foreseen> {
    let route = ctx.route()?;
    let policy = route.cache.as_ref()?;
    let zone = ctx.arrival.as_ref()?.snapshot.cache.as_ref()?;
    let (view, asked) = (ctx.view(head)?, Asked::of(&head.headers));
    if let Some(why) = keyed::passes(policy, &view, &asked, false) {
        let what = match why {
            Forward::Method => "the origin is asked: only GET and HEAD are answered from the cache",
            Forward::Bypass => "the origin is asked, and its answer not kept: `bypass` says so",
            _ => "the origin is asked, and its answer not kept: the request says so",
        };
        return Some(Foreseen { key: None, what: Some(what.to_owned()) });
    }
    let shown = keyed::shown(route, head);
    let head = shown.as_deref().unwrap_or(head);
    let view = ctx.view(head)?;
    let Some(key) = keyed::key_of(route, policy, &view) else {
        let what = if route.auth.exposes(&view) {
            "the origin is asked, and its answer not kept: it is shown a credential that the answer may depend on"
        } else {
            "the origin is asked, and its answer not kept: the caller has no name that answers could be kept under"
        };
        return Some(Foreseen { key: None, what: Some(what.to_owned()) });
    };
    let key = match upstream {
        Some(upstream) => key.of_upstream(upstream),
        None => key,
    };
    let mut told = policy.describe_key(&view, &|part| route.auth.is_secret(part));
    let listener = &ctx.arrival.as_ref()?.connection.listener;
    if listener.client_auth.is_some() && keyed::tells_certificates(route) {
        // Nobody sends the request, so nobody shows one.
        told.push_str(" + no client certificate");
    }
    let told = Some(told);
    if !in_force {
        return Some(Foreseen { key: told, what: None });
    }
    let now = cache::now();
    let what = match zone.find(&key, &head.headers) {
        Some(stored) => {
            let left = stored.left(now);
            let for_long = Duration::millis(left.unsigned_abs() / 1000 * 1000);
            match cache::reuse::judge(&stored, &asked, now) {
                Reuse::Fresh => format!("a hit, fresh for {for_long} more"),
                Reuse::Stale => format!("a hit, stale for {for_long}, which the request takes"),
                Reuse::StaleWhileRevalidating => {
                    format!("a hit, stale for {for_long}, and asked for anew in the background")
                }
                Reuse::Asked => "kept, but the request wants the origin to be asked".to_owned(),
                Reuse::Revalidate if left > 0 => "kept, but the origin is to be asked each time".to_owned(),
                Reuse::Revalidate => format!("stale for {for_long}: the origin is asked whether it has changed"),
            }
        }
        None if zone.has_on_disk(&key, &head.headers) => "not in memory, but on disk".to_owned(),
        None if zone.has(&key) => "a miss: what is kept is for other requests (`Vary`)".to_owned(),
        None if zone.is_flying(&key) => "a miss, but somebody has asked the origin already".to_owned(),
        None => "a miss: the origin is asked".to_owned(),
    };
    Some(Foreseen { key: told, what: Some(what) })
}
