//! Step 2: may this request pass? The order is the policy (ADR 1).

use filter::{Admit, Reply, View};
use snapshot::{Destination, Route};

/// Any line may answer instead.
pub(crate) fn admit(route: &Route, request: &View<'_>) -> Result<(), Reply> {
    route.cors.admit(request)?;
    route.access.admit(request)?;
    match &route.destination {
        Destination::Redirect(redirect) => redirect.admit(request),
        Destination::Respond(respond) => respond.admit(request),
        Destination::Upstream(_) => route.rewrite.admit(request),
    }
}
