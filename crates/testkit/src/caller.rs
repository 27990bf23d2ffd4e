//! A request as a concern sees it, for benches and tests that need no socket.

use filter::{Captures, Client, Identity, View};
use pingora_http::RequestHeader;

/// Who asks, and for what.
pub struct Caller {
    /// The head of the request.
    pub head: RequestHeader,
    /// The client.
    pub client: Client,
    /// What the route's pattern has captured.
    pub captures: Captures,
}

impl Caller {
    /// A GET of `/` from a client without an address.
    pub fn new() -> Self {
        let head = RequestHeader::build("GET", b"/", None).unwrap();
        Self { head, client: Client::local("public".into()), captures: Captures::new() }
    }

    /// The request.
    pub fn view(&self) -> View<'_> {
        self.view_as(None)
    }

    /// The request of somebody who is known.
    pub fn view_as<'v>(&'v self, identity: Option<&'v Identity>) -> View<'v> {
        View {
            generation: 1,
            head: &self.head,
            client: &self.client,
            identity,
            host: "",
            path: "/",
            query: None,
            captures: &self.captures,
        }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::new()
    }
}
