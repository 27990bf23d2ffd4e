//! What a start tells: where to reach it, in at most six lines.

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use admin::Status;
use listen::{Address, Listener, Listeners, Mode};
use snapshot::{Live, Snapshot};

use crate::{cli::Global, server::Guide, style::Style};

/// The circumstances of a start.
pub struct Start<'a> {
    /// What the command line says.
    pub global: &'a Global,
    /// Whether to colour.
    pub style: Style,
    /// The configuration's first file.
    pub file: &'a str,
    /// When the start began.
    pub began: Instant,
    /// What to say after the banner.
    pub guide: Option<Guide<'a>>,
}

/// Where a server can be reached.
pub struct Told {
    /// The addresses of its admin sockets, as URLs.
    pub admin: Vec<String>,
    /// Its listeners.
    pub listeners: Arc<Listeners>,
    /// What it runs on.
    pub live: Arc<Live>,
    /// The configuration's first file, as a whole path.
    pub config: Option<String>,
    /// How many threads serve requests.
    pub threads: usize,
    /// What changes with a reload.
    pub latest: Arc<Mutex<Latest>>,
}

/// What of the status changes with a reload.
#[derive(Debug, Default)]
pub struct Latest {
    /// How long requests under way may take at a shutdown.
    pub grace_period: Duration,
    /// The last reload; `None` before the first.
    pub reload: Option<admin::Reload>,
}

impl Told {
    /// What the admin listener asks for when somebody wants to know the status.
    pub fn status(&self) -> impl Fn() -> Status + Send + Sync + use<> {
        let (listeners, live) = (Arc::clone(&self.listeners), Arc::downgrade(&self.live));
        let (config, threads, latest) = (self.config.clone(), self.threads, Arc::clone(&self.latest));
        let changing = move || {
            let latest = lock(&latest);
            (latest.grace_period.as_secs(), latest.reload.clone())
        };
        move || {
            let (grace_seconds, last_reload) = changing();
            Status {
                config: config.clone(),
                grace_seconds,
                threads,
                last_reload,
                listeners: listeners.all().iter().map(|listener| self::listener(&listeners, listener)).collect(),
                upstreams: live.upgrade().map(|live| upstreams(&live.load())).unwrap_or_default(),
                redis: live.upgrade().and_then(|live| live.load().redis.as_ref().map(redis)),
                limits: live.upgrade().map(|live| limits(&live.load())).unwrap_or_default(),
                cache: live.upgrade().and_then(|live| cache(&live.load())),
            }
        }
    }
}

/// What is told, to look at or to change.
pub fn lock(latest: &Mutex<Latest>) -> std::sync::MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of a listener as URLs, as the system has them.
fn urls(listeners: &Listeners, listener: &Arc<Listener>) -> Vec<String> {
    let scheme = listener.url_scheme();
    let addresses = listeners.addresses(listener).into_iter();
    let urls = addresses.map(|(written, local)| match (written, local) {
        (Address::Unix(path), _) => format!("unix:{}", path.display()),
        (_, Some(local)) if local.ip().is_unspecified() => format!("{scheme}://localhost:{}", local.port()),
        (_, Some(local)) => format!("{scheme}://{local}"),
        (written, None) => written.to_string(),
    });
    urls.collect()
}

/// A listener with its addresses, and the certificates that it shows now.
fn listener(listeners: &Listeners, listener: &Arc<Listener>) -> admin::Listener {
    let certificates = listener.certificates().map(|store| store.certificates());
    let shown = certificates.iter().flat_map(|certificates| certificates.iter()).map(|one| {
        let names = one.names().map(str::to_owned).collect();
        admin::Certificate::new(names, one.file().to_owned(), one.not_after())
    });
    admin::Listener {
        name: listener.name.to_string(),
        addresses: urls(listeners, listener),
        certificates: shown.collect(),
    }
}

/// The addresses of admin sockets as URLs.
pub fn admin(sockets: &[admin::Socket]) -> Vec<String> {
    let url = |socket: &admin::Socket| match socket.address() {
        admin::Address::Unix(path) => format!("unix:{}", path.display()),
        other => format!("http://{other}"),
    };
    sockets.iter().map(url).collect()
}

/// Where a listener's connections go, where that is not for the routes to say.
fn leads(listener: &Listener) -> Option<String> {
    let Mode::Stream(streams) = &listener.mode else { return None };
    let mut upstreams: Vec<&str> = streams.upstreams().map(|name| &**name).collect();
    upstreams.sort_unstable();
    upstreams.dedup();
    Some(format!("→ {}", upstreams.join(", ")))
}

fn redis(store: &store::Store) -> admin::Redis {
    let store::Health { up, since, error } = store.health();
    admin::Redis { up, since, error: Some(error).filter(|error| !error.is_empty()), failed_total: store.failed() }
}

/// What the cache of a snapshot holds; `None` where no route keeps answers.
pub fn cache(snapshot: &Snapshot) -> Option<admin::CacheReading> {
    let zone = snapshot.cache.as_ref()?;
    let counts = snapshot.routes.iter().map(|route| route.meters.cached());
    let (requests, hits) = counts.fold((0, 0), |(all, hits), (more, hit)| (all + more, hits + hit));
    let tier = |(tier, reading): (&str, cache::Reading)| {
        let cache::Reading { capacity, bytes, entries, evictions, dropped, broken } = reading;
        admin::CacheTier { tier: tier.to_owned(), capacity, bytes, entries, evictions, dropped, broken }
    };
    let tiers: Vec<_> = zone.tiers().into_iter().map(tier).collect();
    let admin::CacheTier { capacity, bytes, entries, evictions, .. } = tiers.first().cloned().unwrap_or_default();
    Some(admin::CacheReading { capacity, bytes, entries, evictions, requests, hits, tiers })
}

fn upstreams(snapshot: &Snapshot) -> Vec<admin::Upstream> {
    let backend = |upstream: &upstream::Upstream, backend: &upstream::Backend| {
        let condition = upstream.condition(backend);
        admin::Backend {
            address: backend.label().to_string(),
            resolved: backend.addresses().iter().map(ToString::to_string).collect(),
            weight: backend.weight_now(),
            state: condition.state.as_str().to_owned(),
            trouble: condition.trouble,
            in_flight: condition.in_flight,
        }
    };
    let upstream = |(name, upstream): (&String, &Arc<upstream::Upstream>)| admin::Upstream {
        name: name.clone(),
        backends: upstream.backends().map(|one| backend(upstream, &one)).collect(),
        waiting: upstream.waiting(),
        concurrency_limit: upstream.concurrency(),
    };
    snapshot.upstreams.iter().map(upstream).collect()
}

/// The limits that routes have, and how many keys each refuses.
fn limits(snapshot: &Snapshot) -> Vec<admin::LimitReading> {
    let names: BTreeSet<_> = snapshot.routes.iter().flat_map(|route| route.limits.iter()).map(|it| it.name()).collect();
    let counters = snapshot.routes.iter().find_map(|route| route.limits.counters());
    let limited = counters.map(|counters| counters.limited().now()).unwrap_or_default();
    let refuses = |name: &str| limited.iter().filter(|entry| *entry.limit == *name).count();
    names.into_iter().map(|name| admin::LimitReading { name: name.to_string(), limited: refuses(name) }).collect()
}

impl Start<'_> {
    /// Prints the banner on stderr: stdout is for the access log.
    pub fn tell(&self, told: &Told, unresolved: &[Box<str>]) {
        let style = self.style;
        let mut text = String::new();
        if !self.global.quiet {
            let threads = told.threads;
            let plural = if threads == 1 { "" } else { "s" };
            let head = style.bold(concat!("maitred ", env!("CARGO_PKG_VERSION")));
            text.push_str(&format!("{head}   {}   {threads} thread{plural}\n", self.file));
            let addressed = |listener: &Arc<Listener>| (listener.clone(), urls(&told.listeners, listener));
            let listeners: Vec<_> = told.listeners.all().iter().map(addressed).collect();
            let routes = match told.live.load().routes.len() {
                1 => "1 route".to_owned(),
                more => format!("{more} routes"),
            };
            for (listener, urls) in &listeners {
                let (name, leads) = (&listener.name, leads(listener).unwrap_or_else(|| routes.clone()));
                text.push_str(&format!("  {name:<9} {:<28}  {leads}\n", urls.join("  ")));
            }
            for url in told.admin.iter().filter(|url| url.starts_with("http")) {
                text.push_str(&format!("  {:<9} {url:<28}  /health /ready /metrics\n", "admin"));
            }
            for host in unresolved {
                text.push_str(&format!("  {} `{host}` has no address yet\n", style.warning("warning:")));
            }
            let took = self.began.elapsed().as_millis();
            text.push_str(&format!("{} in {took} ms — Ctrl-C to stop\n", style.good("ready")));
            if let Some(guide) = self.guide {
                let first = listeners.first().and_then(|(_, urls)| urls.first());
                text.push_str(&guide(first.map_or("http://localhost:8080", String::as_str)));
            }
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
