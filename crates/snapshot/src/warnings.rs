//! What runs, but probably not as meant.

use std::sync::Arc;

use config::{Config, Route};
use document::{At, Code, Diagnostic, OneOrMany, Report, Toggle};
use listen::Listener;

use crate::callers::{self, Known};

/// Words in a name or path that suggest a door for staff.
const STAFF: [&str; 8] = ["admin", "internal", "manage", "management", "debug", "metrics", "actuator", "console"];

/// Adds the warnings that concern more than one table.
pub(crate) fn check(config: &Config, listeners: &[Arc<Listener>], known: Known<'_>, report: &mut Report) {
    callers::check(config, known, report);
    for (name, route) in &config.routes {
        let at = At::root().key("routes").key(name);
        open_staff_door(name, route, &at, report);
        unreachable(name, route, listeners, &at, report);
        uncovered_hosts(route, listeners, &at, report);
    }
}

/// W0204: nothing restricts who calls.
fn open_staff_door(name: &str, route: &Route, at: &At, report: &mut Report) {
    let path = route.matches.path.as_deref().unwrap_or("");
    let words = name.split(['-', '/', '_', '.']).chain(path.split(['/', '-', '_', '.']));
    let Some(word) = words.map(str::to_ascii_lowercase).find(|word| STAFF.contains(&word.as_str())) else { return };
    let asks = matches!(route.policies.auth, Some(Toggle::On(_))) || matches!(route.access.ip, Some(Toggle::On(_)));
    let restricted = asks || route.matches.listener.is_some() || route.matches.header.is_some();
    if restricted || route.policies.respond.is_some() || route.policies.redirect.is_some() {
        return;
    }
    report.push(
        Diagnostic::new(Code::W0204, format!("route `{name}` looks like a door for staff (`{word}`) and is open"))
            .label(at.name(), "anyone can reach it")
            .help(
                "add `auth` or `ip`, or bind it to a listener that only staff can reach: `listener = [\"internal\"]`",
            ),
    );
}

/// W0302: no connection can bring a request that the route takes, because of its listeners or its scheme.
fn unreachable(name: &str, route: &Route, listeners: &[Arc<Listener>], at: &At, report: &mut Report) {
    let only = route.matches.listener.as_ref();
    let taken = |listener: &&Arc<Listener>| {
        listener.mode.is_http() && only.is_none_or(|only| only.iter().any(|name| **name == *listener.name))
    };
    let ways: Vec<&Arc<Listener>> = listeners.iter().filter(taken).collect();
    if ways.is_empty() {
        return; // a listener that does not exist is an error of its own
    }
    let message = format!("route `{name}` can never match");
    if ways.iter().all(|listener| listener.redirect.is_some()) {
        let label = "its listeners send every request to https";
        report.push(Diagnostic::new(Code::W0302, message).label(at.name(), label));
    } else if let Some(scheme) = route.matches.scheme {
        // A proxy that is trusted may tell another scheme than the connection has.
        let brings = |listener: &&Arc<Listener>| listener.trusts_anybody() || listener.scheme() == scheme.into();
        if !ways.iter().any(brings) {
            let label = "none of its listeners has requests of this scheme";
            report.push(Diagnostic::new(Code::W0302, message).label(at.key("scheme"), label));
        }
    }
}

/// W0401: a host that a route serves on TLS listeners, and that no certificate covers.
fn uncovered_hosts(route: &Route, listeners: &[Arc<Listener>], at: &At, report: &mut Report) {
    let Some(OneOrMany(hosts)) = &route.matches.host else { return };
    let only = route.matches.listener.as_ref();
    let stores: Vec<_> = listeners
        .iter()
        .filter(|listener| {
            listener.mode.is_http() && only.is_none_or(|only| only.iter().any(|name| **name == *listener.name))
        })
        .filter_map(|listener| listener.certificates())
        .collect();
    if stores.is_empty() {
        return;
    }
    for (index, host) in hosts.iter().enumerate() {
        let probe = host.replacen('*', "any", 1).to_ascii_lowercase();
        if !stores.iter().any(|store| store.certificates().covers(&probe)) {
            let message = format!("no certificate covers the host `{host}`");
            report.push(
                Diagnostic::new(Code::W0401, message)
                    .label(at.key("host").index(index), "clients will refuse the connection")
                    .help("add a certificate for it to the listener's `tls`"),
            );
        }
    }
}
