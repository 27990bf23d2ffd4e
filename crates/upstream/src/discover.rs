//! Backends that are found while the server runs: where they are looked for, and what was found last.
//!
//! A [`Discover`] looks once. A [`Discovery`] looks again and again by a task of its own, keeps what was found last, and
//! tells the pools that use it. No route is compiled anew: a pool exchanges its endpoints as it does when a name's
//! addresses change. What cannot be found leaves everything as it is.

mod dns;
mod file;
mod srv;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tokio::{sync::watch, task::AbortHandle, time};

pub(crate) use self::{dns::Dns, file::File, srv::Srv};
use crate::{
    name::{Name, jittered, pause_after},
    pool::Pool,
    resolve::{Resolve, Service},
    state::{Kept, State},
    subset::Labels,
    target::{Place, Target},
};

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(15);
/// How long the addresses of what was found may take, before it is used without those that are not known.
const SETTLED: Duration = Duration::from_secs(5);
/// More backends than this are a mistake; the index of an endpoint would not fit.
pub(crate) const MOST: usize = 10_000;

/// Somewhere to look for backends.
#[async_trait]
pub(crate) trait Discover: fmt::Debug + Send + Sync + 'static {
    /// What kind it is, in metrics.
    fn provider(&self) -> &'static str;

    /// How long to wait at most after looks that failed.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// The name whose SRV records it reads, where it does.
    fn service(&self) -> Option<&Srv> {
        None
    }

    /// The backends now: at least one. The error is a phrase for the log.
    async fn find(&self, resolver: &dyn Resolve) -> Result<Found, String>;
}

/// What a look has found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) backends: Arc<[Listed]>,
    /// How long that holds.
    pub(crate) ttl: Duration,
}

/// A backend that was found, or that the configuration lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) target: Target,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
    pub(crate) zone: Option<Box<str>>,
    /// What it is labelled with.
    pub(crate) labels: Labels,
    /// Those of the lowest are used first.
    pub(crate) priority: u8,
    /// How often its name is looked up, where that is not its TTL's to say.
    pub(crate) refresh: Option<Duration>,
}

/// A place that is looked at again and again for as long as an upstream uses it. Kept over reloads, and shared.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// As the configuration writes it.
    pub(crate) text: Box<str>,
    source: Arc<dyn Discover>,
    found: ArcSwapOption<Found>,
    /// Whom to tell.
    pools: Mutex<Vec<Weak<Pool>>>,
    /// Whether a first look has come to an end, with or without success.
    settled: watch::Sender<bool>,
    task: OnceLock<AbortHandle>,
}

impl Discovery {
    pub(crate) fn new(text: &str, source: Arc<dyn Discover>) -> Self {
        Self {
            text: text.into(),
            source,
            found: ArcSwapOption::empty(),
            pools: Mutex::default(),
            settled: watch::Sender::new(false),
            task: OnceLock::new(),
        }
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.source.provider()
    }

    /// What was found last.
    pub(crate) fn found(&self) -> Arc<[Listed]> {
        self.found.load().as_ref().map_or_else(Arc::default, |found| Arc::clone(&found.backends))
    }

    /// Takes what is known without looking, where nothing is.
    pub(crate) fn begin_with(&self, backends: &Arc<[Listed]>) {
        if self.found.load().is_none() {
            self.found.store(Some(Arc::new(Found { backends: Arc::clone(backends), ttl: Duration::ZERO })));
        }
    }

    /// What SRV records have said, by the name that they are of; `None` where that is not where it looks, or nothing was found.
    pub(crate) fn services(&self) -> Option<(&str, Vec<Service>)> {
        let service = |listed: &Listed| match &listed.target.place {
            Place::Name(host, port) => Some(Service {
                priority: listed.priority.into(),
                weight: u16::try_from(listed.weight).unwrap_or(u16::MAX),
                port: *port,
                target: host.clone(),
            }),
            Place::Address(..) | Place::Unix(_) => None,
        };
        let services: Vec<Service> = self.found().iter().filter_map(service).collect();
        Some((&*self.source.service()?.name, services)).filter(|(_, services)| !services.is_empty())
    }

    /// Goes on with what is known of the name that it looks at, until its own first look: where none of that succeeds, as
    /// while no name server answers, that stays.
    pub(crate) fn go_on_with(&self, known: impl FnOnce(&str) -> Option<Vec<Service>>) {
        if let Some(srv) = self.source.service()
            && let Some(services) = known(&srv.name)
        {
            self.begin_with(&srv.listed(&services).into());
        }
    }

    /// From now on `pool` is told when something else is found.
    pub(crate) fn tell(&self, pool: &Weak<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool.clone());
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until a first look has come to an end.
    pub(crate) async fn settled(&self) {
        // An error would mean that the sender is gone, and it is ours.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Begins to look, once. To be called within a Tokio runtime.
    pub(crate) fn start(self: &Arc<Self>, state: &Arc<Kept>) {
        let begin = || tokio::spawn(keep_looking(Arc::downgrade(self), Arc::downgrade(state))).abort_handle();
        self.task.get_or_init(begin);
    }

    /// Puts what was found in the place of what was found before.
    fn publish(&self, found: Found) {
        let before = self.found();
        let changed = before != found.backends;
        let (was, is) = (before.len(), found.backends.len());
        self.found.store(Some(Arc::new(found)));
        if changed {
            self.pools().iter().for_each(|pool| pool.look_up());
            log::info!("`{}` has {is} backends now, {was} before", self.text);
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Looks for as long as somebody uses what is found. Holds it only between looks, so that it can end meanwhile.
async fn keep_looking(discovery: Weak<Discovery>, state: Weak<Kept>) {
    let mut trouble: Option<String> = None;
    let mut failures = 0;
    loop {
        let (Some(source), Some(kept)) = (discovery.upgrade().map(|it| Arc::clone(&it.source)), state.upgrade()) else {
            return;
        };
        let looked = time::timeout(LIMIT, source.find(&*kept.resolver)).await;
        let found = looked.unwrap_or_else(|_| Err("there is no answer".into()));
        // Held until the pools have them.
        let _names = match &found {
            Ok(found) => addresses(&found.backends, &State::of(&kept)).await,
            Err(_) => Vec::new(),
        };
        drop(kept);
        let Some(discovery) = discovery.upgrade() else { return };
        let pause = match found {
            Ok(found) => {
                if trouble.take().is_some() {
                    log::info!("`{}` can be looked at again", discovery.text);
                }
                failures = 0;
                let ttl = found.ttl;
                discovery.publish(found);
                ttl
            }
            Err(error) => {
                discovery.pools().iter().for_each(|pool| pool.not_found());
                if trouble.as_ref() != Some(&error) {
                    let stays = discovery.found().len();
                    log::warn!("`{}` cannot be used: {error}; {stays} backends stay in use", discovery.text);
                    trouble = Some(error);
                }
                failures += 1;
                pause_after(failures).min(source.patience())
            }
        };
        discovery.settled.send_replace(true);
        drop(discovery);
        time::sleep(jittered(pause)).await;
    }
}

/// Looks up the names among what was found before it is used, so that nothing takes the place of backends that work before
/// it has an address.
async fn addresses(found: &[Listed], state: &State) -> Vec<Arc<Name>> {
    let name = |listed: &Listed| match &listed.target.place {
        Place::Name(host, port) => Some(state.name(host, *port, listed.refresh)),
        Place::Address(..) | Place::Unix(_) => None,
    };
    let names: Vec<Arc<Name>> = found.iter().filter_map(name).collect();
    state.start_names(&names);
    let all = async {
        for name in &names {
            name.settled().await;
        }
    };
    // Late is not wrong: those without an address get one later.
    let _ = time::timeout(SETTLED, all).await;
    names
}

#[cfg(test)]
mod tests;
