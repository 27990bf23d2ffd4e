//! From a login as written to one as run.

use document::{At, Code, Diagnostic, OneOrMany, Report, Secret};
use fetch::Flights;

use super::{Oidc, REFUSED, REMEMBERED, cookies::Cookies, seal::Seal};
use crate::{
    Config, asking,
    compile::Draft,
    grumble::Grumble,
    jwt::{self, Jwt, Trusted},
    verdicts::Verdicts,
};

/// What is asked for where nothing is written.
const SCOPES: &str = "openid profile email";
/// How long a session lasts at most where nothing is written: a working day.
const LASTS: u64 = 12 * 3600;
/// How long it may at most.
const LONGEST: u64 = 30 * 86_400;
/// How long the secret of a client has to be to make keys of it.
const ENOUGH: usize = 24;
/// How long a secret has to be that exists for that.
const LONG: usize = 32;

pub(crate) fn compile(draft: Draft<'_>, report: &mut Report) -> Option<Oidc> {
    let Draft { config, policy, forward, at, source } = draft;
    let errors = report.errors();
    let issuer = required(draft, "issuer", config.issuer.as_ref(), "\"https://login.example.com/\"", report);
    let id = required(draft, "client_id", config.client_id.as_ref(), "\"shop\"", report);
    let secret = required(draft, "client_secret", config.client_secret.as_ref(), "\"${CLIENT_SECRET}\"", report);
    let published = issuer.and_then(|issuer| jwt::compile::discovered(draft, issuer, report));
    let keys = published.as_ref().map(|(_, fetched)| Trusted::Fetched(fetched.clone()));
    let algorithms = jwt::compile::algorithms(config, keys.as_ref(), at, report);
    let mut rules = jwt::compile::rules(config, at, report);
    rules.audience = id.map(|id| id.as_str().into()).into_iter().collect();
    let timeout = asking::timeout(config, at, report);
    let scopes = scopes(config.scopes.as_ref(), &at.key("scopes"), report);
    let [callback, logout, after_logout] = pages(draft, report);
    let lasts = config.session.map_or(LASTS, |written| written.0.as_secs());
    if !(60..=LONGEST).contains(&lasts) {
        report.add(Code::E0103, &at.key("session"), "a session cannot last as long as this", "from \"1m\" to \"30d\"");
    }
    let owner = format!("{policy}\n{}\n{}", issuer.map_or("", String::as_str), id.map_or("", String::as_str));
    let seal = seal(draft, &owner, report);
    (report.errors() == errors).then_some(())?;
    let (service, fetched) = published?;
    let tokens = Jwt {
        policy: policy.clone(),
        keys: keys?,
        rules: jwt::Rules { algorithms: algorithms?, typ: None, claims: rules },
        told: jwt::compile::told(config),
        forward: forward.clone(),
        verdicts: Verdicts::new(1),
    };
    Some(Oidc {
        policy: policy.clone(),
        issuer: fetched,
        client: source.state.client().clone(),
        service: fetch::Service { timeout, ..service },
        client_id: id?.as_str().into(),
        client_secret: secret?.clone(),
        tokens,
        forward: forward.clone(),
        scopes: scopes.into(),
        callback: callback.into(),
        logout: logout.into(),
        after_logout: after_logout.into(),
        lasts: i64::try_from(lasts).ok()?,
        cookies: Cookies::new(policy),
        seal: seal?,
        verdicts: Verdicts::new(REMEMBERED),
        refused: Verdicts::new(REFUSED),
        flights: Flights::default(),
        grumble: Grumble::default(),
    })
}

fn required<'a, T>(
    draft: Draft<'_>,
    key: &str,
    written: Option<&'a T>,
    example: &str,
    report: &mut Report,
) -> Option<&'a T> {
    if written.is_none() {
        let message = format!("the policy `{}` does not say at which provider, or as whom, users log in", draft.policy);
        let missing = Diagnostic::new(Code::E0106, message).label(draft.at, format!("`{key}` is missing"));
        report.push(missing.help(format!("write for example `{key} = {example}`")));
    }
    written
}

fn scopes(written: Option<&OneOrMany<String>>, at: &At, report: &mut Report) -> String {
    let Some(written) = written else { return SCOPES.into() };
    let mut scopes = vec!["openid"];
    for (index, scope) in written.iter().enumerate() {
        // RFC 6749 section 3.3.
        if scope.is_empty() || !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)) {
            report.add(Code::E0108, &at.index(index), format!("{scope:?} is not a scope"), "one word of visible ASCII");
        }
        if scope != "openid" {
            scopes.push(scope);
        }
    }
    scopes.join(" ")
}

/// The paths of the policy's own pages: the one that users come back to, and the one by which they leave.
pub(crate) fn own(config: &Config) -> [&str; 2] {
    let callback = config.callback.as_deref().unwrap_or("/oauth2/callback");
    [callback, config.logout.as_deref().unwrap_or("/oauth2/logout")]
}

/// The paths of the policy's own pages, and where one goes after the last.
fn pages<'a>(draft: Draft<'a>, report: &mut Report) -> [&'a str; 3] {
    let Draft { config, at, .. } = draft;
    let [callback, logout] = own(config);
    let pages =
        [("callback", callback), ("logout", logout), ("after_logout", config.after_logout.as_deref().unwrap_or("/"))];
    for (key, path) in pages {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let odd = path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..");
        if !path.starts_with('/') || odd || !path.bytes().all(plain) {
            let message = format!("`{key}` is not the path of a page");
            report.add(Code::E0108, &at.key(key), message, "expected for example \"/oauth2/callback\"");
        }
    }
    if pages[0].1 == pages[1].1 {
        let message = "`callback` and `logout` are the same page";
        let place = if config.logout.is_some() { at.key("logout") } else { at.key("callback") };
        report.add(Code::E0107, &place, message, "one comes back to the one, and leaves by the other");
    }
    pages.map(|(_, path)| path)
}

/// Keys of `cookie_secret`, or else of the client's secret, which nobody but the provider and we know either.
fn seal(draft: Draft<'_>, owner: &str, report: &mut Report) -> Option<Seal> {
    let Draft { config, at, .. } = draft;
    let Some(OneOrMany(secrets)) = &config.cookie_secret else {
        let secret = config.client_secret.as_ref()?.expose();
        if secret.len() < ENOUGH {
            report.push(
                Diagnostic::new(Code::E0103, "the client's secret is too short to keep sessions with")
                    .label(at.key("client_secret"), format!("{} bytes, and {ENOUGH} are needed", secret.len()))
                    .help("add `cookie_secret = \"${COOKIE_SECRET}\"`; `openssl rand -base64 32` makes one"),
            );
        }
        return Seal::new(std::iter::once(secret), owner);
    };
    for (index, secret) in secrets.iter().enumerate() {
        if secret.expose().len() < LONG {
            let place = at.key("cookie_secret").index(index);
            let label = format!("{} bytes, and {LONG} are needed", secret.expose().len());
            report.push(
                Diagnostic::new(Code::E0103, "the secret of the cookies is too short")
                    .label(place, label)
                    .help("`openssl rand -base64 32` makes one"),
            );
        }
    }
    if secrets.is_empty() {
        report.add(Code::E0108, &at.key("cookie_secret"), "there is no secret", "an empty list keeps no session");
    }
    Seal::new(secrets.iter().map(Secret::expose), owner)
}
