//! The bench's command line.

use std::path::PathBuf;

use crate::{
    bench::{peer::Peer, scenario::Scenario},
    packages::Tool,
    shell::Failure,
};

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
    /// Print JSON.
    pub(crate) json: bool,
    /// Write the table into `bench/results.md` as well.
    pub(crate) save: bool,
    /// Print the names of the scenarios and stop.
    pub(crate) list: bool,
    /// A release that is there already, instead of building one.
    pub(crate) binary: Option<PathBuf>,
}

impl Options {
    /// Reads the words after `bench`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            scenarios: Vec::new(),
            peers: vec![Peer::Nginx, Peer::Haproxy],
            rounds: 5,
            seconds: 3,
            json: false,
            save: false,
            list: false,
            binary: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
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
        if options.scenarios.is_empty() {
            options.scenarios = Scenario::ALL.iter().collect();
        }
        Ok(options)
    }

    /// maitred and its peers, in the order of their turns.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = Peer> {
        std::iter::once(Peer::Maitred).chain(self.peers.iter().copied())
    }

    /// What the chosen peers need on the machine.
    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.peers.iter().filter_map(|peer| peer.tool()).collect()
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
    let known = |name| [Peer::Nginx, Peer::Haproxy].into_iter().find(|peer| peer.name() == name);
    let found: Option<Vec<Peer>> = words.split(',').map(known).collect();
    found.ok_or_else(|| Failure::usage("`--peers` takes `none`, `nginx`, `haproxy` or `nginx,haproxy`"))
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
        assert_eq!(options.peers, [Peer::Nginx, Peer::Haproxy]);
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error() {
        for line in ["--rounds 0", "--rounds", "--peers traefik", "no-such-scenario"] {
            assert_eq!(parse(line).unwrap_err().code(), 2, "{line}");
        }
    }
}
