//! The weights of a route's split, until the next reload; an upgrade leaves them.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;

use super::{Body, Changed, JSON, ORDER, Operation, Run, Verb, of, reply};
use crate::{Admin, answer::Answer, call::Call};

/// By upstream.
type Weights = BTreeMap<String, u32>;

pub(super) const WEIGH: Operation = Operation {
    verb: Verb::Patch,
    path: "/api/v1/routes/{name}/split",
    name: "weigh_split",
    summary: "Gives upstreams of a route's split other weights, until the next reload; those that are not named keep theirs.",
    query: &[],
    body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<Weights> }),
    answer: reply::<Weights>("The weights of all upstreams as they are now."),
    run: Run::Order(weigh),
};

fn weigh(admin: Arc<Admin>, call: Call) -> Changed {
    Box::pin(async move {
        let weighed = call.json().and_then(|weights: Weights| {
            let weighed = admin.control()?.weigh_split(call.name(), &weights);
            let nowhere = || {
                let detail = format!("there is no route `{}` with a `split`", call.name());
                Answer::problem(StatusCode::NOT_FOUND, &detail)
            };
            weighed.ok_or_else(nowhere)?.map_err(|why| Answer::problem(StatusCode::BAD_REQUEST, &why))
        });
        weighed.map_or_else(|refusal| refusal, |weights| Answer::ok(&weights))
    })
}
