//! The task that follows certificates: their files, and their end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use document::Report;
use pingora_core::server::ShutdownWatch;
use telemetry::Metrics;
use tls::{Certificates, Event, Stage, Subject, Watch, Watched};
use tokio::{task::spawn_blocking, time::sleep};

use crate::Listener;

/// How often files are looked at. A look costs one question to the file system for each file.
const EVERY: Duration = Duration::from_millis(500);

const DAY: i64 = 86_400;

/// Follows the certificates of the listeners that `listeners` gives each time it is asked, until the process's shutdown:
/// files that have changed are served without a reload, what cannot be used is told of and not served, and so is told
/// what ends before long. One task for the whole process.
pub async fn watch_certificates(
    listeners: impl Fn() -> Vec<Arc<Listener>> + Send,
    metrics: Arc<Metrics>,
    mut shutdown: ShutdownWatch,
) {
    let (mut watch, mut expiries) = (Watch::default(), Expiries::default());
    loop {
        let watched: Vec<Watched> = listeners().iter().filter_map(watched).collect();
        expiries.tell(&watched, &metrics);
        if !watched.is_empty() {
            watch = look(watch, &watched, &metrics).await;
            expiries.tell(&watched, &metrics);
        }
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|shutdown| *shutdown) => return,
            () = sleep(EVERY) => {}
        }
    }
}

/// Looks once, where waiting is allowed: a disk may take its time, and so may keys until they are read.
async fn look(mut watch: Watch, watched: &[Watched], metrics: &Metrics) -> Watch {
    let watched = watched.to_vec();
    let looking = spawn_blocking(move || {
        let events = watch.look(&watched);
        (watch, events)
    });
    let Ok((watch, events)) = looking.await else {
        log::error!("the watch over certificates failed and begins anew; please report it");
        return Watch::default();
    };
    events.iter().for_each(|event| tell(event, metrics));
    watch
}

fn watched(listener: &Arc<Listener>) -> Option<Watched> {
    listener.certificates().map(|store| (Arc::clone(&listener.name), Arc::clone(store)))
}

/// What the metric was last made from.
#[derive(Default)]
struct Expiries(Vec<Arc<Certificates>>);

impl Expiries {
    /// Says when each certificate ends, where that is not known already.
    fn tell(&mut self, watched: &[Watched], metrics: &Metrics) {
        let served: Vec<Arc<Certificates>> = watched.iter().map(|(_, store)| store.certificates()).collect();
        if served.len() == self.0.len() && served.iter().zip(&self.0).all(|(now, before)| Arc::ptr_eq(now, before)) {
            return;
        }
        let mut ends = BTreeMap::new();
        for certificate in served.iter().flat_map(|certificates| certificates.iter()) {
            let Some(name) = certificate.names().next() else { continue };
            let end = ends.entry(name).or_insert(i64::MAX);
            *end = (*end).min(certificate.not_after());
        }
        metrics.certificates(ends);
        self.0 = served;
    }
}

fn tell(event: &Event, metrics: &Metrics) {
    match event {
        Event::Replaced { listener } => {
            metrics.certificates_reloaded(listener, true);
            log::info!("listener `{listener}` serves new certificates");
        }
        Event::Refused { listener, report } => {
            metrics.certificates_reloaded(listener, false);
            let why = sentence(report);
            log::error!("listener `{listener}` keeps its certificates, because its files cannot be used: {why}");
        }
        Event::Ends { subject, file, left, stage } => tell_end(*subject, file, *left, *stage),
    }
}

fn tell_end(subject: Subject, file: &str, left: i64, stage: Stage) {
    let what = match subject {
        Subject::Certificate => "certificate",
        Subject::ClientAuthority => "authority for client certificates",
        Subject::RevocationList => "revocation list",
    };
    let days = days(left.abs());
    match stage {
        Stage::Over => {
            let then = match subject {
                Subject::Certificate => "is still served: clients refuse it",
                Subject::ClientAuthority => "is still trusted, until maitred is next started or reloaded",
                Subject::RevocationList => "is no more good: every client certificate is refused",
            };
            log::error!("the {what} in `{file}` ended {days} ago and {then}");
        }
        Stage::Days => log::error!("the {what} in `{file}` ends in {days}: renew it now"),
        Stage::Fortnight | Stage::Month => log::warn!("the {what} in `{file}` ends in {days}"),
    }
}

/// What a report says, in one line.
fn sentence(report: &Report) -> String {
    let errors = report.diagnostics().iter().filter(|one| !one.code.is_warning());
    let sentences = errors.map(|one| match one.labels.first().filter(|label| !label.text.is_empty()) {
        Some(label) => format!("{} ({}) [{}]", one.message, label.text, one.code),
        None => format!("{} [{}]", one.message, one.code),
    });
    sentences.collect::<Vec<_>>().join("; ")
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
