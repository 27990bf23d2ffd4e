//! What is written of a limit that several processes share.

use document::{At, Code, Diagnostic, Report};

use super::{Ground, Redis, excludes, number};
use crate::{
    config::{Config, Count, Over, Place},
    shared::Shared,
};

/// What a limit needs that is counted in Redis.
pub(super) fn shared(config: &Config, at: &At, ground: Ground<'_>, report: &mut Report) -> Option<Shared> {
    if config.store != Some(Place::Redis) {
        for (key, given, why) in [
            (
                "when_store_is_down",
                config.when_store_is_down.is_some(),
                "this limit is counted in the process, which is never away",
            ),
            ("lease", config.lease.is_some(), "this limit is counted in the process, which need not be asked"),
        ] {
            if given {
                report.push(
                    Diagnostic::new(Code::E0107, format!("`{key}` without `store = \"redis\"`"))
                        .label(at.key(key), why)
                        .help("add `store = \"redis\"`, or delete it"),
                );
            }
        }
        return None;
    }
    if config.concurrent.is_some() {
        excludes("store", "concurrent", "a process that dies could not give its places back", at, report);
    }
    match ground.redis {
        Redis::Found(store) => {
            let lease = lease(config, at, report);
            Some(Shared { store: store.clone(), down: config.when_store_is_down.unwrap_or_default(), lease })
        }
        Redis::Wrong => None,
        Redis::Absent => {
            report.push(
                Diagnostic::new(Code::E0201, "a limit is counted in Redis, and there is no `[redis]`")
                    .label(at.key("store"), "which Redis?")
                    .help("add `[redis]` with `url = \"redis://localhost:6379\"`"),
            );
            None
        }
    }
}

/// How much of a shared limit a process takes at once.
fn lease(config: &Config, at: &At, report: &mut Report) -> Option<u32> {
    config.lease?;
    if config.over == Some(Over::Delay) {
        excludes("lease", "over", "what is taken ahead cannot be waited for", at, report);
    }
    if config.count == Some(Count::Failures) {
        excludes("lease", "count", "what is taken ahead is neither a failure nor none", at, report);
    }
    number(config.lease, "lease", 1, at, report)
}
