//! From a policy of tokens as written to one as run.

use std::{fs, sync::Arc};

use document::{At, Code, Diagnostic, OneOrMany, Report};
use fetch::{Service, Trust, Url};
use jsonwebtoken::Algorithm;

use super::{Jwt, Rules, Trusted};
use crate::{
    Config,
    claims::{self, Told},
    compile::Draft,
    fetched::{Fetched, PATIENCE, Publisher},
    keyset::KeySet,
    verdicts::Verdicts,
};

/// What a published or public key may be used with where nothing is written.
const PUBLIC: [Algorithm; 4] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
/// Every algorithm of public keys.
const ALL_PUBLIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Every algorithm of secrets, with how long a secret has to be for it (RFC 7518 section 3.2).
const SECRET: [(Algorithm, usize); 3] = [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];

/// How many good tokens are remembered.
const REMEMBERED: usize = 16 * 1024;

/// How far clocks may differ where nothing is written: what Envoy allows.
const LEEWAY: u64 = 60;

pub(crate) fn compile(draft: Draft<'_>, report: &mut Report) -> Option<Jwt> {
    let Draft { config, policy, forward, at, .. } = draft;
    let keys = trusted(draft, report);
    let algorithms = algorithms(config, keys.as_ref(), at, report);
    let rules = rules(config, at, report);
    Some(Jwt {
        policy: policy.clone(),
        keys: keys?,
        rules: Rules { algorithms: algorithms?, typ: config.typ.as_deref().map(Into::into), claims: rules },
        told: told(config),
        forward: forward.clone(),
        verdicts: Verdicts::new(REMEMBERED),
    })
}

/// What tokens have to claim, whoever vouches for the claims.
pub(crate) fn rules(config: &Config, at: &At, report: &mut Report) -> claims::Rules {
    let leeway = config.leeway.map_or(LEEWAY, |leeway| leeway.0.as_secs());
    if leeway > 600 {
        report.add(Code::E0103, &at.key("leeway"), "`leeway` is more than clocks differ", "at most \"10m\"");
    }
    let strings = |list: &OneOrMany<String>| list.iter().map(|text| text.as_str().into()).collect::<Box<[_]>>();
    claims::Rules {
        issuer: config.issuer.as_deref().map(Into::into),
        audience: config.audience.as_ref().map(strings).unwrap_or_default(),
        leeway: i64::try_from(leeway).unwrap_or(600),
    }
}

/// Which claims say who calls.
pub(crate) fn told(config: &Config) -> Told {
    Told {
        user: config.user.as_deref().unwrap_or("sub").into(),
        roles: config.roles.as_deref().unwrap_or("roles").into(),
        plan: config.plan.as_deref().map(Into::into),
    }
}

/// Exactly one of `secret`, `public_key`, `jwks`, or else the issuer says where its keys are.
fn trusted(draft: Draft<'_>, report: &mut Report) -> Option<Trusted> {
    let Draft { config, policy, at, source, .. } = draft;
    let given: Vec<&str> = [
        ("secret", config.secret.is_some()),
        ("public_key", config.public_key.is_some()),
        ("jwks", config.jwks.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, given)| given.then_some(key))
    .collect();
    if let [first, second, ..] = given[..] {
        let message = format!("the policy `{policy}` trusts two kinds of keys");
        let diagnostic = Diagnostic::new(Code::E0107, message).label(at.key(first).name(), "here");
        report.push(diagnostic.label(at.key(second).name(), "and here").help("keep one; write a policy for each"));
        return None;
    }
    if let Some(secret) = &config.secret {
        return Some(Trusted::Fixed(KeySet::secret(secret.expose().as_bytes())));
    }
    if let Some(path) = &config.public_key {
        let at = at.key("public_key");
        document::guard(path.as_ref(), &at, report);
        let pem = match fs::read(path) {
            Ok(pem) => pem,
            Err(error) => {
                report.add(Code::E0601, &at, format!("cannot read `{path}`"), error.to_string());
                return None;
            }
        };
        let keys = KeySet::pem(&pem);
        if keys.is_none() {
            let message = format!("`{path}` is not a public key that tokens can be checked with");
            report.add(Code::E0501, &at, message, "PEM of an RSA, P-256, P-384 or Ed25519 key is expected");
        }
        return keys.map(Trusted::Fixed);
    }
    if let Some(jwks) = &config.jwks {
        let service = service(jwks, config, &at.key("jwks"), at, report)?;
        return Some(Trusted::Fetched(source.state.get(Publisher::Jwks(service))));
    }
    let Some(issuer) = &config.issuer else {
        report.push(
            Diagnostic::new(Code::E0106, format!("the policy `{policy}` trusts nobody's tokens"))
                .label(at, "none of `issuer`, `jwks`, `public_key` and `secret` is here")
                .help("write for example `issuer = \"https://login.example.com/\"`, whose keys are then found by discovery"),
        );
        return None;
    };
    discovered(draft, issuer, report).map(|(_, fetched)| Trusted::Fetched(fetched))
}

/// Whatever an issuer publishes, and where it is asked.
pub(crate) fn discovered(draft: Draft<'_>, issuer: &str, report: &mut Report) -> Option<(Service, Arc<Fetched>)> {
    let Draft { config, at, source, .. } = draft;
    let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let service = service(&discovery, config, &at.key("issuer"), at, report)?;
    Some((service.clone(), source.state.get(Publisher::Issuer(issuer.into(), service))))
}

fn service(url: &str, config: &Config, at_url: &At, at: &At, report: &mut Report) -> Option<Service> {
    let url = Url::compile(url, "can make tokens that are believed", at_url, report);
    let trust = Trust::compile(config.ca.as_deref(), &at.key("ca"), report);
    Some(Service { url: url?, trust: trust?, timeout: PATIENCE })
}

pub(crate) fn algorithms(
    config: &Config,
    keys: Option<&Trusted>,
    at: &At,
    report: &mut Report,
) -> Option<Box<[Algorithm]>> {
    let at = at.key("algorithms");
    let secret = config.secret.as_ref().map(|secret| secret.expose().len());
    let mut chosen = Vec::new();
    for (index, name) in config.algorithms.iter().flat_map(|names| names.iter().enumerate()) {
        let place = at.index(index);
        let known = SECRET.iter().map(|(one, _)| *one).chain(ALL_PUBLIC).find(|one| format!("{one:?}") == *name);
        let of_secrets = SECRET.iter().any(|(one, _)| Some(*one) == known);
        match known {
            None => {
                let label = "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384, HS512";
                report.add(Code::E0108, &place, format!("{name:?} is not a way of signing that is trusted"), label);
            }
            Some(_) if of_secrets != secret.is_some() => {
                let label =
                    if of_secrets { "this one needs `secret`" } else { "with `secret` only HS256, HS384 and HS512" };
                report.add(Code::E0107, &place, format!("`{name}` does not go with these keys"), label);
            }
            Some(algorithm) => chosen.push(algorithm),
        }
    }
    if chosen.is_empty() {
        chosen = if secret.is_some() { vec![Algorithm::HS256] } else { PUBLIC.to_vec() };
        if let Some(Trusted::Fixed(keys)) = keys
            && secret.is_none()
            && !keys.algorithms().any(|own| chosen.contains(&own))
        {
            chosen = keys.algorithms().collect();
        }
    }
    for (algorithm, least) in SECRET.iter().filter(|(algorithm, _)| chosen.contains(algorithm)) {
        if let Some(length) = secret.filter(|length| length < least) {
            let place = at.parent().key("secret");
            report.push(
                Diagnostic::new(Code::E0103, format!("the secret is too short for {algorithm:?}"))
                    .label(&place, format!("{length} bytes, and at least {least} are needed (RFC 7518 section 3.2)"))
                    .help(format!("`openssl rand -base64 {least}` makes one")),
            );
            return None;
        }
    }
    Some(chosen.into())
}
