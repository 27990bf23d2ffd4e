//! The addresses of one host name.

use std::time::Duration;

use async_trait::async_trait;

use super::{Discover, Found, Listed};
use crate::resolve::Resolve;

/// A backend that is all addresses of a name. The name itself is followed as any backend's is.
#[derive(Debug)]
pub(crate) struct Dns(pub(crate) Listed);

/// Nothing about the name itself changes.
const AGAIN: Duration = Duration::from_secs(3600);

#[async_trait]
impl Discover for Dns {
    fn provider(&self) -> &'static str {
        "dns"
    }

    async fn find(&self, _resolver: &dyn Resolve) -> Result<Found, String> {
        Ok(Found { backends: [self.0.clone()].into(), ttl: AGAIN })
    }
}
