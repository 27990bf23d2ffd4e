//! Traffic shared by several upstreams: canary, blue and green.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use balance::{hash, mix};
use document::{At, Code, Diagnostic, Report};
use filter::View;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::{key::Key, state::State, upstream::Upstream};

/// More arms than this are a mistake: each costs every request a little.
const MOST_ARMS: usize = 16;
/// How long a browser keeps the cookie: a year.
const MAX_AGE: u32 = 31_536_000;

/// How a route's requests are shared by upstreams.
#[derive(Debug)]
pub struct Split {
    /// The route that it belongs to.
    name: Box<str>,
    arms: Arc<[Arm]>,
    /// What a request is known again by.
    sticky: Option<Key>,
    /// Where a request may name its arm.
    force: Option<Key>,
    /// Keeps users of one route's first arm from being those of every other's.
    seed: u64,
    /// Held while weights change: one order after the other.
    weighing: Mutex<()>,
}

/// One of the upstreams.
#[derive(Debug)]
pub(crate) struct Arm {
    upstream: Arc<Upstream>,
    configured: u32,
    /// As configured, or as an operator has said since.
    weight: AtomicU32,
    seed: u64,
}

/// What a successor is told of weights that an operator has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    pub(crate) route: Box<str>,
    /// Instead of which weights they were given. Where the successor's file says others, it is newer than the order.
    configured: BTreeMap<String, u32>,
    weights: BTreeMap<String, u32>,
}

/// Which arm takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    arm: u16,
    /// A client that was not known is known by this number from now on.
    visitor: Option<u64>,
}

/// What a route says of its split.
#[derive(Debug, Clone, Copy)]
pub struct Written<'w> {
    /// The share of each upstream.
    pub split: &'w BTreeMap<String, u32>,
    /// `sticky`.
    pub sticky: Option<&'w str>,
    /// `force`.
    pub force: Option<&'w str>,
}

impl Split {
    /// Compiles the split of the route `name`. `find` gives the upstream of a name, where it is sound. Weights that the
    /// process before was given go on, where the ones written here are those that they were given instead of.
    pub fn compile(
        written: Written<'_>,
        name: &str,
        at: &At,
        state: &State,
        find: impl Fn(&str) -> Option<Arc<Upstream>>,
        report: &mut Report,
    ) -> Option<Self> {
        let split = at.key("split");
        let sticky = key(written.sticky, &at.key("sticky"), true, report);
        let force = key(written.force, &at.key("force"), false, report);
        if written.split.values().all(|weight| *weight == 0) || written.split.len() > MOST_ARMS {
            report.push(
                Diagnostic::new(
                    Code::E0103,
                    format!("`split` names 1 to {MOST_ARMS} upstreams, one of them with a weight"),
                )
                .label(split.name(), "nobody would get a request, or too many would share them")
                .help("write `split = { products = 95, products-next = 5 }`"),
            );
            return None;
        }
        let arm = |(name, weight): (&String, &u32)| {
            let (upstream, configured) = (find(name)?, *weight);
            Some(Arm { upstream, configured, weight: AtomicU32::new(configured), seed: hash(name.as_bytes()) })
        };
        let arms = written.split.iter().map(arm).collect::<Option<_>>()?;
        let seed = hash(name.as_bytes());
        let split = Self { name: name.into(), arms, sticky: sticky?, force: force?, seed, weighing: Mutex::default() };
        if let Some(learnt) = state.weights(name).filter(|learnt| learnt.configured == *written.split) {
            // They were weights of these very upstreams: nothing about them can be wrong.
            let _ = split.weigh_anew(&learnt.weights);
        }
        Some(split)
    }

    /// From now on the weights of this one are those in force: a successor is told them, should an operator change any.
    pub fn goes_live(&self, state: &State) {
        state.split_goes_live(&self.name, &self.arms);
    }

    /// The upstreams with their weights as they are now.
    pub fn arms(&self) -> impl Iterator<Item = (&Arc<Upstream>, u32)> {
        self.arms.iter().map(|arm| (&arm.upstream, arm.weight.load(Relaxed)))
    }

    /// Gives the upstreams that are named other weights, for as long as this configuration is in force, in this process and
    /// those that take over from it. Clients move as they do when a configuration says so. An error says what cannot be.
    pub fn weigh_anew(&self, weights: &BTreeMap<String, u32>) -> Result<(), String> {
        let named = |name: &str| self.arms.iter().any(|arm| **arm.upstream.name() == *name);
        if let Some(name) = weights.keys().find(|name| !named(name)) {
            return Err(format!("the split has no upstream `{name}`"));
        }
        let _weighing = self.weighing.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |arm: &Arm| weights.get(&**arm.upstream.name()).copied();
        if self.arms.iter().all(|arm| said(arm).unwrap_or_else(|| arm.weight.load(Relaxed)) == 0) {
            return Err("one upstream has to have a weight above 0".into());
        }
        // Those that get something come first: at no time has nobody a weight.
        for nothing in [false, true] {
            for (arm, weight) in self.arms.iter().filter_map(|arm| Some((arm, said(arm)?))) {
                if (weight == 0) == nothing {
                    arm.weight.store(weight, Relaxed);
                }
            }
        }
        Ok(())
    }

    /// What there is to tell of the weights of `arms`: nothing where they are as configured.
    pub(crate) fn learnt(route: &str, arms: &[Arm]) -> Option<Learnt> {
        let all = |weight: fn(&Arm) -> u32| -> BTreeMap<String, u32> {
            arms.iter().map(|arm| (arm.upstream.name().to_string(), weight(arm))).collect()
        };
        let (configured, weights) = (all(|arm| arm.configured), all(|arm| arm.weight.load(Relaxed)));
        (configured != weights).then(|| Learnt { route: route.into(), configured, weights })
    }

    /// The upstream that was chosen.
    pub fn upstream(&self, chosen: Chosen) -> Option<&Arc<Upstream>> {
        self.arms.get(usize::from(chosen.arm)).map(|arm| &arm.upstream)
    }

    /// Chooses for a request.
    pub fn choose(&self, view: &View<'_>) -> Chosen {
        if let Some(arm) = self.forced(view) {
            return Chosen { arm, visitor: None };
        }
        let known = self.sticky.as_ref().and_then(|key| key.of(view));
        let key = known.unwrap_or_else(|| fastrand::u64(..));
        let new = known.is_none() && matches!(self.sticky, Some(Key::Cookie(_)));
        // What the next request will be known by is the hash of what the cookie says.
        let arm = self.weigh(if new { hash(visitor(key).as_bytes()) } else { key });
        Chosen { arm, visitor: new.then_some(key) }
    }

    fn forced(&self, view: &View<'_>) -> Option<u16> {
        let said = match self.force.as_ref()? {
            Key::Header(name) => view.header(name)?,
            Key::Cookie(name) => view.cookie(name)?,
            _ => return None,
        };
        self.arms.iter().position(|arm| **arm.upstream.name() == *said).map(|arm| arm as u16)
    }

    /// Weighted rendezvous hashing: a weight that grows draws keys from the others and moves none between them, so that
    /// raising 5 to 10 % takes users one way only.
    fn weigh(&self, key: u64) -> u16 {
        let score = |arm: &Arm, weight: u32| {
            let number = mix(key ^ self.seed ^ arm.seed);
            // Between 0 and 1, and neither.
            let chance = ((number >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            f64::from(weight) / -chance.ln()
        };
        let mut best = (0, f64::NEG_INFINITY);
        for (index, arm) in (0_u16..).zip(&*self.arms) {
            let weight = arm.weight.load(Relaxed);
            let score = score(arm, weight);
            if weight > 0 && score > best.1 {
                best = (index, score);
            }
        }
        best.0
    }

    /// The cookie by which a client that was not known is known from now on.
    pub fn cookie(&self, chosen: Chosen, secure: bool) -> Option<HeaderValue> {
        let Some(Key::Cookie(name)) = &self.sticky else { return None };
        let secure = if secure { "; Secure" } else { "" };
        let id = visitor(chosen.visitor?);
        let text = format!("{name}={id}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}

fn visitor(number: u64) -> String {
    format!("{number:016x}")
}

/// `None` where it is written and wrong.
fn key(written: Option<&str>, at: &At, any: bool, report: &mut Report) -> Option<Option<Key>> {
    let Some(text) = written else { return Some(None) };
    let found = Key::parse(text).filter(|key| match key {
        Key::Header(_) | Key::Cookie(_) => true,
        Key::Ip | Key::User => any,
        Key::Path => false,
    });
    if found.is_none() {
        let or = if any { ", `header:X-User`, `user` or `ip`" } else { " or `header:X-Variant`" };
        report.push(
            Diagnostic::new(Code::E0108, format!("`{text}` is nothing that a client is known by"))
                .label(at, "not known")
                .help(format!("write `cookie:visitor`{or}")),
        );
    }
    found.map(Some)
}

#[cfg(test)]
mod tests;
