//! The cache: what it holds, and what is to be let go.

use std::sync::Arc;

use http::StatusCode;

use super::{Body, Changed, JSON, ORDER, Operation, Run, TEXT, Verb, of, reply};
use crate::{Admin, CacheReading, Purge, Purged, Warm, Warmed, answer::Answer, call::Call};

pub(super) const READING: Operation = Operation {
    verb: Verb::Get,
    path: "/api/v1/cache",
    name: "cache",
    summary: "How much the cache holds.",
    query: &[],
    body: None,
    answer: reply::<CacheReading>("What it holds."),
    run: Run::Look(reading),
};

pub(super) const PURGE: Operation = Operation {
    verb: Verb::Post,
    path: "/api/v1/cache/purge",
    name: "purge",
    summary: "Lets go of kept answers, or makes them stale: of a URL, below a prefix, with a tag, or all.",
    query: &[],
    body: Some(Body { media: JSON, required: true, limit: ORDER, schema: of::<Purge> }),
    answer: reply::<Purged>("How many it were."),
    run: Run::Change(purge),
};

pub(super) const WARM: Operation = Operation {
    verb: Verb::Post,
    path: "/api/v1/cache/warm",
    name: "warm",
    summary: "Asks for what clients will ask for, by the way that their requests go, so that the cache has it.",
    query: &[],
    body: Some(Body { media: JSON, required: true, limit: TEXT, schema: of::<Warm> }),
    answer: reply::<Warmed>("What came of each."),
    run: Run::Change(warm),
};

fn reading(admin: &Admin, _: &Call) -> Answer {
    match admin.control() {
        Ok(control) => Answer::ok(&control.cache()),
        Err(answer) => answer,
    }
}

fn purge(admin: Arc<Admin>, call: Call) -> Changed {
    Box::pin(async move {
        let purged = match call.json::<Purge>().and_then(|order| Ok((admin.control()?, order))) {
            Ok((control, order)) => control.purge(&order).await,
            Err(refusal) => return refusal,
        };
        match purged {
            Ok(purged) => Answer::ok(&purged),
            Err(detail) => Answer::problem(StatusCode::UNPROCESSABLE_ENTITY, &detail),
        }
    })
}

fn warm(admin: Arc<Admin>, call: Call) -> Changed {
    Box::pin(async move {
        let control = match call.json::<Warm>().and_then(|order| Ok((admin.control()?, order))) {
            Ok((control, order)) => control.warm(order).await,
            Err(refusal) => return refusal,
        };
        match control {
            Ok(warmed) => Answer::ok(&warmed),
            Err(detail) => Answer::problem(StatusCode::UNPROCESSABLE_ENTITY, &detail),
        }
    })
}
