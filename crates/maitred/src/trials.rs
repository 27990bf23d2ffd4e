//! The tests written in the configuration, run against what was compiled from it.

mod coverage;

use std::{collections::BTreeSet, sync::Arc};

use config::Config;
use document::{At, Code, Diagnostic, Report};
use listen::Listener;
use proxy::{Judge, Outcome, Verdict};
use snapshot::Snapshot;
use trial::{Came, Known, Miss, Request, Trial};

pub use coverage::Coverage;

use crate::{
    asked::{self, Circumstances, Unfit},
    verdict,
};

/// What came of all tests.
pub struct Told {
    /// How many hold.
    pub passed: usize,
    /// How many do not.
    pub failed: usize,
    /// What they have been through.
    pub coverage: Coverage,
}

/// Compiles every test, and reports what is wrong with how they are written.
pub fn compile(config: &Config, report: &mut Report) -> Vec<Trial> {
    let routes: Vec<&str> = config.routes.keys().map(String::as_str).collect();
    let listeners: Vec<&str> = config.listeners.keys().map(String::as_str).collect();
    let urls = |upstream: &'_ upstream::Config| -> Vec<String> {
        upstream.backends.iter().flat_map(|backends| backends.iter()).filter_map(|one| one.url.clone()).collect()
    };
    let backends: Vec<(&str, Vec<String>)> =
        config.upstreams.iter().map(|(name, upstream)| (name.as_str(), urls(upstream))).collect();
    let upstreams: Vec<(&str, Vec<&str>)> =
        backends.iter().map(|(name, urls)| (*name, urls.iter().map(String::as_str).collect())).collect();
    let known = Known { routes: &routes, upstreams: &upstreams, listeners: &listeners };
    let at = At::root().key("tests");
    let compile =
        |(name, written): (&String, &trial::Config)| trial::compile(name, written, &at.key(name), &known, report);
    config.tests.iter().filter_map(compile).collect()
}

/// What the tests run against.
pub struct Stage<'a> {
    /// The configuration as written.
    pub config: &'a Config,
    /// What was compiled from it.
    pub snapshot: &'a Arc<Snapshot>,
    /// Where connections would be accepted.
    pub listeners: &'a [Arc<Listener>],
}

impl Stage<'_> {
    /// Runs every test, and reports all that fail.
    pub fn run(&self, trials: &[Trial], report: &mut Report) -> Told {
        let judge = Judge::new();
        let mut told = Told { passed: 0, failed: 0, coverage: Coverage::of(self.snapshot) };
        let mut failed = BTreeSet::new();
        for trial in trials {
            for (place, request) in &trial.requests {
                if let Err(diagnostic) = self.try_one(&judge, trial, place, request, &mut told.coverage) {
                    report.push(*diagnostic);
                    failed.insert(&trial.name);
                }
            }
        }
        told.failed = failed.len();
        told.passed = trials.len() - failed.len();
        told
    }

    fn try_one(
        &self,
        judge: &Judge,
        trial: &Trial,
        place: &At,
        request: &Request,
        coverage: &mut Coverage,
    ) -> Result<(), Box<Diagnostic>> {
        let route = trial.route().and_then(|name| self.config.routes.get(name)).map(|route| &route.matches);
        let around = Circumstances { listeners: self.listeners, named: trial.listener.as_deref(), route };
        let listener = around.listener(request).map_err(|unfit| Box::new(no_way_in(trial, place, &unfit)))?;
        let asked = asked::asked(request, listener, &around.host(), &trial.fields, trial.from, trial.user.as_deref());
        let Some(asked) = asked else {
            let message = format!("test `{}` asks for what no client could", trial.name);
            let diagnostic = Diagnostic::new(Code::E0108, message);
            return Err(Box::new(diagnostic.label(place, "no request can be made of this and the headers")));
        };
        let verdict = judge.judge(self.snapshot, asked);
        coverage.note(&verdict);
        let misses = trial.weigh(&came(&verdict));
        if misses.is_empty() { Ok(()) } else { Err(Box::new(failure(trial, place, request, &verdict, misses))) }
    }
}

/// A verdict in the words of a test.
fn came(verdict: &Verdict) -> Came<'_> {
    let outcome = match verdict.outcome() {
        Outcome::Answered(answered) => trial::Outcome::Answered {
            status: answered.status.as_u16(),
            reason: answered.reason,
            fields: &answered.fields,
        },
        Outcome::Forwarded(sent) => trial::Outcome::Forwarded {
            upstream: sent.upstream.name(),
            target: &sent.target,
            hosts: sent.hosts.iter().filter_map(|host| host.to_str().ok()).collect(),
            request: &sent.fields,
            response: &sent.response,
        },
    };
    Came { route: verdict.route().map(|route| &*route.name), outcome }
}

fn no_way_in(trial: &Trial, place: &At, unfit: &Unfit<'_>) -> Diagnostic {
    match unfit {
        Unfit::Scheme(scheme) => {
            let message = format!("test `{}` comes by {scheme}, which no listener speaks", trial.name);
            Diagnostic::new(Code::E0801, message).label(place, "no connection could bring this").help(
                "behind a proxy that ends TLS write `http://`, the proxy's address as `from`, and `headers = { \
                 X-Forwarded-Proto = \"https\" }`",
            )
        }
        Unfit::Named(listener) => {
            let (name, scheme) = (&listener.name, listener.url_scheme());
            let help = if listener.mode.is_http() {
                format!("write `{scheme}://`, or name another listener")
            } else {
                "name a listener that takes requests".into()
            };
            let message = format!("test `{}` comes by a listener that speaks {scheme}", trial.name);
            Diagnostic::new(Code::E0801, message)
                .label(place, format!("no connection to `{name}` could bring this"))
                .label(trial.at().key("listener"), "the listener")
                .help(help)
        }
    }
}

fn failure(trial: &Trial, place: &At, request: &Request, judged: &Verdict, misses: Vec<Miss>) -> Diagnostic {
    let message = match trial.requests.len() {
        1 => format!("test `{}` fails", trial.name),
        _ => format!("test `{}` fails for `{} {}`", trial.name, request.method, request.target),
    };
    let mut diagnostic = Diagnostic::new(Code::E0801, message);
    for Miss { at, remark, help } in misses {
        diagnostic = diagnostic.label(at, remark);
        diagnostic.help = diagnostic.help.or(help);
    }
    let asked_of = match (&request.authority, judged.arrival()) {
        (None, Some(arrival)) => format!(" (asked of `{}`)", arrival.view(judged.head()).host),
        _ => String::new(),
    };
    diagnostic = diagnostic.label(place, format!("{}{asked_of}", verdict::sentence(judged)));
    let won = judged.route().map(|route| &*route.name);
    if won == trial.route() {
        return diagnostic;
    }
    let arrival = judged.arrival();
    for candidate in judged.candidates() {
        let name = arrival.and_then(|arrival| arrival.snapshot.routes.get(candidate.id.0 as usize));
        let Some(name) = name.map(|route| &*route.name) else { continue };
        let at = At::root().key("routes").key(name).name();
        if Some(name) == won {
            diagnostic = diagnostic.label(at, format!("takes it: {}", candidate.why));
        } else if Some(name) == trial.route() {
            diagnostic = diagnostic.label(at, format!("does not take it: {}", candidate.why));
        }
    }
    diagnostic
}
