//! What changes something.

use std::{future::Future, sync::Arc};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Changed, config, probe::Readiness, traffic};
use crate::{Admin, BackendOrder, Outcome, Reloaded, answer::Answer, call::Call};

/// Whether load balancers are to look elsewhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "DrainOrder")]
pub(crate) struct Drain {
    /// Take it back: `/ready` tells the truth again.
    pub(crate) undo: bool,
}

/// How to stop.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "StopOrder")]
pub(crate) struct Stop {
    /// Without waiting for the requests under way.
    pub(crate) now: bool,
}

/// The process will end.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Stopping {
    /// Its id.
    pid: u32,
    /// How many requests are under way.
    in_flight: u64,
}

/// Carries out a change that may be refused on the way.
fn change(work: impl Future<Output = Result<Answer, Answer>> + Send + 'static) -> Changed {
    Box::pin(async move { work.await.unwrap_or_else(|refusal| refusal) })
}

pub(super) fn reload(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        config::unchanged_since(&admin, &call)?;
        let control = admin.control()?;
        Ok(reloaded(&control.reload(call.order()?).await))
    })
}

pub(super) fn rollback(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        config::unchanged_since(&admin, &call)?;
        let control = admin.control()?;
        let to = match call.name() {
            "previous" => None,
            id => Some(id.parse().map_err(|_| {
                let detail = format!("`{id}` is not the id of a generation, nor `previous`");
                Answer::problem(StatusCode::BAD_REQUEST, &detail)
            })?),
        };
        Ok(reloaded(&control.rollback(to).await))
    })
}

fn reloaded(reloaded: &Reloaded) -> Answer {
    let answer = match reloaded.outcome {
        Outcome::Refused => {
            let generation = &reloaded.generation;
            let detail = format!("refused: still serving generation {} (sha {})", generation.id, generation.sha);
            Answer::problem_with(StatusCode::UNPROCESSABLE_ENTITY, &detail, reloaded)
        }
        _ => Answer::ok(reloaded),
    };
    answer.outcome(reloaded.outcome.as_str())
}

pub(super) fn confirm(admin: Arc<Admin>, _: Call) -> Changed {
    change(async move {
        let confirmed = admin.control()?.confirm().await;
        Ok(confirmed
            .map_or_else(|why| Answer::problem(StatusCode::CONFLICT, &why), |generation| Answer::ok(&generation)))
    })
}

pub(super) fn upgrade(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        let upgraded = admin.control()?.upgrade(call.order()?).await;
        Ok(upgraded.map_or_else(|why| Answer::problem(StatusCode::CONFLICT, &why), |upgraded| Answer::ok(&upgraded)))
    })
}

pub(super) fn drain(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        let Drain { undo } = call.order()?;
        admin.look_elsewhere(!undo);
        Ok(Answer::ok(&Readiness::of(admin.readiness())))
    })
}

pub(super) fn order_backend(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        let order: BackendOrder = call.json()?;
        let refused = |detail: &str| Answer::problem(StatusCode::BAD_REQUEST, detail);
        if order.weight.is_some_and(|weight| weight > 1000) {
            return Err(refused("a weight is a number from 0 to 1000"));
        }
        if let Some(error) = order.time.as_deref().and_then(|time| time.parse::<document::Duration>().err()) {
            return Err(refused(&error));
        }
        if order.state.is_none() && order.weight.is_none() {
            return Err(refused("what is wanted of it: `state`, `weight`?"));
        }
        if !admin.control()?.order_backend(&call.name, &call.part, order) {
            let detail = format!("there is no backend `{}` of an upstream `{}`", call.part, call.name);
            return Err(Answer::problem(StatusCode::NOT_FOUND, &detail));
        }
        traffic::backend(&admin, &call.name, &call.part)
    })
}

pub(super) fn stop(admin: Arc<Admin>, call: Call) -> Changed {
    change(async move {
        let Stop { now } = call.order()?;
        let control = Arc::clone(admin.control()?);
        let stopping = Stopping { pid: std::process::id(), in_flight: admin.metrics.in_flight() };
        // The process may be gone before an answer that is written later.
        Ok(Answer::json(StatusCode::ACCEPTED, &stopping).then(async move { control.stop(now).await }))
    })
}
