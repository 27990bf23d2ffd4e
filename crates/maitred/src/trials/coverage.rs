//! What the tests have been through: routes that took a request, and policies that had something to do.

use std::collections::BTreeSet;

use http::header;
use proxy::{Outcome, Step, Verdict};
use serde_json::{Value, json};
use snapshot::{Destination, Route, Snapshot};

/// Routes and policies, and which of them a test has met.
pub struct Coverage {
    routes: Vec<Box<str>>,
    met: BTreeSet<Box<str>>,
    policies: Vec<Policy>,
}

/// The routes that have one policy, and those where a test met it.
struct Policy {
    kind: &'static Kind,
    of: usize,
    met: BTreeSet<Box<str>>,
}

/// A policy that a request can pass without meeting it.
struct Kind {
    name: &'static str,
    has: fn(&Route) -> bool,
    meets: fn(&Verdict) -> bool,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "cors",
        has: |route| route.cors.is_some(),
        meets: |verdict| verdict.head().headers.contains_key(header::ORIGIN),
    },
    Kind {
        name: "redirect",
        has: |route| matches!(route.destination, Destination::Redirect(_)),
        meets: |verdict| answered_by(verdict, Step::Redirect),
    },
    Kind {
        name: "respond",
        has: |route| matches!(route.destination, Destination::Respond(_)),
        meets: |verdict| answered_by(verdict, Step::Respond),
    },
    Kind { name: "rewrite", has: |route| route.rewrite.is_some(), meets: is_sent },
    Kind { name: "request", has: |route| route.request.is_some(), meets: is_sent },
];

fn answered_by(verdict: &Verdict, step: Step) -> bool {
    matches!(verdict.outcome(), Outcome::Answered(answered) if answered.by == step)
}

fn is_sent(verdict: &Verdict) -> bool {
    matches!(verdict.outcome(), Outcome::Forwarded(_))
}

/// So many routes that no test meets are named; the rest are counted.
const NAMED: usize = 8;

impl Coverage {
    /// What there is to be met.
    pub fn of(snapshot: &Snapshot) -> Self {
        let policy = |kind: &'static Kind| Policy {
            kind,
            of: snapshot.routes.iter().filter(|route| (kind.has)(route)).count(),
            met: BTreeSet::new(),
        };
        Self {
            routes: snapshot.routes.iter().map(|route| (*route.name).into()).collect(),
            met: BTreeSet::new(),
            policies: KINDS.iter().map(policy).filter(|policy| policy.of > 0).collect(),
        }
    }

    /// Notes what one request has met.
    pub fn note(&mut self, verdict: &Verdict) {
        let Some(route) = verdict.route() else { return };
        self.met.insert((*route.name).into());
        for policy in &mut self.policies {
            if (policy.kind.has)(route) && (policy.kind.meets)(verdict) {
                policy.met.insert((*route.name).into());
            }
        }
    }

    fn missed(&self) -> Vec<&str> {
        self.routes.iter().filter(|name| !self.met.contains(*name)).map(|name| &**name).collect()
    }

    /// `coverage: 6 of 8 routes (not: admin, legacy)   policies: cors 1 of 2, redirect 1 of 1`.
    pub fn text(&self) -> String {
        let missed = self.missed();
        let mut text = format!("coverage: {} of {} routes", self.met.len(), self.routes.len());
        if !missed.is_empty() {
            let named = missed.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = missed.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text.push_str(&format!(" (not: {named}{more})"));
        }
        let policy = |policy: &Policy| format!("{} {} of {}", policy.kind.name, policy.met.len(), policy.of);
        if !self.policies.is_empty() {
            let policies: Vec<String> = self.policies.iter().map(policy).collect();
            text.push_str(&format!("   policies: {}", policies.join(", ")));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let policies: serde_json::Map<String, Value> = self
            .policies
            .iter()
            .map(|policy| (policy.kind.name.into(), json!({ "met": policy.met.len(), "of": policy.of })))
            .collect();
        json!({
            "routes": { "met": self.met.len(), "of": self.routes.len(), "not": self.missed() },
            "policies": policies,
        })
    }
}
