//! Limits: whom they refuse, and forgiving them.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::Changed;
use crate::{Admin, answer::Answer, call::Call};

/// A limit, and whom it refuses at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// The routes that it is a limit of.
    pub routes: Vec<String>,
    /// The keys that this process refuses, the one refused last first; a thousand of all limits are remembered.
    pub limited: Vec<Limited>,
}

/// A key that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limited {
    /// The key. What may be a secret stands here as a fingerprint that begins with `#`.
    pub key: String,
    /// How often it was refused.
    pub refused: u64,
    /// When it was refused last, RFC 3339.
    pub last: String,
    /// When it may come again, RFC 3339.
    pub until: String,
}

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LimitKey {
    /// The limit's name.
    pub limit: String,
    /// The key as it was asked for.
    pub key: String,
    /// Where it stands under each rule of the limit, as far as this process knows.
    pub rules: Vec<LimitRule>,
}

/// Where a key stands under one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LimitRule {
    /// `window`, `bucket`, `quota`, `concurrent` or `ban`.
    pub kind: String,
    /// How many requests it lets pass.
    pub limit: u32,
    /// How many more would pass now.
    pub remaining: u32,
    /// Milliseconds until the next one would, where none would now.
    pub wait_ms: u64,
    /// How many requests wait for a place, where they may.
    pub waiting: u32,
}

pub(super) fn all(admin: &Admin, _: &Call) -> Answer {
    match admin.control() {
        Ok(control) => Answer::ok(&control.limits()),
        Err(refusal) => refusal,
    }
}

pub(super) fn key(admin: &Admin, call: &Call) -> Answer {
    match admin.control() {
        Ok(control) => told(control.limit_key(call.name(), call.key()), call),
        Err(refusal) => refusal,
    }
}

pub(super) fn reset(admin: Arc<Admin>, call: Call) -> Changed {
    Box::pin(async move {
        match admin.control() {
            Ok(control) => match control.reset_limit_key(call.name(), call.key()).await.transpose() {
                Ok(found) => told(found, &call),
                Err(why) => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            Err(refusal) => refusal,
        }
    })
}

fn told(found: Option<LimitKey>, call: &Call) -> Answer {
    match found {
        Some(found) => Answer::ok(&found),
        None => Answer::problem(StatusCode::NOT_FOUND, &format!("there is no limit `{}`", call.name())),
    }
}
