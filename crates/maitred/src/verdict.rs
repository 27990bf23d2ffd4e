//! What becomes of a request, in a few words.

use filter::{Mode, Reason, Reply, query};
use http::header;
use proxy::{Answered, Outcome, Step, Verdict};
use snapshot::Route;

/// The whole of it: ``route `orders` sends it to upstream `orders` ``.
pub fn sentence(verdict: &Verdict) -> String {
    let route = verdict.route().map_or("-", |route| &route.name);
    match verdict.outcome() {
        Outcome::Forwarded(sent) => format!("route `{route}` sends it to upstream `{}`", sent.upstream.name()),
        Outcome::Answered(answer) => {
            let told = answered(verdict.route(), answer);
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

/// What came of asking who calls: ``partners: user `acme`, key `7f3a9c1d` ``.
pub fn asked(route: &Route, asked: &auth::Verdict) -> String {
    let named = |what: &str, name: Option<&str>| name.map(|name| format!("{what} `{name}`"));
    let who = match &asked.identity {
        Some(by) => {
            let facts =
                [named("user", by.user.as_deref()), named("key", by.key.as_deref()), named("plan", by.plan.as_deref())];
            format!("{}: {}", by.policy, facts.into_iter().flatten().collect::<Vec<_>>().join(", "))
        }
        None => {
            let policies = route.auth.policies().iter().map(|policy| &**policy.name());
            policies.collect::<Vec<_>>().join(" or ")
        }
    };
    let lack = asked.lack.as_ref().map(|lack| format!(" {lack}")).unwrap_or_default();
    match (&asked.refusal, asked.mode) {
        (None, _) if asked.identity.is_none() => format!("{who}: nobody is asked for, anybody may pass"),
        (None, _) => who,
        (Some(reply), Mode::Enforce) => format!("{who}{lack}: refuses with {} ({})", reply.status, reply.reason.word()),
        (Some(reply), Mode::Shadow) => format!("{who}{lack}: {}", in_shadow(reply)),
    }
}

/// What a policy in shadow says: `would refuse with 413 Payload Too Large (body_too_large), in shadow`.
pub fn in_shadow(reply: &Reply) -> String {
    format!("would refuse with {} ({}), in shadow", reply.status, reply.reason.word())
}

/// A URL or a target without the credentials in its query.
pub fn shown(route: Option<&Route>, target: &str) -> String {
    match (route, target.split_once('?')) {
        (Some(route), Some((path, query))) => {
            format!("{path}?{}", query::shown(query, &|part| route.auth.is_secret(part)))
        }
        _ => target.to_owned(),
    }
}

/// `413 body_too_large`, `308 → https://new.example.com/`.
fn answered(route: Option<&Route>, answer: &Answered) -> String {
    let status = answer.status.as_u16();
    match answer.fields.get(header::LOCATION).and_then(|location| location.to_str().ok()) {
        Some(location) => format!("{status} → {}", shown(route, location)),
        None => format!("{status} {}", answer.reason.word()).trim_end().to_owned(),
    }
}
