//! What is said of limits to an operator who asks the running server.

use std::{collections::BTreeMap, sync::Arc};

use filter::Identity;
use limit::{Counters, Limit};
use snapshot::Snapshot;

/// Every limit that a route has, by name.
pub(super) fn all(snapshot: &Snapshot, counters: &Counters) -> Vec<admin::Limit> {
    let mut limits: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for route in &snapshot.routes {
        for limit in route.limits.iter() {
            limits.entry(limit.name()).or_default().push(route.name.to_string());
        }
    }
    let limited = counters.limited().now();
    let of = |name: &str| limited.iter().filter(|entry| *entry.limit == *name).map(told).collect();
    limits.into_iter().map(|(name, routes)| admin::Limit { limited: of(name), name: name.to_owned(), routes }).collect()
}

fn told(entry: &limit::Entry) -> admin::Limited {
    let time = |time: std::time::SystemTime| {
        let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    admin::Limited {
        key: entry.key.to_string(),
        refused: entry.refused,
        last: time(entry.last),
        until: time(entry.until),
    }
}

/// Where a key stands under the limit `name`.
pub(super) fn key(snapshot: &Snapshot, counters: &Counters, name: &str, key: &str) -> Option<admin::LimitKey> {
    let limit = find(snapshot, name)?;
    let caller = caller(snapshot, limit, key);
    let rules = limit.look(counters, key, caller.as_deref()).into_iter().map(|look| admin::LimitRule {
        kind: look.kind.to_owned(),
        limit: look.limit,
        remaining: look.remaining,
        wait_ms: look.wait_ms,
        waiting: look.waiting,
    });
    Some(admin::LimitKey { limit: name.to_owned(), key: key.to_owned(), rules: rules.collect() })
}

/// Forgives a key, and says where it stands then; or why that holds in this process alone.
pub(super) async fn reset(
    snapshot: &Snapshot,
    counters: &Counters,
    name: &str,
    of: &str,
) -> Option<Result<admin::LimitKey, String>> {
    let limit = find(snapshot, name)?;
    if limit.reset(counters, of, caller(snapshot, limit, of).as_deref()).await.is_ok() {
        return key(snapshot, counters, name, of).map(Ok);
    }
    let error = snapshot.redis.as_ref().map(|redis| redis.health().error).filter(|error| !error.is_empty());
    let why = error.map_or_else(|| "does not answer in time".to_owned(), |error| format!("is away: {error}"));
    Some(Err(format!("Redis {why}; the key is forgiven in this process alone: ask again when Redis answers")))
}

/// The caller that a limit counts by this key, where it makes a difference who that is.
fn caller(snapshot: &Snapshot, limit: &Limit, key: &str) -> Option<Arc<Identity>> {
    if !limit.takes_amounts() {
        return None;
    }
    let asks = snapshot.routes.iter().filter(|route| route.limits.iter().any(|own| own.name() == limit.name()));
    let mut policies = asks.flat_map(|route| route.auth.policies());
    policies.find_map(|policy| policy.named_caller(|caller| limit.counts(caller, key)))
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Arc<Limit>> {
    snapshot.routes.iter().flat_map(|route| route.limits.iter()).find(|limit| **limit.name() == *name)
}
