//! A session: what the provider has said, sealed and carried by the browser.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use filter::{Credential, Identity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Oidc, hash, seal::Purpose};
use crate::{policy::Doubt, verdicts::Known};

/// How many seconds before its end a session is renewed.
const EARLY: i64 = 30;

/// What a browser carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The ID token, whose signature was checked when it came.
    #[serde(rename = "i")]
    pub token: String,
    /// What it is renewed with.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub refresh: Option<String>,
    /// When it ends, what clocks may differ included.
    #[serde(rename = "u")]
    pub until: i64,
    /// When the user logged in.
    #[serde(rename = "s")]
    pub since: i64,
}

impl Oidc {
    /// Who has this session; [`Doubt::Unheard`] where it has to be renewed.
    pub(crate) fn verify(&self, cookie: &str) -> Result<Arc<Identity>, Doubt> {
        let hash = hash(cookie).ok_or(Doubt::Invalid)?;
        let now = jiff::Timestamp::now().as_second();
        if let Some(known) = self.verdicts.get(&hash)
            && known.until.is_some_and(|until| until > now)
        {
            return Ok(known.identity);
        }
        let session: Session = self.seal.open(Purpose::Session, cookie).ok_or(Doubt::Invalid)?;
        if now >= session.since.saturating_add(self.lasts) {
            return Err(Doubt::Expired);
        }
        let due = self.due(&session);
        if now >= due {
            return Err(if session.refresh.is_some() { Doubt::Unheard } else { Doubt::Expired });
        }
        let identity = Arc::new(self.identity(&session, Box::default())?);
        self.verdicts.put(hash, Known { identity: identity.clone(), until: Some(due), keys: 0 });
        Ok(identity)
    }

    /// When something has to be done about a session.
    fn due(&self, session: &Session) -> i64 {
        let early = if session.refresh.is_some() { self.tokens.rules.claims.leeway + EARLY } else { 0 };
        session.until.saturating_sub(early).min(self.end(session))
    }

    /// When a session is over, whatever the provider says.
    pub(super) fn end(&self, session: &Session) -> i64 {
        session.since.saturating_add(self.lasts)
    }

    /// Who has a session, and what the browser is told to keep of it.
    pub(super) fn identity(&self, session: &Session, cookies: Box<[http::HeaderValue]>) -> Result<Identity, Doubt> {
        let claims = claims(&session.token).ok_or(Doubt::Invalid)?;
        let mut identity = self.tokens.told.identity(&claims, &self.policy, Credential::Oidc)?;
        self.forward.fill(&mut identity);
        identity.cookies = cookies;
        Ok(identity)
    }
}

/// What a token says that was checked before.
pub(super) fn claims(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    fetch::object(&URL_SAFE_NO_PAD.decode(payload).ok()?)
}
