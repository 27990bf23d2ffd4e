//! A Redis that may be away.

use std::{
    future::Future as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::{sync::Notify, time::timeout};

use crate::{Settings, compile::Reach, connect::Link, keep::keep};

/// After how many calls in a row that were not answered in time Redis counts as away.
pub(crate) const PATIENCE: u32 = 3;

/// How long a call may take that no request waits for.
pub(crate) const UNHURRIED: Duration = Duration::from_secs(1);

/// For how long what Redis has refused is not said again.
const AGAIN: Duration = Duration::from_secs(60);

/// How many different refusals are said in that time.
const MOST_SAID: usize = 16;

/// Redis, shared by everybody who calls it.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    /// The connection, while there is one that answers.
    pub(crate) link: ArcSwapOption<Link>,
    /// Told when the connection is lost.
    pub(crate) lost: Notify,
    /// Told when there is one.
    found: Notify,
    health: Mutex<Health>,
    /// How many calls in a row were not answered in time.
    pub(crate) late: AtomicU32,
    failed: AtomicU64,
    kept: AtomicBool,
    /// What it has refused lately, and when that was said.
    refusals: Mutex<Vec<(String, Instant)>>,
}

/// How Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it answers.
    pub up: bool,
    /// Since when.
    pub since: SystemTime,
    /// Why it does not; empty where it was not asked yet.
    pub error: String,
}

/// Redis is away, or did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down;

/// Why nothing came of what Redis was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It is away, or did not answer in time.
    Down,
    /// It answers that it does not do that: it may not, or has no room.
    Refused,
}

impl From<Failed> for Down {
    fn from(_: Failed) -> Self {
        Self
    }
}

/// A Lua script, which Redis runs in one step.
#[derive(Debug)]
pub struct Script(redis::Script);

impl Script {
    /// A script of this text.
    pub fn new(text: &str) -> Self {
        Self(redis::Script::new(text))
    }
}

/// Where it is, and nothing that lets anybody in.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.settings).finish()
    }
}

impl Store {
    /// A store that connects once it [goes live](Store::goes_live).
    pub fn new(settings: Settings) -> Self {
        let health = Health { up: false, since: SystemTime::now(), error: String::new() };
        Self(Arc::new(Inner {
            settings,
            link: ArcSwapOption::empty(),
            lost: Notify::new(),
            found: Notify::new(),
            health: Mutex::new(health),
            late: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            refusals: Mutex::default(),
        }))
    }

    /// Connects in the background and stays connected, until nobody has the store any more.
    pub fn goes_live(&self) {
        if !self.0.kept.swap(true, Relaxed) {
            tokio::spawn(keep(Arc::downgrade(&self.0)));
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.link.load().is_some()
    }

    /// Ready once there is a connection.
    pub async fn connected(&self) {
        loop {
            let found = self.0.found.notified();
            tokio::pin!(found);
            found.as_mut().enable();
            if self.is_connected() {
                return;
            }
            found.await;
        }
    }

    /// What the names of keys begin with.
    pub fn prefix(&self) -> &str {
        &self.0.settings.prefix
    }

    /// How long a call takes at most.
    pub fn timeout(&self) -> Duration {
        self.0.settings.timeout
    }

    /// Whether keys are spread over several nodes, so that a script can have one key only.
    pub fn is_spread(&self) -> bool {
        self.0.settings.reach == Reach::Cluster
    }

    /// How Redis is.
    pub fn health(&self) -> Health {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls have failed.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Relaxed)
    }

    /// Runs a script over these keys, which answers in numbers. It may take `patience`: what is left of
    /// [`timeout`](Store::timeout) to whoever asks.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; and when it has not answered in time. It may then have run the script all the same.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[i64],
        patience: Duration,
    ) -> Result<Vec<i64>, Down> {
        let Some(link) = self.0.link.load_full() else { return Err(self.0.fail()) };
        let mut call = script.0.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        for argument in arguments {
            call.arg(argument);
        }
        match timeout(patience, link.invoke(&call)).await {
            Ok(Ok(numbers)) => {
                self.0.late.store(0, Relaxed);
                Ok(numbers)
            }
            Ok(Err(error)) => Err(self.0.came_to_nothing(&link, &error).into()),
            Err(_) => {
                // Who has little time left says nothing about Redis.
                if patience >= self.timeout() && self.0.late.fetch_add(1, Relaxed) + 1 >= PATIENCE {
                    self.0.lose(&link, "it does not answer in time");
                }
                Err(self.0.fail())
            }
        }
    }

    /// Runs a script that nobody waits for, ahead of whatever this process asks from now on. Whether it comes to anything is
    /// not told.
    pub fn run_later(&self, script: &'static Script, key: String, arguments: Vec<i64>) {
        if self.0.link.load().is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let store = self.clone();
        let mut call = Box::pin(async move { store.run(script, &[key], &arguments, UNHURRIED).await });
        // It takes its place in the connection's queue as it is first polled, which must not wait for a task's turn.
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(call);
        }
    }
}

impl Inner {
    pub(crate) fn fail(&self) -> Down {
        self.failed.fetch_add(1, Relaxed);
        Down
    }

    /// A script that cannot be run, or a command that is refused, does not mean that Redis is away. It is told of.
    pub(crate) fn came_to_nothing(&self, link: &Arc<Link>, error: &RedisError) -> Failed {
        self.fail();
        if is_refused(error) {
            self.refuses(error.to_string());
            return Failed::Refused;
        }
        self.lose(link, &error.to_string());
        Failed::Down
    }

    fn refuses(&self, error: String) {
        let mut said = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, when)| when.elapsed() < AGAIN);
        if said.len() < MOST_SAID && said.iter().all(|(other, _)| *other != error) {
            log::error!("redis: {error}");
            said.push((error, Instant::now()));
        }
    }

    /// The connection is of no use any more.
    pub(crate) fn lose(&self, link: &Arc<Link>, why: &str) {
        let current = self.link.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            self.link.store(None);
            self.say(false, why);
            self.lost.notify_one();
        }
    }

    pub(crate) fn found(&self, link: Link, took: Duration) {
        self.late.store(0, Relaxed);
        self.link.store(Some(Arc::new(link)));
        self.found.notify_waiters();
        self.say(true, "");
        log::debug!("redis: answers within {took:?}");
    }

    /// Remembers how Redis is, and says it where that has changed.
    pub(crate) fn say(&self, up: bool, why: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !health.up && health.error.is_empty();
        if health.up != up || first {
            let since = SystemTime::now();
            match up {
                true => log::info!("redis: connected to {}", self.settings.place()),
                false => log::warn!("redis: {} is away: {why}", self.settings.place()),
            }
            *health = Health { up, since, error: why.to_owned() };
        } else if !up {
            health.error = why.to_owned();
        }
    }
}

/// Whether Redis has answered, and the answer is no.
fn is_refused(error: &RedisError) -> bool {
    let by_kind = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm) | ErrorKind::UnexpectedReturnType
    );
    // It has no room, cannot write to its own disk or to its replicas, or has something else under that name.
    by_kind || matches!(error.code(), Some("OOM" | "MISCONF" | "NOREPLICAS" | "WRONGTYPE"))
}

/// The store of the configuration in force, found again by the next one that says the same.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Option<Store>>>);

impl Kept {
    /// The store for these settings.
    pub fn store(&self, settings: &Settings) -> Store {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(store) if store.0.settings == *settings => store.clone(),
            _ => kept.insert(Store::new(settings.clone())).clone(),
        }
    }

    /// The same, without a trace in the original.
    pub fn fork(&self) -> Self {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self(Arc::new(Mutex::new(kept)))
    }
}
