//! What is written of callers' plans.

use std::time::Duration;

use document::{At, Code, Diagnostic, Report, Span};
use smallvec::SmallVec;

use super::{affordable, excludes, rules, windows::SHORTEST_MONTH};
use crate::{
    amount::Measure,
    config::{Amount, Config},
    key::{Key, Step},
    rule::Rule,
};

/// How many plans a limit may tell apart.
const MANY: usize = 64;

/// The rules of one plan.
pub(super) struct Planned {
    pub(super) name: Box<str>,
    pub(super) rules: SmallVec<[Rule; 1]>,
    pub(super) measure: Measure,
}

/// The rules for callers of each plan, in the order of the plans' names.
pub(super) fn plans(
    config: &Config,
    key: Option<&Key>,
    cost: Option<u32>,
    at: &At,
    report: &mut Report,
) -> Vec<Planned> {
    let Some(plans) = &config.plans else { return Vec::new() };
    if config.bandwidth.is_some() {
        excludes("plans", "bandwidth", "plans tell apart how many requests may pass", at, report);
        return Vec::new();
    }
    let at = at.key("plans");
    if key.is_some_and(|key| key.step() != Step::Identity) {
        let by = config.key.as_deref().unwrap_or("ip");
        report.push(
            Diagnostic::new(Code::E0107, format!("`plans` in a limit that counts by `{by}`"))
                .label(at.name(), "a plan is the caller's, and this limit does not count by who calls")
                .help("write `key = \"user\"`, `key = \"api_key\"` or `key = \"claim:NAME\"`"),
        );
        return Vec::new();
    }
    if plans.len() > MANY {
        report.add(Code::E0103, &at, "too many plans for one limit", format!("at most {MANY}"));
    }
    let plan = |(name, amount): (&String, &Amount)| {
        let at = at.key(name);
        let own = own(config, name, amount, &at, report)?;
        let rules = rules(&own, &at, report)?;
        if let Some(cost) = cost {
            affordable(&rules, cost, &at, report);
        }
        Some(Planned { name: name.as_str().into(), rules, measure: measure(&own) })
    };
    plans.iter().filter_map(plan).collect()
}

/// The limit as it is for callers of the plan.
fn own(config: &Config, name: &str, amount: &Amount, at: &At, report: &mut Report) -> Option<Config> {
    let (mut own, measure) = (Config { plans: None, ..config.clone() }, measure(config));
    let Amount { number, requests, rate, concurrent, burst } = *amount;
    // What says how much, as this limit is written, and what does not fit to it.
    let (fits, expected, example) = match (config.requests, config.rate, config.concurrent) {
        (Some(_), ..) => {
            own.requests = number.or(requests);
            own.burst = burst.or_else(|| measure.resized(own.requests?, measure.per).burst);
            (own.requests.is_some() && rate.is_none() && concurrent.is_none(), "a number of requests", "1000")
        }
        (_, Some(_), _) => {
            own.rate = rate;
            own.burst = burst.or_else(|| measure.resized(rate?.count, rate?.per.0).burst);
            (rate.is_some() && requests.is_none() && concurrent.is_none(), "a rate", "\"50/s\"")
        }
        _ => {
            own.concurrent = number.or(concurrent);
            own.burst = burst;
            (own.concurrent.is_some() && rate.is_none() && requests.is_none(), "a number of requests", "50")
        }
    };
    if fits {
        return Some(own);
    }
    report.push(
        Diagnostic::new(Code::E0107, format!("the plan `{name}` does not say how much as the limit does"))
            .label(at, format!("expected {expected}"))
            .help(format!("write for example `{name} = {example}`")),
    );
    None
}

/// How much that is.
pub(super) fn measure(config: &Config) -> Measure {
    let (count, per) = match (config.requests, config.rate, config.window) {
        (Some(requests), _, Some(Span::Time(window))) => (requests, window.0),
        (Some(requests), ..) => (requests, SHORTEST_MONTH),
        (None, Some(rate), _) => (rate.count, rate.per.0),
        (None, None, _) => (config.concurrent.unwrap_or(0), Duration::ZERO),
    };
    Measure { count, per, burst: config.burst }
}
