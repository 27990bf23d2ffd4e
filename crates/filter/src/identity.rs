//! Who is calling, once a policy has found out.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{Amounts, by_name};

/// Who a request is from, as a policy of `auth` has verified it. Made once for a key or a token, and shared by the
/// requests that come with it. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The policy that vouches for it.
    pub policy: Arc<str>,
    /// What the client has shown.
    pub credential: Credential,
    /// The user, consumer or subject.
    pub user: Option<Box<str>>,
    /// What tells the key apart from the user's others; never the key itself.
    pub key: Option<Box<str>>,
    /// What the user has subscribed to.
    pub plan: Option<Box<str>>,
    /// How much the user may of what limits count, where that is neither what the limit says nor the plan.
    pub limits: Amounts,
    /// What the credential is good for.
    pub scopes: Box<[Box<str>]>,
    /// What the user is.
    pub roles: Box<[Box<str>]>,
    /// What else is vouched for.
    pub claims: Claims,
    /// The fields that tell the origin who calls.
    pub fields: Box<[(HeaderName, HeaderValue)]>,
    /// What the client is told to keep: a session that was renewed.
    pub cookies: Box<[HeaderValue]>,
}

/// What a client may show to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A key that maitred keeps the hash of.
    ApiKey,
    /// A name and a password (RFC 7617).
    Basic,
    /// A signed token (RFC 7519).
    Jwt,
    /// A token that only its issuer can read (RFC 7662).
    Introspection,
    /// A client certificate.
    Certificate,
    /// Whatever another service makes of the request.
    Forward,
    /// A session begun by logging in at a provider.
    Oidc,
}

impl Credential {
    /// The word that the configuration has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::Certificate => "mtls",
            Self::Forward => "forward",
            Self::Oidc => "oidc",
        }
    }
}

impl Identity {
    /// An identity of which nothing is known but the policy that vouches for it.
    pub fn new(policy: Arc<str>, credential: Credential) -> Self {
        Self {
            policy,
            credential,
            user: None,
            key: None,
            plan: None,
            limits: Amounts::default(),
            scopes: Box::default(),
            roles: Box::default(),
            claims: Claims::default(),
            fields: Box::default(),
            cookies: Box::default(),
        }
    }

    /// Whether the credential is good for `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| **own == *scope)
    }

    /// Whether the user is a `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| **own == *role)
    }

    /// The claim called `name`; one within another is called by both names, with a dot between them.
    pub fn claim(&self, name: &str) -> Option<&Claim> {
        self.claims.get(name)
    }
}

/// Facts by name, in the order of their names: a look-up allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims(Box<[(Box<str>, Claim)]>);

impl Claims {
    /// The claim called `name`.
    pub fn get(&self, name: &str) -> Option<&Claim> {
        by_name::find(&self.0, name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Claim)> {
        self.0.iter().map(|(name, claim)| (&**name, claim))
    }
}

/// Of several claims with one name the first counts.
impl FromIterator<(Box<str>, Claim)> for Claims {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Claim)>>(claims: I) -> Self {
        Self(by_name::sorted(claims))
    }
}

/// What is claimed: one value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    text: Box<str>,
    /// `None` for one value.
    list: Option<Box<[Box<str>]>>,
}

impl Claim {
    /// One value.
    pub fn one(text: impl Into<Box<str>>) -> Self {
        Self { text: text.into(), list: None }
    }

    /// A list of values.
    pub fn list(values: impl IntoIterator<Item = Box<str>>) -> Self {
        let values: Box<[Box<str>]> = values.into_iter().collect();
        Self { text: values.join(",").into(), list: Some(values) }
    }

    /// The value as text; those of a list have commas between them.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its values: one, or those of the list.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        let one = std::slice::from_ref(&self.text);
        self.list.as_deref().unwrap_or(one).iter().map(|value| &**value)
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.list.is_some()
    }

    /// Whether this is `value`, or a list that has it.
    pub fn has(&self, value: &str) -> bool {
        match &self.list {
            None => *self.text == *value,
            Some(list) => list.iter().any(|own| **own == *value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_name_and_the_first_of_a_name_counts() {
        let claims = [("tenant", "acme"), ("aud", "api"), ("tenant", "other")];
        let claims: Claims = claims.into_iter().map(|(name, text)| (name.into(), Claim::one(text))).collect();
        assert_eq!(claims.get("tenant").map(Claim::as_str), Some("acme"));
        assert_eq!(claims.get("aud").map(Claim::as_str), Some("api"));
        assert_eq!(claims.get("sub"), None);
        assert_eq!(claims.iter().count(), 2);
    }

    #[test]
    fn a_list_has_its_values_and_nothing_between_them() {
        let groups = Claim::list(["staff".into(), "a,b".into()]);
        assert_eq!(groups.as_str(), "staff,a,b");
        assert!(groups.has("staff") && groups.has("a,b"));
        assert!(!groups.has("a") && !groups.has("staff,a,b"));
        assert!(Claim::one("a b").has("a b") && !Claim::one("a b").has("a"));
    }
}
