//! What becomes of a request, in a few words.

use filter::Reason;
use http::header;
use proxy::{Answered, Outcome, Step, Verdict};

/// The whole of it: ``route `orders` sends it to upstream `orders` ``.
pub fn sentence(verdict: &Verdict) -> String {
    let route = verdict.route().map_or("-", |route| &route.name);
    match verdict.outcome() {
        Outcome::Forwarded(sent) => format!("route `{route}` sends it to upstream `{}`", sent.upstream.name()),
        Outcome::Answered(answer) => {
            let told = answered(answer);
            match (answer.by, answer.reason) {
                (Step::Front, _) => format!("refused as it is read: {told}"),
                (Step::Arrive, Reason::NoRoute) => format!("no route matches: {told}"),
                (Step::Arrive, Reason::None) if answer.status.is_redirection() => {
                    let listener = verdict.arrival().map_or("-", |arrival| &*arrival.connection.listener.name);
                    format!("listener `{listener}` answers {told}")
                }
                (Step::Arrive, Reason::None) => format!("no route matches: maitred answers {told}"),
                (Step::Arrive, _) => format!("refused before a route has it: {told}"),
                (Step::Cors, _) => format!("route `{route}` answers the preflight with {told}"),
                (_, Reason::None) => format!("route `{route}` answers {told}"),
                (_, _) => format!("route `{route}` refuses it: {told}"),
            }
        }
    }
}

/// `413 body_too_large`, `308 → https://new.example.com/`.
fn answered(answer: &Answered) -> String {
    let status = answer.status.as_u16();
    match answer.fields.get(header::LOCATION).and_then(|location| location.to_str().ok()) {
        Some(location) => format!("{status} → {location}"),
        None => format!("{status} {}", answer.reason.word()).trim_end().to_owned(),
    }
}
