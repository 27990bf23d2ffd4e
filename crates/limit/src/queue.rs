//! Requests that wait for a place of a limit on how many may be under way.

use std::{sync::Arc, time::Instant};

use document::{At, Code, Diagnostic, Report};
use filter::{Mode, Reply, View};

use crate::{
    ask::{Ask, Passed, Source},
    clock::SECOND,
    compile::excludes,
    config::{Config, Over},
    counters::Hashed,
    gate::{Asked, Full, Terms, Waiting, Wish},
    key::{Key, Step, Value, address},
    limit::{Limit, Stage},
    plan::Tier,
    rule::{Rule, Said, Standing},
};

/// How many may wait for places at most.
const LONGEST_QUEUE: u64 = 4096;

/// How many may wait where nothing is said.
const QUEUE: u64 = 1024;

/// Whom the places are shared by and how many there are, where requests wait for them.
pub(crate) fn compile(config: &Config, at: &At, report: &mut Report) -> Option<(Key, Terms)> {
    let waits = config.concurrent.is_some() && config.over == Some(Over::Delay);
    if !waits {
        for (key, given) in [("max_waiting", config.max_waiting.is_some()), ("fair_by", config.fair_by.is_some())] {
            if given {
                report.push(
                    Diagnostic::new(Code::E0107, format!("`{key}` where nobody waits for a place"))
                        .label(at.key(key).name(), "this is for `concurrent` with `over = \"delay\"`")
                        .help(format!("add what is missing, or delete `{key}`")),
                );
            }
        }
        return None;
    }
    if config.lease.is_some() {
        excludes("lease", "concurrent", "places are given out one by one", at, report);
    }
    let places = u32::try_from(config.concurrent?).unwrap_or(u32::MAX);
    let waiting = config.max_waiting.unwrap_or(u64::from(places).min(QUEUE));
    if !(1..=LONGEST_QUEUE).contains(&waiting) {
        let label = format!("from 1 to {LONGEST_QUEUE}");
        report.add(Code::E0103, &at.key("max_waiting"), format!("`max_waiting` cannot be {waiting}"), label);
    }
    let by = by(config, at, report)?;
    Some((
        by,
        Terms { tier: Tier::OWN, caller: None, places, waiting: waiting as u32, patience: std::time::Duration::ZERO },
    ))
}

/// The numbers of the limits that requests wait for places of, by their names.
pub(crate) fn order(limits: &[Arc<Limit>]) -> Box<[usize]> {
    let mut numbers: Vec<usize> = (0..limits.len()).filter(|number| limits[*number].fair.is_some()).collect();
    numbers.sort_by_key(|number| &limits[*number].name);
    numbers.into()
}

fn by(config: &Config, at: &At, report: &mut Report) -> Option<Key> {
    let text = config.fair_by.as_deref().unwrap_or("ip");
    let expected = match Key::parse(text) {
        Ok(Key::Route | Key::Upstream) => "it tells nobody apart".to_owned(),
        Ok(key) => return Some(key),
        Err(expected) => expected,
    };
    report.push(
        Diagnostic::new(Code::E0108, format!("places cannot be shared by `{text}`"))
            .label(at.key("fair_by"), expected)
            .help("write for example `fair_by = \"api_key\"`"),
    );
    None
}

impl Limit {
    /// The step at which everything is known that it asks for.
    pub(crate) fn step(&self) -> Step {
        self.fair.as_ref().map_or(Step::Client, |fair| fair.by.step()).max(self.key.step())
    }

    /// Whether there is a place, or one to wait for.
    pub(crate) fn queue_says(&self, key: Hashed, rule: &Rule) -> Said {
        let Some(fair) = &self.fair else { return Said::Free(Standing { remaining: 0, reset: 0 }) };
        let (taken, waiting) = fair.gate.look(key);
        let remaining = rule.most().checked_sub(taken.saturating_add(self.cost));
        match remaining.filter(|_| waiting == 0) {
            Some(remaining) => Said::Free(Standing { remaining, reset: 0 }),
            None if waiting < fair.terms.waiting => Said::Free(Standing { remaining: 0, reset: 0 }),
            None => Said::Full { wait: SECOND },
        }
    }
}

impl Stage {
    /// Gets the request its places, one limit after the other in their one order, and waits where it has to.
    pub(crate) async fn place(&self, request: &View<'_>, passed: &mut Passed) -> Result<(), Reply> {
        for limit in &self.queues {
            let Some((index, asked)) = self.ask_for_place(request, passed, *limit) else { continue };
            let placed = match asked {
                Ok(Asked::Placed(place)) => Ok(place),
                Ok(Asked::Waits(waiting)) if self.is_obeyed(&passed.asks[index]) => {
                    passed.asks[index].said = Said::Full { wait: 0 };
                    let began = Instant::now();
                    let placed = Waiting::place(waiting).await;
                    self.limits[passed.asks[index].limit].meters.held.inc_by(began.elapsed().as_secs_f64());
                    placed
                }
                Ok(Asked::Waits(_)) | Err(Full) => Err(Full),
            };
            match placed {
                Ok(place) => passed.permits.keep_place(&self.counters, place),
                Err(Full) => self.miss(request, passed, index)?,
            }
        }
        Ok(())
    }

    /// The same for who cannot wait.
    pub(crate) fn place_now(&self, request: &View<'_>, passed: &mut Passed) -> Result<(), Reply> {
        for limit in &self.queues {
            match self.ask_for_place(request, passed, *limit) {
                None => {}
                Some((_, Ok(Asked::Placed(place)))) => passed.permits.keep_place(&self.counters, place),
                Some((index, Ok(Asked::Waits(_)) | Err(Full))) => self.miss(request, passed, index)?,
            }
        }
        Ok(())
    }

    /// Asks for a place of the limit of this number, and which ask that was; `None` where the limit does not ask.
    fn ask_for_place(&self, request: &View<'_>, passed: &Passed, limit: usize) -> Option<(usize, Result<Asked, Full>)> {
        let index = passed.asks.iter().position(|ask| ask.limit == limit && ask.source == Source::Queue)?;
        let (ask, limit) = (&passed.asks[index], &self.limits[limit]);
        let fair = limit.fair.as_ref()?;
        let consumer = fair.by.of(request, self.place_names()).unwrap_or(address(request.client.address));
        let wish = Wish { key: ask.key, consumer: consumer.hash(&self.counters), cost: limit.cost };
        // Those of the caller's plan, or the caller's own.
        let user = ask.tier.amount.and_then(|_| request.identity?.user.as_deref());
        let caller = user.map(|user| Value::Name(user).hash(&self.counters));
        let terms = Terms { tier: ask.tier, caller, places: ask.rule.most(), ..fair.terms };
        Some((index, fair.gate.ask(&terms, wish)))
    }

    fn is_obeyed(&self, ask: &Ask) -> bool {
        self.limits[ask.limit].mode == Mode::Enforce
    }

    /// There is no place: the request is refused, and counts for no other limit.
    fn miss(&self, request: &View<'_>, passed: &mut Passed, index: usize) -> Result<(), Reply> {
        let limit = passed.asks[index].limit;
        passed.asks[index].said = Said::Full { wait: SECOND };
        if self.limits[limit].mode == Mode::Shadow {
            passed.verdict.shadowed.push(limit);
            passed.permits.shadowed = true;
            return Ok(());
        }
        passed.permits.take_back();
        passed.verdict.refuse(limit, SECOND);
        Err(self.refuse(&passed.verdict, &passed.asks, request))
    }
}
