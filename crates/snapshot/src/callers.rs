//! What limits and the files of callers say of each other.

use std::{collections::BTreeMap, sync::Arc};

use config::Config;
use document::{At, Code, Diagnostic, Report, Toggle, nearest};
use filter::Identity;
use limit::Written;

use crate::Route;

/// What is compiled of a configuration, as far as callers and limits are concerned.
#[derive(Clone, Copy)]
pub(crate) struct Known<'g> {
    pub(crate) policies: &'g BTreeMap<String, Option<Arc<auth::Policy>>>,
    pub(crate) limits: &'g limit::Named,
    pub(crate) routes: &'g [Option<Route>],
}

/// A policy, and where it stands.
struct Placed<'g> {
    at: At,
    config: &'g auth::Config,
    policy: &'g auth::Policy,
}

/// Adds the warnings of what is said on one side, and means nothing on the other.
pub(crate) fn check(config: &Config, known: Known<'_>, report: &mut Report) {
    let policies = policies(config, known);
    plans(config, &policies, report);
    amounts(&policies, known, report);
}

/// The policies of `[auth]`, and those that routes have in place.
fn policies<'g>(config: &'g Config, known: Known<'g>) -> Vec<Placed<'g>> {
    let root = At::root();
    let mut all = Vec::new();
    for (name, config) in &config.auth {
        if let Some(Some(policy)) = known.policies.get(name) {
            all.push(Placed { at: root.key("auth").key(name), config, policy });
        }
    }
    for ((name, route), compiled) in config.routes.iter().zip(known.routes) {
        let (Some(Toggle::On(written)), Some(compiled)) = (&route.policies.auth, compiled) else { continue };
        let at = root.key("routes").key(name).key("auth");
        let asks =
            |(_, one): &(usize, &auth::Written)| !matches!(one, auth::Written::Named(name) if name == auth::ANONYMOUS);
        for ((index, one), policy) in written.iter().enumerate().filter(asks).zip(compiled.auth.policies()) {
            if let auth::Written::InPlace(config) = one {
                all.push(Placed { at: at.index(index), config, policy });
            }
        }
    }
    all
}

/// W0304: a plan that no caller has. Where a claim names it, nobody can know.
fn plans(config: &Config, policies: &[Placed<'_>], report: &mut Report) {
    if policies.iter().any(|placed| placed.config.plan.is_some()) {
        return;
    }
    let has = |plan: &str| {
        let is = |caller: &Identity| caller.plan.as_deref() == Some(plan);
        policies.iter().any(|placed| placed.policy.named_caller(is).is_some())
    };
    let root = At::root();
    let named = config.limits.iter().map(|(name, limit)| (root.key("limits").key(name), limit));
    let own = config.routes.iter().filter_map(|(name, route)| match &route.policies.limit {
        Some(Toggle::On(limits)) => Some((root.key("routes").key(name).key("limit"), limits)),
        _ => None,
    });
    let own = own.flat_map(|(at, limits)| limits.iter().enumerate().map(move |(index, one)| (at.index(index), one)));
    for (at, written) in named.chain(own) {
        let Written::Own(limit) = written else { continue };
        for plan in limit.plans.iter().flat_map(|plans| plans.keys()).filter(|plan| !has(plan)) {
            report.push(
                Diagnostic::new(Code::W0304, format!("nobody has the plan `{plan}`"))
                    .label(at.key("plans").key(plan).name(), "no file of keys or of users says so of anybody")
                    .help(format!(
                        "write `plan = \"{plan}\"` for a consumer of the file of keys, or delete the plan here"
                    )),
            );
        }
    }
}

/// How many such amounts of one file are told.
const TOLD: usize = 8;

/// W0305: an amount of a caller's own that no limit goes by. Of those who have it the first is told, by name.
fn amounts(policies: &[Placed<'_>], known: Known<'_>, report: &mut Report) {
    let Some(routes) = known.routes.iter().map(Option::as_ref).collect::<Option<Vec<&Route>>>() else { return };
    // Of a limit that is wrong nobody knows what it is called by.
    let Some(named) = known.limits.values().map(Option::as_ref).collect::<Option<Vec<_>>>() else { return };
    let limits = named.into_iter().chain(routes.into_iter().flat_map(|route| route.limits.iter()));
    let takes: BTreeMap<&str, bool> = limits.map(|limit| (&**limit.name(), limit.takes_amounts())).collect();
    for Placed { at, config, policy } in policies {
        let at = at.key(if config.keys.is_some() { "keys" } else { "users" });
        let mut idle: BTreeMap<String, String> = BTreeMap::new();
        policy.each_named_caller(&mut |caller: &Identity| {
            let user = caller.user.as_deref().unwrap_or("");
            for (name, _) in caller.limits.iter().filter(|(name, _)| takes.get(name) != Some(&true)) {
                let first = idle.entry(name.to_owned()).or_insert_with(|| user.to_owned());
                if *user < **first {
                    user.clone_into(first);
                }
            }
        });
        if idle.is_empty() {
            continue;
        }
        let mut diagnostic = Diagnostic::new(Code::W0305, "callers have amounts of their own that no limit goes by");
        for (name, user) in idle.iter().take(TOLD) {
            let why = match (takes.contains_key(&**name), nearest(name, takes.keys().copied())) {
                (true, _) => "which goes by none".to_owned(),
                (false, Some(near)) => format!("which does not exist: did you mean `{near}`?"),
                (false, None) => "which does not exist".to_owned(),
            };
            diagnostic = diagnostic.label(&at, format!("`{user}` has one for the limit `{name}`, {why}"));
        }
        report.push(diagnostic.help(
            "name a limit of `[limits]`, or the route that has one of its own, which counts requests by `key = \"user\"`, \
             `key = \"api_key\"` or `key = \"claim:NAME\"`",
        ));
    }
}
