//! Another service decides: it is shown what is asked for and answers whether that may pass, and who it is.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use fetch::{Answer, Ask, Client, Flights, Service};
use filter::{Body, Claim, Credential, Identity, Reply, View};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use smallvec::SmallVec;

use crate::{
    grumble::Grumble,
    policy::{Doubt, Forward, Refused},
    verdicts::{Known, Verdicts},
};

/// How many decisions are remembered.
pub(crate) const REMEMBERED: usize = 16 * 1024;

/// How much of a refusal's content the client is passed.
const MOST: usize = 64 * 1024;

/// What of a refusal the client is passed besides its content.
const TOLD: [HeaderName; 6] = [
    header::WWW_AUTHENTICATE,
    header::LOCATION,
    header::SET_COOKIE,
    header::RETRY_AFTER,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
];

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const ID: HeaderName = HeaderName::from_static("x-request-id");

/// The fields that tell the service what is asked for: nobody else writes them.
pub(crate) const OWN: [HeaderName; 7] = [METHOD, PROTO, HOST, PORT, URI, FOR, ID];

/// A service that decides.
pub(crate) struct External {
    pub policy: Arc<str>,
    pub service: Service,
    pub client: Client,
    /// The client's fields that the service is shown.
    pub send: Box<[HeaderName]>,
    /// The service's fields that the origin is shown.
    pub copy: Box<[HeaderName]>,
    /// The service's field that names the user.
    pub user: Option<HeaderName>,
    /// The one that has the roles.
    pub roles: Option<HeaderName>,
    /// The one that names the plan.
    pub plan: Option<HeaderName>,
    pub forward: Forward,
    /// For how many seconds a good decision is believed; 0: for this one request.
    pub lasts: i64,
    pub verdicts: Verdicts<Known>,
    /// Questions under way, for what all who ask them may be told: refusals are one client's own.
    pub flights: Flights<[u8; 32], Result<Arc<Identity>, Doubt>>,
    pub grumble: Grumble,
}

impl External {
    /// The fields of its answer that say who calls, and can be required as claims: a client's own must not pass for them, whether the
    /// origin is shown them or not.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.copy.iter().chain(&self.user).chain(&self.roles).chain(&self.plan)
    }

    /// What was decided before, where that is believed.
    pub(crate) fn known(&self, request: &View<'_>) -> Result<Arc<Identity>, Doubt> {
        if self.lasts == 0 {
            return Err(Doubt::Unheard);
        }
        let known = key(&self.question(request)).and_then(|key| self.believed(&key));
        known.ok_or(Doubt::Unheard)
    }

    /// Asks, unless it was asked the same lately.
    pub(crate) async fn admit(&self, request: &View<'_>) -> Result<Arc<Identity>, Refused> {
        let question = self.question(request);
        if self.lasts == 0 {
            return self.ask(question, request).await;
        }
        let key = key(&question).ok_or(Doubt::Unavailable)?;
        if let Some(identity) = self.believed(&key) {
            return Ok(identity);
        }
        // Only those who ask the same get the same answer: nothing that decides is left out of the key.
        let mut own = None;
        let asking = async {
            self.ask_for(key, question, request).await.map_err(|refused| {
                let doubt = refused.doubt;
                own = Some(refused);
                doubt
            })
        };
        let shared = self.flights.share(key, asking).await;
        match (shared, own) {
            (Ok(identity), _) => Ok(identity),
            (Err(_), Some(refused)) => Err(refused),
            (Err(Doubt::Unavailable), None) => Err(Doubt::Unavailable.into()),
            // Somebody else was refused. That answer may hold a cookie, or the state of a login, of that client's own.
            (Err(_), None) => self.ask_for(key, self.question(request), request).await,
        }
    }

    fn believed(&self, key: &[u8; 32]) -> Option<Arc<Identity>> {
        let now = jiff::Timestamp::now().as_second();
        let known = self.verdicts.get(key)?;
        known.until.is_some_and(|until| until > now).then_some(known.identity)
    }

    async fn ask_for(
        &self,
        key: [u8; 32],
        question: Vec<(HeaderName, HeaderValue)>,
        request: &View<'_>,
    ) -> Result<Arc<Identity>, Refused> {
        let answer = self.answer(question, request).await?;
        let keep = !forbids_keeping(&answer.headers);
        let identity = self.weigh(answer, request)?;
        if keep {
            let until = Some(jiff::Timestamp::now().as_second().saturating_add(self.lasts));
            self.verdicts.put(key, Known { identity: identity.clone(), until, keys: 0 });
        }
        Ok(identity)
    }

    async fn ask(
        &self,
        question: Vec<(HeaderName, HeaderValue)>,
        request: &View<'_>,
    ) -> Result<Arc<Identity>, Refused> {
        self.weigh(self.answer(question, request).await?, request)
    }

    async fn answer(
        &self,
        mut question: Vec<(HeaderName, HeaderValue)>,
        request: &View<'_>,
    ) -> Result<Answer, Refused> {
        if let Ok(id) = HeaderValue::from_str(request.client.request_id.as_str()) {
            question.push((ID, id));
        }
        let ask = Ask { method: Method::GET, fields: question, content: Bytes::new(), most: MOST };
        self.client.ask(&self.service, &ask).await.map_err(|why| {
            self.grumble.warn(&self.policy, &why);
            Doubt::Unavailable.into()
        })
    }

    /// What the service is shown, apart from what differs with every request.
    fn question(&self, request: &View<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let mut uri = String::with_capacity(request.path.len() + request.query.map_or(0, str::len) + 1);
        // The path as it was judged, not as it was written: no spelling of it gets past the service.
        uri.push_str(request.path);
        if let Some(query) = request.query {
            uri.push('?');
            uri.push_str(query);
        }
        let own = [
            (METHOD, request.head.method.as_str().to_owned()),
            (PROTO, request.client.scheme.to_string()),
            (HOST, request.host.to_owned()),
            (PORT, request.client.port.to_string()),
            (URI, uri),
            (FOR, request.client.address.map_or_else(String::new, |address| address.to_string())),
        ];
        let own = own.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text).ok()?)));
        let mut question: Vec<_> = own.collect();
        for name in &self.send {
            let values = request.head.headers.get_all(name);
            if name == header::COOKIE {
                question.extend(joined(values.iter()).map(|value| (name.clone(), value)));
            } else {
                question.extend(values.iter().map(|value| (name.clone(), value.clone())));
            }
        }
        question
    }

    fn weigh(&self, answer: Answer, request: &View<'_>) -> Result<Arc<Identity>, Refused> {
        let status = answer.status.as_u16();
        match status {
            200..=299 => Ok(Arc::new(self.identity(&answer.headers))),
            401 | 403 | 301..=303 | 307 | 308 => Err(self.refused(answer, request)),
            _ => {
                self.grumble.warn(&self.policy, &format!("{}: the answer is {status}", self.service.url));
                Err(Doubt::Unavailable.into())
            }
        }
    }

    fn identity(&self, headers: &HeaderMap) -> Identity {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let fields: Vec<_> = self
            .copy
            .iter()
            .flat_map(|name| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())))
            .collect();
        let named =
            |field: &Option<HeaderName>| field.as_ref().and_then(text).filter(|name| !name.is_empty()).map(Into::into);
        let (user, plan) = (named(&self.user), named(&self.plan));
        let listed =
            |roles: &str| roles.split(',').map(str::trim).filter(|role| !role.is_empty()).map(Into::into).collect();
        let roles = self.roles.as_ref().and_then(text).map(listed).unwrap_or_default();
        let claims = self.fields().filter_map(|name| Some((name.as_str().into(), Claim::one(text(name)?)))).collect();
        let mut identity =
            Identity { user, plan, roles, claims, ..Identity::new(self.policy.clone(), Credential::Forward) };
        self.forward.fill(&mut identity);
        identity.fields = fields.into_iter().chain(std::mem::take(&mut identity.fields)).collect();
        identity
    }

    /// A refusal is the service's own answer: it may ask for a password, or send to where one logs in.
    fn refused(&self, answer: Answer, request: &View<'_>) -> Refused {
        let shown = self.send.iter().any(|name| request.head.headers.contains_key(name));
        let doubt = match answer.status.as_u16() {
            403 => Doubt::Forbidden,
            _ if shown => Doubt::Invalid,
            _ => Doubt::Missing,
        };
        let is_grpc = request.header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc"));
        let own = is_grpc || answer.content.is_empty() && !answer.status.is_redirection();
        let told = TOLD.iter().filter(|name| !own || **name != header::CONTENT_TYPE && **name != header::CACHE_CONTROL);
        let mut headers = SmallVec::new();
        for name in told {
            headers.extend(answer.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
        let body = if own { Body::Problem } else { Body::Bytes(answer.content) };
        Refused {
            doubt,
            reply: Some(Box::new(Reply { status: answer.status, reason: doubt.reason(), headers, body })),
            identity: None,
        }
    }
}

/// One field out of several: over HTTP/2 cookies may come in pieces (RFC 9113 section 8.2.3).
fn joined<'v>(values: impl Iterator<Item = &'v HeaderValue>) -> Option<HeaderValue> {
    let pieces: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
    if pieces.is_empty() { None } else { HeaderValue::from_bytes(&pieces.join(&b"; "[..])).ok() }
}

fn forbids_keeping(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lines.any(|line| line.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-store")))
}

/// The hash of a question, each part with its length so that no two questions are alike.
fn key(question: &[(HeaderName, HeaderValue)]) -> Option<[u8; 32]> {
    let mut hash = Context::new(&SHA256);
    for (name, value) in question {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.finish().as_ref().try_into().ok()
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "External({})", self.service.url)
    }
}
