//! Where backends are looked for: `dns://`, `srv://` and `file://`.

use std::{path::Path, sync::Arc, time::Duration};

use document::{At, Code, Diagnostic, Report};

use crate::{
    discover::{Discover, Discovery, Dns, File, Listed, Srv},
    state::State,
    subset::Labels,
    target::{Place, Protocol, Target, is_host_name},
};

/// A source, and how its backends are spoken to.
pub(super) struct Source {
    pub(super) discovery: Arc<Discovery>,
    pub(super) protocol: Protocol,
}

/// The schemes.
const KINDS: [&str; 3] = ["dns", "srv", "file"];

/// Reads `discover`. A file is read as well: one that cannot be used refuses the configuration.
pub(super) fn discover(text: &str, at: &At, state: &State, report: &mut Report) -> Option<Source> {
    let errors = report.errors();
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let Some((kind, rest)) = address.split_once("://").filter(|(kind, _)| KINDS.contains(kind)) else {
        report.push(refused(text, at, "expected `dns://`, `srv://` or `file://`").help(
            "write `dns://users.internal:8080`, `srv://_http._tcp.users.internal` or `file:///etc/maitred/users.toml`",
        ));
        return None;
    };
    let (protocol, refresh) = options(text, query, at, report);
    let source: Option<Arc<dyn Discover>> = match kind {
        "dns" => dns(text, rest, protocol, refresh, at, report),
        "srv" => srv(text, rest, protocol, refresh, at, report),
        _ => return file(text, rest, (protocol, refresh), at, state, report),
    };
    let source = source.filter(|_| report.errors() == errors)?;
    Some(Source { discovery: state.discovery(text, source), protocol })
}

fn refused(text: &str, at: &At, why: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0701, format!("`{text}` is nowhere that backends can be looked for")).label(at, why)
}

/// `scheme` and `refresh`, after the question mark.
fn options(text: &str, query: &str, at: &At, report: &mut Report) -> (Protocol, Option<Duration>) {
    let (mut protocol, mut refresh) = (Protocol::Http, None);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("scheme", scheme)) => match Protocol::parse(scheme) {
                Some(found) => protocol = found,
                None => report.push(
                    refused(text, at, format!("`{scheme}` is not a scheme"))
                        .help("one of `http`, `https`, `h2c`, `h2` and `tcp`"),
                ),
            },
            Some(("refresh", time)) => match time.parse::<document::Duration>() {
                Ok(time) if !time.0.is_zero() => refresh = Some(time.0),
                _ => report.push(refused(text, at, format!("`{time}` is not a duration such as `10s`"))),
            },
            _ => report.push(
                refused(text, at, format!("`{option}` is not known")).help("what follows `?` is `refresh` or `scheme`"),
            ),
        }
    }
    (protocol, refresh)
}

fn dns(
    text: &str,
    rest: &str,
    protocol: Protocol,
    refresh: Option<Duration>,
    at: &At,
    report: &mut Report,
) -> Option<Arc<dyn Discover>> {
    match Target::parse(&format!("{}://{rest}", protocol.scheme())) {
        Ok(target @ Target { place: Place::Name(..), .. }) => Some(Arc::new(Dns(Listed {
            target,
            weight: 1,
            backup: false,
            zone: None,
            labels: Labels::new(),
            priority: 0,
            refresh,
        }))),
        Ok(_) => {
            report.push(refused(text, at, "an address needs no looking for").help("list it in `backends`"));
            None
        }
        Err(mistake) => {
            report.push(refused(text, at, mistake.label));
            None
        }
    }
}

fn srv(
    text: &str,
    rest: &str,
    protocol: Protocol,
    refresh: Option<Duration>,
    at: &At,
    report: &mut Report,
) -> Option<Arc<dyn Discover>> {
    let name = rest.trim_end_matches('/');
    if !is_host_name(name) {
        let help = "write the name of the records, as in `srv://_http._tcp.users.internal`; they say the port";
        report.push(refused(text, at, format!("`{name}` is not a name that DNS can carry")).help(help));
        return None;
    }
    Some(Arc::new(Srv { name: name.to_ascii_lowercase().into(), protocol, refresh }))
}

fn file(
    text: &str,
    rest: &str,
    (protocol, refresh): (Protocol, Option<Duration>),
    at: &At,
    state: &State,
    report: &mut Report,
) -> Option<Source> {
    if !rest.starts_with('/') {
        report.push(refused(text, at, "the path begins with a slash: `file:///etc/maitred/users.toml`"));
        return None;
    }
    let file = File::new(Path::new(rest), protocol, refresh);
    match file.look() {
        Ok(found) => {
            let discovery = state.discovery(text, Arc::new(file));
            discovery.begin_with(&found);
            Some(Source { discovery, protocol })
        }
        Err(why) => {
            report.push(
                Diagnostic::new(Code::E0701, format!("the backends in `{rest}` cannot be used"))
                    .label(at, why)
                    .help("the file is TOML with one key, `backends`, written as in an upstream"),
            );
            None
        }
    }
}
