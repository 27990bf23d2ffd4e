//! A session that ends soon is renewed, once for all who come with it (RFC 6749 section 6).

use std::sync::Arc;

use filter::Identity;

use super::{
    Oidc, hash,
    provider::Tokens,
    seal::Purpose,
    session::{Session, claims},
};
use crate::{policy::Doubt, verdicts::Known};

/// For how many seconds requests with the session of before get the renewed one: those under way at the same time, and those
/// of a browser that did not get its answer. Many providers take a refresh token only once.
const OVERLAP: i64 = 120;
/// How soon a provider that is away is asked again.
const RETRY: i64 = 5;
/// For how many seconds a provider that has refused is not asked again.
const REFUSAL: i64 = 30;
/// For how many seconds a session goes on where the provider does not say.
const UNTOLD: i64 = 300;

impl Oidc {
    /// Renews the session. Until its end a provider that is away harms nobody.
    ///
    /// A task of its own does so, since the client may leave: a provider that takes a refresh token once has spent it by then,
    /// and what it gave in exchange would be lost, with the session.
    pub(super) async fn renew(self: &Arc<Self>, cookie: &str) -> Result<Arc<Identity>, Doubt> {
        let hash = hash(cookie).ok_or(Doubt::Invalid)?;
        let (own, cookie) = (Arc::clone(self), cookie.to_owned());
        let renewing = async move { own.flights.share(hash, own.renew_as(hash, &cookie)).await };
        tokio::spawn(renewing).await.unwrap_or(Err(Doubt::Unavailable))
    }

    async fn renew_as(&self, hash: [u8; 32], cookie: &str) -> Result<Arc<Identity>, Doubt> {
        // Somebody may have done so between this one's look and its turn.
        match self.verify(cookie) {
            Err(Doubt::Unheard) => {}
            verdict => return verdict,
        }
        let now = jiff::Timestamp::now().as_second();
        if self.refused.get(&hash).is_some_and(|until| until > now) {
            return Err(Doubt::Expired);
        }
        let session: Session = self.seal.open(Purpose::Session, cookie).ok_or(Doubt::Invalid)?;
        let (identity, until) = match self.renewed(&session, now).await {
            Ok(fresh) => (self.identity(&fresh, self.kept(&fresh, now)?)?, fresh.until.min(now + OVERLAP)),
            Err(Doubt::Unavailable) if now < session.until => {
                (self.identity(&session, Box::default())?, session.until.min(now + RETRY))
            }
            Err(Doubt::Unavailable) => return Err(Doubt::Unavailable),
            Err(_) => {
                self.refused.put(hash, now + REFUSAL);
                return Err(Doubt::Expired);
            }
        };
        let (identity, until) = (Arc::new(identity), until.min(self.end(&session)));
        self.verdicts.put(hash, Known { identity: identity.clone(), until: Some(until), keys: 0 });
        Ok(identity)
    }

    async fn renewed(&self, session: &Session, now: i64) -> Result<Session, Doubt> {
        let refresh = session.refresh.as_deref().ok_or(Doubt::Expired)?;
        let endpoints = self.endpoints().await?;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let Tokens { id, refresh: next, lasts } = self.exchange(&endpoints, &grant).await?;
        let (token, until) = match id {
            Some(token) => {
                let (fresh, until) = self.tokens.claims(&token).await?;
                // OpenID Connect Core section 12.2: it is about the same user.
                let same = claims(&session.token).is_some_and(|before| before.get("sub") == fresh.get("sub"));
                (token, if same { until } else { return Err(Doubt::Invalid) })
            }
            None => (session.token.clone(), Some(now.saturating_add(lasts.unwrap_or(UNTOLD)))),
        };
        let until = until.ok_or(Doubt::Invalid)?;
        Ok(Session { token, refresh: next.or_else(|| session.refresh.clone()), until, since: session.since })
    }

    /// What the browser is told to keep.
    pub(super) fn kept(&self, session: &Session, now: i64) -> Result<Box<[http::HeaderValue]>, Doubt> {
        let sealed = self.seal.close(Purpose::Session, session).ok_or(Doubt::Unavailable)?;
        let kept = self.cookies.keep(&sealed, self.end(session).saturating_sub(now));
        kept.map(Into::into).ok_or_else(|| {
            self.grumble.warn(&self.policy, "the provider's tokens are too large for a session in cookies");
            Doubt::Unavailable
        })
    }
}
