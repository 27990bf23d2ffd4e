//! The road not taken (ADR 7): the same concerns as plugins in a list, as gateways with plugin chains run them. Each is a
//! trait object, each of its hooks a boxed future, and what they know of the request they find in a map by type.

use async_trait::async_trait;
use filter::{Admit, Amend, Captures, Client, Reply, View};
use http::Extensions;
use pingora_http::{RequestHeader, ResponseHeader};
use rewrite::HostPolicy;
use snapshot::Route;
use transform::{Forwarding, RequestEdits, ResponseEdits, SecurityHeaders};

use crate::{
    scene::{self, Scene},
    walk,
};

/// What a plugin may do, with the defaults of one that does nothing.
#[async_trait]
trait Filter: Send + Sync {
    /// The hooks that this plugin has a use for.
    fn hooks(&self) -> &'static [Hook];

    async fn admit(&self, _from: &RequestHeader, _bag: &mut Extensions) -> Result<(), Reply> {
        Ok(())
    }

    async fn request(&self, _from: &RequestHeader, _to: &mut RequestHeader, _bag: &mut Extensions) {}

    async fn response(&self, _from: &RequestHeader, _head: &mut ResponseHeader, _bag: &mut Extensions) {}
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    Admit,
    Request,
    Response,
}

/// Which plugins a chain calls at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// All of them, as chains do: what a plugin does at a hook is the plugin's affair.
    Every,
    /// Those that told beforehand that they have a use for the hook: the cheapest chain there can be.
    Told,
}

/// A route's concerns as a list of plugins.
pub struct Chain {
    filters: Vec<Box<dyn Filter>>,
    admit: Vec<usize>,
    request: Vec<usize>,
    response: Vec<usize>,
}

impl Chain {
    /// The twin of a route: a plugin for each concern that the route has, in the fixed order; answers pass through them
    /// the other way round.
    pub fn of(route: &Route, calls: Calls) -> Self {
        let mut filters: Vec<Box<dyn Filter>> = Vec::new();
        if let Some(cors) = &route.cors {
            filters.push(Box::new(Cors(cors.clone())));
        }
        filters.push(Box::new(Access(route.access.clone())));
        if let Some(rewrite) = &route.rewrite {
            filters.push(Box::new(Rewrite(rewrite.clone())));
        }
        if route.host != HostPolicy::Keep {
            filters.push(Box::new(Host(route.host.clone())));
        }
        filters.push(Box::new(Forward(route.forwarding)));
        if let Some(edits) = &route.request {
            filters.push(Box::new(EditRequest(edits.clone())));
        }
        if let Some(security) = &route.security {
            filters.push(Box::new(Security(security.clone())));
        }
        if let Some(edits) = &route.response {
            filters.push(Box::new(EditResponse(edits.clone())));
        }
        let called = |hook| {
            let uses = |filter: &dyn Filter| calls == Calls::Every || filter.hooks().contains(&hook);
            (0..filters.len()).filter(|index| uses(&*filters[*index])).collect::<Vec<_>>()
        };
        let (admit, request, mut response) = (called(Hook::Admit), called(Hook::Request), called(Hook::Response));
        response.reverse();
        Self { filters, admit, request, response }
    }

    /// How many futures a request boxes on its way: one for each call.
    pub fn calls(&self) -> usize {
        self.admit.len() + self.request.len() + self.response.len()
    }

    /// Fills the bag and asks every plugin in turn.
    pub async fn admit(&self, scene: &Scene, bag: &mut Extensions) -> Result<(), Reply> {
        bag.insert(scene.client.clone());
        bag.insert(scene.captures.clone());
        for index in &self.admit {
            self.filters[*index].admit(&scene.from, bag).await?;
        }
        Ok(())
    }

    /// All of it, in turn.
    pub async fn whole(
        &self,
        scene: &Scene,
        to: &mut RequestHeader,
        head: &mut ResponseHeader,
        bag: &mut Extensions,
    ) -> Result<(), Reply> {
        self.admit(scene, bag).await?;
        walk::strip_request(&scene.from, to);
        for index in &self.request {
            self.filters[*index].request(&scene.from, to, bag).await;
        }
        walk::strip_response(&scene.from, head);
        for index in &self.response {
            self.filters[*index].response(&scene.from, head, bag).await;
        }
        Ok(())
    }
}

/// The request as a concern sees it, out of the bag; `None` where somebody forgot to fill it, which no compiler finds.
fn view<'a>(from: &'a RequestHeader, bag: &'a Extensions) -> Option<View<'a>> {
    Some(scene::view(from, bag.get::<Client>()?, bag.get::<Captures>()?))
}

struct Cors(cors::Cors);

#[async_trait]
impl Filter for Cors {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Admit, Hook::Response]
    }

    async fn admit(&self, from: &RequestHeader, bag: &mut Extensions) -> Result<(), Reply> {
        view(from, bag).map_or(Ok(()), |view| self.0.admit(&view))
    }

    async fn response(&self, from: &RequestHeader, head: &mut ResponseHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            self.0.amend(head, &view);
        }
    }
}

struct Access(access::Access);

#[async_trait]
impl Filter for Access {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Admit]
    }

    async fn admit(&self, from: &RequestHeader, bag: &mut Extensions) -> Result<(), Reply> {
        view(from, bag).map_or(Ok(()), |view| self.0.admit(&view))
    }
}

struct Rewrite(rewrite::Rewrite);

#[async_trait]
impl Filter for Rewrite {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Admit, Hook::Request]
    }

    async fn admit(&self, from: &RequestHeader, bag: &mut Extensions) -> Result<(), Reply> {
        view(from, bag).map_or(Ok(()), |view| self.0.admit(&view))
    }

    async fn request(&self, from: &RequestHeader, to: &mut RequestHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            walk::set_target(Some(&self.0), &view, to);
        }
    }
}

struct Host(HostPolicy);

#[async_trait]
impl Filter for Host {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Request]
    }

    async fn request(&self, _from: &RequestHeader, to: &mut RequestHeader, _bag: &mut Extensions) {
        walk::set_host(&self.0, to);
    }
}

struct Forward(Forwarding);

#[async_trait]
impl Filter for Forward {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Request]
    }

    async fn request(&self, from: &RequestHeader, to: &mut RequestHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            self.0.amend(to, &view);
        }
    }
}

struct EditRequest(RequestEdits);

#[async_trait]
impl Filter for EditRequest {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Request]
    }

    async fn request(&self, from: &RequestHeader, to: &mut RequestHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            self.0.amend(to, &view);
        }
    }
}

struct Security(SecurityHeaders);

#[async_trait]
impl Filter for Security {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Response]
    }

    async fn response(&self, from: &RequestHeader, head: &mut ResponseHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            self.0.amend(head, &view);
        }
    }
}

struct EditResponse(ResponseEdits);

#[async_trait]
impl Filter for EditResponse {
    fn hooks(&self) -> &'static [Hook] {
        &[Hook::Response]
    }

    async fn response(&self, from: &RequestHeader, head: &mut ResponseHeader, bag: &mut Extensions) {
        if let Some(view) = view(from, bag) {
            self.0.amend(head, &view);
        }
    }
}
