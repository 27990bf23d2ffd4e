//! Config + State → Snapshot, or a report of everything that is wrong.

mod subset;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use config::{Config, Threads};
use document::{At, Code, Diagnostic, Report, Toggle};
use filter::template::Scope;
use listen::Listener;
use upstream::{Hedge, Mirror, Retries, Split, Upstream};

use crate::{Answers, Destination, Route, Snapshot, State, Trails, callers::Known, fit, pages, unkeyed, warnings};

/// Until the head of an answer, where neither route nor defaults say otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a tunnel or stream may be silent, where the route does not say otherwise.
const DEFAULT_STREAM_IDLE: Duration = Duration::from_secs(600);

/// How long requests under way may take at a shutdown.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// A configuration without mistakes, ready to run.
pub struct Compiled {
    /// What requests run on.
    pub snapshot: Snapshot,
    /// Where connections are accepted.
    pub listeners: Vec<Arc<Listener>>,
    /// What concerns the whole process.
    pub settings: Settings,
}

/// What concerns the whole process.
pub struct Settings {
    /// Worker threads; `None` for one a core.
    pub threads: Option<usize>,
    /// How long requests under way may take at a shutdown.
    pub grace_period: Duration,
    /// Process log and access log.
    pub logging: telemetry::Settings,
}

/// Compiles everything and reports every mistake, warnings included. Opens no file but those that hold certificates,
/// and asks nobody.
pub fn compile(config: &Config, state: &State, report: &mut Report) -> Option<Compiled> {
    let root = At::root();
    let listeners = listeners(config, state, report);
    let upstreams = upstreams(config, state, report);
    let policies = policies(config, state, report);
    let (redis, meters) = (redis(config, state, report), meters(state));
    let ground = limit::Ground { state: &state.limits, redis: found(config, redis.as_ref()), meters: &meters };
    let limits = limit::named(&config.limits, &root.key("limits"), ground, report);
    let caches = config.cache.compile(config.redis.is_some(), &root.key("cache"), report);
    let mut logging = telemetry::compile(&config.logging, &root.key("logging"), report);
    let opened = access::Databases::compile(&config.access, &root.key("access"), &state.files, report);
    let databases = config.access.geoip.as_ref().map(|_| opened.as_ref().and_then(Option::as_ref));
    let (table, methods) = (table(config, report), methods(config));
    let mut routes: Vec<Option<Route>> = config
        .routes
        .iter()
        .map(|(name, written)| {
            let captures = ::route::capture_names(&written.matches);
            let at = root.key("routes").key(name);
            Site {
                name,
                written,
                at,
                captures: &captures,
                upstreams: &upstreams,
                limits: &limits,
                databases,
                methods: &methods,
                ground,
                policies: &policies,
                caches: caches.as_ref(),
                state,
            }
            .compile(report)
        })
        .collect();
    if let Some(logging) = &mut logging {
        let policies = routes.iter().flatten().flat_map(|route| route.auth.policies());
        logging.hide(policies.flat_map(|policy| policy.query_parameters()));
    }
    fit::check(config, &listeners, &upstreams, report);
    warnings::check(config, &listeners, Known { policies: &policies, limits: &limits, routes: &routes }, report);
    unkeyed::check(config, &mut routes, &listeners, report);
    if report.has_errors() {
        return None;
    }
    Some(Compiled {
        snapshot: Snapshot {
            cache: routes.iter().flatten().any(|route| route.cache.is_some()).then(|| state.cache.clone()),
            caches: caches?,
            generation: 0,
            table: table?,
            places: databases.flatten().cloned(),
            routes: routes.into_iter().collect::<Option<_>>()?,
            upstreams: upstreams.into_iter().filter_map(|(name, upstream)| Some((name, upstream?))).collect(),
            redis,
            unmatched: state.metrics.unmatched(),
            https_port: https_port(&listeners),
            proxy_status: config.server.proxy_status == Some(true),
            access_log: None,
            audit: None,
        },
        listeners,
        settings: Settings {
            threads: threads(config),
            grace_period: config.server.grace_period.map_or(DEFAULT_GRACE, |grace| grace.0),
            logging: logging?,
        },
    })
}

fn threads(config: &Config) -> Option<usize> {
    match config.server.threads.unwrap_or_default() {
        Threads::Auto => None,
        Threads::Count(count) => Some(usize::from(count)),
    }
}

fn table(config: &Config, report: &mut Report) -> Option<::route::Table> {
    let at = At::root().key("routes");
    let names: Vec<&str> = config.listeners.keys().map(String::as_str).collect();
    let written = config.routes.iter().map(|(name, route)| (name.as_str(), &route.matches, at.key(name)));
    let pages = pages::of(config, report);
    ::route::Table::with_pages(&written.collect::<Vec<_>>(), &pages, &names, report)
}

/// Which routes name methods.
fn methods(config: &Config) -> ::route::Methods {
    ::route::Methods::of(config.routes.values().map(|route| &route.matches))
}

fn listeners(config: &Config, state: &State, report: &mut Report) -> Vec<Arc<Listener>> {
    let at = At::root().key("listeners");
    let compile = |(name, written): (&String, &listen::Config)| {
        let listener = listen::compile(name, written, &at.key(name), &state.ticket_keys, report)?;
        Some((Arc::new(listener), at.key(name)))
    };
    let compiled: Vec<(Arc<Listener>, At)> = config.listeners.iter().filter_map(compile).collect();
    listen::check_addresses(compiled.iter().map(|(listener, at)| (&**listener, at)), report);
    compiled.into_iter().map(|(listener, _)| listener).collect()
}

/// 443 where anybody listens there, else the first port that speaks TLS.
fn https_port(listeners: &[Arc<Listener>]) -> Option<u16> {
    let secure = listeners.iter().filter(|listener| listener.mode.is_http() && listener.certificates().is_some());
    let ports: Vec<u16> = secure.flat_map(|listener| &listener.addresses).filter_map(listen::Address::port).collect();
    ports.iter().find(|port| **port == 443).or(ports.first()).copied()
}

/// An upstream that does not compile is kept by name, so that the routes to it are not reported as well.
fn upstreams(config: &Config, state: &State, report: &mut Report) -> BTreeMap<String, Option<Arc<Upstream>>> {
    let at = At::root().key("upstreams");
    let compile = |(name, written): (&String, &upstream::Config)| {
        let compiled = upstream::compile(written, name, &at.key(name), &state.upstreams, &state.metrics, report);
        (name.clone(), compiled.map(Arc::new))
    };
    config.upstreams.iter().map(compile).collect()
}

/// A policy that does not compile is kept by name, so that the routes that ask for it are not reported as well.
fn policies(config: &Config, state: &State, report: &mut Report) -> BTreeMap<String, Option<Arc<auth::Policy>>> {
    let at = At::root().key("auth");
    let source = auth::Source { followers: &state.files, state: &state.auth };
    let compile = |(name, written): (&String, &auth::Config)| {
        (name.clone(), auth::policy(name, written, &at.key(name), source, report).map(Arc::new))
    };
    config.auth.iter().map(compile).collect()
}

/// The counters of a limit.
fn meters(state: &State) -> impl Fn(&str) -> limit::Meters {
    |name| {
        let counter = |result: &'static str| match result {
            "short" => state.metrics.limit_short(name),
            result => state.metrics.limit(name, result),
        };
        limit::Meters::of(counter, state.metrics.limit_throttled(name))
    }
}

/// The Redis of the configuration before, where it is the same.
fn redis(config: &Config, state: &State, report: &mut Report) -> Option<store::Store> {
    let settings = store::compile(config.redis.as_ref()?, &At::root().key("redis"), report)?;
    Some(state.redis.store(&settings))
}

/// What there is of it.
fn found<'s>(config: &Config, store: Option<&'s store::Store>) -> limit::Redis<'s> {
    match (store, &config.redis) {
        (Some(store), _) => limit::Redis::Found(store),
        (None, Some(_)) => limit::Redis::Wrong,
        (None, None) => limit::Redis::Absent,
    }
}

/// One route with what its compilation needs to know.
struct Site<'a> {
    name: &'a str,
    written: &'a config::Route,
    at: At,
    captures: &'a [Box<str>],
    upstreams: &'a BTreeMap<String, Option<Arc<Upstream>>>,
    policies: &'a BTreeMap<String, Option<Arc<auth::Policy>>>,
    limits: &'a limit::Named,
    databases: Option<Option<&'a access::Databases>>,
    /// Which routes name methods.
    methods: &'a ::route::Methods,
    /// What all kept answers may take, where that is known.
    caches: Option<&'a cache::Settings>,
    ground: limit::Ground<'a>,
    state: &'a State,
}

impl Site<'_> {
    fn compile(&self, report: &mut Report) -> Option<Route> {
        let policies = &self.written.policies;
        let (at, scope) = (&self.at, self.scope());
        let cors = on(&policies.cors).map(|cors| cors::Cors::compile(cors, &at.key("cors"), report));
        let addresses = access::Addresses::compile(&self.written.access, at, &self.state.files, report);
        let geo = access::Geo::compile(&self.written.access, self.databases, at, report);
        let access = access::Access::compile(&self.written.access, at, report);
        let auth = self.auth(report);
        let limits = self.limits(report);
        let empty = config::Request::default();
        let asked = on(&policies.request).unwrap_or(&empty);
        let request_at = at.key("request");
        let rewrite =
            rewrite::Rewrite::compile(asked.rewrite.as_ref(), asked.query.as_ref(), scope, &request_at, report);
        let host = rewrite::HostPolicy::compile(asked.host.as_ref(), &request_at.key("host"), report);
        let edits =
            transform::Written { set: asked.set.as_ref(), add: asked.add.as_ref(), remove: asked.remove.as_ref() };
        let request = transform::RequestEdits::compile(edits, scope, &request_at, report);
        let response = on(&policies.response)
            .map(|edits| transform::ResponseEdits::compile(edits.into(), scope, &at.key("response"), report));
        let security = on(&policies.security_headers)
            .map(|security| transform::SecurityHeaders::compile(security, &at.key("security_headers"), report));
        let cache = self.cache(asked, report);
        let compress =
            on(&policies.compress).map(|compress| transform::Compress::compile(compress, &at.key("compress"), report));
        let decompress = on(&policies.decompress)
            .map(|decompress| transform::Decompress::compile(decompress, &at.key("decompress"), report));
        let destination = self.destination(report);
        let subset = self.subset(destination.as_ref(), report);
        let mirror = on(&policies.mirror).map(|written| self.mirror(written, report));
        let retries = self.retries(report);
        let hedge = self.hedge(report);
        let (auth, request, response, security) = (auth?, request?, present(response)?, present(security)?);
        let forwarding = self.forwarding(asked, &auth);
        let trails = Trails::of(&auth, &request, response.as_ref(), security.as_ref());
        let looks = cors.is_some() || cache.is_some() || compress.is_some() || auth.renews() || !trails.response;
        Some(Route {
            name: self.name.into(),
            cors: present(cors)?,
            addresses: addresses?,
            geo: geo?,
            access: access?,
            auth_meters: self.auth_meters(&auth),
            veils: crate::route::veils(&auth, rewrite.as_ref()?.as_ref(), &request),
            auth,
            limits: limits?,
            rewrite: rewrite?,
            host: host?,
            cache: present(cache)?,
            destination: destination?,
            subset,
            mirror: present(mirror)?,
            forwarding,
            answers: Answers::of(response.as_ref(), security.as_ref(), looks),
            request: Some(request).filter(|edits| !edits.is_empty()),
            response: response.filter(|edits| !edits.is_empty()),
            security,
            trails,
            compress: present(compress)?,
            decompress: present(decompress)?,
            timeout: timeout(policies),
            stream_idle: self.stream_idle(),
            retries,
            hedge,
            meters: self.state.metrics.route(self.name),
        })
    }

    /// `None` where there is none, `Some(None)` where something is wrong with it.
    fn cache(&self, asked: &config::Request, report: &mut Report) -> Option<Option<cache::Policy>> {
        let policies = &self.written.policies;
        // Where one of these changes, what was kept is an answer to something else.
        let origin = format!("{:?}", (&policies.upstream, asked));
        let (compresses, at) = (on(&policies.compress).is_some(), self.at.key("cache"));
        let compile = |cache| cache::Policy::compile(cache, self.name, &origin, self.caches, compresses, &at, report);
        on(&policies.cache).map(compile)
    }

    /// What the origin is told of the client, and what is not let through.
    fn forwarding(&self, asked: &config::Request, auth: &auth::Auth) -> transform::Forwarding {
        transform::Forwarding {
            forwarded: asked.forwarded == Some(true),
            generation: asked.tracestate == Some(true),
            methods: self.methods.rule(&self.written.matches) || auth.rules_by_method(),
        }
    }

    /// How long a tunnel or stream may be silent.
    fn stream_idle(&self) -> Duration {
        let websocket = self.written.policies.websocket.as_ref();
        websocket.and_then(|websocket| websocket.idle).map_or(DEFAULT_STREAM_IDLE, |idle| idle.0)
    }

    /// Nobody is kept by who they are where nobody asks.
    fn refuse_nobody(&self, auth: &auth::Auth, report: &mut Report) {
        let policies = &self.written.policies;
        if policies.sticky.as_deref() == Some("user") && policies.split.is_some() && auth.policies().is_empty() {
            report.push(
                Diagnostic::new(Code::E0107, "`sticky = \"user\"` needs `auth`")
                    .label(self.at.key("sticky"), "nobody is known here")
                    .help("add `auth`, or write `sticky = \"cookie:visitor\"`"),
            );
        }
    }

    /// A name that no policy has was reported when the document was assembled.
    fn auth(&self, report: &mut Report) -> Option<auth::Auth> {
        let policies = &self.written.policies;
        let named = |name: &str| self.policies.get(name).cloned().flatten();
        let source = auth::Source { followers: &self.state.files, state: &self.state.auth };
        let (auth, require) = (on(&policies.auth), on(&policies.require));
        let auth = auth::compile(auth, require, self.name, &self.at, &named, source, report)?;
        self.refuse_nobody(&auth, report);
        Some(auth)
    }

    /// What templates may stand for: nobody is known to call where nobody asks.
    fn scope(&self) -> Scope<'_> {
        if asks_who_calls(&self.written.policies) { Scope::all(self.captures) } else { Scope::nameless(self.captures) }
    }

    fn auth_meters(&self, auth: &auth::Auth) -> Box<[telemetry::AuthMeters]> {
        let policies = auth.policies().iter();
        let meters = |policy: &Arc<auth::Policy>| {
            self.state.metrics.auth(policy.name(), policy.kind().as_str(), &auth::Outcome::WORDS)
        };
        policies.map(meters).collect()
    }

    fn limits(&self, report: &mut Report) -> Option<limit::Limits> {
        let Some(written) = on(&self.written.policies.limit) else { return Some(limit::Limits::default()) };
        let policies = &self.written.policies;
        let split = policies.split.iter().flat_map(|split| split.keys().map(String::as_str));
        let upstreams: Vec<&str> = policies.upstream.iter().map(|name| name.0.as_str()).chain(split).collect();
        let site = limit::Site { route: self.name, upstreams: &upstreams };
        limit::Limits::compile(written, site, self.limits, &self.at.key("limit"), self.ground, report)
    }

    fn retries(&self, report: &mut Report) -> Option<Retries> {
        let at = self.at.key("retries");
        match self.written.policies.retries.as_ref()? {
            Toggle::Off => {
                let mut none = upstream::compile_retries(None, &at, report);
                none.attempts = 0;
                Some(none)
            }
            Toggle::On(written) => Some(upstream::compile_retries(Some(written), &at, report)),
        }
    }

    fn hedge(&self, report: &mut Report) -> Option<Hedge> {
        match self.written.policies.hedge.as_ref()? {
            Toggle::Off => Some(Hedge::NEVER),
            Toggle::On(written) => {
                let hedge = upstream::compile_hedge(written, &self.at.key("hedge"), report)?;
                let upstreams = self.upstreams.values().flatten();
                // Which of them the route leads to is not known before it is compiled, and watching costs next to nothing.
                upstreams.for_each(|upstream| upstream.watch(&hedge));
                Some(hedge)
            }
        }
    }

    fn mirror(&self, written: &upstream::MirrorConfig, report: &mut Report) -> Option<Arc<Mirror>> {
        let find = |name: &str| self.upstreams.get(name).cloned().flatten();
        let meters = self.state.metrics.mirror(self.name);
        upstream::compile_mirror(written, &self.at.key("mirror"), find, meters, report).map(Arc::new)
    }

    fn split(&self, report: &mut Report) -> Option<Split> {
        let policies = &self.written.policies;
        let find = |name: &str| self.upstreams.get(name).cloned().flatten();
        let (sticky, force) = (policies.sticky.as_deref(), policies.force.as_deref());
        let written = upstream::Written { split: policies.split.as_ref()?, sticky, force };
        Split::compile(written, self.name, &self.at, &self.state.upstreams, find, report)
    }

    /// What belongs to a split does nothing without one.
    fn refuse_idle(&self, report: &mut Report) {
        let policies = &self.written.policies;
        for (key, given) in [("sticky", policies.sticky.is_some()), ("force", policies.force.is_some())] {
            if given && policies.split.is_none() {
                report.push(
                    Diagnostic::new(Code::E0106, format!("`{key}` needs `split`"))
                        .label(self.at.key(key).name(), "there is nothing to choose from")
                        .help(format!("add `split = {{ products = 95, products-next = 5 }}`, or delete `{key}`")),
                );
            }
        }
        if on(&policies.mirror).is_some() && policies.upstream.is_none() && policies.split.is_none() {
            report.push(
                Diagnostic::new(Code::E0106, "`mirror` needs `upstream` or `split`")
                    .label(self.at.key("mirror").name(), "no request goes anywhere that could be copied")
                    .help("add `upstream = \"http://localhost:3000\"`, or delete `mirror`"),
            );
        }
    }

    /// Exactly one of `upstream`, `redirect` and `respond`.
    fn destination(&self, report: &mut Report) -> Option<Destination> {
        let policies = &self.written.policies;
        let (at, scope) = (&self.at, self.scope());
        let given: Vec<&str> = [
            ("upstream", policies.upstream.is_some()),
            ("split", policies.split.is_some()),
            ("redirect", policies.redirect.is_some()),
            ("respond", policies.respond.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
        self.refuse_idle(report);
        match (&policies.upstream, &policies.redirect, &policies.respond) {
            (None, None, None) if policies.split.is_some() => self.split(report).map(Destination::Split),
            _ if given.len() > 1 => {
                let mut diagnostic = Diagnostic::new(Code::E0305, format!("route `{}` leads to two places", self.name));
                for (index, key) in given.iter().enumerate() {
                    diagnostic = diagnostic.label(at.key(*key).name(), if index == 0 { "here" } else { "and here" });
                }
                report.push(diagnostic.help("keep one of them"));
                None
            }
            (Some(upstream), ..) => {
                // A name that no upstream has was reported when the document was assembled.
                self.upstreams.get(&upstream.0).cloned().flatten().map(Destination::Upstream)
            }
            (None, Some(redirect), _) => {
                rewrite::Redirect::compile(redirect, scope, &at.key("redirect"), report).map(Destination::Redirect)
            }
            (None, None, Some(respond)) => {
                rewrite::Respond::compile(respond, scope, &at.key("respond"), report).map(Destination::Respond)
            }
            (None, None, None) => {
                report.push(
                    Diagnostic::new(Code::E0305, format!("route `{}` leads nowhere", self.name))
                        .label(at.name(), "no `upstream`, `split`, `redirect` or `respond`")
                        .help("add `upstream = \"http://localhost:3000\"`, or the name of an upstream"),
                );
                None
            }
        }
    }
}

/// Whether the route finds out who calls.
pub(crate) fn asks_who_calls(policies: &config::Policies) -> bool {
    let asks = |written: &auth::Written| !matches!(written, auth::Written::Named(name) if name == auth::ANONYMOUS);
    on(&policies.auth).is_some_and(|policies| policies.iter().any(asks))
}

/// How long all attempts may take together.
fn timeout(policies: &config::Policies) -> Option<Duration> {
    match &policies.timeout {
        None => Some(DEFAULT_TIMEOUT),
        Some(Toggle::On(timeout)) => Some(timeout.0),
        Some(Toggle::Off) => None,
    }
}

/// The setting, unless it is absent or switched off.
fn on<T>(setting: &Option<Toggle<T>>) -> Option<&T> {
    match setting {
        Some(Toggle::On(setting)) => Some(setting),
        _ => None,
    }
}

/// Absent is fine, and so is present and compiled; `None` stands for present and wrong.
fn present<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    compiled.map_or(Some(None), |compiled| compiled.map(Some))
}
