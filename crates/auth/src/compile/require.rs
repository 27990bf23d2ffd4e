//! What callers have to be, from as written to as run.

use std::sync::Arc;

use document::{At, Code, Diagnostic, OneOrMany, Report};
use http::{HeaderValue, Method};

use crate::{Policy, Require, RequireConfig, condition::Condition, policy::resource_metadata};

pub(super) fn compile(
    config: &RequireConfig,
    policies: &[Arc<Policy>],
    at: &At,
    report: &mut Report,
) -> Option<Require> {
    let errors = report.errors();
    let strings = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect::<Box<[Box<str>]>>();
    let listed = |list: &Option<OneOrMany<String>>| list.as_ref().map_or_else(Box::default, |list| strings(list));
    let asks = [config.scope.is_some(), config.role.is_some(), config.claims.is_some(), config.method.is_some()];
    if !asks.contains(&true) && config.when.is_none() {
        let nothing = Diagnostic::new(Code::E0106, "`require` requires nothing").label(at, "here");
        report.push(nothing.help("write for example `{ scope = \"orders\" }`, or delete it"));
    }
    let scopes = listed(&config.scope);
    for (index, scope) in scopes.iter().enumerate() {
        let token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if scope.is_empty() || !scope.bytes().all(token) {
            let label = "one word of visible ASCII (RFC 6749 section 3.3)";
            report.add(Code::E0108, &at.key("scope").index(index), format!("{scope:?} is not a scope"), label);
        }
    }
    let mut methods = Vec::new();
    for (role, list) in config.method.iter().flatten() {
        let mut own = Vec::new();
        for (index, text) in list.iter().enumerate() {
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) => own.push(method),
                Err(_) => {
                    let place = at.key("method").key(role).index(index);
                    report.add(Code::E0108, &place, format!("{text:?} is not a method"), "here");
                }
            }
        }
        methods.push((role.as_str().into(), own.into()));
    }
    let when = config.when.as_deref().map(|text| Condition::compile(text, &at.key("when"), report));
    (report.errors() == errors).then_some(())?;
    let insufficient = |policy: &Arc<Policy>| {
        let metadata = policy.metadata.as_deref().map(resource_metadata).unwrap_or_default();
        let told = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"{metadata}", scopes.join(" "));
        HeaderValue::from_str(&told).ok().filter(|_| !scopes.is_empty())
    };
    Some(Require {
        mode: config.mode.unwrap_or_default(),
        insufficient: policies.iter().map(insufficient).collect(),
        scopes,
        roles: listed(&config.role),
        claims: config.claims.iter().flatten().map(|(name, values)| (name.as_str().into(), strings(values))).collect(),
        methods: methods.into(),
        when: when.flatten(),
    })
}
