//! From an upstream as written to one that runs, with every mistake reported.

mod adaptive;
mod balance;
mod credentials;
mod discover;
mod health;
mod hedge;
mod mirror;
mod retries;
mod share;
mod sticky;

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use ::balance::Kind;
use document::{At, Code, Diagnostic, OneOrMany, Report, Toggle};
use proxy_protocol::Version;
use telemetry::Metrics;

use self::discover::Source;
pub use self::{hedge::hedge, mirror::mirror, retries::retries};
use crate::{
    backend::Backend,
    config::{self, Config, ProxyProtocol},
    discover::{Listed, MOST},
    maker::Maker,
    peer::Times,
    pool::Pool,
    rules::{Measure, Rules},
    state::State,
    target::{Place, Protocol, Target},
    trust::{self, Trust},
    upstream::Upstream,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_IDLE: Duration = Duration::from_secs(60);
const DEFAULT_CONNECT: Duration = Duration::from_secs(2);
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
const DEFAULT_QUEUE: Duration = Duration::from_secs(1);
const DEFAULT_WEIGHT: u32 = 1;

const WEIGHTS: RangeInclusive<u32> = 0..=1000;

/// A backend whose entry is well-formed.
struct Entry {
    listed: Listed,
    at: At,
}

impl Entry {
    fn target(&self) -> &Target {
        &self.listed.target
    }
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
    let source = source(config, at, state, report);
    let entries = if config.discover.is_some() { Vec::new() } else { entries(config, name, at, report) };
    let times = times(config, at, report);
    let hedge = config.hedge.as_ref().and_then(|written| hedge(written, &at.key("hedge"), report));
    let retries = retries(config.retries.as_ref(), &at.key("retries"), report);
    let (kind, key) = self::balance::balance(config.balance.as_deref(), &at.key("balance"), report);
    let proxy_protocol = config.proxy_protocol.map(|written| match written {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    });
    let check = health::check(config, &entries, proxy_protocol, &at.key("health_check"), report);
    let rules = rules(config, kind, at, report);
    let trust = trust(config, &entries, at, report);
    let credentials = config
        .credentials
        .as_ref()
        .and_then(|written| self::credentials::credentials(written, &at.key("credentials"), state, report));
    let sticky = config
        .sticky
        .as_ref()
        .and_then(|written| self::sticky::sticky(written, &at.key("sticky"), state, report))
        .map(Arc::new);
    refuse_http_keys(config, &entries, at, report);
    refuse_two_homes(config, at, report);
    check_zone(config, &entries, at, report);
    if report.errors() > errors {
        return None;
    }
    let prefer_zone = config.prefer_zone.as_deref().map(Into::into);
    let meters = metrics.upstream(name);
    let sticks = sticky.clone();
    let maker = Maker { name: name.into(), prefer_zone, state: state.clone(), trust, times, check, meters, sticks };
    let backends = made(&maker, &entries, report)?;
    let discovers = source.as_ref().map(|source| source.protocol);
    let is_h2 = |backend: &Arc<Backend>| backend.protocol.is_h2();
    let upstream = Upstream {
        speaks_h2: discovers.map_or_else(|| backends.iter().any(is_h2), Protocol::is_h2),
        pool: Pool::new(kind, rules, maker, backends, source.map(|source| source.discovery)),
        key,
        timeout: times.first_byte,
        connect: times.connect,
        retries,
        proxy_protocol,
        credentials,
        sticky,
        hedge,
        state: state.clone(),
        discovers,
    };
    upstream.hedge.iter().for_each(|hedge| upstream.watch(hedge));
    Some(upstream)
}

/// Where backends are looked for, for an upstream that does not list them.
fn source(config: &Config, at: &At, state: &State, report: &mut Report) -> Option<Source> {
    let written = config.discover.as_ref()?;
    if config.backends.is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "an upstream has either `backends` or `discover`")
                .label(at.key("discover").name(), "looks for them")
                .label(at.key("backends").name(), "lists them")
                .help("delete one of them, or make two upstreams and a `split`"),
        );
        return None;
    }
    discover::discover(written, &at.key("discover"), state, report)
}

fn made(maker: &Maker, entries: &[Entry], report: &mut Report) -> Option<Vec<Arc<Backend>>> {
    let make = |entry: &Entry| {
        let made = maker.backend(&entry.listed);
        if made.is_none() {
            let text = format!("`{}` cannot be connected to", entry.target().label());
            report.add(Code::E0108, &entry.at, text, "not usable as an address");
        }
        made
    };
    entries.iter().map(make).collect()
}

/// Reads the backends that something else lists, which are all spoken to by `protocol`.
pub(crate) fn listed(written: &[config::Backend], list: &At, protocol: Protocol, report: &mut Report) -> Vec<Listed> {
    let entries = all(written, list, "of the file", report);
    for entry in entries.iter().filter(|entry| entry.target().protocol != protocol) {
        let found = entry.target().protocol.scheme();
        let text = format!("`{found}://` is not the scheme that `discover` says: `{}`", protocol.scheme());
        report.push(
            Diagnostic::new(Code::E0108, text)
                .label(&entry.at, "another scheme")
                .help(format!("write `discover = \"file://…?scheme={found}\"`, or the same scheme everywhere")),
        );
    }
    entries.into_iter().map(|entry| entry.listed).collect()
}

fn rules(config: &Config, kind: Kind, at: &At, report: &mut Report) -> Rules {
    let pool = config.pool.as_ref();
    let in_pool = at.key("pool");
    let most = pool.and_then(|pool| pool.max_connections);
    let queue = pool.and_then(|pool| pool.queue);
    if queue.is_some() && most.is_none() {
        report.push(
            Diagnostic::new(Code::E0106, "`queue` needs `max_connections`")
                .label(in_pool.key("queue").name(), "nobody ever waits without it")
                .help("add `max_connections = 100`, or delete `queue`"),
        );
    }
    Rules {
        outlier: health::outlier(config.outlier.as_ref(), &at.key("outlier"), report),
        breaker: health::breaker(config.circuit_breaker.as_ref(), &at.key("circuit_breaker"), report),
        slow_start: config.slow_start.map(|time| time.0.as_millis() as u64).filter(|time| *time > 0),
        panic: health::panic(config.panic_threshold.as_deref(), &at.key("panic_threshold"), report),
        max_connections: most.map(|most| health::at_least_one(Some(most), 1, &in_pool.key("max_connections"), report)),
        queue: queue.map_or(DEFAULT_QUEUE, |queue| queue.0),
        latency: match kind {
            Kind::Latency => Some(Measure::Peak),
            Kind::TwoChoices => Some(Measure::Typical),
            _ => None,
        },
        adaptive: self::adaptive::adaptive(
            config.adaptive_concurrency.as_ref(),
            &at.key("adaptive_concurrency"),
            report,
        ),
    }
}

/// Who stays at one backend is not sent to another.
fn refuse_two_homes(config: &Config, at: &At, report: &mut Report) {
    if config.sticky.is_some() && config.hedge.is_some() {
        report.push(
            Diagnostic::new(Code::E0107, "an upstream has either `sticky` or `hedge`")
                .label(at.key("sticky").name(), "keeps a client at one backend")
                .label(at.key("hedge").name(), "asks another one")
                .help("delete one of them"),
        );
    }
}

/// Where no backend is in any zone, preferring one does nothing.
fn check_zone(config: &Config, entries: &[Entry], at: &At, report: &mut Report) {
    if config.prefer_zone.is_some() && !entries.is_empty() && entries.iter().all(|entry| entry.listed.zone.is_none()) {
        report.push(
            Diagnostic::new(Code::E0107, "`prefer_zone` is set, but no backend says in which zone it is")
                .label(at.key("prefer_zone").name(), "would have no effect")
                .help("write `{ url = \"…\", zone = \"a\" }` for the backends, or delete `prefer_zone`"),
        );
    }
}

/// A time that is longer than none.
fn positive(written: Option<document::Duration>, default: Duration, at: At, report: &mut Report) -> Duration {
    match written {
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
    }
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
    all(written, &at.key("backends"), &format!("of upstream `{name}`"), report)
}

/// Reads a list of backends; `whose` says what they are the backends of.
fn all(written: &[config::Backend], list: &At, whose: &str, report: &mut Report) -> Vec<Entry> {
    if written.len() > MOST {
        let text = format!("more than {MOST} backends {whose}");
        report.add(Code::E0103, list, text, format!("{} of them", written.len()));
        return Vec::new();
    }
    // A single one may stand without a list around it; the document finds `backends.0` then as well.
    let read = |(index, backend)| entry(backend, list.index(index), report);
    let entries: Vec<Entry> = written.iter().enumerate().filter_map(read).collect();
    refuse_twins(&entries, whose, report);
    if entries.len() == written.len() && !entries.is_empty() && entries.iter().all(|entry| entry.listed.weight == 0) {
        report.push(
            Diagnostic::new(Code::E0103, format!("every backend {whose} has weight 0"))
                .label(list, "a backend of weight 0 gets no requests")
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
    let place = if backend.is_table { at.key("url") } else { at.clone() };
    match Target::parse(url) {
        Ok(target) => {
            warn_plaintext(&target, &place, report);
            let zone = backend.zone.as_deref().map(Into::into);
            let backup = backend.backup == Some(true);
            let label = |(name, value): (&String, &String)| (name.as_str().into(), value.as_str().into());
            let labels = backend.labels.iter().flatten().map(label).collect();
            Some(Entry {
                listed: Listed { target, weight, backup, zone, labels, priority: 0, refresh: None },
                at: place,
            })
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

fn refuse_twins(entries: &[Entry], whose: &str, report: &mut Report) {
    let mut seen: HashMap<&Target, &At> = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = seen.insert(entry.target(), &entry.at) {
            let label = entry.target().label();
            report.push(
                Diagnostic::new(Code::E0202, format!("backend `{label}` {whose} is listed twice"))
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
    let in_pool = at.key("pool");
    let lifetime = match pool.and_then(|pool| pool.lifetime.clone()) {
        Some(Toggle::Off) => None,
        Some(Toggle::On(time)) => Some(positive(Some(time), DEFAULT_LIFETIME, in_pool.key("lifetime"), report)),
        None => Some(DEFAULT_LIFETIME),
    };
    let idle = positive(pool.and_then(|pool| pool.idle), DEFAULT_IDLE, in_pool.key("idle"), report);
    Times {
        lifetime,
        first_byte: positive(config.timeout, DEFAULT_TIMEOUT, at.key("timeout"), report),
        // What is not used again need not be kept.
        idle: lifetime.map_or(idle, |lifetime| lifetime.min(idle)),
        connect: positive(pool.and_then(|pool| pool.connect), DEFAULT_CONNECT, in_pool.key("connect"), report),
    }
}

/// Keys that would do nothing where no backend speaks HTTP.
fn refuse_http_keys(config: &Config, entries: &[Entry], at: &At, report: &mut Report) {
    if entries.is_empty() || entries.iter().any(|entry| entry.target().protocol != Protocol::Tcp) {
        return;
    }
    let idle = config.pool.as_ref().is_some_and(|pool| pool.idle.is_some());
    let lifetime = config.pool.as_ref().is_some_and(|pool| pool.lifetime.is_some());
    let by_request = config.balance.as_deref().is_some_and(|text| text.starts_with("hash:") && text != "hash:ip");
    let credentials =
        (config.credentials.is_some(), at.key("credentials"), "is for requests, and bytes passed on are none");
    let keys = [
        credentials,
        (config.sticky.is_some(), at.key("sticky"), "goes by a cookie, and bytes passed on have none"),
        (config.hedge.is_some(), at.key("hedge"), "asks for an answer twice, and bytes passed on have none"),
        (
            config.adaptive_concurrency.is_some(),
            at.key("adaptive_concurrency"),
            "goes by how long answers take, and bytes passed on have none",
        ),
        (by_request, at.key("balance"), "goes by what a request has, and bytes passed on are none"),
        (config.timeout.is_some(), at.key("timeout"), "is for answers, and bytes passed on have none"),
        (idle, at.key("pool").key("idle"), "is for connections that wait for the next request"),
        (lifetime, at.key("pool").key("lifetime"), "is for connections that carry one request after the other"),
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
    if !entries.is_empty() && !entries.iter().any(|entry| entry.target().protocol.is_tls()) {
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
