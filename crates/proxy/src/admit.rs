//! Step 2: may this request pass? The order is the policy (ADR 1).

use auth::{Outcome, Verdict};
use filter::{Admit, Mode, Reason, Reply, View};
use limit::Stage;
use pingora_http::RequestHeader;
use snapshot::{Destination, Route};
use telemetry::{Record, audit::Attempt};
use tokio::time::sleep;

use crate::{
    context::{Context, Proofs},
    judge::Step,
};

/// Any line may answer instead. Authentication alone may have to wait for somebody.
pub(crate) async fn admit(ctx: &mut Context, head: &RequestHeader) -> Result<(), Reply> {
    let Some((arrival, route)) = ctx.arrival.as_ref().and_then(|it| Some((it, it.route()?))) else {
        return Err(Reason::Internal.into());
    };
    let request = &arrival.view(head);
    if let Some(addresses) = &route.addresses {
        addresses.mode().settle(addresses.admit(request), &mut ctx.record.shadow)?;
    }
    if let Some(geo) = &route.geo {
        geo.mode().settle(geo.admit(request), &mut ctx.record.shadow)?;
    }
    route.cors.admit(request)?;
    ctx.record.shadow = ctx.record.shadow.or(route.access.would_refuse(request));
    route.access.admit(request)?;
    limit(route.limits.by_client.as_ref(), request, &mut ctx.proofs, &mut ctx.record).await?;
    if let Some(verdict) = route.auth.admit(request).await {
        if let Some(meters) = route.auth_meters.get(verdict.policy) {
            meters.count(verdict.outcome.index());
        }
        if let Some(audit) = &arrival.snapshot.audit {
            audit.attempt(verdict.outcome != Outcome::Ok, || attempt(route, request, &verdict));
        }
        ctx.proofs.identity = verdict.identity;
        verdict.mode.settle(verdict.refusal.map_or(Ok(()), Err), &mut ctx.record.shadow)?;
    }
    let identity = ctx.proofs.identity.clone();
    let request = &request.by(identity.as_deref());
    limit(route.limits.by_identity.as_ref(), request, &mut ctx.proofs, &mut ctx.record).await?;
    match &route.destination {
        Destination::Redirect(redirect) => redirect.admit(request),
        Destination::Respond(respond) => respond.admit(request),
        Destination::Upstream(_) | Destination::Split(_) => {
            route.rewrite.admit(request)?;
            route.decompress.admit(request)
        }
    }
}

/// Whether a policy of the route may hold the request back: for a place, or until somebody else has said who calls.
pub(crate) fn may_wait(ctx: &Context) -> bool {
    ctx.route().is_some_and(|route| !route.limits.is_empty() || !route.auth.policies().is_empty())
}

/// What is written down of somebody who tried to get in.
fn attempt(route: &Route, request: &View<'_>, verdict: &Verdict) -> Attempt {
    let identity = verdict.identity.as_deref();
    let policy = identity.map(|identity| &*identity.policy);
    let own = || route.auth.policies().get(verdict.policy).map_or("", |policy| policy.name());
    Attempt {
        auth: policy.unwrap_or_else(own).into(),
        result: verdict.outcome.word(),
        shadow: verdict.refusal.is_some() && verdict.mode == Mode::Shadow,
        user: identity.and_then(|identity| identity.user.as_deref()).map(Attempt::text),
        key: identity.and_then(|identity| identity.key.clone()),
        client_ip: request.client.address.map(|address| address.to_string()),
        route: (&*route.name).into(),
        method: Attempt::text(request.head.method.as_str()),
        host: Attempt::text(request.host),
        path: Attempt::text(request.path),
        request_id: request.client.request_id.as_str().into(),
        generation: request.generation,
    }
}

/// Asks the limits of one step, and holds the request back where they say so. What an earlier step charged for a request
/// that these refuse is given back.
async fn limit(
    stage: Option<&Stage>,
    request: &View<'_>,
    proofs: &mut Proofs,
    record: &mut Record,
) -> Result<(), Reply> {
    let Some(stage) = stage else { return Ok(()) };
    let permits = stage.pass(request, proofs.permits.waited()).await.inspect_err(|reply| proofs.refused(reply))?;
    if permits.shadowed() {
        record.shadow = record.shadow.or(Reason::Limited);
    }
    let delay = permits.delay();
    proofs.permits.add(permits);
    if !delay.is_zero() {
        // Rare, and larger than what every request carries along.
        Box::pin(sleep(delay)).await;
    }
    Ok(())
}

/// What [`admit`] would say, and whose word it is, without charging anybody. The same lines in the same order. Who calls is
/// `posed`, where that is given; `asked` is told what came of asking.
pub(crate) fn judge(
    route: &Route,
    request: &View<'_>,
    posed: Option<&str>,
    asked: &mut Option<Verdict>,
) -> Result<(), (Step, Reply)> {
    let by = |step: Step| move |reply: Reply| (step, reply);
    if let Some(addresses) = route.addresses.as_ref().filter(|own| own.mode() == Mode::Enforce) {
        addresses.judge(request).map_err(by(Step::Address))?;
    }
    if let Some(geo) = route.geo.as_ref().filter(|own| own.mode() == Mode::Enforce) {
        geo.judge(request).map_err(by(Step::Address))?;
    }
    route.cors.judge(request).map_err(by(Step::Cors))?;
    route.access.judge(request).map_err(by(Step::Access))?;
    route.limits.by_client.judge(request).map_err(by(Step::Limit))?;
    *asked = route.auth.judge(request, posed);
    if let Some(Verdict { refusal: Some(reply), mode: Mode::Enforce, .. }) = asked {
        return Err((Step::Auth, reply.clone()));
    }
    let request = &request.by(asked.as_ref().and_then(|verdict| verdict.identity.as_deref()));
    route.limits.by_identity.judge(request).map_err(by(Step::Limit))?;
    match &route.destination {
        Destination::Redirect(redirect) => redirect.judge(request).map_err(by(Step::Redirect)),
        Destination::Respond(respond) => respond.judge(request).map_err(by(Step::Respond)),
        Destination::Upstream(_) | Destination::Split(_) => {
            route.rewrite.judge(request).map_err(by(Step::Rewrite))?;
            route.decompress.judge(request).map_err(by(Step::Decompress))?;
            route.limits.by_upstream.judge(request).map_err(by(Step::Limit))
        }
    }
}
