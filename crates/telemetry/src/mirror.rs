//! What is counted of the copies of a route's requests.

use prometheus::IntCounter;

/// What may come of a copy, in the order of the manual.
const RESULTS: [&str; 7] = ["answered", "same", "different", "failed", "timeout", "too_large", "dropped"];

/// The counters of one route's copies, resolved when the configuration is compiled.
#[derive(Debug)]
pub struct MirrorMeters([IntCounter; RESULTS.len()]);

impl MirrorMeters {
    pub(crate) fn new(counter: impl Fn(&str) -> IntCounter) -> Self {
        Self(RESULTS.map(counter))
    }

    /// Counts a copy that was answered, and whose answer was not compared.
    pub fn answered(&self) {
        self.0[0].inc();
    }

    /// Counts a copy whose answer was compared with the client's.
    pub fn compared(&self, same: bool) {
        self.0[if same { 1 } else { 2 }].inc();
    }

    /// Counts a copy that was not answered.
    pub fn failed(&self) {
        self.0[3].inc();
    }

    /// Counts a copy that was not answered in time.
    pub fn timeout(&self) {
        self.0[4].inc();
    }

    /// Counts a request that was not copied since its content is too long.
    pub fn too_large(&self) {
        self.0[5].inc();
    }

    /// Counts a request that was not copied since too many copies were under way.
    pub fn dropped(&self) {
        self.0[6].inc();
    }
}
