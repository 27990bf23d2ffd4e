//! API keys: what is known of them is their hash.

use std::{fmt, sync::Arc};

use document::Followed;
use filter::Identity;

use crate::{keys::Keys, policy::Doubt};

/// The keys of a file, as it is now.
pub(crate) struct ApiKeys(pub Arc<Followed<Keys>>);

impl ApiKeys {
    pub(crate) fn verify(&self, key: &str) -> Result<Arc<Identity>, Doubt> {
        self.0.get().find(key, jiff::Timestamp::now().as_second())
    }

    pub(crate) fn pose(&self, user: &str) -> Option<Arc<Identity>> {
        self.like(|own| own.user.as_deref() == Some(user))
    }

    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Identity)) {
        self.0.get().each(tell);
    }

    pub(crate) fn like(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        self.0.get().like(is)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.path().display())
    }
}
