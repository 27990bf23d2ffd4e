//! Claims: whether they hold, and what they say of the caller.

use std::sync::Arc;

use filter::{Claim, Claims, Credential, Identity};
use serde_json::{Map, Value};

use crate::policy::Doubt;

/// How deep objects within objects are looked into.
const DEPTH: usize = 4;
/// How long the names of all claims may be together: those of objects stand in the name of each of their members, so that a
/// short token could take a lot of memory.
const NAMES: usize = 64 * 1024;

/// What has to be claimed.
#[derive(Debug)]
pub(crate) struct Rules {
    pub issuer: Option<Box<str>>,
    /// Any one of them, where any are given.
    pub audience: Box<[Box<str>]>,
    /// How many seconds clocks may differ.
    pub leeway: i64,
}

impl Rules {
    /// Whether the claims hold now; until when they do. `ends` says whether they have to say so.
    pub(crate) fn check(&self, claims: &Map<String, Value>, now: i64, ends: bool) -> Result<Option<i64>, Doubt> {
        let until = match claims.get("exp").map(seconds) {
            None if !ends => None,
            Some(Some(until)) => Some(until.saturating_add(self.leeway)),
            None | Some(None) => return Err(Doubt::Invalid),
        };
        for early in ["nbf", "iat"] {
            match claims.get(early).map(seconds) {
                None => {}
                Some(Some(time)) if time <= now.saturating_add(self.leeway) => {}
                Some(_) => return Err(Doubt::Invalid),
            }
        }
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Doubt::Invalid);
        }
        let meant = |one: &Value| one.as_str().is_some_and(|one| self.audience.iter().any(|own| **own == *one));
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(meant),
            Some(one) => meant(one),
            None => false,
        };
        if !self.audience.is_empty() && !is_for_us {
            return Err(Doubt::Invalid);
        }
        if until.is_some_and(|until| until <= now) { Err(Doubt::Expired) } else { Ok(until) }
    }
}

/// Which claims say who calls.
#[derive(Debug)]
pub(crate) struct Told {
    /// The one that names the user.
    pub user: Box<str>,
    /// The one that has the roles.
    pub roles: Box<str>,
    /// The one that names the plan, where any does.
    pub plan: Option<Box<str>>,
}

impl Told {
    /// Who calls, by claims that hold.
    pub(crate) fn identity(
        &self,
        claims: &Map<String, Value>,
        policy: &Arc<str>,
        credential: Credential,
    ) -> Result<Identity, Doubt> {
        let all = flat(claims).ok_or(Doubt::Invalid)?;
        let user = all.get(&self.user).map(|claim| claim.as_str().into());
        let scopes = claims.get("scope").or_else(|| claims.get("scp")).map(words).unwrap_or_default();
        let roles = all.get(&self.roles).map(members).unwrap_or_default();
        let plan = self.plan.as_ref().and_then(|name| all.get(name)).and_then(single);
        if claims.get("sub").is_some_and(|sub| !sub.is_string()) {
            return Err(Doubt::Invalid);
        }
        Ok(Identity { user, plan, scopes, roles, claims: all, ..Identity::new(policy.clone(), credential) })
    }
}

/// A time in seconds since 1970 (RFC 7519 section 2), fractions cut off.
fn seconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        (float.is_finite() && float.abs() < 1e15).then_some(float as i64)
    })
}

/// Every claim by name; one within another is called by both names with a dot between them. A name that has the dot of
/// itself comes first. `None` where the names are too long together.
fn flat(claims: &Map<String, Value>) -> Option<Claims> {
    let mut all = Flat { claims: Vec::new(), left: NAMES };
    all.add("", claims, DEPTH)?;
    Some(all.claims.into_iter().collect())
}

/// The claims so far, and how long the names of the others may be.
struct Flat {
    claims: Vec<(Box<str>, Claim)>,
    left: usize,
}

impl Flat {
    fn add(&mut self, prefix: &str, object: &Map<String, Value>, depth: usize) -> Option<()> {
        for (name, value) in object {
            let claim = match value {
                Value::Null | Value::Object(_) => continue,
                Value::Array(list) => Claim::list(list.iter().filter_map(text)),
                one => match text(one) {
                    Some(text) => Claim::one(text),
                    None => continue,
                },
            };
            self.left = self.left.checked_sub(prefix.len() + name.len())?;
            self.claims.push((format!("{prefix}{name}").into(), claim));
        }
        if depth > 0 {
            for (name, value) in object {
                if let Value::Object(inner) = value {
                    self.add(&format!("{prefix}{name}."), inner, depth - 1)?;
                }
            }
        }
        Some(())
    }
}

fn text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(flag.to_string().into()),
        _ => None,
    }
}

/// The words of a scope (RFC 6749 section 3.3), or the members of a list.
fn words(value: &Value) -> Box<[Box<str>]> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().map(Into::into).collect(),
        Value::Array(list) => list.iter().filter_map(text).collect(),
        _ => Box::default(),
    }
}

/// The plan that a claim names: one, where it has one value.
fn single(claim: &Claim) -> Option<Box<str>> {
    Some(claim.as_str()).filter(|name| !claim.is_list() && !name.is_empty()).map(Into::into)
}

/// The values of a claim.
fn members(claim: &Claim) -> Box<[Box<str>]> {
    claim.values().map(Into::into).collect()
}
