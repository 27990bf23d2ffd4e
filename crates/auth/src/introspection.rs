//! Tokens that only their issuer can read (RFC 7662): it is asked, and its word is kept for a short while.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use fetch::{Ask, Client, Flights, Service};
use filter::{Credential, Identity};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

use crate::{
    claims::{self, Told},
    grumble::Grumble,
    policy::{Doubt, Forward},
    verdicts::{Known, Verdicts},
};

/// The longest token that is asked about.
const LONGEST: usize = 8 * 1024;
/// The longest answer that is read.
const MOST: usize = 64 * 1024;
/// How many good tokens are remembered.
pub(crate) const REMEMBERED: usize = 16 * 1024;
/// How many bad ones: another memory, so that guesses drive no good token out.
pub(crate) const REFUSED: usize = 4096;
/// For how many seconds a bad token is not asked about again.
const REFUSAL: i64 = 5;

/// Who knows the tokens, and what is asked of them.
pub(crate) struct Introspection {
    pub policy: Arc<str>,
    pub service: Service,
    pub client: Client,
    /// Who asks.
    pub authorization: Option<HeaderValue>,
    pub rules: claims::Rules,
    pub told: Told,
    pub forward: Forward,
    /// For how many seconds the issuer's word is believed; 0: for this one request.
    pub lasts: i64,
    pub verdicts: Verdicts<Known>,
    /// Until when a bad token is known as one.
    pub refused: Verdicts<(Doubt, i64)>,
    pub flights: Flights<[u8; 32], Result<Arc<Identity>, Doubt>>,
    pub grumble: Grumble,
}

impl Introspection {
    /// What is known of the token; [`Doubt::Unheard`] where the issuer has to be asked.
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Identity>, Doubt> {
        // RFC 6750 section 2.1 has fewer letters still.
        if token.len() > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Doubt::Invalid);
        }
        if self.lasts == 0 {
            return Err(Doubt::Unheard);
        }
        let (hash, now) = (hash(token).ok_or(Doubt::Invalid)?, jiff::Timestamp::now().as_second());
        if let Some(known) = self.verdicts.get(&hash)
            && known.until.is_some_and(|until| until > now)
        {
            return Ok(known.identity);
        }
        match self.refused.get(&hash) {
            Some((doubt, until)) if until > now => Err(doubt),
            _ => Err(Doubt::Unheard),
        }
    }

    /// Asks the issuer; those who come with the same token meanwhile wait for the one answer.
    pub(crate) async fn ask(&self, token: &str) -> Result<Arc<Identity>, Doubt> {
        let hash = hash(token).ok_or(Doubt::Invalid)?;
        let ask = async {
            let verdict = self.inquire(token).await;
            let now = jiff::Timestamp::now().as_second();
            match &verdict {
                Ok((identity, end)) => {
                    // Its end is asked about again, and not believed for as long as clocks may differ.
                    let end = end.map_or(i64::MAX, |end| end.saturating_sub(self.rules.leeway));
                    let until = now.saturating_add(self.lasts).min(end);
                    let known = Known { identity: identity.clone(), until: Some(until), keys: 0 };
                    self.verdicts.put(hash, known);
                }
                Err(doubt @ (Doubt::Invalid | Doubt::Expired)) => {
                    self.refused.put(hash, (*doubt, now + REFUSAL.min(self.lasts)));
                }
                Err(_) => {}
            }
            verdict.map(|(identity, _)| identity)
        };
        self.flights.share(hash, ask).await
    }

    async fn inquire(&self, token: &str) -> Result<(Arc<Identity>, Option<i64>), Doubt> {
        let claims = self.claims(token).await.map_err(|why| {
            self.grumble.warn(&self.policy, &why);
            Doubt::Unavailable
        })?;
        // Section 2.2: whatever is not plainly active is not.
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(Doubt::Invalid);
        }
        let end = self.rules.check(&claims, jiff::Timestamp::now().as_second(), false)?;
        let mut identity = self.told.identity(&claims, &self.policy, Credential::Introspection)?;
        self.forward.fill(&mut identity);
        Ok((Arc::new(identity), end))
    }

    async fn claims(&self, token: &str) -> Result<Map<String, Value>, String> {
        let content: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let fixed = |name: HeaderName, text: &'static str| (name, HeaderValue::from_static(text));
        let mut fields = vec![
            fixed(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
            fixed(header::ACCEPT, "application/json"),
        ];
        fields.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        let ask = Ask { method: Method::POST, fields, content: content.into(), most: MOST };
        let answer = self.client.ask(&self.service, &ask).await?;
        let url = &self.service.url;
        match answer.status {
            StatusCode::OK => fetch::object(&answer.content).ok_or(format!("{url}: the answer is not JSON")),
            StatusCode::UNAUTHORIZED => Err(format!("{url}: it does not take `client_id` and `client_secret`")),
            status => Err(format!("{url}: the answer is {}", status.as_u16())),
        }
    }
}

fn hash(token: &str) -> Option<[u8; 32]> {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().ok()
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection({})", self.service.url)
    }
}
