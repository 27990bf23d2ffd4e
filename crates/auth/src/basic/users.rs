//! The file of users.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use argon2::password_hash::phc::PasswordHash;
use document::OneOrMany;
use filter::{Claim, Credential, Identity};
use serde::Deserialize;

use crate::{keys, policy::Forward};

/// Users by name. No two states of a file have the same `id`, so that a password that was changed is forgotten.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: HashMap<Box<str>, User>,
    pub(crate) id: u64,
}

pub(crate) struct User {
    /// In the form of the PHC: `$argon2id$v=19$…`.
    pub password: Arc<str>,
    pub identity: Arc<Identity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: BTreeMap<String, Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    password: String,
    plan: Option<String>,
    #[serde(default)]
    limits: BTreeMap<String, toml::Value>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    claims: BTreeMap<String, OneOrMany<String>>,
}

impl Users {
    /// Reads the text. The error names the line or the user, and prints no hash.
    pub(crate) fn parse(text: &str, policy: &Arc<str>, forward: &Forward) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let file: File = keys::toml(text)?;
        let mut by_name = HashMap::with_capacity(file.users.len());
        for (name, written) in file.users {
            let is_argon = written.password.starts_with("$argon2id$") && PasswordHash::new(&written.password).is_ok();
            if !is_argon {
                return Err(format!("user `{name}`: `password` is not an Argon2id hash; `maitred hash` makes one"));
            }
            if name.contains(':') || name.chars().any(char::is_control) {
                return Err(format!("user {name:?}: a name has neither colons nor control characters (RFC 7617)"));
            }
            let limits = keys::amounts(&written.limits).map_err(|why| format!("user `{name}`: {why}"))?;
            let mut identity = Identity { limits, ..identity(&name, &written, policy) };
            forward.fill(&mut identity);
            let user = User { password: written.password.into(), identity: identity.into() };
            by_name.insert(name.into(), user);
        }
        Ok(Self { by_name, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    /// Everybody.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Identity)) {
        self.by_name.values().for_each(|user| tell(&user.identity));
    }

    /// Any identity that is like this.
    pub(crate) fn like(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        self.by_name.values().map(|user| &user.identity).find(|own| is(own)).cloned()
    }
}

fn identity(name: &str, written: &Written, policy: &Arc<str>) -> Identity {
    let owned = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect::<Box<[Box<str>]>>();
    let own = written.claims.iter().map(|(name, values)| (name.as_str().into(), keys::claim(values)));
    Identity {
        user: Some(name.into()),
        plan: written.plan.as_deref().map(Into::into),
        scopes: owned(&written.scopes),
        roles: owned(&written.roles),
        claims: std::iter::once(("sub".into(), Claim::one(name))).chain(own).collect(),
        ..Identity::new(policy.clone(), Credential::Basic)
    }
}

/// Without the hash.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hash_is_refused_without_printing_it() {
        let parse = |text: &str| Users::parse(text, &"staff".into(), &Forward::default()).map(|_| ());
        let good = crate::password_hash("hush").unwrap();
        assert_eq!(parse(&format!("[users.ada]\npassword = {good:?}\nroles = [\"admin\"]")), Ok(()));
        for (text, expected) in [
            ("[users.ada]\npassword = \"hush\"", "user `ada`: `password` is not an Argon2id hash"),
            ("[users.ada]\npassword = \"$argon2id$hush\"", "is not an Argon2id hash"),
            ("[users.ada]\npassword = \"$2y$10$hush\"", "is not an Argon2id hash"),
            ("[users.ada]\nsecret = \"hush\"", "unknown field `secret`"),
            ("[users]\nada = \"hush\"", "line 2: "),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(expected) && !why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn an_amount_is_a_number_that_can_be_counted() {
        let good = crate::password_hash("hush").unwrap();
        let parse = |limits: &str| {
            let text = format!("[users.ada]\npassword = {good:?}\nlimits = {limits}");
            Users::parse(&text, &"staff".into(), &Forward::default())
        };
        let users = parse("{ uploads = 1, calls = 16777215 }").unwrap();
        let limits = &users.find("ada").unwrap().identity.limits;
        assert_eq!(["calls", "uploads", "other"].map(|name| limits.get(name)), [Some(16_777_215), Some(1), None]);
        for amount in ["0", "-1", "16777216", "9223372036854775807", "1.5", "\"5\"", "[5]", "true", "{ a = 5 }"] {
            let why = parse(&format!("{{ calls = {amount} }}")).map(|_| ()).unwrap_err();
            assert!(why.starts_with("user `ada`: `limits.calls` has to be a number from 1 to 16777215"), "{why}");
        }
        let many: Vec<_> = (0..65).map(|number| format!("l{number} = 1")).collect();
        assert!(parse(&format!("{{ {} }}", many[1..].join(", "))).is_ok());
        let why = parse(&format!("{{ {} }}", many.join(", "))).map(|_| ()).unwrap_err();
        assert_eq!(why, "user `ada`: `limits` has 65 amounts, and at most 64 are taken");
    }
}
