//! What is counted per policy of authentication.

use prometheus::IntCounter;

/// The counters of one policy: one for each result, resolved when the configuration is compiled.
#[derive(Debug)]
pub struct AuthMeters(Box<[IntCounter]>);

impl AuthMeters {
    pub(crate) fn new(counters: Box<[IntCounter]>) -> Self {
        Self(counters)
    }

    /// Counts the result of this place in the list that the counters were asked for with.
    pub fn count(&self, result: usize) {
        if let Some(counter) = self.0.get(result) {
            counter.inc();
        }
    }
}
