//! Which files of API keys a configuration has.

use std::collections::BTreeMap;

use config::Config;
use document::Toggle;

/// The files by the policies that have them; one that is written in a route has the route's name.
pub fn files(config: &Config) -> BTreeMap<&str, &str> {
    let in_place = config.routes.iter().filter_map(|(name, route)| match &route.policies.auth {
        Some(Toggle::On(written)) => Some((name.as_str(), written)),
        _ => None,
    });
    let in_place = in_place.flat_map(|(name, written)| written.iter().map(move |one| (name, one)));
    let in_place = in_place.filter_map(|(name, one)| match one {
        auth::Written::InPlace(policy) => Some((name, &**policy)),
        auth::Written::Named(_) => None,
    });
    let named = config.auth.iter().map(|(name, policy)| (name.as_str(), policy));
    // A policy of `[auth]` comes last: it has the name for itself.
    let all = in_place.chain(named);
    all.filter_map(|(name, policy)| Some((name, policy.keys.as_deref()?))).collect()
}

/// Each file once.
pub fn paths<'c>(files: &BTreeMap<&str, &'c str>) -> Vec<&'c str> {
    let mut paths: Vec<&str> = files.values().copied().collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}
