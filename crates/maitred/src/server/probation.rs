//! Commit-confirm: a configuration that goes by itself unless somebody keeps it.

use std::{sync::Arc, time::Duration};

use admin::{Generation, Outcome, ReloadOrder, Reloaded, Seconds};
use config::Loaded;
use telemetry::Metrics;
use tokio::time::{Instant, sleep_until};

use super::{
    reload::{By, Refusal},
    running::Running,
};

/// How often the guard looks.
const LOOK: Duration = Duration::from_secs(1);

/// How many answers there must be before a share of them means anything.
const ENOUGH: u64 = 20;

/// What was ordered for a configuration that is not in force yet.
pub(super) struct Ordered {
    time: Duration,
    guard: Option<Guard>,
}

/// A configuration in force that is not kept yet.
pub struct Probation {
    /// What to go back to: what was in force before anything was on trial.
    previous: Arc<Loaded>,
    ends: Instant,
    time: Duration,
    guard: Option<(Guard, Counts)>,
}

/// A share of answers that must not be exceeded: `5xx>1%`.
#[derive(Debug, Clone, PartialEq)]
struct Guard {
    text: String,
    /// The first digits of the codes that count.
    codes: String,
    percent: f64,
}

/// Answers so far: those that count for a guard, and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    bad: u64,
    all: u64,
}

impl Probation {
    /// What an order says of it; `None` where it says nothing.
    pub(super) fn ordered(order: &ReloadOrder) -> Result<Option<Ordered>, String> {
        let guard = order.abort_if.as_deref().map(Guard::parse).transpose()?;
        match order.confirm {
            Some(time) if time.0 > 0 => Ok(Some(Ordered { time: time.into(), guard })),
            Some(_) => Err("the time to confirm cannot be zero".into()),
            None if guard.is_some() => Err("a condition to abort on needs a time to confirm in".into()),
            None => Ok(None),
        }
    }

    /// What is on trial once a configuration is in force: `before` was in force until then, and `under_way` on trial.
    fn after(
        under_way: Option<Self>,
        ordered: Option<Ordered>,
        before: Arc<Loaded>,
        decides: bool,
        is_another: bool,
        metrics: &Metrics,
    ) -> Option<Self> {
        match (ordered, under_way) {
            // However often it changes meanwhile, what it goes back to is what somebody has kept.
            (Some(ordered), Some(under_way)) => Some(ordered.begin(under_way.previous, metrics)),
            (Some(ordered), None) => is_another.then(|| ordered.begin(before, metrics)),
            (None, under_way) => under_way.filter(|_| !decides),
        }
    }

    /// How long it goes on. The last second counts as a whole one.
    fn left(&self) -> Seconds {
        let left = self.ends.saturating_duration_since(Instant::now());
        Seconds(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }

    /// Waits until it has failed, and says why: nobody kept it in time, or its guard trips.
    pub(super) async fn failed(&mut self, metrics: &Metrics) -> String {
        loop {
            let now = Instant::now();
            if now >= self.ends {
                return format!("nobody confirmed it within {:?}", self.time);
            }
            if let Some((guard, before)) = &self.guard
                && let Some(evidence) = guard.trips(*before, guard.count(metrics))
            {
                return evidence;
            }
            let next = if self.guard.is_some() { (now + LOOK).min(self.ends) } else { self.ends };
            sleep_until(next).await;
        }
    }
}

impl Ordered {
    /// Begins, now that the configuration is in force.
    pub(super) fn begin(self, previous: Arc<Loaded>, metrics: &Metrics) -> Probation {
        let guard = self.guard.map(|guard| {
            let counts = guard.count(metrics);
            (guard, counts)
        });
        Probation { previous, ends: Instant::now() + self.time, time: self.time, guard }
    }
}

impl Guard {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no condition such as `5xx>1%`, `503>0.5%` or `4xx>10%`");
        let (codes, percent) = text.split_once('>').ok_or_else(wrong)?;
        let codes = codes.trim().to_ascii_lowercase();
        let digits = codes.trim_end_matches('x');
        let is_code = codes.len() == 3 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let percent: f64 =
            percent.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
        if !is_code || !(0.0..100.0).contains(&percent) {
            return Err(wrong());
        }
        Ok(Self { text: text.into(), codes: digits.into(), percent })
    }

    fn count(&self, metrics: &Metrics) -> Counts {
        let mut counts = Counts { bad: 0, all: 0 };
        metrics.answers(|code, count| {
            counts.all += count;
            if code.starts_with(&self.codes) {
                counts.bad += count;
            }
        });
        counts
    }

    /// The evidence, where the share is exceeded.
    fn trips(&self, before: Counts, now: Counts) -> Option<String> {
        let (bad, all) = (now.bad.saturating_sub(before.bad), now.all.saturating_sub(before.all));
        let share = 100.0 * bad as f64 / all.max(1) as f64;
        (all >= ENOUGH && share > self.percent)
            .then(|| format!("{}: {bad} of {all} answers since ({share:.1} %)", self.text))
    }
}

impl By {
    /// Whether somebody has decided with it about what is on trial. HUP and changed files come from hooks and
    /// deployments as well, and a reload that finds nothing new decides nothing.
    const fn decides(self, is_another: bool) -> bool {
        match self {
            By::Reload => is_another,
            By::Rollback | By::Abort => true,
            By::Hangup | By::Watch => false,
        }
    }
}

impl Running {
    /// How long what is in force is still on trial.
    pub(super) fn on_trial(&self) -> Option<Seconds> {
        self.probation.as_ref().map(Probation::left)
    }

    /// Says what is on trial now that a configuration is in force; `before` was until then.
    pub(super) fn go_on_trial(&mut self, ordered: Option<Ordered>, before: Arc<Loaded>, by: By, is_another: bool) {
        let under_way = self.probation.take();
        let was_on_trial = under_way.is_some();
        let (decides, metrics) = (by.decides(is_another), &self.state.metrics);
        self.probation = Probation::after(under_way, ordered, before, decides, is_another, metrics);
        let current = self.generations.current().0.id;
        match self.on_trial() {
            Some(left) => log::info!("generation {current} is on trial for {:?}", Duration::from(left)),
            None if was_on_trial => log::info!("generation {current}: nothing is on trial any more"),
            None => {}
        }
    }

    /// Keeps what is on probation.
    pub(super) fn confirm(&mut self) -> Result<Generation, String> {
        let (current, _) = self.generations.current();
        match self.probation.take() {
            Some(_) => {
                log::info!("generation {} was confirmed", current.id);
                Ok(current)
            }
            None => Err(format!("generation {} is not on probation", current.id)),
        }
    }

    /// Goes back from what was on probation to what was in force before the trial began.
    pub(super) async fn abort(&mut self, why: &str) {
        let Some(probation) = self.probation.take() else { return };
        let failed = self.generations.current().0.id;
        log::error!("generation {failed} is given up: {why}");
        self.admin.events().tell("config", format!("generation {failed} is given up: {why}"));
        let reloaded = self.go_back(&probation.previous, By::Abort).await;
        if reloaded.outcome == Outcome::Refused {
            log::error!("the configuration of before cannot be had back, {failed} stays\n{}", reloaded.report);
        }
    }

    /// Goes back to a generation that is kept; where none is named, to the one before the current or before the trial.
    pub(super) async fn rollback(&mut self, to: Option<u64>) -> Reloaded {
        let found = match (&self.probation, to) {
            // The one before the current may be one that nobody has kept either.
            (Some(probation), None) => Some(Arc::clone(&probation.previous)),
            _ => self.generations.find(to),
        };
        match found {
            // What is on probation is forgotten once something else is in force, and not where that fails.
            Some(loaded) => self.go_back(&loaded, By::Rollback).await,
            None => {
                let message = match to {
                    Some(id) => format!("generation {id} is not kept"),
                    None => "there is no generation before the current one".to_owned(),
                };
                self.refuse(Refusal::new(message), std::time::Instant::now())
            }
        }
    }

    async fn go_back(&mut self, loaded: &Loaded, by: By) -> Reloaded {
        self.apply(Loaded::clone(loaded), &ReloadOrder::default(), by, std::time::Instant::now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_read() {
        for (text, codes, percent) in [("5xx>1%", "5", 1.0), (" 503 > 0.5 %", "503", 0.5), ("50x>0%", "50", 0.0)] {
            let guard = Guard::parse(text).unwrap();
            assert_eq!((&*guard.codes, guard.percent), (codes, percent));
        }
        for text in ["", "5xx", "5xx>1", ">1%", "xxx>1%", "5>1%", "5xx>100%", "p99>1s", "5xx<1%"] {
            assert!(Guard::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_guard_trips_on_enough_evidence_alone() {
        let guard = Guard::parse("5xx>1%").unwrap();
        let before = Counts { bad: 10, all: 100 };
        assert_eq!(guard.trips(before, Counts { bad: 15, all: 115 }), None);
        assert_eq!(guard.trips(before, Counts { bad: 11, all: 200 }), None);
        let evidence = guard.trips(before, Counts { bad: 12, all: 200 }).unwrap();
        assert_eq!(evidence, "5xx>1%: 2 of 100 answers since (2.0 %)");
    }

    #[test]
    fn a_condition_needs_a_time() {
        let order = |confirm, abort_if: Option<&str>| ReloadOrder {
            confirm,
            abort_if: abort_if.map(Into::into),
            ..ReloadOrder::default()
        };
        assert!(Probation::ordered(&order(None, None)).unwrap().is_none());
        assert!(Probation::ordered(&order(None, Some("5xx>1%"))).is_err());
        assert!(Probation::ordered(&order(Some(admin::Seconds(0)), None)).is_err());
        assert!(Probation::ordered(&order(Some(admin::Seconds(5)), Some("5xx>1%"))).unwrap().is_some());
    }

    fn loaded() -> Arc<Loaded> {
        Arc::new(config::load_text("maitred.toml", "", std::path::Path::new(".")))
    }

    fn ordered(seconds: u64) -> Option<Ordered> {
        Some(Ordered { time: Duration::from_secs(seconds), guard: None })
    }

    #[test]
    fn a_trial_goes_back_to_what_was_kept_last() {
        let metrics = Metrics::new(&telemetry::Build { version: "", revision: "", rustc: "", tls: "" });
        let (kept, tried) = (loaded(), loaded());
        let begun = || Probation::after(None, ordered(60), kept.clone(), true, true, &metrics);
        let after = |ordered: Option<Ordered>, by: By, is_another: bool| {
            let decides = by.decides(is_another);
            Probation::after(begun(), ordered, tried.clone(), decides, is_another, &metrics)
        };
        for is_another in [true, false] {
            let anew = after(ordered(300), By::Reload, is_another).unwrap();
            assert!(Arc::ptr_eq(&anew.previous, &kept));
            assert_eq!(anew.left(), Seconds(300));
            for by in [By::Hangup, By::Watch] {
                let goes_on = after(None, by, is_another).unwrap();
                assert!(Arc::ptr_eq(&goes_on.previous, &kept));
                assert_eq!(goes_on.left(), Seconds(60));
            }
            assert!(after(None, By::Rollback, is_another).is_none());
        }
        assert!(after(None, By::Reload, true).is_none());
        assert_eq!(after(None, By::Reload, false).unwrap().left(), Seconds(60));
    }

    #[test]
    fn nothing_is_tried_where_nothing_changes() {
        let metrics = Metrics::new(&telemetry::Build { version: "", revision: "", rustc: "", tls: "" });
        assert!(Probation::after(None, ordered(60), loaded(), false, false, &metrics).is_none());
        assert!(Probation::after(None, None, loaded(), true, true, &metrics).is_none());
    }
}
