//! The TLS side of a listener made from what is written, once at the start and again whenever a file of it changes.

use std::sync::Arc;

use document::{At, Code, Report};

use crate::{
    Alpn, CertificateConfig, Store, TicketKeys, Tickets, clock,
    files::{Files, Seen},
    load, server,
    store::Serving,
};

/// The TLS side of a listener as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What it serves.
    pub certificates: Vec<CertificateConfig>,
    /// What it offers to speak.
    pub alpn: Alpn,
}

/// What a listener's TLS side is made from, whenever that is.
#[derive(Debug)]
pub(crate) struct Recipe {
    written: Written,
    /// The path of the listener's table.
    at: At,
    pub(crate) tickets: Arc<Tickets>,
}

/// Reads and checks everything that a listener's TLS side needs; `at` is the path of the listener's table, whose name
/// finds the keys of its session tickets. `None` when anything is unusable, and the report says what.
pub fn compile(written: Written, at: &At, keys: &TicketKeys, report: &mut Report) -> Option<Arc<Store>> {
    let tickets = match keys.of(at.last()) {
        Ok(tickets) => tickets,
        Err(error) => {
            report.add(Code::E0401, &at.key("tls"), error.to_string(), "for this listener");
            return None;
        }
    };
    let recipe = Recipe { written, at: at.clone(), tickets };
    let (serving, seen) = recipe.follow(clock::unix(), report);
    Some(Store::new(recipe, serving?, seen))
}

impl Recipe {
    /// Reads the files as they are now.
    pub(crate) fn follow(&self, now: i64, report: &mut Report) -> (Option<Serving>, Seen) {
        let mut files = Files::new();
        let serving = self.read(now, &mut files, report);
        (serving, files.seen())
    }

    fn read(&self, now: i64, files: &mut Files, report: &mut Report) -> Option<Serving> {
        let at = self.at.key("tls");
        let certificates = Arc::new(load::certificates(&self.written.certificates, &at, now, files, report)?);
        match server::config(&certificates, self.written.alpn, &self.tickets) {
            Ok(config) => Some(Serving { certificates, config }),
            Err(error) => {
                report.add(Code::E0401, &at, error.to_string(), "for this listener");
                None
            }
        }
    }
}
