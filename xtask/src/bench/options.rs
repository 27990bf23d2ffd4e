//! The bench's command line.

use std::path::{Path, PathBuf};

use crate::{
    bench::{
        peer::Peer,
        scenario::{Habit, Scenario, Transport},
    },
    packages::Tool,
    shell::Failure,
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Processor time, requests a second, latency and memory under load, and memory of idle connections.
    Load,
    /// User-space instructions for each request, under callgrind.
    Instructions,
    /// System calls for each request, under strace.
    Syscalls,
}

/// Every protocol, small and large bodies, the cache, and policies of each kind.
const EXERCISE: [&str; 12] =
    ["tiny", "10k", "1m", "upload", "close", "tls", "handshake", "h2", "balanced", "cache-10k", "token", "full"];

/// What to measure, against whom, how long.
#[derive(Debug)]
pub(crate) struct Options {
    /// In the order of the list; all when none is named.
    pub(crate) scenarios: Vec<&'static Scenario>,
    /// Whom to compare with; maitred itself is always measured.
    pub(crate) peers: Vec<Peer>,
    /// How many turns each takes.
    pub(crate) rounds: u32,
    /// Seconds that a turn lasts.
    pub(crate) seconds: u32,
    /// What is measured.
    pub(crate) measure: Measure,
    /// Fail where a count of instructions is more than it was when it was written down.
    pub(crate) check: bool,
    /// Print JSON.
    pub(crate) json: bool,
    /// Write the table into `bench/results.md` as well.
    pub(crate) save: bool,
    /// Print the names of the scenarios and stop.
    pub(crate) list: bool,
    /// A release that is there already, instead of building one.
    pub(crate) binary: Option<PathBuf>,
}

impl Measure {
    /// Whether a scenario makes sense for it.
    pub(crate) fn can_take(self, scenario: &Scenario) -> bool {
        let closes = [Transport::PlainClose, Transport::TlsClose, Transport::TlsResumed];
        let stays_open = !closes.contains(&scenario.transport);
        match self {
            Self::Load => true,
            Self::Instructions | Self::Syscalls => {
                // What a request costs does not depend on how many workers or connections there are.
                let is_alone = scenario.habit == Habit::Busy && scenario.slow == 0 && scenario.policy.workers() == 1;
                stays_open && !scenario.uploads && is_alone
            }
        }
    }
}

impl Options {
    /// Reads the words after `bench`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            scenarios: Vec::new(),
            peers: vec![Peer::Nginx, Peer::Haproxy, Peer::Varnish],
            rounds: 5,
            seconds: 3,
            measure: Measure::Load,
            check: false,
            json: false,
            save: false,
            list: false,
            binary: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--instructions" => options.measure = Measure::Instructions,
                "--syscalls" => options.measure = Measure::Syscalls,
                "--check" => options.check = true,
                "--json" => options.json = true,
                "--save" => options.save = true,
                "--list" => options.list = true,
                "--rounds" => options.rounds = number(word, words.next(), 100)?,
                "--seconds" => options.seconds = number(word, words.next(), 60)?,
                "--peers" => options.peers = peers(words.next())?,
                "--binary" => options.binary = words.next().map(PathBuf::from),
                name => options.scenarios.push(Scenario::named(name)?),
            }
        }
        if options.check && options.measure != Measure::Instructions {
            return Err(Failure::usage("`--check` is for `--instructions`: other figures differ from run to run"));
        }
        if options.scenarios.is_empty() {
            let all = Scenario::ALL.iter();
            options.scenarios = all.filter(|scenario| options.measure.can_take(scenario)).collect();
        }
        Ok(options)
    }

    /// One round of [`EXERCISE`] by `binary` alone.
    pub(crate) fn exercise(binary: &Path) -> Result<Self, Failure> {
        let mut options = Self::parse(&EXERCISE.map(str::to_owned))?;
        (options.peers, options.rounds, options.binary) = (Vec::new(), 1, Some(binary.to_owned()));
        Ok(options)
    }

    /// maitred and whom it is compared with in `scenario`, in the order of their turns.
    pub(crate) fn everyone(&self, scenario: &Scenario) -> Vec<Peer> {
        let others = if scenario.policy.is_ours() { &[Peer::Bare] } else { &*self.peers };
        let others = others.iter().filter(|peer| peer.does(scenario.policy));
        [Peer::Maitred].iter().chain(others).copied().collect()
    }

    /// What the chosen peers need on the machine.
    pub(crate) fn tools(&self) -> Vec<Tool> {
        let own = match self.measure {
            Measure::Load => None,
            Measure::Instructions => {
                Some(Tool { program: "valgrind", package: "valgrind", why: "counts instructions" })
            }
            Measure::Syscalls => Some(Tool { program: "strace", package: "strace", why: "counts system calls" }),
        };
        self.peers.iter().filter_map(|peer| peer.tool()).chain(own).collect()
    }
}

fn number(option: &str, word: Option<&String>, most: u32) -> Result<u32, Failure> {
    let parsed = word.and_then(|word| word.parse().ok()).filter(|number| (1..=most).contains(number));
    parsed.ok_or_else(|| Failure::usage(format!("`{option}` takes a number from 1 to {most}")))
}

fn peers(word: Option<&String>) -> Result<Vec<Peer>, Failure> {
    let words = word.map_or("", String::as_str);
    if words == "none" {
        return Ok(Vec::new());
    }
    let known = |name| Peer::OTHERS.into_iter().find(|peer| peer.name() == name);
    let found: Option<Vec<Peer>> = words.split(',').map(known).collect();
    found.ok_or_else(|| Failure::usage("`--peers` takes `none`, or some of `nginx,haproxy,envoy,caddy,varnish`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_means_everything() {
        let options = parse("").unwrap();
        assert_eq!(options.scenarios.len(), Scenario::ALL.len());
        assert_eq!(options.peers, [Peer::Nginx, Peer::Haproxy, Peer::Varnish]);
    }

    #[test]
    fn what_instructions_are_counted_of_is_written_down() {
        let text = std::fs::read_to_string(crate::shell::root().join("bench/instructions.txt")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let written: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
        let counted: Vec<&str> = parse("--instructions").unwrap().scenarios.iter().map(|one| one.name).collect();
        assert_eq!(written, counted);
    }

    #[test]
    fn what_is_done_for_a_profile_is_known_and_compares_with_nobody() {
        let options = Options::exercise("maitred".as_ref()).unwrap();
        assert_eq!((options.scenarios.len(), options.rounds), (EXERCISE.len(), 1));
        assert!(options.peers.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error() {
        for line in ["--rounds 0", "--rounds", "--peers traefik", "no-such-scenario", "--syscalls --check"] {
            assert_eq!(parse(line).unwrap_err().code(), 2, "{line}");
        }
    }
}
