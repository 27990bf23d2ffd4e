//! What a reload changes, in a few words: what differs between two configurations, gathered by section.

use config::{Change, Loaded, NAMED};
use document::At;
use serde_json::{Map, Value};

/// How many names stand in a line before the rest is only counted.
const NAMES: usize = 4;

/// What only a new process can obey.
const RESTART: [(&str, &str); 1] = [("server", "threads")];

/// What differs between two configurations that run.
pub struct Difference(Vec<Change>);

impl Difference {
    /// From `old` to `new`, secrets among it.
    pub fn between(old: &Loaded, new: &Loaded) -> Self {
        Self(config::difference(&config::plain(old), &config::plain(new)))
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// What changed: `+1 route (invoices)`, `~1 upstream (users: 2 → 3 backends)`, `~logging`. Nothing of a value is in it.
    pub fn summary(&self) -> Vec<String> {
        let mut summary = Vec::new();
        for (section, noun) in NAMED {
            summary.extend(line('+', noun, self.names(section, |change| matches!(change, Change::Added(_)))));
            summary.extend(line('~', noun, self.changed(section)));
            summary.extend(line('-', noun, self.names(section, |change| matches!(change, Change::Removed(_)))));
        }
        let mut others: Vec<String> = self.0.iter().filter_map(other).collect();
        others.dedup();
        summary.extend(others);
        summary
    }

    /// The settings that differ and wait for a new process: `server.threads`.
    pub fn waiting(&self) -> Vec<String> {
        let differs = |(section, key): &&(&str, &str)| {
            let section = At::root().key(*section);
            let at = section.key(*key);
            self.0.iter().any(|change| change.at() == at || change.at() == section && came_with(change, key))
        };
        RESTART.iter().filter(differs).map(|(section, key)| format!("{section}.{key}")).collect()
    }

    fn names(&self, section: &str, which: impl Fn(&Change) -> bool) -> Vec<String> {
        let named = self.0.iter().filter(|change| which(change)).map(Change::at);
        named.filter_map(|at| name(&at, section).map(str::to_owned)).collect()
    }

    /// The names of what is in both and differs, with the number of backends where that is what changed.
    fn changed(&self, section: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut last = None;
        for change in self.0.iter().filter(|change| !matches!(change, Change::Added(_) | Change::Removed(_))) {
            let at = change.at();
            let Some(name) = name(&at, section) else { continue };
            if last.as_deref() != Some(name) {
                names.push(name.to_owned());
                last = Some(name.to_owned());
            }
            let backends = change.lengths().filter(|_| at.keys().get(2).is_some_and(|key| key == "backends"));
            if let (Some((old, new)), Some(told)) = (backends, names.last_mut()) {
                *told = format!("{name}: {old} → {new} backends");
            }
        }
        names
    }
}

/// What a section's thing is called that stands at this place, or around it.
fn name<'a>(at: &'a At, section: &str) -> Option<&'a str> {
    let (first, rest) = at.keys().split_first()?;
    if first == section { rest.first().map(String::as_str) } else { None }
}

/// A section that is one thing, where it differs in something that a reload changes.
fn other(change: &Change) -> Option<String> {
    let at = change.at();
    let section = at.keys().first()?;
    let named = NAMED.iter().any(|(named, _)| named == section);
    let waits = match section_of(change) {
        Some(whole) if at.keys().len() == 1 => whole.keys().all(|key| is_restart(section, key)),
        _ => at.keys().get(1).is_some_and(|key| is_restart(section, key)),
    };
    (!named && !waits).then(|| format!("~{section}"))
}

/// The section that came or went as a whole.
fn section_of(change: &Change) -> Option<&Map<String, Value>> {
    match change {
        Change::Changed { from, to, .. } => from.as_ref().or(to.as_ref())?.as_object(),
        _ => None,
    }
}

/// Whether a key was in the section that came or went as a whole.
fn came_with(change: &Change, key: &str) -> bool {
    section_of(change).is_some_and(|whole| whole.contains_key(key))
}

fn is_restart(section: &str, key: &str) -> bool {
    RESTART.contains(&(section, key))
}

fn line(sign: char, noun: &str, names: Vec<String>) -> Option<String> {
    let count = names.len();
    if count == 0 {
        return None;
    }
    let nouns = match (count, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    };
    let mut shown = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    if count > NAMES {
        shown.push_str(&format!(" and {} more", count - NAMES));
    }
    Some(format!("{sign}{count} {nouns} ({shown})"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn loaded(text: &str) -> Loaded {
        config::load_text("maitred.toml", text, Path::new("."))
    }

    fn difference(old: &str, new: &str) -> Difference {
        Difference::between(&loaded(old), &loaded(new))
    }

    const OLD: &str = r#"
listen = ":8080"
[server]
threads = 2
[upstreams.users]
backends = ["http://10.0.0.1", "http://10.0.0.2"]
[routes]
"/users/*" = "users"
"/gone" = "users"
"#;

    #[test]
    fn the_same_in_other_words_is_no_change() {
        let other = r#"
listeners.http.address = [":8080"]
routes."/gone".upstream = "users"
routes."/users/*" = { upstream = "users" }
upstreams.users = { backends = ["http://10.0.0.1", "http://10.0.0.2"] }
server.threads = 2
"#;
        assert!(difference(OLD, other).is_none());
    }

    #[test]
    fn each_change_is_named() {
        let new = OLD
            .replace("\"http://10.0.0.2\"]", "\"http://10.0.0.2\", \"http://10.0.0.3\"]")
            .replace("\"/gone\" = \"users\"", "\"/new\" = \"users\"")
            .replace("threads = 2", "threads = 3\ngrace_period = \"1s\"");
        let expected = ["~1 upstream (users: 2 → 3 backends)", "+1 route (/new)", "-1 route (/gone)", "~server"];
        let told = difference(OLD, &new);
        assert_eq!(
            (told.summary(), told.waiting()),
            (expected.map(str::to_owned).to_vec(), vec!["server.threads".into()])
        );
        let none = difference(OLD, OLD);
        assert!(none.is_none() && none.summary().is_empty() && none.waiting().is_empty());
    }

    #[test]
    fn what_waits_for_a_new_process_is_told_by_itself() {
        for (old, new) in [(OLD, OLD.replace("threads = 2", "")), (OLD, OLD.replace("threads = 2", "threads = 3"))] {
            let told = difference(old, &new);
            assert_eq!((told.summary(), told.waiting()), (Vec::new(), vec!["server.threads".to_owned()]), "{new}");
        }
        let without = OLD.replace("[server]\nthreads = 2\n", "");
        for (old, new) in [(&*without, OLD), (OLD, &*without)] {
            let told = difference(old, new);
            assert_eq!((told.summary(), told.waiting()), (Vec::new(), vec!["server.threads".to_owned()]), "{new}");
        }
    }

    #[test]
    fn a_secret_that_changed_is_a_change_and_is_not_shown() {
        let with = |token: &str| format!("{OLD}[admin]\ntoken = \"{token}\"\n");
        let told = difference(&with("sixteen-letters-or-more"), &with("sixteen-letters-and-more"));
        assert_eq!(told.summary(), ["~admin"]);
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..6).map(|number| format!("r{number}")).collect();
        assert_eq!(line('+', "route", names).unwrap(), "+6 routes (r0, r1, r2, r3 and 2 more)");
    }
}
