//! One way to find out who calls.

use std::{borrow::Cow, sync::Arc};

use filter::{Claim, Identity, Mode, Reason, Reply, View};
use http::{HeaderName, HeaderValue, header};

use crate::{
    api_key::ApiKeys,
    auth::Outcome,
    basic::Basic,
    certificate::Certificates,
    jwt::Jwt,
    place::{Found, Place},
};

/// A policy, as run.
#[derive(Debug)]
pub struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) scheme: Scheme,
    /// Where its credential may stand, in the order in which it is looked for.
    pub(crate) places: Box<[Place]>,
    pub(crate) hides: bool,
    /// The fields that only maitred may fill.
    pub(crate) fields: Box<[HeaderName]>,
    pub(crate) challenges: Challenges,
}

/// What the client has to show.
#[derive(Debug)]
pub(crate) enum Scheme {
    ApiKey(ApiKeys),
    Jwt(Box<Jwt>),
    Basic(Box<Basic>),
    Certificate(Box<Certificates>),
}

/// What `WWW-Authenticate` says, by what is wrong.
#[derive(Debug)]
pub(crate) struct Challenges {
    pub missing: HeaderValue,
    pub invalid: HeaderValue,
    pub expired: HeaderValue,
}

/// Why a policy does not vouch for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// There is no credential for it.
    Missing,
    /// There is one, and it is not good.
    Invalid,
    /// It was good until lately.
    Expired,
    /// Nobody can tell at the moment.
    Unavailable,
    /// Somebody else has to be asked first.
    Unheard,
}

impl Policy {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether refusals are only told of.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Looks for the credential and verifies it, and asks whoever has to be asked for that.
    pub(crate) async fn admit(&self, request: &View<'_>) -> Result<Arc<Identity>, Doubt> {
        if let Scheme::Certificate(certificates) = &self.scheme {
            return certificates.verify(request);
        }
        let credential = self.credential(request)?;
        match (self.known(&credential), &self.scheme) {
            // In boxes, since every connection has room for the largest of what may be waited for.
            (Err(Doubt::Unheard), Scheme::Jwt(jwt)) => Box::pin(jwt.ask(&credential)).await,
            (Err(Doubt::Unheard), Scheme::Basic(basic)) => Box::pin(basic.ask(&credential)).await,
            (verdict, _) => verdict,
        }
    }

    /// The same with what is known already.
    pub(crate) fn verify(&self, request: &View<'_>) -> Result<Arc<Identity>, Doubt> {
        if let Scheme::Certificate(certificates) = &self.scheme {
            return certificates.verify(request);
        }
        match self.known(&self.credential(request)?) {
            Err(Doubt::Unheard) => Err(Doubt::Unavailable),
            verdict => verdict,
        }
    }

    fn known(&self, credential: &str) -> Result<Arc<Identity>, Doubt> {
        match &self.scheme {
            Scheme::ApiKey(keys) => keys.verify(credential),
            Scheme::Jwt(jwt) => jwt.verify(credential),
            Scheme::Basic(basic) => basic.verify(credential),
            Scheme::Certificate(_) => Err(Doubt::Missing),
        }
    }

    fn credential<'r>(&self, request: &View<'r>) -> Result<Cow<'r, str>, Doubt> {
        for place in &self.places {
            match place.find(request) {
                Found::Nothing => {}
                Found::Unclear => return Err(Doubt::Invalid),
                Found::One(credential) => return Ok(credential),
            }
        }
        Err(Doubt::Missing)
    }

    /// The names of query parameters that carry credentials.
    pub fn query_parameters(&self) -> impl Iterator<Item = &str> {
        self.places.iter().filter_map(|place| match place {
            Place::Query(name) => Some(&**name),
            _ => None,
        })
    }

    pub(crate) fn challenge(&self, doubt: Doubt) -> HeaderValue {
        match doubt {
            Doubt::Missing | Doubt::Unavailable | Doubt::Unheard => &self.challenges.missing,
            Doubt::Invalid => &self.challenges.invalid,
            Doubt::Expired => &self.challenges.expired,
        }
        .clone()
    }

    /// What a caller named `user` would be taken for, where nobody shows anything.
    pub(crate) fn pose(&self, user: &str) -> Option<Arc<Identity>> {
        match &self.scheme {
            Scheme::ApiKey(keys) => keys.pose(user),
            Scheme::Basic(basic) => basic.pose(user),
            Scheme::Jwt(_) | Scheme::Certificate(_) => None,
        }
    }
}

impl Challenges {
    /// Those of a scheme whose errors have no words of their own.
    pub(crate) fn plain(scheme: &str, realm: &str) -> Option<Self> {
        let missing = HeaderValue::from_str(&format!("{scheme} realm=\"{realm}\"")).ok()?;
        Some(Self { invalid: missing.clone(), expired: missing.clone(), missing })
    }

    /// That of passwords (RFC 7617 section 2.1).
    pub(crate) fn basic(realm: &str) -> Option<Self> {
        let missing = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")).ok()?;
        Some(Self { invalid: missing.clone(), expired: missing.clone(), missing })
    }

    /// Those of bearer tokens (RFC 6750 section 3).
    pub(crate) fn bearer(realm: &str) -> Option<Self> {
        let told = |more: &str| HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"{more}")).ok();
        Some(Self {
            missing: told("")?,
            invalid: told(", error=\"invalid_token\", error_description=\"The token is not valid\"")?,
            expired: told(", error=\"invalid_token\", error_description=\"The token has expired\"")?,
        })
    }
}

impl Doubt {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Missing => Reason::AuthMissing,
            Self::Invalid => Reason::AuthInvalid,
            Self::Expired => Reason::AuthExpired,
            Self::Unavailable | Self::Unheard => Reason::AuthUnavailable,
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Missing => Outcome::Missing,
            Self::Invalid => Outcome::Invalid,
            Self::Expired => Outcome::Expired,
            Self::Unavailable | Self::Unheard => Outcome::Error,
        }
    }
}

/// The answer to a request that nobody vouches for, with the challenge of every policy that might have.
pub(crate) fn refusal<'p>(doubt: Doubt, challenges: impl Iterator<Item = HeaderValue> + 'p) -> Reply {
    let mut reply = Reply::refuse(doubt.reason());
    if doubt != Doubt::Unavailable {
        reply.headers.extend(challenges.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
    }
    reply
}

/// What the origin is told of callers: facts by name, each with its field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forward(pub Box<[(Box<str>, HeaderName)]>);

impl Forward {
    /// Writes the fields of `identity`.
    pub(crate) fn fill(&self, identity: &mut Identity) {
        let fields = self.0.iter().filter_map(|(fact, field)| Some((field.clone(), value(identity, fact)?)));
        identity.fields = fields.collect();
    }
}

fn value(identity: &Identity, fact: &str) -> Option<HeaderValue> {
    let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let listed = |list: &[Box<str>], between| (!list.is_empty()).then(|| list.join(between));
    let text = match fact {
        "user" => own(&identity.user),
        "key" => own(&identity.key),
        "plan" => own(&identity.plan),
        "scope" => listed(&identity.scopes, " "),
        "role" => listed(&identity.roles, ","),
        _ => None,
    };
    let mut text = text.or_else(|| identity.claim(fact).map(|claim: &Claim| claim.as_str().to_owned()))?;
    text.retain(|letter| !letter.is_control());
    HeaderValue::from_bytes(text.as_bytes()).ok().filter(|value| !value.is_empty())
}
