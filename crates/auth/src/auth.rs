//! What a route asks of its callers.

use std::{borrow::Cow, sync::Arc};

use bytes::BytesMut;
use filter::{Amend, Credential, Identity, Mode, Reason, Reply, Trail, View, template::Input, write_line};
use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use crate::{
    Kind, Policy, Require,
    place::{self, Found, Place},
    policy::{self, Doubt, Refused},
};

/// Who may call. Every route has one: that anybody may is a value of its own.
#[derive(Debug)]
pub enum Auth {
    /// Anybody, and nobody asks.
    Anonymous,
    /// Whoever one of the policies vouches for.
    Asked(Box<Asked>),
}

/// The policies of a route, any one of which is enough.
#[derive(Debug)]
pub struct Asked {
    pub(crate) policies: Box<[Arc<Policy>]>,
    /// Whether a request without any credentials may pass.
    pub(crate) anonymous: bool,
    pub(crate) require: Option<Require>,
    pub(crate) mode: Mode,
    /// Where credentials stand that the origin does not get to see.
    pub(crate) hidden: Box<[Place]>,
    pub(crate) hidden_query: Box<[Box<str>]>,
    /// Where credentials stand that it does get to see, each with the policy that looks there.
    pub(crate) exposed: Box<[(Arc<str>, Place)]>,
    /// The fields that only maitred may fill.
    pub(crate) fields: Box<[HeaderName]>,
}

/// What came of asking.
#[derive(Debug)]
pub struct Verdict {
    /// Who calls; `None` where nobody vouches for the request.
    pub identity: Option<Arc<Identity>>,
    /// The word for it.
    pub outcome: Outcome,
    /// Which of the route's policies it is about.
    pub policy: usize,
    /// Why the request may not pass. In shadow it passes all the same.
    pub refusal: Option<Reply>,
    /// Whether the refusal is only told of.
    pub mode: Mode,
    /// What the caller lacks, in words.
    pub lack: Option<String>,
}

/// The word for what came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    Ok,
    /// There are no credentials.
    Missing,
    /// They are not good.
    Invalid,
    /// They were good until lately.
    Expired,
    /// The caller is known, and may not do this.
    Forbidden,
    /// Nobody can tell at the moment.
    Error,
}

impl Outcome {
    /// Every outcome, in the order of the numbers of [`Outcome::index`].
    pub const WORDS: [&'static str; 6] = ["ok", "missing", "invalid", "expired", "forbidden", "error"];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.get(self.index()).copied().unwrap_or_default()
    }

    /// The place among [`Outcome::WORDS`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Auth {
    /// Asks who calls, and whether they may. The only step that may have to wait for somebody else.
    pub async fn admit(&self, request: &View<'_>) -> Option<Verdict> {
        match self {
            Self::Anonymous => None,
            Self::Asked(asked) => Some(asked.admit(request).await),
        }
    }

    /// What [`admit`](Auth::admit) would say without asking anybody else; `posed` is vouched for without credentials.
    pub fn judge(&self, request: &View<'_>, posed: Option<&str>) -> Option<Verdict> {
        match self {
            Self::Anonymous => None,
            Self::Asked(asked) => Some(asked.judge(request, posed)),
        }
    }

    /// The policies, in the order of the configuration.
    pub fn policies(&self) -> &[Arc<Policy>] {
        match self {
            Self::Anonymous => &[],
            Self::Asked(asked) => &asked.policies,
        }
    }

    /// The fields that tell the origin who calls.
    fn told<'v>(&self, request: &View<'v>) -> impl Iterator<Item = &'v (HeaderName, HeaderValue)> + use<'v> {
        let identity = request.identity.filter(|_| matches!(self, Self::Asked(_)));
        identity.map(|identity| &*identity.fields).unwrap_or_default().iter()
    }

    /// Whether answers may tell a browser to keep a session that was renewed.
    pub fn renews(&self) -> bool {
        self.policies().iter().any(|policy| policy.kind() == Kind::Oidc)
    }

    /// Whether it depends on the method what a caller may.
    pub fn rules_by_method(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Asked(asked) => asked.require.as_ref().is_some_and(Require::rules_by_method),
        }
    }

    /// The names of the fields that are filled with what is known of the caller, in lower case.
    pub fn filled(&self) -> impl Iterator<Item = &str> {
        let fields = match self {
            Self::Anonymous => &[],
            Self::Asked(asked) => &*asked.fields,
        };
        fields.iter().map(HeaderName::as_str)
    }

    /// Whether the origin gets to see a credential of the request that its answer may depend on, and that nothing tells from
    /// others: the answer is nobody else's. A key that was found good is told from others by its letters.
    pub fn exposes(&self, request: &View<'_>) -> bool {
        let Self::Asked(asked) = self else { return false };
        asked.exposed.iter().any(|(policy, place)| {
            let is_told = |identity: &Identity| identity.policy == *policy && identity.key.is_some();
            !request.identity.is_some_and(is_told) && place.find(request) != Found::Nothing
        })
    }

    /// Whether this part of a request may have a credential in it, so that nobody is to be shown it.
    pub fn is_secret(&self, part: &Input<'_>) -> bool {
        let mut places = self.policies().iter().flat_map(|policy| policy.places.iter());
        places.any(|place| place.is_in(part))
    }

    /// Whether credentials other than `Authorization` are hidden from the origin.
    pub fn veils(&self) -> bool {
        let Self::Asked(asked) = self else { return false };
        let other = |place: &Place| !matches!(place, Place::Authorization(_));
        !asked.hidden_query.is_empty() || asked.hidden.iter().any(other)
    }

    /// The request without the credentials that are hidden from the origin; `None` where there are none in it. That there was
    /// an `Authorization` stays to be seen.
    pub fn veiled(&self, head: &RequestHeader) -> Option<RequestHeader> {
        let Self::Asked(asked) = self else { return None };
        let query = head.uri.query().map(|query| self.query(query));
        let query = query.filter(|query| matches!(query, Cow::Owned(_)));
        if query.is_none() && !asked.hidden.iter().any(|place| place.may_be_in(head)) {
            return None;
        }
        let mut veiled = head.clone();
        asked.hidden.iter().for_each(|place| place.clear(&mut veiled));
        if head.headers.contains_key(header::AUTHORIZATION) && !veiled.headers.contains_key(header::AUTHORIZATION) {
            // A name and a value that are valid cannot be refused.
            let _ = veiled.insert_header(header::AUTHORIZATION, HeaderValue::from_static(""));
        }
        if let Some(query) = query {
            place::ask_with(&query, &mut veiled);
        }
        Some(veiled)
    }

    /// The query without the credentials in it.
    pub fn query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        match self {
            Self::Anonymous => query.into(),
            Self::Asked(asked) => place::without(query, &asked.hidden_query),
        }
    }
}

/// Takes out the credentials and whatever the client says of itself, and says who it is.
impl Amend<RequestHeader> for Auth {
    fn amend(&self, head: &mut RequestHeader, request: &View<'_>) {
        self.clear(head, request);
        for (name, value) in self.told(request) {
            // A name and a value that are valid cannot be refused.
            let _ = head.append_header(name.clone(), value.clone());
        }
    }
}

impl Trail<RequestHeader> for Auth {
    fn clear(&self, head: &mut RequestHeader, _: &View<'_>) {
        let Self::Asked(asked) = self else { return };
        asked.hidden.iter().for_each(|place| place.clear(head));
        if !asked.fields.is_empty() {
            let forged = |name: &&HeaderName| asked.fields.iter().any(|own| alike(name.as_str(), own.as_str()));
            let forged: SmallVec<[HeaderName; 4]> = head.headers.keys().filter(forged).cloned().collect();
            forged.iter().for_each(|name| drop(head.remove_header(name)));
        }
    }

    fn write(&self, _: &RequestHeader, request: &View<'_>, out: &mut BytesMut) {
        self.told(request).for_each(|(name, value)| write_line(out, name.as_str().as_bytes(), value.as_bytes()));
    }
}

/// Whether CGI and its heirs take one for the other: to them what is no letter or digit is the same.
fn alike(one: &str, two: &str) -> bool {
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    one.len() == two.len() && one.bytes().zip(two.bytes()).all(|(one, two)| plain(one) == plain(two))
}

impl Asked {
    async fn admit(&self, request: &View<'_>) -> Verdict {
        if let Some((index, policy)) = self.policies.iter().enumerate().find(|(_, policy)| policy.owns(request.path)) {
            return match policy.admit(request).await {
                Ok(identity) => self.weigh(identity, index, request),
                Err(refused) => Verdict::answered(index, policy, refused),
            };
        }
        let (mut doubts, mut told) = (SmallVec::<[Doubt; 2]>::new(), None);
        for (index, policy) in self.policies.iter().enumerate() {
            match policy.admit(request).await {
                Ok(identity) => return self.weigh(identity, index, request),
                Err(Refused { doubt, reply, .. }) => {
                    doubts.push(doubt);
                    told = told.or(reply.map(|reply| (index, *reply)));
                }
            }
        }
        self.refuse(&doubts, told)
    }

    fn judge(&self, request: &View<'_>, posed: Option<&str>) -> Verdict {
        if let Some(user) = posed {
            return self.weigh(self.pose(user), 0, request);
        }
        let mut doubts: SmallVec<[Doubt; 2]> = SmallVec::new();
        for (index, policy) in self.policies.iter().enumerate() {
            match policy.verify(request) {
                Ok(identity) => return self.weigh(identity, index, request),
                Err(doubt) => doubts.push(doubt),
            }
        }
        let mut verdict = self.refuse(&doubts, None);
        if doubts.contains(&Doubt::Unheard) {
            verdict.lack = Some("would have to ask another service".into());
        }
        verdict
    }

    /// Whether the caller may do what the request asks for.
    fn weigh(&self, identity: Arc<Identity>, policy: usize, request: &View<'_>) -> Verdict {
        let lack = self.require.as_ref().and_then(|require| Some((require, require.lack(&identity, request)?)));
        let bearer = identity.credential == Credential::Jwt || identity.credential == Credential::Introspection;
        let (refusal, mode, told) = match lack {
            Some((require, lack)) => {
                (Some(require.refusal(lack, policy, bearer)), require.mode, Some(lack.to_string()))
            }
            None => (None, self.mode, None),
        };
        let outcome = if refusal.is_some() { Outcome::Forbidden } else { Outcome::Ok };
        Verdict { identity: Some(identity), outcome, policy, refusal, mode, lack: told }
    }

    /// Nobody vouches for the request: `doubts` says for each policy why not. Where one of them has `told` its whole answer,
    /// and no other has more against the request, that is the answer.
    fn refuse(&self, doubts: &[Doubt], told: Option<(usize, Reply)>) -> Verdict {
        let worst = doubts.iter().copied().max().unwrap_or(Doubt::Missing);
        let policy = doubts.iter().position(|doubt| *doubt == worst).unwrap_or(0);
        let passes = worst == Doubt::Missing && self.anonymous && self.require.is_none();
        let told = told.filter(|(index, _)| doubts.get(*index) == Some(&worst));
        let whole = told.as_ref().map(|(index, _)| *index);
        let others = self.policies.iter().zip(doubts).enumerate().filter(|(index, _)| Some(*index) != whole);
        let challenges = others.map(|(_, (policy, doubt))| policy.challenge(*doubt));
        Verdict {
            identity: None,
            outcome: if passes { Outcome::Ok } else { worst.outcome() },
            policy,
            refusal: (!passes).then(|| policy::refusal(worst, told.map(|(_, reply)| reply), challenges)),
            mode: self.mode,
            lack: None,
        }
    }

    /// What a caller of this name would be taken for.
    fn pose(&self, user: &str) -> Arc<Identity> {
        self.policies.iter().find_map(|policy| policy.pose(user)).unwrap_or_else(|| {
            let policy = self.policies.first().map_or_else(|| crate::ANONYMOUS.into(), |policy| policy.name.clone());
            let mut identity = Identity::new(policy, Credential::Forward);
            identity.user = Some(user.into());
            Arc::new(identity)
        })
    }
}

impl Verdict {
    /// The request is for a page of the policy's own: whatever the route lets pass, this goes no further.
    fn answered(index: usize, policy: &Policy, Refused { doubt, reply, identity }: Refused) -> Self {
        let reply = reply.map(|reply| *reply);
        let reply = reply.unwrap_or_else(|| policy::refusal(doubt, None, std::iter::once(policy.challenge(doubt))));
        let outcome = doubt.outcome();
        Self { identity, outcome, policy: index, refusal: Some(reply), mode: Mode::Enforce, lack: None }
    }

    /// Why the request is refused; [`Reason::None`] where it is not.
    pub fn reason(&self) -> Reason {
        self.refusal.as_ref().map_or(Reason::None, |reply| reply.reason)
    }
}
