//! Which keys go with which kind of policy.

use document::{At, Code, Diagnostic, Report};

use crate::{Config, Kind};

/// Reports keys that mean nothing to this kind of policy.
pub(super) fn suits(kind: Kind, config: &Config, at: &At, report: &mut Report) {
    const API_KEY: &[Kind] = &[Kind::ApiKey];
    const JWT: &[Kind] = &[Kind::Jwt];
    const BASIC: &[Kind] = &[Kind::Basic];
    const MTLS: &[Kind] = &[Kind::Mtls];
    const EITHER: &[Kind] = &[Kind::ApiKey, Kind::Jwt, Kind::Introspection];
    const CLAIMS: &[Kind] = &[Kind::Jwt, Kind::Introspection];
    const TOLD: &[Kind] = &[Kind::Jwt, Kind::Introspection, Kind::Forward, Kind::Oidc];
    const TRUSTING: &[Kind] = &[Kind::Jwt, Kind::Introspection, Kind::Forward, Kind::Oidc, Kind::Mtls];
    const ASKED: &[Kind] = &[Kind::Introspection, Kind::Forward];
    const FORWARD: &[Kind] = &[Kind::Forward];
    const SHOWN: &[Kind] = &[Kind::ApiKey, Kind::Jwt, Kind::Introspection, Kind::Basic, Kind::Mtls, Kind::Oidc];
    const SIGNED: &[Kind] = &[Kind::Jwt, Kind::Oidc];
    const ISSUED: &[Kind] = &[Kind::Jwt, Kind::Introspection, Kind::Oidc];
    const CLIENT: &[Kind] = &[Kind::Introspection, Kind::Oidc];
    const WAITED_FOR: &[Kind] = &[Kind::Introspection, Kind::Forward, Kind::Oidc];
    const OIDC: &[Kind] = &[Kind::Oidc];
    let keys = [
        ("header", config.header.is_some(), EITHER),
        ("query", config.query.is_some(), EITHER),
        ("cookie", config.cookie.is_some(), EITHER),
        ("hide_credentials", config.hide_credentials.is_some(), SHOWN),
        ("keys", config.keys.is_some(), API_KEY),
        ("users", config.users.is_some(), BASIC),
        ("san", config.san.is_some(), MTLS),
        ("cn", config.cn.is_some(), MTLS),
        ("fingerprint", config.fingerprint.is_some(), MTLS),
        ("issuer", config.issuer.is_some(), ISSUED),
        ("audience", config.audience.is_some(), CLAIMS),
        ("resource_metadata", config.resource_metadata.is_some(), CLAIMS),
        ("jwks", config.jwks.is_some(), JWT),
        ("public_key", config.public_key.is_some(), JWT),
        ("secret", config.secret.is_some(), JWT),
        ("algorithms", config.algorithms.is_some(), SIGNED),
        ("leeway", config.leeway.is_some(), ISSUED),
        ("typ", config.typ.is_some(), JWT),
        ("user", config.user.is_some(), TOLD),
        ("roles", config.roles.is_some(), TOLD),
        ("plan", config.plan.is_some(), TOLD),
        ("url", config.url.is_some(), ASKED),
        ("cache", config.cache.is_some(), ASKED),
        ("timeout", config.timeout.is_some(), WAITED_FOR),
        ("send", config.send.is_some(), FORWARD),
        ("copy", config.copy.is_some(), FORWARD),
        ("client_id", config.client_id.is_some(), CLIENT),
        ("client_secret", config.client_secret.is_some(), CLIENT),
        ("ca", config.ca.is_some(), TRUSTING),
        ("scopes", config.scopes.is_some(), OIDC),
        ("callback", config.callback.is_some(), OIDC),
        ("logout", config.logout.is_some(), OIDC),
        ("after_logout", config.after_logout.is_some(), OIDC),
        ("session", config.session.is_some(), OIDC),
        ("cookie_secret", config.cookie_secret.is_some(), OIDC),
    ];
    for (key, given, kinds) in keys {
        if given && !kinds.contains(&kind) {
            let known: Vec<_> = kinds.iter().map(|kind| format!("`type = \"{}\"`", kind.as_str())).collect();
            let message = format!("`{key}` means nothing to `type = \"{}\"`", kind.as_str());
            report.push(
                Diagnostic::new(Code::E0107, message)
                    .label(at.key(key).name(), "not a key of this type")
                    .label(at.key("type"), "the type")
                    .help(format!("it belongs to {}", known.join(" and "))),
            );
        }
    }
}
