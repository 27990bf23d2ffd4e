//! The operator of the run: reloads and upgrades at even distances, and a look at what came of each.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use admin::Outcome as Came;
use tokio::runtime::Handle;

use super::{
    folder::{Folder, Wording},
    load::{House, get},
    server::Server,
};
use crate::exit::Failure;

/// How long a new configuration may take to be seen, from the order on.
pub const SOON: Duration = Duration::from_secs(1);

/// What the operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Reload,
    RefusedReload,
    Upgrade,
}

/// The operator.
pub struct Operator<'a> {
    pub folder: &'a Folder,
    pub wording: &'a Wording,
    pub server: &'a mut Server,
    pub house: &'a House,
    pub runtime: &'a Handle,
    pub seen: Seen,
}

/// What the operator has done and seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The number of the last configuration.
    number: usize,
    pub reloads: usize,
    pub refused_reloads: usize,
    pub upgrades: usize,
    /// The longest time from an order to the first answer of the new configuration.
    pub slowest: Duration,
    /// What should not be.
    pub complaints: Vec<String>,
}

/// So many reloads with the upgrades evenly among them, and one reload that is refused in their middle.
pub fn acts(reloads: usize, upgrades: usize) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut upgraded = 0;
    for reload in 0..reloads {
        acts.push(Act::Reload);
        let due = upgrades * (reload + 1) / reloads;
        acts.extend(std::iter::repeat_n(Act::Upgrade, due - upgraded));
        upgraded = due;
    }
    acts.extend(std::iter::repeat_n(Act::Upgrade, upgrades - upgraded));
    acts.insert(acts.len() / 2, Act::RefusedReload);
    acts
}

impl Operator<'_> {
    /// Does everything that is to be done, spread over `time`, which passes in any case.
    pub fn work(&mut self, acts: &[Act], time: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        let distance = time / u32::try_from(acts.len()).unwrap_or(u32::MAX).max(1);
        for (number, act) in (0..).zip(acts) {
            let due = distance * number + distance / 2;
            sleep(due.saturating_sub(began.elapsed()));
            match act {
                Act::Reload => self.reload()?,
                Act::RefusedReload => self.refused_reload()?,
                Act::Upgrade => self.upgrade()?,
            }
        }
        sleep(time.saturating_sub(began.elapsed()));
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Failure> {
        let number = self.seen.number + 1;
        self.folder.renew_certificate()?;
        self.folder.configure(number, self.wording)?;
        let ordered = Instant::now();
        let came = self.server.reload()?;
        if came != Came::Applied {
            self.complain(format!("reload {number} came out as {came:?}"));
        }
        self.seen.number = number;
        self.seen.reloads += 1;
        while ordered.elapsed() < SOON * 5 && self.answer() != Some(number) {}
        let took = ordered.elapsed();
        self.seen.slowest = self.seen.slowest.max(took);
        if took > SOON {
            self.complain(format!("configuration {number} was not seen for {} ms", took.as_millis()));
        }
        Ok(())
    }

    /// A configuration that cannot be changes nothing.
    fn refused_reload(&mut self) -> Result<(), Failure> {
        let before = (self.answer(), self.server.generation());
        self.folder.misconfigure()?;
        let came = self.server.reload()?;
        self.seen.refused_reloads += 1;
        if came != Came::Refused {
            self.complain(format!("a configuration that cannot be came out as {came:?}"));
        }
        if before != (self.answer(), self.server.generation()) {
            self.complain("a refused reload changed something".into());
        }
        // The next process is to find what is in force.
        self.folder.configure(self.seen.number, self.wording)?;
        Ok(())
    }

    fn upgrade(&mut self) -> Result<(), Failure> {
        self.server.upgrade()?;
        self.seen.upgrades += 1;
        let answer = self.answer();
        if answer != Some(self.seen.number) {
            self.complain(format!("after an upgrade the answer was {answer:?}, not {}", self.seen.number));
        }
        Ok(())
    }

    /// The number of the configuration that answers now.
    fn answer(&mut self) -> Option<usize> {
        match self.runtime.block_on(get(self.house, "/answer")) {
            Ok(body) => String::from_utf8_lossy(&body).parse().ok(),
            Err(trouble) => {
                self.complain(format!("the operator's own request: {trouble}"));
                None
            }
        }
    }

    fn complain(&mut self, what: String) {
        self.seen.complaints.push(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_spread_among_reloads() {
        for (reloads, upgrades) in [(20, 5), (5, 2), (0, 3), (3, 0), (2, 5), (0, 0)] {
            let acts = acts(reloads, upgrades);
            let count = |wanted| acts.iter().filter(|act| **act == wanted).count();
            assert_eq!((count(Act::Reload), count(Act::Upgrade), count(Act::RefusedReload)), (reloads, upgrades, 1));
        }
        assert_eq!(acts(20, 5)[..5], [Act::Reload, Act::Reload, Act::Reload, Act::Reload, Act::Upgrade]);
    }
}
