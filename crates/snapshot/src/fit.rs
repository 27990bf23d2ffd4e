//! Which upstreams, routes and listeners go together.

use std::{collections::BTreeMap, sync::Arc};

use config::{Config, Route};
use document::{At, Code, Diagnostic, OneOrMany, Report, Toggle};
use listen::{Listener, Mode};
use upstream::{Protocol, Upstream};

use crate::compile::asks_who_calls;

/// Reports what cannot go together: requests to backends that do not speak HTTP, streams to backends that expect
/// something else than what comes, routes for listeners that have no requests, and limits of two routes that have one name.
pub(crate) fn check(
    config: &Config,
    listeners: &[Arc<Listener>],
    upstreams: &BTreeMap<String, Option<Arc<Upstream>>>,
    report: &mut Report,
) {
    let upstream = |name: &str| upstreams.get(name).and_then(Option::as_ref);
    for (name, route) in &config.routes {
        let at = At::root().key("routes").key(name);
        let named = route.policies.upstream.iter().map(|written| (&written.0, at.key("upstream")));
        let arms = route.policies.split.iter().flat_map(|split| split.keys());
        let mirror = match &route.policies.mirror {
            Some(Toggle::On(mirror)) => mirror.upstream.as_ref().map(|named| (named, at.key("mirror"))),
            _ => None,
        };
        let named = named.chain(mirror);
        for (named, place) in named.chain(arms.map(|arm| (arm, at.key("split").key(arm)))) {
            let speaks = |protocol, _| protocol != Protocol::Tcp;
            let help = "write `http://` in its backends' URLs if they speak HTTP";
            if let Some(upstream) = upstream(named) {
                fits(upstream, speaks, &format!("route `{name}` sends requests"), &place, help, report);
            }
        }
        listener(name, route.matches.listener.as_ref(), listeners, &at.key("listener"), report);
        certificates(config, (name, route), listeners, report);
    }
    let limits = config.routes.iter().filter_map(|(name, route)| match &route.policies.limit {
        Some(Toggle::On(limits)) => Some((name.as_str(), &limits[..], At::root().key("routes").key(name).key("limit"))),
        _ => None,
    });
    limit::distinct(limits, report);
    nobody(config, upstreams, report);
    for one in listeners {
        let Mode::Stream(streams) = &one.mode else { continue };
        let at = At::root().key("listeners").key(&*one.name);
        let (speaks, what, help): (fn(Protocol, bool) -> bool, _, _) = if streams.is_tls {
            let speaks = |protocol: Protocol, is_unix| is_unix || protocol.is_tls() || protocol == Protocol::Tcp;
            (speaks, "TLS", "write `tcp://` or `https://` in its backends' URLs if they speak TLS")
        } else {
            let speaks = |protocol: Protocol, _| !protocol.is_tls();
            (
                speaks,
                "bytes as they come",
                "write `tcp://` in its backends' URLs; a stream is not encrypted on its way to them",
            )
        };
        let told = format!("listener `{}` passes on {what}", one.name);
        let written = config.listeners.get(&*one.name);
        let named = written.and_then(|written| written.upstream.as_ref()).map(|name| (name, at.key("upstream")));
        let by_name = written.and_then(|written| written.sni.as_ref()).into_iter().flatten();
        let by_name = by_name.map(|(asked, name)| (name, at.key("sni").key(asked)));
        for (name, place) in named.into_iter().chain(by_name) {
            if let Some(upstream) = upstream(name) {
                fits(upstream, speaks, &told, &place, help, report);
            }
        }
    }
}

/// Nobody's requests can be kept together where nobody asks who calls: an error where no route to the upstream does, a
/// warning for each that does not where others do.
fn nobody(config: &Config, upstreams: &BTreeMap<String, Option<Arc<Upstream>>>, report: &mut Report) {
    let by_user = upstreams.iter().filter(|(_, upstream)| {
        upstream.as_ref().is_some_and(|upstream| matches!(upstream.key(), Some(upstream::Key::User)))
    });
    for (upstream, _) in by_user {
        let balance = At::root().key("upstreams").key(upstream).key("balance");
        let leads = |route: &Route| {
            let policies = &route.policies;
            policies.upstream.as_ref().is_some_and(|named| named.0 == *upstream)
                || policies.split.as_ref().is_some_and(|split| split.contains_key(upstream))
        };
        let (asking, others): (Vec<_>, Vec<_>) = config
            .routes
            .iter()
            .filter(|(_, route)| leads(route))
            .partition(|(_, route)| asks_who_calls(&route.policies));
        if others.is_empty() {
            continue;
        }
        if asking.is_empty() {
            let mut error = Diagnostic::new(Code::E0107, "`balance = \"hash:user\"` needs `auth`")
                .label(balance, "nobody is known on any route that leads here");
            for (name, _) in others {
                error = error.label(At::root().key("routes").key(name).name(), "has no `auth`");
            }
            report.push(error.help("add `auth` to the routes, or write `balance = \"hash:ip\"`"));
            continue;
        }
        for (name, _) in others {
            let message = format!("route `{name}` leads to an upstream balanced by user, and asks nobody who calls");
            report.push(
                Diagnostic::new(Code::W0303, message)
                    .label(At::root().key("routes").key(name).name(), "its requests go to any backend")
                    .label(balance.clone(), "as this goes by the user")
                    .help("add `auth`, or send them to an upstream of their own"),
            );
        }
    }
}

fn fits(
    upstream: &Upstream,
    speaks: impl Fn(Protocol, bool) -> bool,
    what: &str,
    at: &At,
    help: &str,
    report: &mut Report,
) {
    let odd = match upstream.discovers() {
        Some(protocol) if !speaks(protocol, false) => format!("looks for backends of scheme `{}`", protocol.scheme()),
        Some(_) => return,
        None => match upstream.backends().find(|backend| !speaks(backend.protocol(), backend.is_unix())) {
            Some(odd) => format!("has the backend `{}://{}`", odd.protocol().scheme(), odd.label()),
            None => return,
        },
    };
    let message = format!("{what} to an upstream that expects something else");
    report.push(Diagnostic::new(Code::E0306, message).label(at, format!("`{}` {odd}", upstream.name())).help(help));
}

/// A route that asks for certificates, where no client is ever asked for one.
fn certificates(config: &Config, (name, route): (&str, &Route), listeners: &[Arc<Listener>], report: &mut Report) {
    let Some(Toggle::On(policies)) = &route.policies.auth else { return };
    // One that does not compile is reported, and might have asked.
    if listeners.len() < config.listeners.len() {
        return;
    }
    let only = route.matches.listener.as_ref();
    let taken = |listener: &&Arc<Listener>| {
        listener.mode.is_http() && only.is_none_or(|only| only.iter().any(|name| **name == *listener.name))
    };
    let ways: Vec<&Arc<Listener>> = listeners.iter().filter(taken).collect();
    if ways.is_empty() || ways.iter().any(|listener| listener.client_auth.is_some()) {
        return;
    }
    let asks = |written: &auth::Written| {
        let policy = match written {
            auth::Written::Named(name) => config.auth.get(name),
            auth::Written::InPlace(policy) => Some(&**policy),
        };
        policy.is_some_and(|policy| policy.r#type == Some(auth::Kind::Mtls))
    };
    let at = At::root().key("routes").key(name).key("auth");
    for (index, _) in policies.iter().enumerate().filter(|(_, written)| asks(written)) {
        let message = format!("route `{name}` wants a certificate, and its clients are never asked for one");
        let mut error = Diagnostic::new(Code::E0106, message).label(at.index(index), "nobody could be let in by this");
        for listener in &ways {
            error = error.label(At::root().key("listeners").key(&*listener.name).name(), "has no `client_ca`");
        }
        report.push(error.help(
            "add `client_ca` to the listener, the file with the authorities of all its clients, and where not all have a \
             certificate `client_auth = \"optional\"`",
        ));
    }
}

fn listener(route: &str, only: Option<&OneOrMany<String>>, listeners: &[Arc<Listener>], at: &At, report: &mut Report) {
    for (index, name) in only.into_iter().flat_map(|only| only.iter().enumerate()) {
        let found = listeners.iter().find(|listener| *listener.name == **name);
        if let Some(listener) = found.filter(|listener| !listener.mode.is_http()) {
            report.push(
                Diagnostic::new(Code::E0306, format!("route `{route}` is for a listener without requests"))
                    .label(at.index(index), format!("`{name}` passes bytes on, whatever they mean"))
                    .label(At::root().key("listeners").key(&*listener.name).key("mode"), "as this says"),
            );
        }
    }
}
