//! Where orders to the running server are handed in; one task carries them out, one after the other.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use admin::{
    ApiKey, BackendOrder, BackendState, CacheReading, Checked, Control, Explain, FreshKey, Generation, KeyOrder, NoKey,
    Outcome, Purge, Purged, ReloadOrder, Reloaded, Sealed, Source, UpgradeOrder, Upgraded, Warm, Warmed,
};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use cache::Selector;
use document::{Document, Report};
use proxy::Front;
use serde_json::Value;
use snapshot::{Destination, Live};
use tokio::sync::{mpsc, oneshot};

use super::{api_keys, limits, warm};
use crate::{commands::explain, prepare::prepare};

/// How many orders may wait. They come from operators: more than a few at a time are a mistake of a script.
const WAITING: usize = 16;

/// The fewest bytes of a salt: nobody has digests ready for so many.
const SALT: usize = 16;

/// Something that the running server is to do, and where the answer goes.
pub enum Order {
    /// Apply the configuration file as it is now.
    Reload(ReloadOrder, Reply<Reloaded>),
    /// Keep what is on probation.
    Confirm(Reply<Result<Generation, String>>),
    /// Go back to a generation; the one before where none is named.
    Rollback(Option<u64>, Reply<Reloaded>),
    /// Hand over to a new process.
    Upgrade(UpgradeOrder, Reply<Result<Upgraded, String>>),
}

/// Where an answer goes. Whoever asked may have gone meanwhile.
pub type Reply<T> = oneshot::Sender<T>;

/// The desk itself, which the admin plane knows.
pub struct Desk {
    orders: mpsc::Sender<Order>,
    stops: mpsc::Sender<bool>,
    told: Mutex<Arc<Told>>,
    folder: PathBuf,
    live: Arc<Live>,
    limits: limit::State,
    /// Once there is one.
    front: OnceLock<Arc<Front>>,
}

/// What can be said without asking the server's task.
pub struct Told {
    /// The generations that are kept, the newest first.
    pub history: Vec<Generation>,
    /// The configuration in force.
    pub in_force: Arc<config::Loaded>,
}

impl Desk {
    /// A desk and where its orders come out, those to end by a way of their own, which no other order holds up: at once
    /// where they say so. Relative paths in a configuration that is no file start at `folder`.
    pub fn new(
        told: Told,
        folder: PathBuf,
        live: Arc<Live>,
        limits: limit::State,
    ) -> (Arc<Self>, mpsc::Receiver<Order>, mpsc::Receiver<bool>) {
        let ((orders, ordered), (stops, stopped)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
        let (told, front) = (Mutex::new(Arc::new(told)), OnceLock::new());
        (Arc::new(Self { orders, stops, told, folder, live, limits, front }), ordered, stopped)
    }

    /// Where requests are served from now on: there is one for the whole life of the process.
    pub fn open(&self, front: Front) -> Arc<Front> {
        self.front.get_or_init(|| Arc::new(front)).clone()
    }

    /// Says what is in force from now on.
    pub fn tell(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(told);
    }

    fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn current(&self) -> Generation {
        self.told().history.first().cloned().unwrap_or_else(super::generation::none)
    }

    /// Hands an order in and waits for what comes of it; `None` when the server ends instead.
    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What is said of a reload that the server is too late for.
    fn ending(&self) -> Reloaded {
        Reloaded {
            outcome: Outcome::Refused,
            generation: self.current(),
            took_ms: 0,
            changes: Vec::new(),
            waiting: Vec::new(),
            on_trial: None,
            report: format!("error: {ENDING}\n"),
            diagnostics: Vec::new(),
        }
    }
}

const ENDING: &str = "the server is about to end";

#[async_trait]
impl Control for Desk {
    async fn reload(&self, order: ReloadOrder) -> Reloaded {
        self.ask(|reply| Order::Reload(order, reply)).await.unwrap_or_else(|| self.ending())
    }

    async fn confirm(&self) -> Result<Generation, String> {
        self.ask(Order::Confirm).await.unwrap_or_else(|| Err(ENDING.into()))
    }

    async fn rollback(&self, to: Option<u64>) -> Reloaded {
        self.ask(|reply| Order::Rollback(to, reply)).await.unwrap_or_else(|| self.ending())
    }

    async fn upgrade(&self, order: UpgradeOrder) -> Result<Upgraded, String> {
        self.ask(|reply| Order::Upgrade(order, reply)).await.unwrap_or_else(|| Err(ENDING.into()))
    }

    async fn stop(&self, now: bool) {
        // Nobody takes it when the server is ending already.
        let _ = self.stops.send(now).await;
    }

    fn history(&self) -> Vec<Generation> {
        self.told().history.clone()
    }

    fn sources(&self) -> Vec<Source> {
        let sources = config::sources(&self.told().in_force);
        sources.into_iter().map(|(path, text)| Source { path: path.to_string_lossy().into_owned(), text }).collect()
    }

    fn effective(&self) -> serde_json::Value {
        config::effective(&self.told().in_force)
    }

    fn check(&self, text: &str) -> Checked {
        let prepared = prepare(config::load_text("request", text, &self.folder));
        Checked {
            valid: prepared.ready.is_some(),
            report: prepared.render(false),
            diagnostics: json_of(&prepared.loaded.document, &prepared.report),
        }
    }

    fn other_secrets(&self, sealed: &Sealed) -> Result<Vec<String>, String> {
        let salt = BASE64_STANDARD.decode(&sealed.salt).map_err(|error| format!("the salt is no base64: {error}"))?;
        if salt.len() < SALT {
            return Err(format!("the salt must have at least {SALT} bytes"));
        }
        let own = crate::sealed::sealed(&self.told().in_force, &salt);
        let differs = |(at, seal): (&String, &String)| (sealed.secrets.get(at)? != seal).then(|| at.clone());
        Ok(own.iter().filter_map(differs).collect())
    }

    fn order_backend(&self, upstream: &str, backend: &str, order: BackendOrder) -> bool {
        let duty = order.state.map(|state| match state {
            BackendState::Ready => upstream::Duty::Ready,
            BackendState::Drain => upstream::Duty::Drain,
            BackendState::Down => upstream::Duty::Down,
        });
        let time = order.time.and_then(|time| time.parse::<document::Duration>().ok()).map(|time| time.0);
        let order = upstream::Order { duty, weight: order.weight, time };
        self.live.load().upstreams.get(upstream).is_some_and(|upstream| upstream.order(backend, &order))
    }

    fn keys(&self) -> Result<Vec<ApiKey>, NoKey> {
        api_keys::all(&self.told().in_force)
    }

    fn add_key(&self, order: &KeyOrder) -> Result<FreshKey, NoKey> {
        api_keys::add(&self.told().in_force, order)
    }

    fn revoke_key(&self, id: &str, policy: Option<&str>) -> Result<String, NoKey> {
        api_keys::revoke(&self.told().in_force, id, policy)
    }

    fn weigh_split(
        &self,
        name: &str,
        weights: &BTreeMap<String, u32>,
    ) -> Option<Result<BTreeMap<String, u32>, String>> {
        let snapshot = self.live.load();
        let route = snapshot.routes.iter().find(|route| *route.name == *name)?;
        let Destination::Split(split) = &route.destination else { return None };
        Some(split.weigh_anew(weights).map(|()| {
            let now: BTreeMap<String, u32> =
                split.arms().map(|(upstream, weight)| (upstream.name().to_string(), weight)).collect();
            log::info!("route `{name}` is shared as {now:?} until the next reload");
            now
        }))
    }

    fn limits(&self) -> Vec<admin::Limit> {
        limits::all(&self.live.load(), &self.limits)
    }

    fn limit_key(&self, name: &str, key: &str) -> Option<admin::LimitKey> {
        limits::key(&self.live.load(), &self.limits, name, key)
    }

    async fn reset_limit_key(&self, name: &str, key: &str) -> Option<Result<admin::LimitKey, String>> {
        limits::reset(&self.live.load(), &self.limits, name, key).await
    }

    fn explain(&self, request: Explain) -> Result<serde_json::Value, String> {
        explain::of(&self.live.load(), &self.told().in_force, &request)
    }

    fn cache(&self) -> CacheReading {
        crate::banner::cache(&self.live.load()).unwrap_or_default()
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged, String> {
        let normal = |path: &str| route::normalise(path).ok().map(Cow::into_owned);
        let selector = match (&purge.url, &purge.prefix, &purge.tag, purge.all) {
            (Some(url), None, None, false) => Selector::url(url)?.normalised(normal)?,
            (None, Some(prefix), None, false) => Selector::prefix(prefix)?.normalised(normal)?,
            (None, None, Some(tag), false) => Selector::Tag(tag.as_str().into()),
            (None, None, None, true) => Selector::All,
            _ => return Err("expected exactly one of `url`, `prefix`, `tag` and `all`".into()),
        };
        let cache = self.live.load().cache.clone();
        let Some(cache) = cache else { return Ok(Purged { purged: 0 }) };
        let purged = cache.order(vec![selector], purge.soft, cache::now()).await;
        Ok(Purged { purged: purged.ok_or("the purge broke off")? })
    }

    async fn warm(&self, order: Warm) -> Result<Warmed, String> {
        let front = self.front.get().cloned().ok_or("the server is still starting")?;
        warm::warm(front, &self.told().in_force, &order).await
    }
}

/// Everything that is to be said of a configuration, a JSON document each.
pub fn json_of(document: &Document, report: &Report) -> Vec<Value> {
    document.render_json(report).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
