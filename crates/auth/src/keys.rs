//! The file of API keys: their hashes, whose they are, and until when.

pub mod edit;
mod file;
mod fresh;

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use filter::{Amounts, Claim, Credential, Identity};

use crate::policy::{Doubt, Forward};

pub use file::{Consumer, File, Key, expiry};
pub(crate) use file::{amounts, toml};
pub use fresh::{Fresh, ID_LENGTH};

/// The longest key that is looked at: whatever is longer is none of ours, and costs no hashing.
const LONGEST: usize = 512;

/// Keys by their hash. A look-up costs the same for ten as for a hundred thousand, and tells nothing by its time: what
/// is looked up is the hash of the guess, which nobody can choose.
#[derive(Debug)]
pub struct Keys {
    by_hash: HashMap<[u8; 16], Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    expires: Option<i64>,
    identity: Arc<Identity>,
}

impl Keys {
    /// Makes identities of what a file says.
    pub(crate) fn new(file: &File, policy: &Arc<str>, forward: &Forward) -> Result<Self, String> {
        let mut by_hash = HashMap::with_capacity(file.keys.len());
        let (nobody, none) = (Consumer::default(), Amounts::default());
        let mut limits: HashMap<&str, Amounts> = HashMap::new();
        for (name, consumer) in file.consumers.iter().filter(|(_, consumer)| !consumer.limits.is_empty()) {
            let own = amounts(&consumer.limits).map_err(|why| format!("consumer `{name}`: {why}"))?;
            limits.insert(name, own);
        }
        for (id, key) in &file.keys {
            let wrong = |what: &str| format!("key `{id}`: {what}");
            let hash = hash_of(&key.sha256).ok_or_else(|| wrong("`sha256` is not 64 hexadecimal digits"))?;
            let expires = key.expires.as_deref().map(expiry).transpose().map_err(|why| wrong(&why))?;
            let consumer = file.consumers.get(&key.consumer).unwrap_or(&nobody);
            let own = limits.get(&*key.consumer).unwrap_or(&none);
            let mut identity = Identity { limits: own.clone(), ..identity(policy, id, key, consumer) };
            forward.fill(&mut identity);
            let entry = Entry { hash, expires, identity: Arc::new(identity) };
            if by_hash.insert(place(&hash), entry).is_some() {
                return Err(wrong("another key has the same hash"));
            }
        }
        Ok(Self { by_hash })
    }

    /// Whose key it is.
    pub(crate) fn find(&self, key: &str, now: i64) -> Result<Arc<Identity>, Doubt> {
        if key.len() > LONGEST {
            return Err(Doubt::Invalid);
        }
        let hash = digest(&SHA256, key.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().map_err(|_| Doubt::Invalid)?;
        let entry = self.by_hash.get(&place(&hash)).ok_or(Doubt::Invalid)?;
        verify_slices_are_equal(&entry.hash, &hash).map_err(|_| Doubt::Invalid)?;
        match entry.expires {
            Some(end) if end <= now => Err(Doubt::Expired),
            _ => Ok(entry.identity.clone()),
        }
    }

    /// Everybody who has a key, as often as that.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Identity)) {
        self.by_hash.values().for_each(|entry| tell(&entry.identity));
    }

    /// Any identity that is like this.
    pub(crate) fn like(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        self.by_hash.values().map(|entry| &entry.identity).find(|own| is(own)).cloned()
    }
}

fn identity(policy: &Arc<str>, id: &str, key: &Key, consumer: &Consumer) -> Identity {
    let owned = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect::<Box<[Box<str>]>>();
    let own = consumer.claims.iter().map(|(name, values)| (name.as_str().into(), claim(values)));
    let sub = std::iter::once(("sub".into(), Claim::one(key.consumer.as_str())));
    Identity {
        user: Some(key.consumer.as_str().into()),
        key: Some(id.into()),
        plan: consumer.plan.as_deref().map(Into::into),
        scopes: owned(key.scopes.as_ref().unwrap_or(&consumer.scopes)),
        roles: owned(&consumer.roles),
        claims: sub.chain(own).collect(),
        ..Identity::new(policy.clone(), Credential::ApiKey)
    }
}

/// A claim as a file has it.
pub(crate) fn claim(values: &[String]) -> Claim {
    match values {
        [one] => Claim::one(one.as_str()),
        many => Claim::list(many.iter().map(|value| value.as_str().into())),
    }
}

/// The half of a hash that is looked up; the whole is compared afterwards.
fn place(hash: &[u8; 32]) -> [u8; 16] {
    let mut place = [0; 16];
    place.copy_from_slice(&hash[..16]);
    place
}

pub(crate) fn hash_of(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests;
