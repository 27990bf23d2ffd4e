//! Logging in by browser (OpenID Connect Core 1.0, the authorization code flow with PKCE): whoever shows no session is sent to
//! the provider, and comes back with a code that only this login can be exchanged for.

pub(crate) mod compile;
mod cookies;
mod login;
mod provider;
mod renewal;
mod seal;
mod session;

use std::{borrow::Cow, fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use fetch::{Client, Flights, Service};
use filter::{Identity, View};

use crate::{
    fetched::{Endpoints, Fetched},
    grumble::Grumble,
    jwt::Jwt,
    policy::{Doubt, Forward, Refused},
    verdicts::{Known, Verdicts},
};

pub(crate) use cookies::Cookies;
use seal::Seal;

/// How many sessions are remembered as opened.
const REMEMBERED: usize = 16 * 1024;
/// How many are remembered that the provider does not renew.
const REFUSED: usize = 4096;

/// A provider, and what is kept of those who have logged in there: everything is in their cookies, nothing here.
pub(crate) struct Oidc {
    pub policy: Arc<str>,
    pub issuer: Arc<Fetched>,
    pub client: Client,
    /// Which authorities, and how long; its URL is the discovery document's.
    pub service: Service,
    pub client_id: Box<str>,
    pub client_secret: document::Secret,
    /// How the provider's tokens are checked.
    pub tokens: Jwt,
    pub forward: Forward,
    pub scopes: Box<str>,
    pub callback: Box<str>,
    pub logout: Box<str>,
    pub after_logout: Box<str>,
    /// For how many seconds after the login a session lasts at most.
    pub lasts: i64,
    pub cookies: Cookies,
    seal: Seal,
    verdicts: Verdicts<Known>,
    /// Sessions that the provider does not renew, and until when it is not asked again.
    refused: Verdicts<i64>,
    flights: Flights<[u8; 32], Result<Arc<Identity>, Doubt>>,
    grumble: Grumble,
}

impl Oidc {
    /// Whether the request is for a page of the policy's own.
    pub(crate) fn is_own(&self, path: &str) -> bool {
        *self.callback == *path || *self.logout == *path
    }

    /// Answers for its own pages, renews sessions, and sends whoever has none to where they log in.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        request: &View<'_>,
        shown: Result<Cow<'_, str>, Doubt>,
    ) -> Result<Arc<Identity>, Refused> {
        if *request.path == *self.callback {
            return Err(self.come_back(request).await);
        }
        if *request.path == *self.logout {
            return Err(self.leave(request, shown.ok().as_deref()));
        }
        let found = match shown {
            Err(doubt) => Err(doubt),
            Ok(cookie) => match self.verify(&cookie) {
                Err(Doubt::Unheard) => self.renew(&cookie).await,
                found => found,
            },
        };
        match found {
            Ok(identity) => Ok(identity),
            Err(doubt) => Err(self.begin(request, doubt).await),
        }
    }

    /// The provider's endpoints; it is asked for them where it has not told them yet.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, Doubt> {
        if let Some(known) = self.issuer.endpoints() {
            return Ok(known);
        }
        self.issuer.renew().await;
        self.issuer.endpoints().ok_or_else(|| {
            self.grumble.warn(&self.policy, "the provider's discovery document cannot be had, or names no endpoints");
            Doubt::Unavailable
        })
    }
}

fn hash(cookie: &str) -> Option<[u8; 32]> {
    digest(&SHA256, cookie.as_bytes()).as_ref().try_into().ok()
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oidc({})", self.service.url)
    }
}
