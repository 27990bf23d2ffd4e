//! `defaults`: the route that every route starts from.

use document::{
    Document,
    tree::{Entry, Node, Value},
};

use crate::load::section;

/// The keys of which a route has exactly one: with its own, it does not inherit another.
const DESTINATIONS: [&str; 4] = ["upstream", "split", "redirect", "respond"];

/// The keys that say what a route matches. `false` takes an inherited one back.
const CONDITIONS: [&str; 8] = ["path", "host", "method", "header", "query", "cookie", "listener", "scheme"];

/// Keys that say nothing where there is none of the others: only routes that have one inherit them.
const COMPANIONS: [(&str, &[&str]); 3] =
    [("sticky", &["split"]), ("force", &["split"]), ("mirror", &["upstream", "split"])];

/// Gives every route the keys that it does not have itself. A key is replaced whole; the values keep their places, so
/// that a mistake in one is shown where it is written. What a policy does with `false` is the policy's to say.
pub(crate) fn defaults(document: &mut Document) {
    let Some(defaults) = section(document, "defaults").cloned() else { return };
    let Some(routes) = section(document, "routes") else { return };
    for route in &mut routes.entries {
        let Some(route) = route.node.as_table_mut() else { continue };
        let placed = DESTINATIONS.iter().any(|key| route.get(key).is_some());
        let comes = |key: &&str| if placed { route.get(key).is_some() } else { defaults.get(key).is_some() };
        let alone: Vec<&str> =
            COMPANIONS.iter().filter(|(_, with)| !with.iter().any(comes)).map(|(key, _)| *key).collect();
        for default in &defaults.entries {
            match route.get(&default.key) {
                None if alone.contains(&default.key.as_str()) => {}
                None if placed && DESTINATIONS.contains(&default.key.as_str()) => {}
                None => route.entries.push(Entry::clone(default)),
                Some(Node { value: Value::Boolean(false), .. })
                    if [&CONDITIONS[..], &DESTINATIONS, &["sticky", "force"]]
                        .iter()
                        .any(|keys| keys.contains(&default.key.as_str())) =>
                {
                    route.remove(&default.key);
                }
                Some(_) => {}
            }
        }
    }
}
