//! From limits as written to limits as run.

mod bandwidth;
mod plans;
mod sharing;
mod windows;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use document::{At, Code, Diagnostic, Report, Span, nearest};
use smallvec::{SmallVec, smallvec};
use store::Store;

use crate::{
    ban::Ban,
    bucket::Bucket,
    config::{Config, Count, Over, Written},
    counters::State,
    gate::{Fair, Terms},
    key::{Key, Step},
    limit::{Limit, Salted, Stage},
    limits::Limits,
    meters::Meters,
    plan::{Planned, Tariff},
    queue,
    rule::Rule,
    window::MOST,
};

/// The limits of `[limits]` by name; `None` for one that is wrong.
pub type Named = BTreeMap<String, Option<Arc<Limit>>>;

/// How many limits a route may have.
const MANY: usize = 16;

/// The longest that a request may be held back.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The shortest and the longest window.
const WINDOWS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(366 * 86_400)];

/// What limits are compiled with.
#[derive(Clone, Copy)]
pub struct Ground<'g> {
    /// What has been counted so far.
    pub state: &'g State,
    /// Where limits count that several processes share.
    pub redis: Redis<'g>,
    /// Finds the counters of the limit that is called so.
    pub meters: &'g dyn Fn(&str) -> Meters,
}

/// What there is of `[redis]`.
#[derive(Clone, Copy)]
pub enum Redis<'g> {
    /// Nothing.
    Absent,
    /// A mistake, which was reported where it stands.
    Wrong,
    /// A store.
    Found(&'g Store),
}

impl<'g> Redis<'g> {
    fn store(self) -> Option<&'g Store> {
        match self {
            Self::Found(store) => Some(store),
            Self::Absent | Self::Wrong => None,
        }
    }
}

/// The route that limits are for.
#[derive(Debug, Clone, Copy)]
pub struct Site<'s> {
    /// Its name.
    pub route: &'s str,
    /// The upstreams that it sends requests to: one, several where it splits, none where it answers by itself.
    pub upstreams: &'s [&'s str],
}

/// Compiles `[limits]`, whose entries are at `at`.
pub fn named(written: &BTreeMap<String, Written>, at: &At, ground: Ground<'_>, report: &mut Report) -> Named {
    let compile = |(name, written): (&String, &Written)| {
        let at = at.key(name);
        let limit = match written {
            Written::Own(config) => Limit::compile(config, name, &at, ground, report).map(Arc::new),
            Written::Named(other) => {
                let label = format!("`{other}` is no rate");
                report.push(
                    Diagnostic::new(Code::E0108, format!("the limit `{name}` cannot stand for another"))
                        .label(at, label)
                        .help("write a rate such as \"100/m per ip\", or a table"),
                );
                None
            }
        };
        (name.clone(), limit)
    };
    written.iter().map(compile).collect()
}

impl Limits {
    /// Compiles a route's `limit`, which stands at `at`. `None` when anything is wrong.
    pub fn compile(
        written: &[Written],
        site: Site<'_>,
        named: &Named,
        at: &At,
        ground: Ground<'_>,
        report: &mut Report,
    ) -> Option<Self> {
        if written.len() > MANY {
            report.add(Code::E0103, at, "too many limits for one route", format!("at most {MANY}"));
            return None;
        }
        let mut limits: Vec<Arc<Limit>> = Vec::new();
        let mut sound = true;
        for (index, one) in written.iter().enumerate() {
            let at = at.index(index);
            let compiled = match one {
                Written::Named(name) => find(name, named, &at, report),
                Written::Own(config) => {
                    let name = own_name(site.route, written, index);
                    unlike_named(&name, named, &at, report);
                    Limit::compile(config, &name, &at, ground, report).map(Arc::new)
                }
            };
            match compiled {
                Some(limit) if limits.iter().any(|known| Arc::ptr_eq(known, &limit)) => {
                    let message = format!("the limit `{}` is named twice", limit.name);
                    report.add(Code::E0107, &at, message, "it would count every request twice");
                    sound = false;
                }
                Some(limit) => limits.push(limit),
                None => sound = false,
            }
        }
        sound.then(|| Self::of(&limits, site, ground))
    }

    fn of(limits: &[Arc<Limit>], site: Site<'_>, ground: Ground<'_>) -> Self {
        let tariff = Arc::new(Tariff::of(limits));
        let stage = |step: Step, number: u8, later: &[Step], upstream: &str| {
            let own: Vec<_> = limits.iter().filter(|limit| limit.step() == step).cloned().collect();
            (!own.is_empty()).then(|| Stage {
                store: ground.redis.store().filter(|_| own.iter().any(|limit| limit.shared.is_some())).cloned(),
                leases: own.iter().filter_map(|limit| limit.shared.as_ref()).any(|shared| shared.lease.is_some()),
                queues: queue::order(&own),
                tiers: tariff.tiers(&own),
                limits: own.into(),
                counters: Arc::clone(ground.state),
                route: site.route.into(),
                upstream: upstream.into(),
                number,
                // A place is asked for last, and may not be there.
                returns: limits
                    .iter()
                    .any(|limit| later.contains(&limit.step()) || (limit.step() == step && limit.fair.is_some())),
                tariff: tariff.clone(),
            })
        };
        let first = site.upstreams.first().copied().unwrap_or("");
        // What a route answers by itself asks nobody.
        let mut upstreams = site.upstreams.iter().map(|upstream| stage(Step::Upstream, 2, &[], upstream));
        Self {
            by_client: stage(Step::Client, 0, &[Step::Identity, Step::Upstream], first),
            by_identity: stage(Step::Identity, 1, &[Step::Upstream], first),
            by_upstream: upstreams.next().flatten(),
            by_others: upstreams.flatten().collect(),
            tariff,
        }
    }
}

/// Reports limits of routes' own that would have one name; `routes` says of each route what is written of its limits, and
/// where.
pub fn distinct<'w>(routes: impl Iterator<Item = (&'w str, &'w [Written], At)>, report: &mut Report) {
    let mut known: BTreeMap<String, At> = BTreeMap::new();
    for (route, written, at) in routes {
        let own = written.iter().enumerate().filter(|(_, one)| matches!(one, Written::Own(_)));
        for (index, _) in own {
            let (name, at) = (own_name(route, written, index), at.index(index));
            match known.get(&name) {
                None => drop(known.insert(name, at)),
                Some(first) => report.push(
                    Diagnostic::new(Code::E0107, format!("two limits of routes' own have the name `{name}`"))
                        .label(&at, "this one")
                        .label(first, "and this one")
                        .help("name one of them in `[limits]`, or give one of the routes another name"),
                ),
            }
        }
    }
}

/// The limit has the route's name; with others beside it also its number, so that each is told apart.
fn own_name(route: &str, written: &[Written], index: usize) -> String {
    if written.len() == 1 { route.to_owned() } else { format!("{route}-{}", index + 1) }
}

/// Two limits of one name would be told as one, and count as one where they count by the same.
fn unlike_named(name: &str, named: &Named, at: &At, report: &mut Report) {
    if named.contains_key(name) {
        let message = format!("this limit has the name of the route, and `[limits.{name}]` has it already");
        report.push(
            Diagnostic::new(Code::E0107, message)
                .label(at, "a limit of the route's own")
                .label(At::root().key("limits").key(name).name(), "another one of that name")
                .help(format!("give `[limits.{name}]` another name, or name it here: `limit = \"{name}\"`")),
        );
    }
}

fn find(name: &str, named: &Named, at: &At, report: &mut Report) -> Option<Arc<Limit>> {
    if let Some(found) = named.get(name) {
        // One that is wrong was reported where it stands.
        return found.clone();
    }
    let diagnostic =
        Diagnostic::new(Code::E0201, format!("no limit is named `{name}`")).label(at, "there is none in `[limits]`");
    report.push(match nearest(name, named.keys().map(String::as_str)) {
        Some(near) => diagnostic
            .label(At::root().key("limits").key(near).name(), "a similar name is defined here")
            .help(format!("did you mean `{near}`?"))
            .patch(at, format!("{near:?}")),
        None => diagnostic.help(format!("define it as `[limits.{name}]`, or write a rate such as \"100/m per ip\"")),
    });
    None
}

impl Limit {
    /// Compiles the limit called `name`, which stands at `at`.
    fn compile(config: &Config, name: &str, at: &At, ground: Ground<'_>, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let rules = rules(config, at, report);
        let key = key(config, at, report);
        let cost = number(config.cost, "cost", 1, at, report);
        let patience = patience(config, at, report);
        if let (Some(rules), Some(cost)) = (&rules, cost) {
            affordable(rules, cost, at, report);
        }
        let plans = match &rules {
            Some(_) => plans::plans(config, key.as_ref(), cost, at, report),
            None => Vec::new(),
        };
        if config.count == Some(Count::Failures) && config.concurrent.is_some() {
            excludes("count", "concurrent", "what is under way has neither failed nor succeeded yet", at, report);
        }
        let shared = sharing::shared(config, at, ground, report);
        let ban = ban(config, at, report);
        let estimates = bandwidth::estimates(config, at, report);
        let queue = queue::compile(config, at, report);
        if report.errors() > errors {
            return None;
        }
        let salted = |rule: Rule| {
            let kind = format!("{name}\0{}\0{}", rule.kind(), config.key.as_deref().unwrap_or("ip"));
            Salted { rule, salt: ground.state.hash(b'L', kind.as_bytes()) }
        };
        let planned = |plans::Planned { name, rules, measure }: plans::Planned| Planned {
            name,
            rules: rules.into_iter().chain(ban).map(salted).collect(),
            measure,
        };
        let fair = queue.map(|(by, terms)| {
            let gate = ground.state.gate(salted(Rule::Concurrent(terms.places)).salt);
            Fair { gate, terms: Terms { patience, ..terms }, by }
        });
        let sketch = estimates.then(|| {
            let window = config.window.and_then(Span::time);
            let named = format!("{name}\0{}\0{window:?}", config.key.as_deref().unwrap_or("ip"));
            ground.state.sketch(ground.state.hash(b'E', named.as_bytes()))
        });
        let patience = if fair.is_some() { Duration::ZERO } else { patience };
        Some(Self {
            name: name.into(),
            told: crate::fields::told(name),
            measure: (key.as_ref()?.step() == Step::Identity && config.bandwidth.is_none())
                .then(|| plans::measure(config)),
            key: key?,
            rules: rules?.into_iter().chain(ban).map(salted).collect(),
            plans: plans.into_iter().map(planned).collect(),
            cost: cost?,
            failures: config.count == Some(Count::Failures),
            patience: u64::try_from(patience.as_nanos()).unwrap_or(0),
            mode: config.mode.unwrap_or_default(),
            missing: config.on_missing.unwrap_or_default(),
            headers: config.headers.unwrap_or_default(),
            x_headers: config.x_headers == Some(true),
            shared,
            fair,
            sketch,
            meters: (ground.meters)(name),
        })
    }
}

/// Exactly one of `requests`, `rate`, `concurrent` and `bandwidth` says how it counts.
fn rules(config: &Config, at: &At, report: &mut Report) -> Option<SmallVec<[Rule; 1]>> {
    let ways = [
        ("requests", config.requests.is_some() || config.window.is_some()),
        ("rate", config.rate.is_some()),
        ("concurrent", config.concurrent.is_some()),
        ("bandwidth", config.bandwidth.is_some()),
    ];
    let given: Vec<&str> = ways.into_iter().filter_map(|(way, given)| given.then_some(way)).collect();
    match given[..] {
        [] => {
            report.push(
                Diagnostic::new(Code::E0106, "the limit does not say how much is too much")
                    .label(at, "expected `requests` and `window`, `rate`, `concurrent`, or `bandwidth`")
                    .help("write for example `requests = 100` and `window = \"1m\"`"),
            );
            None
        }
        ["requests"] => windows::rules(config, at, report),
        ["rate"] | ["concurrent"] if config.align.is_some() => {
            excludes("align", given[0], "there is no window that could be one of the calendar", at, report);
            None
        }
        ["bandwidth"] => bandwidth::rules(config, at, report),
        ["rate"] => bucket(config, at, report),
        [_] => {
            if config.burst.is_some() {
                excludes("burst", "concurrent", "there is no rate that it could exceed", at, report);
            }
            Some(smallvec![Rule::Concurrent(number(config.concurrent, "concurrent", 1, at, report)?)])
        }
        [first, second, ..] => {
            excludes(second, first, "a limit counts in one way", at, report);
            None
        }
    }
}

fn bucket(config: &Config, at: &At, report: &mut Report) -> Option<SmallVec<[Rule; 1]>> {
    let rate = config.rate?;
    if rate.count == 0 || rate.count > u64::from(MOST) {
        let label = if rate.count == 0 { REFUSES_ALL.to_owned() } else { format!("at most {MOST}") };
        report.add(Code::E0103, &at.key("rate"), format!("the rate cannot be \"{rate}\""), label);
        return None;
    }
    let burst = number(config.burst, "burst", rate.count, at, report)?;
    Some(smallvec![Rule::Bucket(Bucket::new(rate.count, rate.per.0, burst))])
}

const REFUSES_ALL: &str =
    "this would refuse everybody: a route that answers 403 does so with `respond = { status = 403 }`";

/// A number of requests: at least 1, and no more than can be counted.
pub(crate) fn number(written: Option<u64>, key: &str, default: u64, at: &At, report: &mut Report) -> Option<u32> {
    let number = written.unwrap_or(default);
    match u32::try_from(number) {
        Ok(number @ 1..=MOST) => Some(number),
        _ => {
            let label = if number == 0 { REFUSES_ALL.to_owned() } else { format!("at most {MOST}") };
            let label = if key == "cost" && number == 0 { "at least 1".to_owned() } else { label };
            report.add(Code::E0103, &at.key(key), format!("`{key}` cannot be {number}"), label);
            None
        }
    }
}

fn affordable(rules: &[Rule], cost: u32, at: &At, report: &mut Report) {
    let most = rules.iter().map(Rule::most).min().unwrap_or(u32::MAX);
    if cost > most {
        report.add(
            Code::E0103,
            &at.key("cost"),
            "a request costs more than the whole limit",
            format!("no request could pass: at most {most} at once"),
        );
    }
}

fn key(config: &Config, at: &At, report: &mut Report) -> Option<Key> {
    let text = config.key.as_deref().unwrap_or("ip");
    match Key::parse(text) {
        Ok(key) => {
            let always = matches!(key, Key::Ip | Key::Route | Key::Upstream);
            if always && config.on_missing.is_some() {
                excludes("on_missing", "key", "every request has this key", at, report);
            }
            Some(key)
        }
        Err(expected) => {
            let diagnostic = Diagnostic::new(Code::E0108, format!("`{text}` is nothing that a limit can count by"))
                .label(at.key("key"), expected);
            let words = ["ip", "user", "api_key", "route", "upstream"];
            report.push(match nearest(text, words) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
            None
        }
    }
}

/// How long a request may be held back: not at all, unless `over = "delay"`.
fn patience(config: &Config, at: &At, report: &mut Report) -> Duration {
    if config.over != Some(Over::Delay) {
        if config.max_delay.is_some() {
            report.push(
                Diagnostic::new(Code::E0107, "`max_delay` without `over = \"delay\"`")
                    .label(at.key("max_delay"), "nothing is held back")
                    .help("add `over = \"delay\"`, or delete `max_delay`"),
            );
        }
        return Duration::ZERO;
    }
    if config.rate.is_none() && config.concurrent.is_none() && config.bandwidth.is_none() {
        report.push(
            Diagnostic::new(Code::E0107, "only a `rate` and `concurrent` can hold requests back")
                .label(at.key("over"), "nobody knows for how long")
                .help("write `rate = \"10/s\"` in place of how it counts now"),
        );
    }
    let delay = config.max_delay.map_or(Duration::from_secs(1), |delay| delay.0);
    if delay.is_zero() || delay > LONGEST_DELAY {
        let label = format!("more than nothing, and at most \"{}\"", document::Duration(LONGEST_DELAY));
        let message = format!("a request cannot be held back for {}", document::Duration(delay));
        report.add(Code::E0103, &at.key("max_delay"), message, label);
    }
    delay
}

/// The ban for those who are refused too often.
fn ban(config: &Config, at: &At, report: &mut Report) -> Option<Rule> {
    let written = config.ban.as_ref()?;
    let at = at.key("ban");
    let (Some(_), Some(lasts)) = (written.after, written.r#for) else {
        report.push(
            Diagnostic::new(Code::E0106, "a ban has a reason and an end")
                .label(&at, "expected `after` and `for`")
                .help("write for example `ban = { after = 20, for = \"1h\" }`"),
        );
        return None;
    };
    let after = number(written.after, "after", 1, &at, report)?;
    let within = written.within.unwrap_or(document::Duration::seconds(60));
    for (key, time) in [("within", within), ("for", lasts)] {
        let [shortest, longest] = WINDOWS;
        if !(shortest..=longest).contains(&time.0) {
            let label = format!("from \"{}\" to \"{}\"", document::Duration(shortest), document::Duration(longest));
            report.add(Code::E0103, &at.key(key), format!("`{key}` cannot be {time}"), label);
        }
    }
    Some(Rule::Ban(Ban::new(after, within.0, lasts.0)))
}

pub(crate) fn excludes(key: &str, other: &str, why: &str, at: &At, report: &mut Report) {
    report.push(
        Diagnostic::new(Code::E0107, format!("`{key}` and `{other}` do not go together"))
            .label(at.key(key), why)
            .label(at.key(other).name(), "with this")
            .help("keep one of them"),
    );
}
