//! One way to find out who calls.

use std::{borrow::Cow, sync::Arc};

use filter::{Claim, Identity, Mode, Reason, Reply, View};
use http::{HeaderName, HeaderValue, header};

use crate::{
    Kind,
    api_key::ApiKeys,
    auth::Outcome,
    basic::Basic,
    certificate::Certificates,
    external::External,
    introspection::Introspection,
    jwt::Jwt,
    oidc::Oidc,
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
    /// Where it is written how tokens are had, where that is told (RFC 9728).
    pub(crate) metadata: Option<Box<str>>,
}

/// What the client has to show.
#[derive(Debug)]
pub(crate) enum Scheme {
    ApiKey(ApiKeys),
    Jwt(Box<Jwt>),
    Basic(Box<Basic>),
    Certificate(Box<Certificates>),
    Introspection(Box<Introspection>),
    Forward(Box<External>),
    Oidc(Arc<Oidc>),
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
    /// It is known who calls, and that they may not.
    Forbidden,
    /// Nobody can tell at the moment.
    Unavailable,
    /// Somebody else has to be asked first.
    Unheard,
    /// None at all: the policy answers the request, which is for a page of its own.
    Answered,
}

/// A doubt, and the whole answer where somebody else has given one.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub doubt: Doubt,
    pub reply: Option<Box<Reply>>,
    /// Who has just become known.
    pub identity: Option<Arc<Identity>>,
}

impl From<Doubt> for Refused {
    fn from(doubt: Doubt) -> Self {
        Self { doubt, reply: None, identity: None }
    }
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

    /// What clients have to show.
    pub fn kind(&self) -> Kind {
        match &self.scheme {
            Scheme::ApiKey(_) => Kind::ApiKey,
            Scheme::Jwt(_) => Kind::Jwt,
            Scheme::Basic(_) => Kind::Basic,
            Scheme::Certificate(_) => Kind::Mtls,
            Scheme::Introspection(_) => Kind::Introspection,
            Scheme::Forward(_) => Kind::Forward,
            Scheme::Oidc(_) => Kind::Oidc,
        }
    }

    /// Looks for the credential and verifies it, and asks whoever has to be asked for that.
    pub(crate) async fn admit(&self, request: &View<'_>) -> Result<Arc<Identity>, Refused> {
        match &self.scheme {
            Scheme::Certificate(certificates) => return Ok(certificates.verify(request)?),
            // In a box like all that waits for somebody: it is large, and every request would carry it along.
            Scheme::Forward(external) => return Box::pin(external.admit(request)).await,
            Scheme::Oidc(oidc) => {
                let shown = self.credential(request);
                if let Ok(cookie) = &shown
                    && !self.owns(request.path)
                    && let Ok(identity) = oidc.verify(cookie)
                {
                    return Ok(identity);
                }
                return Box::pin(oidc.admit(request, shown)).await.map_err(|refused| self.challenged(refused));
            }
            _ => {}
        }
        let credential = self.credential(request)?;
        Ok(match (self.known(&credential), &self.scheme) {
            (Err(Doubt::Unheard), Scheme::Jwt(jwt)) => Box::pin(jwt.ask(&credential)).await,
            (Err(Doubt::Unheard), Scheme::Basic(basic)) => Box::pin(basic.ask(&credential)).await,
            (Err(Doubt::Unheard), Scheme::Introspection(issuer)) => Box::pin(issuer.ask(&credential)).await,
            (verdict, _) => verdict,
        }?)
    }

    /// The same with what is known already; [`Doubt::Unheard`] where somebody would have to be asked.
    pub(crate) fn verify(&self, request: &View<'_>) -> Result<Arc<Identity>, Doubt> {
        match &self.scheme {
            Scheme::Certificate(certificates) => certificates.verify(request),
            Scheme::Forward(external) => external.known(request),
            Scheme::Oidc(_) if self.owns(request.path) => Err(Doubt::Unheard),
            _ => self.known(&self.credential(request)?),
        }
    }

    fn known(&self, credential: &str) -> Result<Arc<Identity>, Doubt> {
        match &self.scheme {
            Scheme::ApiKey(keys) => keys.verify(credential),
            Scheme::Jwt(jwt) => jwt.verify(credential),
            Scheme::Basic(basic) => basic.verify(credential),
            Scheme::Introspection(issuer) => issuer.verify(credential),
            Scheme::Oidc(oidc) => oidc.verify(credential),
            Scheme::Certificate(_) | Scheme::Forward(_) => Err(Doubt::Missing),
        }
    }

    /// Anybody who is like this among those that a file of keys or of users names: whoever else calls is known when they do.
    pub fn named_caller(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        match &self.scheme {
            Scheme::ApiKey(keys) => keys.like(is),
            Scheme::Basic(basic) => basic.like(is),
            _ => None,
        }
    }

    /// Tells of everybody whom a file of keys or of users names.
    pub fn each_named_caller(&self, tell: &mut dyn FnMut(&Identity)) {
        match &self.scheme {
            Scheme::ApiKey(keys) => keys.each(tell),
            Scheme::Basic(basic) => basic.each(tell),
            _ => {}
        }
    }

    /// Whether a path is a page of the policy's own, which nobody else is asked about.
    pub(crate) fn owns(&self, path: &str) -> bool {
        matches!(&self.scheme, Scheme::Oidc(oidc) if oidc.is_own(path))
    }

    /// The policy's own 401 says what it asks for, as every 401 has to (RFC 9110 section 15.5.2).
    fn challenged(&self, mut refused: Refused) -> Refused {
        if let Some(reply) = &mut refused.reply
            && reply.status == http::StatusCode::UNAUTHORIZED
        {
            reply.headers.push((header::WWW_AUTHENTICATE, self.challenge(refused.doubt)));
        }
        refused
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
            Doubt::Missing | Doubt::Forbidden | Doubt::Unavailable | Doubt::Unheard | Doubt::Answered => {
                &self.challenges.missing
            }
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
            Scheme::Jwt(_)
            | Scheme::Introspection(_)
            | Scheme::Certificate(_)
            | Scheme::Forward(_)
            | Scheme::Oidc(_) => None,
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

    /// Those of bearer tokens (RFC 6750 section 3), with where it is written how they are had (RFC 9728 section 5.1).
    pub(crate) fn bearer(realm: &str, metadata: Option<&str>) -> Option<Self> {
        let metadata = metadata.map(resource_metadata).unwrap_or_default();
        let told = |more: &str| HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"{more}{metadata}")).ok();
        Some(Self {
            missing: told("")?,
            invalid: told(", error=\"invalid_token\", error_description=\"The token is not valid\"")?,
            expired: told(", error=\"invalid_token\", error_description=\"The token has expired\"")?,
        })
    }
}

/// The parameter of a challenge that says where the resource's metadata is.
pub(crate) fn resource_metadata(url: &str) -> String {
    format!(", resource_metadata=\"{url}\"")
}

impl Doubt {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Missing => Reason::AuthMissing,
            Self::Invalid => Reason::AuthInvalid,
            Self::Expired => Reason::AuthExpired,
            Self::Forbidden => Reason::Forbidden,
            Self::Unavailable | Self::Unheard => Reason::AuthUnavailable,
            Self::Answered => Reason::None,
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Missing => Outcome::Missing,
            Self::Invalid => Outcome::Invalid,
            Self::Expired => Outcome::Expired,
            Self::Forbidden => Outcome::Forbidden,
            Self::Unavailable | Self::Unheard => Outcome::Error,
            Self::Answered => Outcome::Ok,
        }
    }
}

/// The answer to a request that nobody vouches for, or what another service has `told` of it, with the challenge of every
/// other policy that might have.
pub(crate) fn refusal(doubt: Doubt, told: Option<Reply>, challenges: impl Iterator<Item = HeaderValue>) -> Reply {
    let mut reply = told.unwrap_or_else(|| Reply::refuse(doubt.reason()));
    if reply.status == http::StatusCode::UNAUTHORIZED {
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
