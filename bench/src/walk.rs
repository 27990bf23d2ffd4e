//! A request through a route's concerns as `maitred-proxy` walks it in its files `admit.rs` and `relay.rs`: straight-line
//! code over concrete types. What those files take from Pingora's session, the scene has.

use filter::{Admit, Amend, Reply, View};
use http::{HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};
use rewrite::{HostPolicy, Rewrite};
use snapshot::Destination;
use transform::hop;

use crate::scene::Scene;

/// Step 2: may the request pass?
pub fn admit(scene: &Scene) -> Result<(), Reply> {
    let (route, request) = (&scene.route, &scene.view());
    route.cors.admit(request)?;
    route.access.admit(request)?;
    match &route.destination {
        Destination::Redirect(redirect) => redirect.admit(request),
        Destination::Respond(respond) => respond.admit(request),
        Destination::Upstream(_) | Destination::Split(_) => route.rewrite.admit(request),
    }
}

/// Step 5, out: makes the head that the origin is sent.
pub fn request(scene: &Scene, to: &mut RequestHeader) {
    let (route, view) = (&scene.route, &scene.view());
    strip_request(&scene.from, to);
    set_target(route.rewrite.as_ref(), view, to);
    set_host(&route.host, to);
    route.forwarding.amend(to, view);
    route.request.amend(to, view);
}

/// Step 5, back: makes the head that the client is sent.
pub fn response(scene: &Scene, head: &mut ResponseHeader) {
    strip_response(&scene.from, head);
    let (route, view) = (&scene.route, &scene.view());
    route.response.amend(head, view);
    route.security.amend(head, view);
    route.cors.amend(head, view);
}

/// All of it, in turn.
pub fn whole(scene: &Scene, to: &mut RequestHeader, head: &mut ResponseHeader) -> Result<(), Reply> {
    admit(scene)?;
    request(scene, to);
    response(scene, head);
    Ok(())
}

/// What happens to every request, whatever its route; a chain of plugins leaves it to the core as well.
pub fn strip_request(from: &RequestHeader, to: &mut RequestHeader) {
    hop::strip_request(to, from);
    transform::settle_request(to);
}

/// What happens to every answer.
pub fn strip_response(from: &RequestHeader, head: &mut ResponseHeader) {
    hop::strip_response(head, from.version);
    transform::settle_response(head);
}

/// Sets the target where the route rewrites it.
pub fn set_target(rewrite: Option<&Rewrite>, view: &View<'_>, to: &mut RequestHeader) {
    // Without a rewrite the target stays as it came: the scene's is in normal form.
    let Some(rewrite) = rewrite else { return };
    let mut target = String::with_capacity(view.path.len() + view.query.map_or(0, str::len) + 16);
    rewrite.target(view, &mut target);
    let _ = to.set_raw_path(target.as_bytes());
}

/// Sets the host where the route names one.
pub fn set_host(host: &HostPolicy, to: &mut RequestHeader) {
    let host: HeaderValue = match host {
        HostPolicy::Literal(host) => host.clone(),
        // The scene's request names its host, and no route of the scenes asks for the upstream's.
        HostPolicy::Keep | HostPolicy::Upstream => return,
    };
    let _ = to.insert_header(header::HOST, host);
}
