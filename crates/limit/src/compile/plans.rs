//! What is written of callers' plans.

use document::{At, Code, Diagnostic, Rate, Report};
use smallvec::SmallVec;

use super::{affordable, excludes, rules};
use crate::{
    config::{Amount, Config},
    key::{Key, Step},
    rule::Rule,
    window::MOST,
};

/// How many plans a limit may tell apart.
const MANY: usize = 64;

/// The rules of one plan.
type Planned = (Box<str>, SmallVec<[Rule; 1]>);

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
        let rules = rules(&own(config, name, amount, &at, report)?, &at, report)?;
        if let Some(cost) = cost {
            affordable(&rules, cost, &at, report);
        }
        Some((name.as_str().into(), rules))
    };
    plans.iter().filter_map(plan).collect()
}

/// The limit as it is for callers of the plan.
fn own(config: &Config, name: &str, amount: &Amount, at: &At, report: &mut Report) -> Option<Config> {
    let mut own = Config { plans: None, ..config.clone() };
    let Amount { number, requests, rate, concurrent, burst } = *amount;
    // What says how much, as this limit is written, and what does not fit to it.
    let (fits, expected, example) = match (config.requests, config.rate, config.concurrent) {
        (Some(before), ..) => {
            own.requests = number.or(requests);
            own.burst = burst.or_else(|| scaled(config.burst, own.requests?, before));
            (own.requests.is_some() && rate.is_none() && concurrent.is_none(), "a number of requests", "1000")
        }
        (_, Some(before), _) => {
            own.rate = rate;
            own.burst = burst.or_else(|| faster(config.burst, rate?, before));
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

/// A burst that is to the new number as it was to the one before.
fn scaled(burst: Option<u64>, now: u64, before: u64) -> Option<u64> {
    ratio(burst?, u128::from(now), u128::from(before))
}

/// The same for rates.
fn faster(burst: Option<u64>, now: Rate, before: Rate) -> Option<u64> {
    let speed = |rate: Rate, per: Rate| u128::from(rate.count).saturating_mul(per.per.0.as_millis());
    ratio(burst?, speed(now, before), speed(before, now))
}

fn ratio(burst: u64, now: u128, before: u128) -> Option<u64> {
    let burst = u128::from(burst).saturating_mul(now).div_ceil(before.max(1));
    Some(u64::try_from(burst).unwrap_or(u64::MAX).clamp(1, MOST.into()))
}
