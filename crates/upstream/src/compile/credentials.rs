//! What an upstream is shown of maitred, with every mistake reported. No message has a secret in it.

use std::time::Duration;

use document::{At, Code, Diagnostic, Report, Secret};
use fetch::{Service, Trust, Url};
use http::{HeaderName, HeaderValue, header};

use crate::{
    config,
    credentials::{Credentials, Value},
    state::State,
    token::Source,
};

/// How long an issuer may take where nothing is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may at most: a client waits for it.
const LONGEST: Duration = Duration::from_secs(30);

/// `None` where anything is wrong.
pub(super) fn credentials(
    config: &config::Credentials,
    at: &At,
    state: &State,
    report: &mut Report,
) -> Option<Credentials> {
    let header = field(config.header.as_deref(), &at.key("header"), report);
    let value = match (&config.value, &config.token_url) {
        (Some(value), None) => fixed(value, config, at, report).map(Value::Fixed),
        (None, Some(url)) => source(url, config, at, report).map(|source| Value::Token(state.token(source))),
        (Some(_), Some(_)) => {
            let twice = Diagnostic::new(Code::E0107, "an upstream is shown one thing, and this is two");
            let twice =
                twice.label(at.key("value").name(), "a fixed value").label(at.key("token_url").name(), "a token");
            report.push(twice.help("keep one of them"));
            None
        }
        (None, None) => {
            let nothing = Diagnostic::new(Code::E0106, "`credentials` does not say what backends are shown");
            let nothing = nothing.label(at, "neither `value` nor `token_url` is here");
            report.push(nothing.help("write for example `value = \"Bearer ${file:/run/secrets/shipping}\"`"));
            None
        }
    };
    Some(Credentials { header: header?, value: value? })
}

fn field(written: Option<&str>, at: &At, report: &mut Report) -> Option<HeaderName> {
    const FRAMING: [HeaderName; 5] =
        [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];
    let Some(text) = written else { return Some(header::AUTHORIZATION) };
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if !FRAMING.contains(&name) => Some(name),
        Ok(_) => {
            report.add(Code::E0108, at, format!("`{text}` cannot carry credentials"), "HTTP itself uses this field");
            None
        }
        Err(_) => {
            report.add(Code::E0108, at, format!("`{text}` is not the name of a header field"), "here");
            None
        }
    }
}

fn fixed(value: &Secret, config: &config::Credentials, at: &At, report: &mut Report) -> Option<HeaderValue> {
    let idle = [
        ("client_id", config.client_id.is_some()),
        ("client_secret", config.client_secret.is_some()),
        ("scope", config.scope.is_some()),
        ("audience", config.audience.is_some()),
        ("ca", config.ca.is_some()),
        ("timeout", config.timeout.is_some()),
    ];
    for (key, _) in idle.into_iter().filter(|(_, given)| *given) {
        report.push(
            Diagnostic::new(Code::E0107, format!("`{key}` means nothing to a fixed value"))
                .label(at.key(key).name(), "it is for asking an issuer")
                .label(at.key("value").name(), "the fixed value")
                .help(format!("delete `{key}`, or write `token_url` instead of `value`")),
        );
    }
    match HeaderValue::from_str(value.expose()) {
        Ok(mut value) if !value.is_empty() => {
            value.set_sensitive(true);
            Some(value)
        }
        _ => {
            let label = "it is empty, or has a line break or another control character in it";
            report.add(Code::E0108, &at.key("value"), "this cannot be the value of a header field", label);
            None
        }
    }
}

fn source(url: &str, config: &config::Credentials, at: &At, report: &mut Report) -> Option<Source> {
    let url = Url::compile(url, "has what lets maitred in", &at.key("token_url"), report);
    let trust = Trust::compile(config.ca.as_deref(), &at.key("ca"), report);
    let timeout = match config.timeout {
        None => Some(PATIENCE),
        Some(written) if (Duration::from_millis(1)..=LONGEST).contains(&written.0) => Some(written.0),
        Some(_) => {
            let label = "from \"1ms\" to \"30s\"";
            report.add(Code::E0103, &at.key("timeout"), "a client would wait too long, or not at all", label);
            None
        }
    };
    let missing = [("client_id", config.client_id.is_none()), ("client_secret", config.client_secret.is_none())];
    for (key, _) in missing.into_iter().filter(|(_, missing)| *missing) {
        report.push(
            Diagnostic::new(Code::E0106, format!("`token_url` needs `{key}`"))
                .label(at.key("token_url"), format!("there is no `{key}` beside it"))
                .help(format!("add `{key}`")),
        );
    }
    let scope = config.scope.as_ref().map(|scopes| scopes.join(" ").into());
    Some(Source {
        service: Service { url: url?, trust: trust?, timeout: timeout? },
        id: config.client_id.as_deref()?.into(),
        secret: config.client_secret.clone()?,
        scope,
        audience: config.audience.as_deref().map(Into::into),
    })
}
