//! What a start tells: where to reach it, in at most six lines.

use std::{
    io::Write as _,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use admin::Status;
use listen::{Address, Bound};
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
    listeners: Vec<(String, Vec<String>)>,
    admin: Vec<String>,
    routes: usize,
}

/// What of the status does not change.
pub struct Fixed {
    /// The configuration's first file, as a whole path.
    pub config: Option<String>,
    /// How long requests under way may take at a shutdown.
    pub grace_period: Duration,
    /// How many threads serve requests.
    pub threads: usize,
}

impl Told {
    /// Reads the addresses that the sockets really have.
    pub fn of(bound: &[Bound], admin: &[admin::Socket], snapshot: &Snapshot) -> Self {
        let listeners = bound.iter().map(|bound| {
            let scheme = bound.listener().scheme().as_str();
            let urls = bound.sockets().iter().map(|socket| match (socket.address(), socket.local()) {
                (Address::Unix(path), _) => format!("unix:{}", path.display()),
                (_, Some(local)) if local.ip().is_unspecified() => format!("{scheme}://localhost:{}", local.port()),
                (_, Some(local)) => format!("{scheme}://{local}"),
                (address, None) => address.to_string(),
            });
            (bound.listener().name.to_string(), urls.collect())
        });
        Self {
            listeners: listeners.collect(),
            admin: admin.iter().map(url_of_admin).collect(),
            routes: snapshot.routes.len(),
        }
    }

    /// What the admin listener asks for when somebody wants to know the status.
    pub fn status(&self, fixed: Fixed, live: &Arc<Live>) -> impl Fn() -> Status + Send + Sync + use<> {
        let listeners: Vec<admin::Listener> = self
            .listeners
            .iter()
            .map(|(name, addresses)| admin::Listener { name: name.clone(), addresses: addresses.clone() })
            .collect();
        let live: Weak<Live> = Arc::downgrade(live);
        move || Status {
            config: fixed.config.clone(),
            grace_seconds: fixed.grace_period.as_secs(),
            threads: fixed.threads,
            last_reload: None,
            listeners: listeners.clone(),
            upstreams: live.upgrade().map(|live| upstreams(&live.load())).unwrap_or_default(),
        }
    }
}

fn url_of_admin(socket: &admin::Socket) -> String {
    match socket.address() {
        admin::Address::Unix(path) => format!("unix:{}", path.display()),
        other => format!("http://{other}"),
    }
}

fn upstreams(snapshot: &Snapshot) -> Vec<admin::Upstream> {
    let backend = |backend: &upstream::Backend| admin::Backend {
        address: backend.label().to_string(),
        resolved: backend.addresses().iter().map(ToString::to_string).collect(),
        weight: backend.weight(),
    };
    let upstream = |(name, upstream): (&String, &Arc<upstream::Upstream>)| admin::Upstream {
        name: name.clone(),
        backends: upstream.backends().map(backend).collect(),
    };
    snapshot.upstreams.iter().map(upstream).collect()
}

impl Start<'_> {
    /// Prints the banner on stderr: stdout is for the access log.
    pub fn tell(&self, told: &Told, unresolved: &[Box<str>], threads: usize) {
        let style = self.style;
        let mut text = String::new();
        if !self.global.quiet {
            let plural = if threads == 1 { "" } else { "s" };
            let head = style.bold(concat!("maitred ", env!("CARGO_PKG_VERSION")));
            text.push_str(&format!("{head}   {}   {threads} thread{plural}\n", self.file));
            let routes = if told.routes == 1 { "1 route".to_owned() } else { format!("{} routes", told.routes) };
            for (name, urls) in &told.listeners {
                text.push_str(&format!("  {name:<9} {:<28}  {routes}\n", urls.join("  ")));
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
                let first = told.listeners.first().and_then(|(_, urls)| urls.first());
                text.push_str(&guide(first.map_or("http://localhost:8080", String::as_str)));
            }
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
