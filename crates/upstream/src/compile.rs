//! From an upstream as written to one that runs, with every mistake reported.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use balance::Policy;
use document::{At, Code, Diagnostic, OneOrMany, Report};
use http::HeaderValue;
use proxy_protocol::Version;
use telemetry::Metrics;

use crate::{
    backend::{Addresses, Backend},
    config::{self, Balance, Config, ProxyProtocol},
    peer::{self, Times},
    state::State,
    target::{Place, Protocol, Target},
    trust::{self, Trust},
    upstream::Upstream,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_IDLE: Duration = Duration::from_secs(60);
const DEFAULT_CONNECT: Duration = Duration::from_secs(2);
const DEFAULT_RETRIES: u32 = 1;
const DEFAULT_WEIGHT: u32 = 1;

const WEIGHTS: RangeInclusive<u32> = 0..=1000;
const RETRIES: RangeInclusive<u32> = 0..=10;
/// Beyond this a configuration is a mistake, and the index of an endpoint would not fit.
const MOST_BACKENDS: usize = 10_000;

/// A backend whose entry is well-formed.
struct Entry {
    target: Target,
    weight: u32,
    at: At,
}

/// Compiles the upstream `name`. Asks no name server and connects to nobody; reads the files that `tls` names.
pub fn compile(
    config: &Config,
    name: &str,
    at: &At,
    state: &State,
    metrics: &Metrics,
    report: &mut Report,
) -> Option<Upstream> {
    let errors = report.errors();
    let entries = entries(config, name, at, report);
    let times = times(config, at, report);
    let retries = retries(config, at, report);
    let trust = trust(config, &entries, at, report);
    refuse_http_keys(config, &entries, at, report);
    if report.errors() > errors {
        return None;
    }
    let weights: Vec<u32> = entries.iter().map(|entry| entry.weight).collect();
    let policy = match config.balance.unwrap_or(Balance::RoundRobin) {
        Balance::RoundRobin => Policy::round_robin(&weights)?,
    };
    let meters = metrics.upstream(name);
    let backend = |entry: &Entry| {
        let label = entry.target.label();
        let addresses = match &entry.target.place {
            Place::Name(host, port) => Addresses::Named(state.name(host, *port)),
            Place::Address(..) | Place::Unix(_) => Addresses::Fixed,
        };
        let Some(template) = peer::template(&entry.target, &trust, times) else {
            report.add(Code::E0108, &entry.at, format!("`{label}` cannot be connected to"), "not usable as an address");
            return None;
        };
        Some(Arc::new(Backend {
            host: HeaderValue::try_from(entry.target.authority()).ok()?,
            protocol: entry.target.protocol,
            weight: entry.weight,
            meters: meters.backend(&label),
            label: label.into(),
            addresses,
            template,
        }))
    };
    let backends = entries.iter().map(backend).collect::<Option<Box<[_]>>>()?;
    let proxy_protocol = config.proxy_protocol.map(|written| match written {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    });
    Some(Upstream {
        name: name.into(),
        backends,
        policy,
        timeout: times.first_byte,
        connect: times.connect,
        retries,
        proxy_protocol,
        meters,
    })
}

fn entries(config: &Config, name: &str, at: &At, report: &mut Report) -> Vec<Entry> {
    let Some(OneOrMany(written)) = config.backends.as_ref().filter(|list| !list.is_empty()) else {
        let place = if config.backends.is_some() { at.key("backends") } else { at.name() };
        report.push(
            Diagnostic::new(Code::E0106, format!("upstream `{name}` has no backends"))
                .label(place, "where should its requests go?")
                .help("add `backends = \"http://10.0.1.11:8080\"`, or a list of such URLs"),
        );
        return Vec::new();
    };
    let list = at.key("backends");
    if written.len() > MOST_BACKENDS {
        let text = format!("upstream `{name}` has more than {MOST_BACKENDS} backends");
        report.add(Code::E0103, &list, text, format!("{} of them", written.len()));
        return Vec::new();
    }
    // A single one may stand without a list around it; the document finds `backends.0` then as well.
    let read = |(index, backend)| entry(backend, list.index(index), report);
    let entries: Vec<Entry> = written.iter().enumerate().filter_map(read).collect();
    refuse_twins(&entries, name, report);
    if entries.len() == written.len() && entries.iter().all(|entry| entry.weight == 0) {
        report.push(
            Diagnostic::new(Code::E0103, format!("every backend of upstream `{name}` has weight 0"))
                .label(&list, "a backend of weight 0 gets no requests")
                .help("give at least one a weight of 1 or more"),
        );
    }
    entries
}

fn entry(backend: &config::Backend, at: At, report: &mut Report) -> Option<Entry> {
    let weight = backend.weight.unwrap_or(DEFAULT_WEIGHT);
    if !WEIGHTS.contains(&weight) {
        let text = format!("a weight is a number from {} to {}", WEIGHTS.start(), WEIGHTS.end());
        report.add(Code::E0103, &at.key("weight"), text, "out of range");
    }
    let Some(url) = &backend.url else {
        report.push(
            Diagnostic::new(Code::E0106, "the backend has no `url`")
                .label(&at, "where is it?")
                .help("add `url = \"http://10.0.1.12:8080\"`"),
        );
        return None;
    };
    // In its short form the entry itself is the URL.
    let place = if backend.weight.is_some() { at.key("url") } else { at.clone() };
    match Target::parse(url) {
        Ok(target) => {
            warn_plaintext(&target, &place, report);
            Some(Entry { target, weight, at: place })
        }
        Err(mistake) => {
            let mut diagnostic =
                Diagnostic::new(Code::E0108, format!("`{url}` is not a backend's URL")).label(&place, mistake.label);
            if let Some(help) = mistake.help {
                diagnostic = diagnostic.help(help);
            }
            if let Some(instead) = mistake.instead {
                diagnostic = match diagnostic.help {
                    Some(_) => diagnostic,
                    None => diagnostic.help(format!("did you mean `{instead}`?")),
                }
                .patch(&place, format!("{instead:?}"));
            }
            report.push(diagnostic);
            None
        }
    }
}

fn refuse_twins(entries: &[Entry], name: &str, report: &mut Report) {
    let mut seen: HashMap<&Target, &At> = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = seen.insert(&entry.target, &entry.at) {
            let label = entry.target.label();
            report.push(
                Diagnostic::new(Code::E0202, format!("backend `{label}` of upstream `{name}` is listed twice"))
                    .label(&entry.at, "the same backend again")
                    .label(first, "first listed here")
                    .help("to send it more requests give it a `weight`"),
            );
        }
    }
}

fn warn_plaintext(target: &Target, at: &At, report: &mut Report) {
    if let Place::Address(ip, _) = target.place
        && !target.protocol.is_tls()
        // What a stream carries may well be encrypted from end to end.
        && target.protocol != Protocol::Tcp
        && is_public(ip)
    {
        let tls = if target.protocol.is_h2() { "h2" } else { "https" };
        report.push(
            Diagnostic::new(Code::W0701, format!("requests go to the public address {ip} unencrypted"))
                .label(at, "anyone on the way can read and change them")
                .help(format!("write `{tls}://` if the backend speaks TLS")),
        );
    }
}

/// Whether packets to the address leave the networks that are ours (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xC0 == 64; // RFC 6598
            let own = ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared;
            !(own || ip.is_unspecified() || ip.is_documentation() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            let documentation = ip.segments()[..2] == [0x2001, 0xDB8]; // RFC 3849
            let own = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            !(own || ip.is_unspecified() || documentation)
        }
    }
}

fn times(config: &Config, at: &At, report: &mut Report) -> Times {
    let pool = config.pool.as_ref();
    let mut positive = |written: Option<document::Duration>, default: Duration, at: At| match written {
        Some(document::Duration(Duration::ZERO)) => {
            let text = format!("`{}` must be longer than 0", at.last());
            report.push(
                Diagnostic::new(Code::E0103, text)
                    .label(&at, "nothing could ever be done in no time")
                    .help(format!("the default is \"{}\"", document::Duration(default))),
            );
            default
        }
        Some(document::Duration(time)) => time,
        None => default,
    };
    let in_pool = at.key("pool");
    Times {
        first_byte: positive(config.timeout, DEFAULT_TIMEOUT, at.key("timeout")),
        idle: positive(pool.and_then(|pool| pool.idle), DEFAULT_IDLE, in_pool.key("idle")),
        connect: positive(pool.and_then(|pool| pool.connect), DEFAULT_CONNECT, in_pool.key("connect")),
    }
}

fn retries(config: &Config, at: &At, report: &mut Report) -> u32 {
    let retries = config.retries.unwrap_or(DEFAULT_RETRIES);
    if !RETRIES.contains(&retries) {
        let text = format!("`retries` is a number from {} to {}", RETRIES.start(), RETRIES.end());
        report.add(Code::E0103, &at.key("retries"), text, "more would multiply the load on backends that already fail");
    }
    retries
}

/// Keys that would do nothing where no backend speaks HTTP.
fn refuse_http_keys(config: &Config, entries: &[Entry], at: &At, report: &mut Report) {
    if entries.is_empty() || entries.iter().any(|entry| entry.target.protocol != Protocol::Tcp) {
        return;
    }
    let idle = config.pool.as_ref().is_some_and(|pool| pool.idle.is_some());
    let keys = [
        (config.timeout.is_some(), at.key("timeout"), "is for answers, and bytes passed on have none"),
        (idle, at.key("pool").key("idle"), "is for connections that wait for the next request"),
    ];
    for (_, place, why) in keys.into_iter().filter(|(written, ..)| *written) {
        report.push(
            Diagnostic::new(Code::E0107, format!("`{}` is set, but no backend is spoken to in HTTP", place.last()))
                .label(place.name(), why)
                .label(at.key("backends"), "all of these are `tcp://…`")
                .help("how long a stream may be silent is its listener's to say: `timeouts = { idle = \"1h\" }`"),
        );
    }
}

fn trust(config: &Config, entries: &[Entry], at: &At, report: &mut Report) -> Trust {
    let Some(tls) = &config.tls else { return Trust::default() };
    let tls_at = at.key("tls");
    if !entries.is_empty() && !entries.iter().any(|entry| entry.target.protocol.is_tls()) {
        report.push(
            Diagnostic::new(Code::E0107, "`tls` is set, but no backend is spoken to over TLS")
                .label(tls_at.name(), "would have no effect")
                .label(at.key("backends"), "none of these is `https://…` or `h2://…`")
                .help("write `https://` in the backends' URLs, or delete `tls`"),
        );
    }
    trust::compile(tls, &tls_at, report).unwrap_or_default()
}

#[cfg(test)]
mod tests;
