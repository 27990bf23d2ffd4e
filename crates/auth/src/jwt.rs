//! Signed tokens (RFC 7519): which are good, and whom they vouch for.

pub(crate) mod compile;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use filter::{Credential, Identity};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::{
    claims::{self, Told},
    fetched::Fetched,
    keyset::KeySet,
    policy::{Doubt, Forward},
    verdicts::{Known, Verdicts},
};

/// The longest token that is looked at.
const LONGEST: usize = 8 * 1024;

/// How many keys without an id of their own a token is tried against.
const MOST_TRIES: usize = 8;

/// What tokens are held to.
#[derive(Debug)]
pub(crate) struct Jwt {
    pub policy: Arc<str>,
    pub keys: Trusted,
    pub rules: Rules,
    pub told: Told,
    pub forward: Forward,
    pub verdicts: Verdicts<Known>,
}

/// Whose signatures are trusted. Nothing in a token ever adds to it (RFC 8725 section 3.10).
#[derive(Debug)]
pub(crate) enum Trusted {
    /// Those of the configuration.
    Fixed(KeySet),
    /// Those that the issuer publishes.
    Fetched(Arc<Fetched>),
}

/// What has to be in a token.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The only ways of signing that are looked at, whatever a token says.
    pub algorithms: Box<[Algorithm]>,
    pub typ: Option<Box<str>>,
    pub claims: claims::Rules,
}

impl Jwt {
    /// What is known of the token now; [`Doubt::Unheard`] where a key is not known yet.
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Identity>, Doubt> {
        if token.len() > LONGEST {
            return Err(Doubt::Invalid);
        }
        let now = jiff::Timestamp::now().as_second();
        match &self.keys {
            Trusted::Fixed(keys) => self.verify_with(keys, token, now),
            Trusted::Fetched(fetched) => {
                let keys = fetched.keys(now).ok_or(Doubt::Unheard)?;
                self.verify_with(&keys, token, now)
            }
        }
    }

    /// The same once the keys were asked for anew.
    pub(crate) async fn ask(&self, token: &str) -> Result<Arc<Identity>, Doubt> {
        let Trusted::Fetched(fetched) = &self.keys else { return Err(Doubt::Invalid) };
        fetched.renew().await;
        match (self.verify(token), fetched.keys(jiff::Timestamp::now().as_second())) {
            (Err(Doubt::Unheard), Some(_)) => Err(Doubt::Invalid),
            (Err(Doubt::Unheard), None) => Err(Doubt::Unavailable),
            (verdict, _) => verdict,
        }
    }

    fn verify_with(&self, keys: &KeySet, token: &str, now: i64) -> Result<Arc<Identity>, Doubt> {
        let hash = digest(&SHA256, token.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().map_err(|_| Doubt::Invalid)?;
        if let Some(known) = self.verdicts.get(&hash).filter(|known| known.keys == keys.id) {
            let ended = known.until.is_some_and(|until| until <= now);
            return if ended { Err(Doubt::Expired) } else { Ok(known.identity) };
        }
        let (claims, until) = self.check(keys, token, now)?;
        let mut identity = self.told.identity(&claims, &self.policy, Credential::Jwt)?;
        self.forward.fill(&mut identity);
        let identity = Arc::new(identity);
        self.verdicts.put(hash, Known { identity: identity.clone(), until, keys: keys.id });
        Ok(identity)
    }

    /// What a token claims and until when, the keys asked for anew where it is signed with one that is not known.
    pub(crate) async fn claims(&self, token: &str) -> Result<(Map<String, Value>, Option<i64>), Doubt> {
        if token.len() > LONGEST {
            return Err(Doubt::Invalid);
        }
        let Trusted::Fetched(fetched) = &self.keys else { return Err(Doubt::Invalid) };
        let known = || {
            let now = jiff::Timestamp::now().as_second();
            fetched.keys(now).ok_or(Doubt::Unavailable).and_then(|keys| self.check(&keys, token, now))
        };
        match known() {
            Err(Doubt::Unheard | Doubt::Unavailable) => {
                fetched.renew().await;
                known().map_err(|doubt| if doubt == Doubt::Unheard { Doubt::Invalid } else { doubt })
            }
            claims => claims,
        }
    }

    fn check(&self, keys: &KeySet, token: &str, now: i64) -> Result<(Map<String, Value>, Option<i64>), Doubt> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Doubt::Invalid)?;
        let (header, payload) =
            signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(Doubt::Invalid)?;
        self.check_signature(keys, header, signed, signature)?;
        let claims = object(payload)?;
        let until = self.rules.claims.check(&claims, now, true)?;
        Ok((claims, until))
    }

    fn check_signature(&self, keys: &KeySet, header: &str, signed: &str, signature: &str) -> Result<(), Doubt> {
        let header = object(header)?;
        let algorithm = self.rules.algorithm(&header)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str()),
            Some(_) => return Err(Doubt::Invalid),
        };
        let mut tried = 0;
        for key in keys.for_token(kid, algorithm).take(MOST_TRIES) {
            tried += 1;
            if matches!(jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, algorithm), Ok(true)) {
                return Ok(());
            }
        }
        // A key that nobody knows may be one that was published since; one that does not fit is forged.
        if tried == 0 && matches!(self.keys, Trusted::Fetched(_)) { Err(Doubt::Unheard) } else { Err(Doubt::Invalid) }
    }
}

impl Rules {
    /// The algorithm of a header that may be trusted to be checked.
    fn algorithm(&self, header: &Map<String, Value>) -> Result<Algorithm, Doubt> {
        // Extensions that have to be understood (RFC 7515 section 4.1.11), of which there are none here; and a payload
        // that is not what was signed (RFC 7797).
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Doubt::Invalid);
        }
        if let Some(expected) = &self.typ {
            let typ = header.get("typ").and_then(Value::as_str).ok_or(Doubt::Invalid)?;
            let bare = |typ: &str| typ.to_ascii_lowercase().trim_start_matches("application/").to_owned();
            if bare(typ) != bare(expected) {
                return Err(Doubt::Invalid);
            }
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(|name| name.parse::<Algorithm>().ok());
        algorithm.filter(|algorithm| self.algorithms.contains(algorithm)).ok_or(Doubt::Invalid)
    }
}

/// Reads a part of a token.
fn object(part: &str) -> Result<Map<String, Value>, Doubt> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Doubt::Invalid)?;
    fetch::object(&bytes).ok_or(Doubt::Invalid)
}

#[cfg(test)]
mod tests;
