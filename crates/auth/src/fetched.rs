//! Keys that an issuer publishes: fetched before they are needed, kept when it is away, asked for anew when one is unknown.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use fetch::{Client, Service, Url};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::keyset::KeySet;

/// How old keys may be before they are fetched anew, in seconds.
const FRESH: i64 = 600;
/// How long keys serve on while the issuer cannot be asked: a day.
const STALE: i64 = 86_400;
/// A key that nobody knows is looked for at most this often, in seconds: tokens are free to make up.
const RENEWAL: i64 = 30;
/// How soon the issuer is asked again after it could not be.
const RETRY: i64 = 5;
/// How long a request waits for keys.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The largest document that is read.
const LARGEST: usize = 1024 * 1024;

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Publisher {
    /// At this URL.
    Jwks(Service),
    /// Wherever the issuer says (OpenID Connect Discovery section 4).
    Issuer(String, Service),
}

/// The keys of one publisher, shared by the policies that trust it.
pub(crate) struct Fetched {
    publisher: Publisher,
    client: Client,
    set: ArcSwapOption<KeySet>,
    /// Where an issuer does what, as it was last told.
    endpoints: ArcSwapOption<Endpoints>,
    /// When the set was fetched.
    since: AtomicI64,
    /// When it was last tried.
    tried: AtomicI64,
    /// One at a time asks; the others wait for what it brings.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What the world has told us: keys by who publishes them. Outlives every configuration.
#[derive(Debug, Clone, Default)]
pub struct State {
    fetched: Arc<Mutex<HashMap<Publisher, Weak<Fetched>>>>,
    client: Client,
}

impl State {
    /// Whoever asks other services: one for all, so that connections are shared.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The keys of a publisher; the same ones every time.
    pub(crate) fn get(&self, publisher: Publisher) -> Arc<Fetched> {
        let mut all = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.strong_count() > 0);
        if let Some(found) = all.get(&publisher).and_then(Weak::upgrade) {
            return found;
        }
        let made = Arc::new(Fetched {
            publisher: publisher.clone(),
            client: self.client.clone(),
            set: ArcSwapOption::empty(),
            endpoints: ArcSwapOption::empty(),
            since: AtomicI64::new(0),
            tried: AtomicI64::new(0),
            turn: Arc::default(),
        });
        all.insert(publisher, Arc::downgrade(&made));
        made
    }

    /// Fetches the keys that were never fetched, and waits for them as long as `patience`.
    pub async fn prefetch(&self, patience: Duration) {
        let waiting: Vec<_> = self.all().into_iter().filter(|one| one.set.load().is_none()).map(asked).collect();
        let all = async {
            for task in waiting {
                // A task that failed has left no keys, which every request will notice.
                let _ = task.await;
            }
        };
        let _ = timeout(patience, all).await;
    }

    /// Fetches in the background what is no longer fresh. To be called every second or so.
    pub fn keep_fresh(&self) {
        let now = Timestamp::now().as_second();
        for one in self.all().into_iter().filter(|one| one.is_due(now)) {
            drop(asked(one));
        }
    }

    fn all(&self) -> Vec<Arc<Fetched>> {
        let all = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter_map(Weak::upgrade).collect()
    }
}

fn asked(one: Arc<Fetched>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { one.refresh(0).await })
}

impl Fetched {
    /// The keys, unless they are too old to be believed.
    pub(crate) fn keys(&self, now: i64) -> Option<Arc<KeySet>> {
        self.set.load_full().filter(|_| now - self.since.load(Relaxed) < FRESH + STALE)
    }

    /// Where the issuer does what, unless that is too old to be believed.
    pub(crate) fn endpoints(&self) -> Option<Arc<Endpoints>> {
        let now = Timestamp::now().as_second();
        self.endpoints.load_full().filter(|_| now - self.since.load(Relaxed) < FRESH + STALE)
    }

    /// Asks for the keys anew on behalf of a request, where that was not done lately.
    pub(crate) async fn renew(self: &Arc<Self>) {
        let spacing = if self.set.load().is_some() { RENEWAL } else { RETRY };
        let _ = timeout(PATIENCE, self.refresh(spacing)).await;
    }

    fn is_due(&self, now: i64) -> bool {
        let (since, tried) = (self.since.load(Relaxed), self.tried.load(Relaxed));
        now - since >= FRESH && now - tried >= RETRY
    }

    /// Fetches the keys, unless somebody else has while this waited for its turn, or within the last `spacing` seconds.
    async fn refresh(self: &Arc<Self>, spacing: i64) {
        let seen = self.tried.load(Relaxed);
        let turn = self.turn.clone().lock_owned().await;
        let (now, tried) = (Timestamp::now().as_second(), self.tried.load(Relaxed));
        if tried != seen || now - tried < spacing {
            return;
        }
        self.tried.store(now, Relaxed);
        let one = Arc::clone(self);
        let bringing = async move {
            one.bring(now).await;
            drop(turn);
        };
        // A task of its own, since the client that asks may leave: nobody else would ask again for a while. One that fails has
        // brought no keys, which every request will notice.
        let _ = tokio::spawn(bringing).await;
    }

    /// Fetches the keys, for the time being `now`.
    async fn bring(&self, now: i64) {
        let fetched = match timeout(PATIENCE, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err("it did not answer in time".into()),
        };
        match fetched {
            Ok(set) => {
                self.since.store(now, Relaxed);
                self.set.store(Some(Arc::new(set)));
                log::info!("the keys of {} are {}", self.publisher, self.count());
            }
            Err(why) => {
                let kept = if self.set.load().is_some() { "; those that are known serve on" } else { "" };
                log::warn!("the keys of {} cannot be had: {why}{kept}", self.publisher);
            }
        }
    }

    fn count(&self) -> String {
        self.set.load().as_ref().map_or_else(String::new, |set| format!("{set:?}"))
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let jwks = match &self.publisher {
            Publisher::Jwks(service) => service.clone(),
            Publisher::Issuer(issuer, service) => {
                let document = self.client.get(service, LARGEST).await?;
                let document = discovered(&document, issuer)?;
                let url = jwks_uri(&document, &service.url)?;
                self.endpoints.store(Endpoints::of(&document, &service.url).map(Arc::new));
                Service { url, ..service.clone() }
            }
        };
        KeySet::jwks(&self.client.get(&jwks, LARGEST).await?)
    }
}

/// Where an issuer does what (OpenID Connect Discovery section 3).
#[derive(Debug)]
pub(crate) struct Endpoints {
    /// Where users log in.
    pub authorization: Box<str>,
    /// Where codes are exchanged.
    pub token: Url,
    /// Where users log out (OpenID Connect RP-Initiated Logout section 2.1).
    pub end_session: Option<Box<str>>,
    /// Whether the client's secret goes among what is posted.
    pub posts_secret: bool,
    /// Whether it says who it is when it sends users back (RFC 9207 section 3).
    pub names_itself: bool,
}

impl Endpoints {
    fn of(document: &Map<String, Value>, from: &Url) -> Option<Self> {
        let url = |name: &str| {
            let text = document.get(name).and_then(Value::as_str)?;
            let url = Url::parse(text).ok().filter(|url| url.is_secure() || !from.is_secure())?;
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
            plain.then(|| (Box::<str>::from(text), url))
        };
        let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let takes = |method: &str| methods.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(method)));
        let named = document.get("authorization_response_iss_parameter_supported");
        Some(Self {
            authorization: url("authorization_endpoint")?.0,
            token: url("token_endpoint")?.1,
            end_session: url("end_session_endpoint").map(|(text, _)| text),
            posts_secret: takes("client_secret_post") && !takes("client_secret_basic"),
            names_itself: named == Some(&Value::Bool(true)),
        })
    }
}

/// The document of an issuer.
fn discovered(document: &[u8], issuer: &str) -> Result<Map<String, Value>, String> {
    let document = fetch::object(document).ok_or("the discovery document is not JSON")?;
    // Whoever answers in another's name is not to be believed (OpenID Connect Discovery section 4.3).
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("the discovery document is of another issuer".into());
    }
    Ok(document)
}

/// Where the keys are, by that document.
fn jwks_uri(document: &Map<String, Value>, from: &Url) -> Result<Url, String> {
    let jwks = document.get("jwks_uri").and_then(Value::as_str);
    let jwks = jwks.and_then(|jwks| Url::parse(jwks).ok()).ok_or("the discovery document has no usable `jwks_uri`")?;
    if from.is_secure() && !jwks.is_secure() {
        return Err("the `jwks_uri` of an https issuer is not https".into());
    }
    Ok(jwks)
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwks(service) => service.url.fmt(f),
            Self::Issuer(issuer, _) => f.write_str(issuer),
        }
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetched({})", self.publisher)
    }
}

#[cfg(test)]
mod tests;
