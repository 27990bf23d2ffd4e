//! From sharing as written to sharing as run.

use document::{At, Code, Diagnostic, OneOrMany, Report};
use http::{HeaderValue, Uri};
use regex::bytes::{Regex, RegexSet};

use crate::{
    Config,
    cors::{Allowed, Cors},
    origins::Origins,
};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type";

/// An origin that nobody has: a pattern that it matches is one for everybody.
const NOBODY: &[u8] = b"https://8f14e45fceea167a.invalid";

impl Cors {
    /// Compiles the table at `at`, a route's `cors`. `None` when anything is wrong.
    pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let credentials = config.credentials == Some(true);
        let origins = origins(config, at, report);
        if credentials {
            everyone_with_credentials(config, &origins, at, report);
        }
        let methods = allowed(config.methods.as_ref(), METHODS, "a method", &at.key("methods"), report);
        let headers = allowed(config.headers.as_ref(), HEADERS, "a header name", &at.key("headers"), report);
        let expose = expose(config, at, report);
        let max_age = config.max_age.map(|age| HeaderValue::from(age.0.as_secs()));
        let private_network = config.private_network == Some(true);
        (report.errors() == errors).then_some(Self {
            origins,
            methods,
            headers,
            expose,
            credentials,
            max_age,
            private_network,
        })
    }
}

fn origins(config: &Config, at: &At, report: &mut Report) -> Origins {
    let at_origins = at.key("origins");
    let written = config.origins.as_ref().map_or(&[][..], |origins| origins);
    if written.is_empty() {
        let diagnostic = Diagnostic::new(Code::E0106, "`cors` does not say which origins may call");
        let at = if config.origins.is_some() { &at_origins } else { at };
        report.push(
            diagnostic
                .label(at, "expected `origins`")
                .help("write `origins = [\"https://app.example.com\"]`, or `[\"*\"]` for every web site"),
        );
    }
    let (mut exact, mut wildcards, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
    let mut origins = Origins::default();
    for (index, text) in written.iter().enumerate() {
        let at = at_origins.index(index);
        match text.as_str() {
            "*" => origins.any = true,
            "null" => origins.null = true,
            _ => match text.strip_prefix('~') {
                Some(pattern) => patterns.extend(anchored(pattern, &at, report)),
                None => match origin(text, &at, report) {
                    Some(Origin::Exact(origin)) => exact.push(origin),
                    Some(Origin::Below(scheme, end)) => wildcards.push((scheme, end)),
                    None => {}
                },
            },
        }
    }
    if origins.any && written.len() > 1 {
        everyone_and_others(&at_origins, report);
    }
    exact.sort_unstable();
    origins.exact = exact.into();
    origins.wildcards = wildcards.into();
    match RegexSet::new(&patterns) {
        Ok(set) => origins.patterns = Some(set).filter(|set| !set.is_empty()),
        Err(error) => {
            report.add(Code::E0108, &at_origins, "these regular expressions are too large", error.to_string())
        }
    }
    origins
}

/// An origin, or all below one.
enum Origin {
    Exact(Box<str>),
    Below(Box<str>, Box<str>),
}

/// Reads an origin: a scheme, a host and at most a port, as browsers write them.
fn origin(text: &str, at: &At, report: &mut Report) -> Option<Origin> {
    let lower = text.to_ascii_lowercase();
    let wild = lower.replacen("://*.", "://", 1);
    let uri = wild.parse::<Uri>().ok().filter(|_| !wild.contains('*'));
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = parts.filter(|(_, authority)| !authority.as_str().contains('@')) else {
        report.push(
            Diagnostic::new(Code::E0108, format!("`{text}` is not an origin"))
                .label(at, "expected a scheme and a host")
                .help("write for example \"https://app.example.com\" or \"https://*.example.com\""),
        );
        return None;
    };
    let default = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let redundant = default.is_some_and(|port| authority.port_u16() == Some(port));
    let host = if redundant { authority.host() } else { authority.as_str() };
    let star = if wild.len() < lower.len() { "*." } else { "" };
    let canonical = format!("{scheme}://{star}{host}");
    if canonical != lower {
        report.push(
            Diagnostic::new(Code::E0108, format!("`{text}` is never what a browser sends as its origin"))
                .label(at, "an origin has no path, and no port that its scheme implies")
                .help(format!("write \"{canonical}\""))
                .patch(at, format!("\"{canonical}\"")),
        );
        return None;
    }
    if star.is_empty() {
        Some(Origin::Exact(canonical.into()))
    } else {
        Some(Origin::Below(format!("{scheme}://").into(), format!(".{host}").into()))
    }
}

/// A regular expression for whole origins.
fn anchored(pattern: &str, at: &At, report: &mut Report) -> Option<String> {
    match Regex::new(pattern) {
        Ok(_) => Some(format!("^(?:{pattern})$")),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            report.push(Diagnostic::new(Code::E0108, "this regular expression cannot be read").label(at, why));
            None
        }
    }
}

fn everyone_and_others(at: &At, report: &mut Report) {
    report.push(
        Diagnostic::new(Code::E0107, "`\"*\"` among other origins")
            .label(at, "`\"*\"` permits every origin, so that the others mean nothing")
            .help("delete either `\"*\"` or the others"),
    );
}

/// Refuses to let every web site act as its visitor.
fn everyone_with_credentials(config: &Config, origins: &Origins, at: &At, report: &mut Report) {
    let everybody = origins.any || origins.patterns.as_ref().is_some_and(|patterns| patterns.is_match(NOBODY));
    if everybody {
        let written = config.origins.as_ref().map_or(&[][..], |origins| origins);
        let index = written.iter().position(|text| {
            text == "*"
                || text.strip_prefix('~').is_some_and(|text| Regex::new(text).is_ok_and(|all| all.is_match(NOBODY)))
        });
        report.push(
            Diagnostic::new(Code::E0107, "every origin may call, with credentials")
                .label(at.key("credentials"), "cookies are sent along…")
                .label(at.key("origins").index(index.unwrap_or(0)), "…for every web site that somebody visits")
                .note("any page could then act as the person who looks at it, and so browsers refuse `*` with credentials")
                .help("list the origins that you trust, or delete `credentials`"),
        );
    }
}

/// Compiles a list of tokens to be permitted; `*` stands for what is asked for.
fn allowed(
    written: Option<&OneOrMany<String>>,
    default: &'static str,
    what: &str,
    at: &At,
    report: &mut Report,
) -> Allowed {
    match written {
        None => Allowed::List(HeaderValue::from_static(default)),
        Some(names) if names.iter().any(|name| name == "*") => Allowed::Asked,
        Some(names) => Allowed::List(list(names, what, at, report)),
    }
}

fn expose(config: &Config, at: &At, report: &mut Report) -> Option<HeaderValue> {
    let names = config.expose.as_ref().filter(|names| !names.is_empty())?;
    let at = at.key("expose");
    if config.credentials == Some(true) && names.iter().any(|name| name == "*") {
        report.push(
            Diagnostic::new(Code::E0107, "`\"*\"` shows no header to a request with credentials")
                .label(at, "browsers take it for a header named `*`")
                .help("list the headers that scripts may read"),
        );
        return None;
    }
    Some(list(names, "a header name", &at, report))
}

/// Joins tokens to the value of a field; what is none is reported.
fn list(names: &OneOrMany<String>, what: &str, at: &At, report: &mut Report) -> HeaderValue {
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            report.add(Code::E0108, &at.index(index), format!("`{name}` is not {what}"), format!("expected {what}"));
        }
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
