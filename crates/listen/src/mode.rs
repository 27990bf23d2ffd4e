//! What becomes of a listener's connections: requests that take the routes, or streams that go to an upstream.

use std::{collections::HashMap, sync::Arc};

use document::{At, Code, Diagnostic, Report};

use crate::{Config, ProxyProtocol, config::ModeName};

/// What becomes of the connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// Their requests take the routes.
    #[default]
    Http,
    /// Their bytes go to an upstream.
    Stream(Streams),
}

/// Where the connections of a listener go that are passed on as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streams {
    /// Whether they are TLS, which is left as it is and says by its first message where it goes.
    pub is_tls: bool,
    exact: HashMap<Box<str>, Arc<str>>,
    /// Without their `*.`, the longest first.
    below: Box<[(Box<str>, Arc<str>)]>,
    other: Option<Arc<str>>,
}

impl Streams {
    /// The upstream for connections that ask for `name`, which is in lower case.
    pub fn upstream(&self, name: Option<&str>) -> Option<&Arc<str>> {
        let named = name.and_then(|name| {
            let is_below = |suffix: &str| {
                name.strip_suffix(suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            };
            let below = || self.below.iter().find(|(suffix, _)| is_below(suffix)).map(|(_, upstream)| upstream);
            self.exact.get(name).or_else(below)
        });
        named.or(self.other.as_ref())
    }

    /// The names of all its upstreams; one may come more than once.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<str>> {
        self.exact.values().chain(self.below.iter().map(|(_, upstream)| upstream)).chain(&self.other)
    }
}

impl Mode {
    /// Whether it is requests that come in here.
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Http)
    }
}

/// Compiles the mode with the keys that belong to it, and reports those that do not.
pub(crate) fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Mode> {
    let errors = report.errors();
    let name = config.mode.unwrap_or_default();
    misplaced(config, name, at, report);
    if name == ModeName::Http {
        return (report.errors() == errors).then_some(Mode::Http);
    }
    let passthrough = name == ModeName::TlsPassthrough;
    if config.upstream.is_none() && !(passthrough && config.sni.as_ref().is_some_and(|sni| !sni.is_empty())) {
        let help = if passthrough {
            "add `upstream = \"NAME\"`, or `sni = { \"db.example.com\" = \"NAME\" }`"
        } else {
            "add `upstream = \"NAME\"`, or a URL such as `\"tcp://10.0.1.11:5432\"`"
        };
        report.push(
            Diagnostic::new(Code::E0106, format!("listener `{}` leads nowhere", at.last()))
                .label(at.name(), "no `upstream`")
                .help(help),
        );
    }
    let (exact, below) = names(config, &at.key("sni"), report);
    let other = config.upstream.as_deref().map(Into::into);
    (report.errors() == errors).then_some(Mode::Stream(Streams { is_tls: passthrough, exact, below, other }))
}

/// Keys that would do nothing in this mode.
fn misplaced(config: &Config, mode: ModeName, at: &At, report: &mut Report) {
    let timeouts = config.timeouts.as_ref();
    let (http, tcp, passthrough) = (ModeName::Http, ModeName::Tcp, ModeName::TlsPassthrough);
    let routes = "a listener for HTTP has routes, which say where its requests go";
    let bytes = "is for HTTP, and this listener passes bytes on, whatever they mean";
    let keys: [(&str, bool, &[ModeName], &str); 8] = [
        ("upstream", config.upstream.is_some(), &[http], routes),
        ("sni", config.sni.is_some(), &[http, tcp], "only `mode = \"tls-passthrough\"` looks at the name asked for"),
        ("protocols", config.protocols.is_some(), &[tcp, passthrough], bytes),
        ("redirect", config.redirect.is_some(), &[tcp, passthrough], bytes),
        ("timeouts.body", timeouts.is_some_and(|it| it.body.is_some()), &[tcp, passthrough], bytes),
        ("timeouts.min_rate", timeouts.is_some_and(|it| it.min_rate.is_some()), &[tcp, passthrough], bytes),
        (
            "tls",
            config.tls.is_some(),
            &[passthrough],
            "TLS is passed through here, and only the backend has certificates",
        ),
        (
            "proxy_protocol",
            config.proxy_protocol == Some(ProxyProtocol::Optional),
            &[tcp],
            "the client may wait for the backend to speak first: say `\"required\"` or `\"off\"`",
        ),
    ];
    for (key, written, modes, why) in keys {
        if written && modes.contains(&mode) {
            let place = key.split('.').fold(at.clone(), |at, key| at.key(key));
            let name = match mode {
                ModeName::Http => "http",
                ModeName::Tcp => "tcp",
                ModeName::TlsPassthrough => "tls-passthrough",
            };
            let what =
                if key == "proxy_protocol" { "`proxy_protocol = \"optional\"`".into() } else { format!("`{key}`") };
            report.push(
                Diagnostic::new(Code::E0107, format!("{what} does not go with `mode = \"{name}\"`"))
                    .label(if key == "proxy_protocol" { place } else { place.name() }, why),
            );
        }
    }
}

type Names = (HashMap<Box<str>, Arc<str>>, Box<[(Box<str>, Arc<str>)]>);

fn names(config: &Config, at: &At, report: &mut Report) -> Names {
    let (mut exact, mut below) = (HashMap::new(), Vec::new());
    for (name, upstream) in config.sni.iter().flatten() {
        let (plain, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name.as_str(), false),
        };
        if !is_name(plain) {
            report.push(
                Diagnostic::new(Code::E0108, format!("`{name}` is not a name that clients ask for in TLS"))
                    .label(at.key(name).name(), "expected a host name, or a wildcard for its first labels")
                    .help("write `db.example.com` or `*.example.com`; what no name fits goes to `upstream`"),
            );
            continue;
        }
        let plain: Box<str> = plain.to_ascii_lowercase().into();
        if wildcard {
            below.push((plain, upstream.as_str().into()));
        } else {
            exact.insert(plain, upstream.as_str().into());
        }
    }
    below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    (exact, below.into())
}

/// What may stand in a server name (RFC 6066 section 3): a host name without a dot at its end.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && letters
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(written: &str) -> Streams {
        let mut report = Report::new();
        let config = serde_json::from_str(written).unwrap();
        match compile(&config, &At::root(), &mut report) {
            Some(Mode::Stream(streams)) => streams,
            other => panic!("{other:?} {report:?}"),
        }
    }

    #[test]
    fn the_name_that_fits_best_says_where_to_go() {
        let streams = streams(
            r#"{ "mode": "tls-passthrough", "sni": { "db.Example.com": "exact", "*.example.com": "below",
                 "*.deep.example.com": "deep", "example.com": "apex" } }"#,
        );
        for (name, upstream) in [
            ("db.example.com", Some("exact")),
            ("other.example.com", Some("below")),
            ("a.b.example.com", Some("below")),
            ("a.deep.example.com", Some("deep")),
            ("deep.example.com", Some("below")),
            ("example.com", Some("apex")),
            ("badexample.com", None),
            (".example.com", None),
            ("example.org", None),
        ] {
            assert_eq!(streams.upstream(Some(name)).map(|name| &**name), upstream, "{name}");
        }
        assert_eq!(streams.upstream(None), None);
        assert_eq!(streams.upstreams().count(), 4);
    }

    #[test]
    fn what_no_name_fits_goes_to_the_upstream() {
        let streams = streams(r#"{ "mode": "tls-passthrough", "upstream": "rest", "sni": { "a.example": "a" } }"#);
        for (name, upstream) in [(Some("a.example"), "a"), (Some("b.example"), "rest"), (None, "rest")] {
            assert_eq!(&**streams.upstream(name).unwrap(), upstream);
        }
    }
}
