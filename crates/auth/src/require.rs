//! What a caller has to be.

use filter::{Identity, Mode, Reason, Reply, View};
use http::{HeaderValue, Method, header};

use crate::condition::Condition;

/// What goes with a name.
pub(crate) type Named<T> = (Box<str>, Box<[T]>);

/// What is required, as run. All that is given must hold.
#[derive(Debug)]
pub struct Require {
    pub(crate) mode: Mode,
    /// All of them.
    pub(crate) scopes: Box<[Box<str>]>,
    /// Any one of them, where any are given.
    pub(crate) roles: Box<[Box<str>]>,
    /// Each of them, with any of its values.
    pub(crate) claims: Box<[Named<Box<str>>]>,
    /// The methods of each role, where any are given.
    pub(crate) methods: Box<[Named<Method>]>,
    pub(crate) when: Option<Condition>,
    /// What a bearer of too weak a token is told (RFC 6750 section 3.1), for each policy of the route.
    pub(crate) insufficient: Box<[Option<HeaderValue>]>,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack<'r> {
    Scope(&'r str),
    Role,
    Claim(&'r str),
    Method,
    Condition,
}

impl Require {
    /// Whether refusals are only told of.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it looks at the method, or at what has it.
    pub(crate) fn rules_by_method(&self) -> bool {
        !self.methods.is_empty() || self.when.as_ref().is_some_and(Condition::looks_at_request)
    }

    /// What the caller is not, or may not.
    pub(crate) fn lack(&self, identity: &Identity, request: &View<'_>) -> Option<Lack<'_>> {
        if let Some(scope) = self.scopes.iter().find(|scope| !identity.has_scope(scope)) {
            return Some(Lack::Scope(scope));
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|role| identity.has_role(role)) {
            return Some(Lack::Role);
        }
        let holds = |(name, values): &&Named<Box<str>>| {
            identity.claim(name).is_some_and(|claim| values.iter().any(|value| claim.has(value)))
        };
        if let Some((name, _)) = self.claims.iter().find(|claim| !holds(claim)) {
            return Some(Lack::Claim(name));
        }
        let may = |(role, methods): &Named<Method>| identity.has_role(role) && methods.contains(&request.head.method);
        if !self.methods.is_empty() && !self.methods.iter().any(may) {
            return Some(Lack::Method);
        }
        let fails = |when: &&Condition| !when.holds(identity, request);
        self.when.as_ref().filter(fails).map(|_| Lack::Condition)
    }

    /// The answer to a caller that lacks something, and for whom this policy of the route has vouched.
    pub(crate) fn refusal(&self, lack: Lack<'_>, policy: usize, bearer: bool) -> Reply {
        let reply = Reply::refuse(Reason::Forbidden);
        match (self.insufficient.get(policy), lack) {
            (Some(Some(told)), Lack::Scope(_)) if bearer => reply.with(header::WWW_AUTHENTICATE, told.clone()),
            _ => reply,
        }
    }
}

impl std::fmt::Display for Lack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "lacks the scope `{scope}`"),
            Self::Role => f.write_str("has none of the roles"),
            Self::Claim(name) => write!(f, "has not what `claims.{name}` asks for"),
            Self::Condition => f.write_str("is not what `when` asks for"),
            Self::Method => f.write_str("has no role that may use this method"),
        }
    }
}

#[cfg(test)]
mod tests;
