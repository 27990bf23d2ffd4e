//! API keys: whose they are, new ones, and those that are to be refused.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Body, Changed, JSON, ORDER, Operation, Parameter, Run, Verb, of, reply};
use crate::{Admin, answer::Answer, call::Call};

const POLICY: Parameter =
    Parameter { name: "policy", about: "The policy whose file it is, where there is more than one file of keys." };

pub(super) const LIST: Operation = Operation {
    verb: Verb::Get,
    path: "/api/v1/keys",
    name: "keys",
    summary: "The API keys of every file, by the letters that they are shown by; never the keys or their hashes.",
    query: &[],
    body: None,
    answer: reply::<Vec<ApiKey>>("The keys."),
    run: Run::Look(list),
};

pub(super) const ADD: Operation = Operation {
    verb: Verb::Post,
    path: "/api/v1/keys",
    name: "key_add",
    summary: "Makes an API key, which is shown this once; its hash goes into the file that the server follows.",
    query: &[],
    body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<KeyOrder> }),
    answer: reply::<FreshKey>("The key."),
    run: Run::Change(add),
};

pub(super) const REVOKE: Operation = Operation {
    verb: Verb::Delete,
    path: "/api/v1/keys/{id}",
    name: "key_revoke",
    summary: "Takes an API key out of its file; within a second it is refused.",
    query: &[POLICY],
    body: None,
    answer: reply::<RevokedKey>("The key that is no more."),
    run: Run::Change(revoke),
};

/// An API key, as far as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApiKey {
    /// The letters that it is shown by.
    pub id: String,
    /// Whose it is.
    pub consumer: String,
    /// The policies that take it.
    pub policies: Vec<String>,
    /// When it was made.
    pub created: Option<String>,
    /// When it ends.
    pub expires: Option<String>,
    /// Whether it has not ended.
    pub live: bool,
    /// What the consumer has subscribed to.
    pub plan: Option<String>,
    /// How much the consumer may of what limits count, by the limit's name, where that is an amount of its own.
    pub limits: BTreeMap<String, u32>,
    /// What it is good for.
    pub scopes: Vec<String>,
    /// What the consumer is.
    pub roles: Vec<String>,
}

/// A key that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyOrder {
    /// Whose it is; nobody may have more than two live ones.
    pub consumer: String,
    /// When it ends: after a time such as `90d`, or on a day such as `2027-01-31`. Default: never.
    pub expires: Option<String>,
    /// What the consumer has subscribed to.
    pub plan: Option<String>,
    /// How much the consumer may of what limits count, by the limit's name, in the place of what the limit says or the plan.
    pub limits: BTreeMap<String, u32>,
    /// What the consumer's keys are good for.
    pub scopes: Vec<String>,
    /// What the consumer is.
    pub roles: Vec<String>,
    /// The policy whose file it goes into, where there is more than one file of keys.
    pub policy: Option<String>,
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FreshKey {
    /// The key, which nobody can see again.
    pub key: String,
    /// The letters that it is shown by.
    pub id: String,
    /// Whose it is.
    pub consumer: String,
    /// When it ends.
    pub expires: Option<String>,
}

/// A key that is no more.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RevokedKey {
    /// The letters that it was shown by.
    revoked: String,
}

/// Why there is no answer about keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKey {
    /// What was asked for cannot be meant.
    Wrong(String),
    /// There is no such key, policy or file.
    Unknown(String),
    /// The file has something already that is in the way.
    Conflict(String),
    /// The file cannot be read or written.
    Failed(String),
}

impl From<NoKey> for Answer {
    fn from(why: NoKey) -> Self {
        let (status, detail) = match &why {
            NoKey::Wrong(detail) => (StatusCode::UNPROCESSABLE_ENTITY, detail),
            NoKey::Unknown(detail) => (StatusCode::NOT_FOUND, detail),
            NoKey::Conflict(detail) => (StatusCode::CONFLICT, detail),
            NoKey::Failed(detail) => (StatusCode::INTERNAL_SERVER_ERROR, detail),
        };
        Self::problem(status, detail)
    }
}

fn list(admin: &Admin, _: &Call) -> Answer {
    let keys = admin.control().and_then(|control| control.keys().map_err(Answer::from));
    keys.map_or_else(|refusal| refusal, |keys| Answer::ok(&keys))
}

fn add(admin: Arc<Admin>, call: Call) -> Changed {
    beside(move || {
        let order: KeyOrder = call.json()?;
        Ok(Answer::ok(&admin.control()?.add_key(&order)?))
    })
}

fn revoke(admin: Arc<Admin>, call: Call) -> Changed {
    beside(move || {
        let revoked = admin.control()?.revoke_key(call.name(), call.query("policy"))?;
        Ok(Answer::ok(&RevokedKey { revoked }))
    })
}

/// Files are written where waiting is allowed.
fn beside(work: impl FnOnce() -> Result<Answer, Answer> + Send + 'static) -> Changed {
    Box::pin(async move {
        let broken = |_| Err(Answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "the change broke off"));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(broken).unwrap_or_else(|refusal| refusal)
    })
}
