//! The process log's level, and the access log as it is written.

use std::sync::Arc;

use http::StatusCode;
use telemetry::Wanted;

use super::Changed;
use crate::{
    Admin,
    answer::Answer,
    call::Call,
    follow::{Lines, Source},
    level,
};

pub(super) fn level(admin: &Admin, _: &Call) -> Answer {
    admin.level.told().map_or_else(|refusal| refusal, |told| Answer::ok(&told))
}

pub(super) fn set_level(admin: Arc<Admin>, call: Call) -> Changed {
    Box::pin(async move {
        let set = call.json().and_then(|order| level::set(&admin, &order));
        set.map_or_else(|refusal| refusal, |told| Answer::ok(&told))
    })
}

pub(super) fn follow(admin: &Admin, call: &Call) -> Result<Source, Answer> {
    let mut wanted = Wanted::default().with_route(call.query("route"));
    if let Some(status) = call.query("status") {
        wanted = wanted.with_status(status).map_err(|why| Answer::problem(StatusCode::BAD_REQUEST, &why))?;
    }
    let followers = admin.metrics.followers();
    if !followers.have_a_log() {
        let detail = "there is no access log to follow: `logging.access` is false";
        return Err(Answer::problem(StatusCode::CONFLICT, detail));
    }
    Ok(Source::Log(Lines::of(followers, wanted)))
}
