//! What only looks.

use http::StatusCode;

use crate::{Admin, Event, answer::Answer, call::Call, follow::Source, openapi, status};

pub(super) fn status(admin: &Admin, _: &Call) -> Answer {
    Answer::ok(&status::report(admin))
}

pub(super) fn openapi(admin: &Admin, _: &Call) -> Answer {
    Answer::ok(&openapi::document(admin.build.version))
}

pub(super) fn history(admin: &Admin, _: &Call) -> Answer {
    match admin.control() {
        Ok(control) => Answer::ok(&control.history()),
        Err(answer) => answer,
    }
}

pub(super) fn explain(admin: &Admin, call: &Call) -> Answer {
    let explained = admin.control().and_then(|control| {
        let refused = |detail: String| Answer::problem(StatusCode::UNPROCESSABLE_ENTITY, &detail);
        control.explain(call.json()?).map_err(refused)
    });
    explained.map_or_else(|answer| answer, |explained| Answer::ok(&explained))
}

/// The id of the last event that the client knows.
fn after(call: &Call) -> Result<u64, Answer> {
    // An event source that was cut says by this field where it goes on (HTML, section 9.2.4).
    let last = call.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let Some(text) = last.or_else(|| call.query("after")) else { return Ok(0) };
    text.parse().map_err(|_| Answer::problem(StatusCode::BAD_REQUEST, &format!("`{text}` is not the id of an event")))
}

pub(super) fn events(admin: &Admin, call: &Call) -> Answer {
    match after(call) {
        Ok(id) => Answer::ok(&admin.events.since(id).iter().map(AsRef::as_ref).collect::<Vec<&Event>>()),
        Err(answer) => answer,
    }
}

pub(super) fn follow_events(admin: &Admin, call: &Call) -> Result<Source, Answer> {
    Ok(Source::Events(admin.events.subscribe(after(call)?)))
}
