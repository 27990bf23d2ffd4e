//! Policies that ask another service, from as written to as run.

use std::time::Duration;

use document::{At, Code, Diagnostic, OneOrMany, Report};
use fetch::{Flights, Service, Trust, Url};
use http::{HeaderName, header};

use crate::{
    Config,
    compile::{Draft, is_framing},
    external::{self, External},
    grumble::Grumble,
    introspection::{self, Introspection},
    jwt,
    verdicts::Verdicts,
};

/// How long a service may take where nothing is written.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may at most: a client waits for it.
const LONGEST: Duration = Duration::from_secs(30);
/// For how long the word of an issuer is believed where nothing is written.
const BELIEVED: Duration = Duration::from_secs(30);
/// For how long any word is at most: whoever was let in cannot be put out before.
const MOST: Duration = Duration::from_secs(3600);

/// An issuer that is asked about its tokens.
pub(crate) fn introspection(draft: Draft<'_>, report: &mut Report) -> Option<Introspection> {
    let Draft { config, policy, forward, at, source } = draft;
    let service = service(draft, "write for example `url = \"https://login.example.com/introspect\"`", report);
    let lasts = lasts(config, BELIEVED, at, report);
    let authorization = match (&config.client_id, &config.client_secret) {
        (Some(id), Some(secret)) => fetch::basic(id, secret.expose()),
        (None, None) => {
            // Section 2.1: an endpoint that anybody may ask tells anybody which tokens are good.
            report.push(
                Diagnostic::new(Code::E0106, format!("the policy `{policy}` does not say as whom it asks"))
                    .label(at, "`client_id` and `client_secret` are missing")
                    .help("an issuer tells only those whom it knows (RFC 7662 section 2.1)"),
            );
            None
        }
        (id, _) => {
            let (present, absent) =
                if id.is_some() { ("client_id", "client_secret") } else { ("client_secret", "client_id") };
            report.push(
                Diagnostic::new(Code::E0106, format!("`{present}` needs `{absent}`"))
                    .label(at.key(present), format!("there is no `{absent}` beside it"))
                    .help(format!("add `{absent}`")),
            );
            None
        }
    };
    Some(Introspection {
        policy: policy.clone(),
        rules: jwt::compile::rules(config, at, report),
        told: jwt::compile::told(config),
        forward: forward.clone(),
        lasts: lasts?,
        verdicts: Verdicts::new(introspection::REMEMBERED),
        refused: Verdicts::new(introspection::REFUSED),
        service: service?,
        client: source.state.client().clone(),
        authorization: Some(authorization?),
        flights: Flights::default(),
        grumble: Grumble::default(),
    })
}

/// A service that decides.
pub(crate) fn external(draft: Draft<'_>, report: &mut Report) -> Option<External> {
    let Draft { config, policy, forward, at, source } = draft;
    let errors = report.errors();
    let service = service(draft, "write for example `url = \"http://authz:9000/check\"`", report);
    let lasts = lasts(config, Duration::ZERO, at, report);
    let send = match &config.send {
        Some(written) => fields(written, &at.key("send"), report),
        None => [header::AUTHORIZATION, header::COOKIE].into(),
    };
    for (index, _) in send.iter().enumerate().filter(|(_, name)| external::OWN.contains(name)) {
        let place = at.key("send").index(index);
        report.add(
            Code::E0108,
            &place,
            "the client cannot fill this field",
            "maitred tells the service with it what is asked for",
        );
    }
    let copy = config.copy.as_ref().map(|written| fields(written, &at.key("copy"), report)).unwrap_or_default();
    let mut named = |key: &str, written: &Option<String>| {
        let written = OneOrMany(vec![written.clone()?]);
        fields(&written, &at.key(key), report).into_iter().next()
    };
    let (user, roles) = (named("user", &config.user), named("roles", &config.roles));
    let plan = named("plan", &config.plan);
    (report.errors() == errors).then_some(())?;
    Some(External {
        policy: policy.clone(),
        service: service?,
        client: source.state.client().clone(),
        send,
        copy,
        user,
        roles,
        plan,
        forward: forward.clone(),
        lasts: lasts?,
        verdicts: Verdicts::new(external::REMEMBERED),
        flights: Flights::default(),
        grumble: Grumble::default(),
    })
}

fn service(draft: Draft<'_>, help: &'static str, report: &mut Report) -> Option<Service> {
    let Draft { config, policy, at, .. } = draft;
    let timeout = timeout(config, at, report);
    let trust = Trust::compile(config.ca.as_deref(), &at.key("ca"), report);
    let Some(url) = &config.url else {
        let missing = Diagnostic::new(Code::E0106, format!("the policy `{policy}` does not say who is asked"));
        report.push(missing.label(at, "`url` is missing").help(help));
        return None;
    };
    let url = Url::compile(url, "can let anybody in", &at.key("url"), report);
    Some(Service { url: url?, trust: trust?, timeout })
}

/// How long a service may take.
pub(crate) fn timeout(config: &Config, at: &At, report: &mut Report) -> Duration {
    let timeout = config.timeout.map_or(PATIENCE, |written| written.0);
    if !(Duration::from_millis(1)..=LONGEST).contains(&timeout) {
        let label = "from \"1ms\" to \"30s\"";
        report.add(Code::E0103, &at.key("timeout"), "a client would wait too long, or not at all", label);
    }
    timeout
}

fn lasts(config: &Config, default: Duration, at: &At, report: &mut Report) -> Option<i64> {
    let written = config.cache.map_or(default, |written| written.0);
    if written > MOST || !written.is_zero() && written < Duration::from_secs(1) {
        let label = "from \"1s\" to \"1h\", or \"0s\" for none";
        report.add(Code::E0103, &at.key("cache"), "an answer cannot be believed for as long as this", label);
        return None;
    }
    i64::try_from(written.as_secs()).ok()
}

fn fields(written: &OneOrMany<String>, at: &At, report: &mut Report) -> Box<[HeaderName]> {
    let mut names = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let at = at.index(index);
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if is_framing(&name) => {
                report.add(Code::E0108, &at, format!("`{text}` is not passed on"), "HTTP itself uses this field");
            }
            Ok(name) => names.push(name),
            Err(_) => report.add(Code::E0108, &at, format!("`{text}` is not the name of a header field"), "here"),
        }
    }
    names.into()
}
