//! The TLS side of a listener made from what is written, once at the start and again whenever a file of it changes.

use std::sync::Arc;

use document::{At, Code, Report};

use crate::{
    Alpn, CertificateConfig, Clients, Store, TicketKeys, Tickets, clock,
    files::{Files, Seen},
    load,
    reader::Reader,
    server,
    store::Serving,
    trust,
    watch::{Ending, Subject},
};

/// The TLS side of a listener as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What it serves.
    pub certificates: Vec<CertificateConfig>,
    /// Which certificates clients may show; `None` when they are not asked.
    pub clients: Option<Clients>,
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
        let serving = self.read(&mut Reader { now, files: &mut files, report });
        (serving, files.seen())
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<Serving> {
        let at = self.at.key("tls");
        let certificates = load::certificates(&self.written.certificates, &at, reader);
        let trust = match &self.written.clients {
            Some(clients) => Some(trust::compile(clients, &self.at, reader)?),
            None => None,
        };
        let certificates = Arc::new(certificates?);
        let (verifier, trusted) = trust.map_or((None, Vec::new()), |trust| (Some(trust.verifier), trust.ends));
        let served = certificates.iter().map(|one| Ending {
            subject: Subject::Certificate,
            file: one.file().into(),
            validity: one.validity(),
        });
        let ends = served.chain(trusted).collect();
        match server::config(&certificates, verifier, self.written.alpn, &self.tickets) {
            Ok(config) => Some(Serving { certificates, config, ends }),
            Err(error) => {
                reader.unusable(error.to_string(), &at, "for this listener");
                None
            }
        }
    }
}
