//! A host's name and the addresses that it has at the moment.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::AbortHandle, time};

use crate::{
    pool::Pool,
    resolve::{Answer, Resolve},
};

/// The bounds between which a TTL is obeyed.
pub(crate) const SHORTEST_TTL: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(300);
/// The longest pause after lookups that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long one lookup may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(15);

/// A host and port whose addresses are looked up again and again by a task of its own. It ends with the last upstream
/// that uses the name.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// How often it is looked up, where that is not the TTL's to say.
    pub(crate) refresh: Option<Duration>,
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Whom to tell when the addresses change.
    pools: Mutex<Vec<Weak<Pool>>>,
    /// Whether a first lookup has come to an end, with or without an answer.
    settled: watch::Sender<bool>,
    task: OnceLock<AbortHandle>,
}

/// What a lookup has led to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Fresh(Duration),
    Failed(String),
}

impl Name {
    pub(crate) fn new(host: &str, port: u16, refresh: Option<Duration>) -> Self {
        Self {
            host: host.into(),
            port,
            refresh,
            addresses: ArcSwap::default(),
            pools: Mutex::default(),
            settled: watch::Sender::new(false),
            task: OnceLock::new(),
        }
    }

    /// All addresses, in the order of the answer.
    pub(crate) fn sockets(&self) -> Vec<SocketAddr> {
        self.addresses.load().to_vec()
    }

    pub(crate) fn is_resolved(&self) -> bool {
        !self.addresses.load().is_empty()
    }

    /// Takes addresses that were found before it was made, until its own first lookup: where none of that succeeds, as while
    /// no name server answers, it goes on with them.
    pub(crate) fn begin_with(&self, known: Vec<SocketAddr>) {
        self.addresses.store(Arc::new(known));
    }

    /// From now on `pool` is told when the addresses change.
    pub(crate) fn tell(&self, pool: &Weak<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool.clone());
    }

    /// Takes over what a lookup found.
    pub(crate) fn publish(&self, found: &[IpAddr]) {
        let mut new: Vec<SocketAddr> = Vec::with_capacity(found.len());
        for &ip in found {
            let socket = SocketAddr::new(ip, self.port);
            if !new.contains(&socket) {
                new.push(socket);
            }
        }
        let old = self.addresses.load_full();
        if old.len() == new.len() && new.iter().all(|socket| old.contains(socket)) {
            return;
        }
        let list: Vec<String> = new.iter().map(|socket| socket.ip().to_string()).collect();
        log::info!("`{}` is now {}", self.host, list.join(", "));
        self.addresses.store(Arc::new(new));
        self.pools().iter().for_each(|pool| pool.rebuild());
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until a first lookup has come to an end.
    pub(crate) async fn settled(&self) {
        // An error would mean that the sender is gone, and it is ours.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Begins to look the name up, once. To be called within a Tokio runtime.
    pub(crate) fn start(self: &Arc<Self>, resolver: &Arc<dyn Resolve>) {
        let begin = || tokio::spawn(keep_up(Arc::downgrade(self), Arc::clone(resolver))).abort_handle();
        self.task.get_or_init(begin);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Looks a name up for as long as somebody uses it. Holds it only between lookups, so that it can end meanwhile.
async fn keep_up(name: Weak<Name>, resolver: Arc<dyn Resolve>) {
    let Some(host) = name.upgrade().map(|name| name.host.clone()) else { return };
    let mut trouble: Option<String> = None;
    let mut failures = 0;
    loop {
        let outcome = look_up(&*resolver, &host, &name).await;
        let Some(name) = name.upgrade() else { return };
        let pause = match outcome {
            Outcome::Fresh(ttl) => {
                if trouble.take().is_some() {
                    log::info!("`{host}` can be resolved again");
                }
                failures = 0;
                name.refresh.unwrap_or_else(|| ttl.clamp(SHORTEST_TTL, LONGEST_TTL))
            }
            Outcome::Failed(error) => {
                name.pools().iter().for_each(|pool| pool.not_found());
                if trouble.as_ref() != Some(&error) {
                    log::warn!("cannot resolve `{host}`: {error}{}", last_good(&name));
                    trouble = Some(error);
                }
                failures += 1;
                pause_after(failures)
            }
        };
        name.settled.send_replace(true);
        drop(name);
        time::sleep(jittered(pause)).await;
    }
}

async fn look_up(resolver: &dyn Resolve, host: &str, name: &Weak<Name>) -> Outcome {
    match time::timeout(LOOKUP_LIMIT, resolver.resolve(host)).await {
        Ok(Ok(Answer { addresses, ttl })) if !addresses.is_empty() => {
            if let Some(name) = name.upgrade() {
                name.publish(&addresses);
            }
            Outcome::Fresh(ttl)
        }
        Ok(Ok(_)) => Outcome::Failed("the name has no addresses".into()),
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed("the name servers do not answer".into()),
    }
}

fn last_good(name: &Name) -> String {
    match name.addresses.load().len() {
        0 => String::new(),
        1 => "; its last address stays in use".into(),
        count => format!("; its last {count} addresses stay in use"),
    }
}

/// 1 s, 2 s, 4 s … up to 30 s.
pub(crate) fn pause_after(failures: u32) -> Duration {
    SHORTEST_TTL.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE)
}

/// Up to a tenth earlier, so that many proxies that began together do not go on asking together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - 0.1 * fastrand::f64()).max(pause.min(SHORTEST_TTL))
}

#[cfg(test)]
mod tests;
