//! A listener compiled from its configuration, with every mistake reported.

use std::time::Duration;

use document::{At, ByteRate, Code, Diagnostic, OneOrMany, Report, Toggle};
use tls::{Alpn, ClientAuth, Clients, TicketKeys, Written};

use crate::{
    Address, Config, Listener, ModeName, Networks, NotAnAddress, Protocol, ProxyProtocol, Redirect, Timeouts,
    TimeoutsConfig,
    listener::{MinRate, Trusted},
    mode,
};

/// How many connections a listener may have when its configuration does not say.
const MAX_CONNECTIONS: u32 = 100_000;

/// How many bytes a second a client has to move: less than Apache's 500 and Kestrel's 240, which are defaults as well.
const MIN_RATE: u64 = 100;

/// Compiles the listener `name`; `at` is the path of its table, and `keys` are those that TLS sessions are resumed with.
/// `None` when it cannot be run.
pub fn compile(name: &str, config: &Config, at: &At, keys: &TicketKeys, report: &mut Report) -> Option<Listener> {
    let secure = config.tls.is_some();
    let mode = mode::compile(config, at, report);
    let is_stream = config.mode.unwrap_or_default() != ModeName::Http;
    let addresses = addresses(config.address.as_ref(), at, report);
    let protocols = protocols(config.protocols.as_ref(), secure, at, report);
    let trusted = trusted(config.trusted_proxies.as_ref(), &at.key("trusted_proxies"), report);
    let max_connections = connections(config.max_connections, "max_connections", at, report);
    let max_connections_per_ip = connections(config.max_connections_per_ip, "max_connections_per_ip", at, report);
    let proxy_protocol = proxy_protocol(config, at, report);
    let timeouts = timeouts(config.timeouts.as_ref(), is_stream, &at.key("timeouts"), report);
    let redirect = redirect(config.redirect, secure, at, report);
    let clients = clients(config, at, report);
    let tls = match &config.tls {
        Some(certificates) => {
            let (certificates, alpn) = (certificates.to_vec(), alpn(protocols.as_deref(), is_stream));
            let clients = clients.clone().flatten();
            Some(tls::compile(Written { certificates, clients, alpn }, at, keys, report)?)
        }
        None => None,
    };
    let protocols = protocols?;
    Some(Listener {
        name: name.into(),
        addresses: addresses?,
        mode: mode?,
        h1: protocols.contains(&Protocol::H1),
        h2: protocols.contains(&Protocol::H2),
        h2c: protocols.contains(&Protocol::H2c),
        timeouts: timeouts?,
        max_connections: max_connections?.unwrap_or(MAX_CONNECTIONS) as usize,
        max_connections_per_ip: max_connections_per_ip?,
        proxy_protocol: proxy_protocol?,
        redirect: redirect?,
        trusted: trusted?,
        client_auth: clients?.map(|clients| clients.auth),
        tls,
        written: config.clone(),
    })
}

/// Reports every address that two of the listeners, or one of them twice, would have to share. Each comes with the path
/// of its table.
pub fn check_addresses<'a>(listeners: impl IntoIterator<Item = (&'a Listener, &'a At)>, report: &mut Report) {
    let mut seen: Vec<(&Listener, &Address, At)> = Vec::new();
    for (listener, at) in listeners {
        for (index, address) in listener.addresses.iter().enumerate() {
            let place = at.key("address").index(index);
            if let Some((other, taken, taken_at)) = seen.iter().find(|(_, taken, _)| taken.overlaps(address)) {
                let message = if other.name == listener.name {
                    format!("listener `{}` takes `{address}` twice", listener.name)
                } else {
                    format!("listeners `{}` and `{}` both take `{address}`", other.name, listener.name)
                };
                let mut problem = Diagnostic::new(Code::E0203, message)
                    .label(&place, "this address is taken")
                    .label(taken_at, if *taken == address { "by this one" } else { "by this one, which includes it" });
                if *taken != address {
                    problem = problem.note("`:PORT` and `[::]:PORT` stand for every address, IPv4 as well as IPv6");
                }
                report.push(problem);
            }
            seen.push((listener, address, place));
        }
    }
}

fn addresses(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Option<Vec<Address>> {
    let written = written.map_or(&[][..], |written| &written[..]);
    if written.is_empty() {
        let problem = Diagnostic::new(Code::E0106, format!("listener `{}` has no `address`", at.last()));
        report.push(problem.label(at.name(), "nobody can connect to it").help("write `address = \":8080\"`"));
        return None;
    }
    let read = |(index, text): (usize, &String)| {
        let wrong: NotAnAddress = match text.parse() {
            Ok(address) => return Some(address),
            Err(wrong) => wrong,
        };
        let place = at.key("address").index(index);
        let problem = Diagnostic::new(Code::E0108, format!("`{text}` is not an address to listen on"));
        let problem = problem.label(&place, wrong.problem).help(wrong.help);
        report.push(match wrong.instead {
            Some(instead) => problem.patch(place, format!("{instead:?}")),
            None => problem,
        });
        None
    };
    let read: Vec<Option<Address>> = written.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

fn protocols(
    written: Option<&OneOrMany<Protocol>>,
    secure: bool,
    at: &At,
    report: &mut Report,
) -> Option<Vec<Protocol>> {
    let at = at.key("protocols");
    let Some(written) = written else {
        return Some(if secure { vec![Protocol::H2, Protocol::H1] } else { vec![Protocol::H1] });
    };
    if written.is_empty() {
        report.add(Code::E0103, &at, "a listener speaks at least one protocol", "this list is empty");
        return None;
    }
    let mut good = true;
    for (index, protocol) in written.iter().enumerate() {
        let problem = match protocol {
            Protocol::H2c if secure => {
                Diagnostic::new(Code::E0107, "`h2c` is HTTP/2 without TLS, and this listener has `tls`")
                    .label(at.index(index), "write `h2` for HTTP/2 over TLS")
            }
            Protocol::H2 if !secure => {
                Diagnostic::new(Code::E0107, "`h2` is HTTP/2 over TLS, and this listener has no `tls`")
                    .label(at.index(index), "write `h2c` for HTTP/2 in plaintext")
            }
            _ => continue,
        };
        good = false;
        report.push(problem);
    }
    good.then(|| written.to_vec())
}

fn trusted(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> Option<Trusted> {
    let written = written.map_or(&[][..], |written| &written[..]);
    let (mut found, mut good) = (Vec::new(), true);
    for (index, text) in written.iter().enumerate().filter(|(_, text)| *text != "unix") {
        match filter::networks::parse(text) {
            Ok(network) => found.push(network),
            Err(meant) => {
                good = false;
                let place = at.index(index);
                let problem = Diagnostic::new(Code::E0108, format!("`{text}` is not a network"));
                report.push(match meant {
                    Some(network) => problem
                        .label(&place, "an address within a network")
                        .help("the network of that length is")
                        .patch(place, format!("\"{network}\"")),
                    None => problem
                        .label(place, "neither a network, an address nor `unix`")
                        .help("write a network such as `10.0.0.0/8`, or an address"),
                });
            }
        }
    }
    let unix = written.iter().any(|text| text == "unix");
    good.then(|| Trusted { networks: Networks::new(found), unix })
}

fn connections(written: Option<u32>, key: &str, at: &At, report: &mut Report) -> Option<Option<u32>> {
    if written == Some(0) {
        report.add(Code::E0103, &at.key(key), format!("`{key}` is at least 1"), "nobody could connect");
        return None;
    }
    Some(written)
}

/// A header that nobody may send would only keep everybody out, or say nothing.
fn proxy_protocol(config: &Config, at: &At, report: &mut Report) -> Option<ProxyProtocol> {
    let written = config.proxy_protocol.unwrap_or_default();
    let believed = config.trusted_proxies.as_ref().is_some_and(|trusted| !trusted.is_empty());
    if written != ProxyProtocol::Off && !believed {
        report.push(
            Diagnostic::new(Code::E0106, format!("listener `{}` takes PROXY headers from nobody", at.last()))
                .label(at.key("proxy_protocol"), "whose headers are believed?")
                .help("name the proxies that send it, for example `trusted_proxies = \"10.0.0.0/8\"`"),
        );
        return None;
    }
    Some(written)
}

fn timeouts(written: Option<&TimeoutsConfig>, is_stream: bool, at: &At, report: &mut Report) -> Option<Timeouts> {
    let unwritten = TimeoutsConfig::default();
    let written = written.unwrap_or(&unwritten);
    let mut read = |key: &str, value: Option<document::Duration>, seconds: u64| {
        let value = value.map_or(Duration::from_secs(seconds), |written| written.0);
        if value.is_zero() {
            let message = format!("a timeout of zero would close every connection: `{key}`");
            report.add(Code::E0103, &at.key(key), message, "write a time above zero");
        }
        (!value.is_zero()).then_some(value)
    };
    let (header, body, idle) = (
        read("header", written.header, 10),
        read("body", written.body, 30),
        read("idle", written.idle, if is_stream { 3600 } else { 60 }),
    );
    let min_rate = match &written.min_rate {
        None => Some(Some(MIN_RATE)),
        Some(Toggle::Off) => Some(None),
        Some(Toggle::On(ByteRate(0))) => {
            let message = "a rate of zero bounds nothing: `min_rate`";
            report.add(
                Code::E0103,
                &at.key("min_rate"),
                message,
                "write `false` to let clients be as slow as they like",
            );
            None
        }
        Some(Toggle::On(rate)) => Some(Some(rate.0)),
    };
    let body = body?;
    let min_rate = min_rate?.map(|bytes| MinRate { bytes, grace: body / 3 });
    Some(Timeouts { header: header?, body, idle: idle?, min_rate })
}

fn redirect(written: Option<Redirect>, secure: bool, at: &At, report: &mut Report) -> Option<Option<Redirect>> {
    if written == Some(Redirect::Https) && secure {
        let problem =
            Diagnostic::new(Code::E0107, "a listener with `tls` cannot redirect to `https`, which it is already");
        report.push(
            problem.label(at.key("redirect"), "would send clients round in circles").label(at.key("tls").name(), ""),
        );
        return None;
    }
    Some(written)
}

/// Whether clients are asked for certificates: every key that says something about it needs the one before.
fn clients(config: &Config, at: &At, report: &mut Report) -> Option<Option<Clients>> {
    let written = [
        ("client_ca", config.client_ca.is_some(), "tls", config.tls.is_some()),
        ("client_auth", config.client_auth.is_some(), "client_ca", config.client_ca.is_some()),
        ("client_crl", config.client_crl.is_some(), "client_ca", config.client_ca.is_some()),
    ];
    let lacking: Vec<_> = written.into_iter().filter(|(_, written, _, needed)| *written && !needed).collect();
    for (key, _, needs, _) in &lacking {
        let label = match *needs {
            "tls" => "this listener speaks plaintext, in which nobody can show a certificate",
            _ => "nothing says which certificates are good",
        };
        let problem =
            Diagnostic::new(Code::E0106, format!("`{key}` needs `{needs}`")).label(at.key(*key).name(), label);
        report.push(problem.help(match *needs {
            "tls" => "add `tls = { cert = \"site.pem\", key = \"site.key\" }`",
            _ => "add `client_ca = \"/etc/maitred/clients.pem\"`",
        }));
    }
    let clients = config.client_ca.clone().map(|ca| Clients {
        ca,
        auth: config.client_auth.unwrap_or(ClientAuth::Required),
        crl: config.client_crl.clone(),
    });
    lacking.is_empty().then_some(clients)
}

fn alpn(protocols: Option<&[Protocol]>, is_stream: bool) -> Alpn {
    if is_stream {
        return Alpn::None;
    }
    let Some(protocols) = protocols else { return Alpn::default() };
    match (protocols.contains(&Protocol::H2), protocols.contains(&Protocol::H1)) {
        (true, true) => Alpn::Both,
        (true, false) => Alpn::Http2,
        _ => Alpn::Http1,
    }
}

#[cfg(test)]
mod tests;
