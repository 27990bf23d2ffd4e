//! `cargo xtask tidy`: the rules of the house that a compiler does not know.

mod layers;
mod links;
mod names;
mod ratchet;
mod sizes;

use crate::shell::Failure;

/// One breach of a rule: where, and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    /// `file:line`, or the file alone.
    place: String,
    /// What is wrong, and the way out.
    sentence: String,
}

impl Breach {
    fn new(place: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { place: place.into(), sentence: sentence.into() }
    }
}

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    match words {
        [] => check(),
        [flag] if flag == "--ratchet" => ratchet::tighten(&sizes::measure()?),
        _ => Err(Failure::usage("`tidy` takes nothing but `--ratchet`")),
    }
}

fn check() -> Result<(), Failure> {
    let mut breaches = ratchet::compare(&sizes::measure()?)?;
    breaches.extend(sizes::documents()?);
    breaches.extend(names::check()?);
    breaches.extend(layers::check()?);
    breaches.extend(links::check()?);
    breaches.sort();
    for breach in &breaches {
        eprintln!("{}: {}", breach.place, breach.sentence);
    }
    match breaches.len() {
        0 => {
            eprintln!("tidy");
            Ok(())
        }
        1 => Err(Failure::new("a rule of the house is broken")),
        n => Err(Failure::new(format!("{n} rules of the house are broken"))),
    }
}
