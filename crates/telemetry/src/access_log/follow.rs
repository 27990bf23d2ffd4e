//! Those who follow the access log while it is written.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;

use super::{LoggedRequest, json};
use crate::Record;

/// Everybody who follows. While that is nobody, a request costs one look at a counter.
#[derive(Debug, Default)]
pub struct Followers {
    count: AtomicUsize,
    all: ArcSwap<Vec<Arc<Follower>>>,
    /// Held by whoever exchanges the list.
    changing: Mutex<()>,
    /// How many logs there are whose lines can be followed.
    logs: AtomicUsize,
}

/// Which requests one wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this route only; `-` for requests that none took.
    route: Option<String>,
    /// With one of these statuses only.
    status: Vec<(u16, u16)>,
}

/// Hands a line on, without waiting for anybody.
type Deliver = dyn Fn(&[u8]) + Send + Sync;

struct Follower {
    wanted: Wanted,
    deliver: Box<Deliver>,
}

/// Somebody follows until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the following"]
pub struct Following {
    followers: Arc<Followers>,
    follower: Arc<Follower>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Wanted {
    /// Narrows it to a route.
    #[must_use]
    pub fn with_route(self, route: Option<&str>) -> Self {
        Self { route: route.map(str::to_owned), ..self }
    }

    /// Narrows it to statuses such as `404`, `5xx` or `404,5xx`.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn with_status(mut self, text: &str) -> Result<Self, String> {
        for one in text.split(',').map(str::trim) {
            let class = one.strip_suffix("xx").or_else(|| one.strip_suffix("XX")).and_then(|class| class.parse().ok());
            let range = match (class, one.parse()) {
                (Some(class @ 1..=5_u16), _) => (class * 100, class * 100 + 99),
                (_, Ok(status @ 100..=599_u16)) => (status, status),
                _ => return Err(format!("`{one}` is not a status; write for example `404` or `5xx`")),
            };
            self.status.push(range);
        }
        Ok(self)
    }

    fn has(&self, record: &Record, request: &LoggedRequest<'_>) -> bool {
        self.route.as_deref().is_none_or(|route| route == request.route)
            && (self.status.is_empty()
                || self.status.iter().any(|(first, last)| (*first..=*last).contains(&record.status)))
    }
}

impl Followers {
    /// Follows: `deliver` is called with each line, on the thread that served the request. It must not wait.
    pub fn follow(self: &Arc<Self>, wanted: Wanted, deliver: impl Fn(&[u8]) + Send + Sync + 'static) -> Following {
        let follower = Arc::new(Follower { wanted, deliver: Box::new(deliver) });
        self.change(|all| all.push(Arc::clone(&follower)));
        Following { followers: Arc::clone(self), follower }
    }

    /// Whether there is a log to follow: an access log that is switched off has no lines.
    pub fn have_a_log(&self) -> bool {
        self.logs.load(Ordering::Acquire) > 0
    }

    pub(super) fn fed(&self, opened: bool) {
        if opened {
            self.logs.fetch_add(1, Ordering::AcqRel)
        } else {
            self.logs.fetch_sub(1, Ordering::AcqRel)
        };
    }

    #[inline]
    pub(super) fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Tells those who want to hear of this request, in JSON whatever the log's own format is.
    #[cold]
    pub(super) fn tell(&self, record: &Record, request: &LoggedRequest<'_>, hidden: &[Box<str>]) {
        let all = self.all.load();
        let mut line = Vec::new();
        for follower in all.iter().filter(|follower| follower.wanted.has(record, request)) {
            if line.is_empty() {
                let start = SystemTime::now().checked_sub(record.duration).unwrap_or(SystemTime::UNIX_EPOCH);
                json::write(&mut line, start, record, request, hidden);
            }
            (follower.deliver)(line.trim_ascii_end());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Follower>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&self.all.load());
        change(&mut all);
        self.count.store(all.len(), Ordering::Relaxed);
        self.all.store(Arc::new(all));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followers.change(|all| all.retain(|follower| !Arc::ptr_eq(follower, &self.follower)));
    }
}

#[cfg(test)]
mod tests;
