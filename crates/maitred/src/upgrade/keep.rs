//! What concerns hand over, in packets: all of it before the new process serves, and what lives on again and again after.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use snapshot::{HEIRLOOMS, Heirloom, State};

use super::{Channel, Message, channel::Pace};

/// How many bytes go with one packet; base64 makes four out of three.
const PART: usize = 60 * 1024;

/// How many pieces of what only adds are told at a time; the next ones are told the next time.
const PIECES: usize = 64;

/// How often it is looked whether anything lives on.
const LOOK: Duration = Duration::from_millis(100);

/// What a successor has been told.
#[derive(Debug, Default)]
pub struct Telling {
    /// The names that it knows.
    known: Vec<String>,
    /// What lives on, as it was told last.
    told: HashMap<&'static str, Vec<u8>>,
    /// What has to be told yet of what only adds.
    untold: HashMap<&'static str, Vec<u8>>,
}

/// A part of what a concern hands over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Which concern.
    of: String,
    /// The bytes, in base64.
    bytes: String,
    /// Whether anything of it comes before this part, and after.
    first: bool,
    last: bool,
}

/// Puts parts together.
#[derive(Debug, Default)]
pub struct Hearing {
    of: String,
    bytes: Vec<u8>,
}

impl Telling {
    /// To a successor that knows these.
    pub fn to(known: Vec<String>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Tells everything that the successor knows what to do with.
    pub fn all(&mut self, channel: &Channel, state: &State, deadline: Instant) -> io::Result<()> {
        for heirloom in &HEIRLOOMS {
            self.tell_of(channel, heirloom, state, Pace::Until(deadline))?;
        }
        Ok(())
    }

    /// Tells what lives on, where it is not as it was. A successor that is busy is told the next time.
    pub fn again(&mut self, channel: &Channel, state: &State) {
        for heirloom in HEIRLOOMS.iter().filter(|heirloom| heirloom.lives_on.is_some()) {
            // Whoever cannot be told is gone, or has not read what was told before.
            let _ = self.tell_of(channel, heirloom, state, Pace::Now);
        }
    }

    /// Tells that nothing lives on, after the last of what is added.
    pub fn nothing(&mut self, channel: &Channel, state: &State) {
        for heirloom in HEIRLOOMS.iter().filter(|heirloom| heirloom.lives_on.is_some()) {
            // Whoever is gone need not know.
            let _ = match heirloom.adds {
                true => self.tell_of(channel, heirloom, state, Pace::Now),
                false => self.tell(channel, heirloom, Vec::new(), Pace::Now),
            };
        }
    }

    fn tell_of(&mut self, channel: &Channel, heirloom: &'static Heirloom, state: &State, pace: Pace) -> io::Result<()> {
        if !heirloom.adds {
            return self.tell(channel, heirloom, (heirloom.export)(state), pace);
        }
        if !self.knows(heirloom) {
            return Ok(());
        }
        for _ in 0..PIECES {
            let bytes = self.untold.remove(heirloom.name).unwrap_or_else(|| (heirloom.export)(state));
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = send(channel, heirloom, &bytes, pace) {
                self.untold.insert(heirloom.name, bytes);
                return Err(error);
            }
        }
        Ok(())
    }

    fn knows(&self, heirloom: &Heirloom) -> bool {
        self.known.iter().any(|name| name == heirloom.name)
    }

    fn tell(&mut self, channel: &Channel, heirloom: &'static Heirloom, bytes: Vec<u8>, pace: Pace) -> io::Result<()> {
        if !self.knows(heirloom) || self.told.get(heirloom.name) == Some(&bytes) {
            return Ok(());
        }
        send(channel, heirloom, &bytes, pace)?;
        if heirloom.lives_on.is_some() {
            self.told.insert(heirloom.name, bytes);
        }
        Ok(())
    }
}

/// Sends something in parts. Whoever does not get all of them has got nothing.
fn send(channel: &Channel, heirloom: &Heirloom, bytes: &[u8], pace: Pace) -> io::Result<()> {
    let count = bytes.len().div_ceil(PART).max(1);
    for index in 0..count {
        let part = Part {
            of: heirloom.name.to_owned(),
            bytes: BASE64_STANDARD.encode(bytes.chunks(PART).nth(index).unwrap_or_default()),
            first: index == 0,
            last: index + 1 == count,
        };
        channel.send(&Message::Kept(part), &[], pace)?;
    }
    Ok(())
}

impl Hearing {
    /// Takes a part; gives what it completes. One that does not fit to those before is passed over, up to a first one.
    pub fn take(&mut self, part: &Part) -> Option<(String, Vec<u8>)> {
        if part.first {
            *self = Self { of: part.of.clone(), bytes: Vec::new() };
        }
        if self.of != part.of {
            return None;
        }
        self.bytes.extend(BASE64_STANDARD.decode(&part.bytes).ok()?);
        part.last.then(|| {
            let Self { of, bytes } = std::mem::take(self);
            (of, bytes)
        })
    }
}

/// Goes on with something that was told.
pub fn go_on_with(state: &State, name: &str, bytes: &[u8]) {
    let Some(heirloom) = Heirloom::named(name) else { return };
    if let Err(error) = (heirloom.import)(state, bytes) {
        log::warn!("what the process of before knew of {name} is lost: {error}");
    }
}

/// Ready when nothing of a process of before lives on.
pub async fn nothing_lives_on(state: &State) {
    let lives_on = || HEIRLOOMS.iter().filter_map(|heirloom| heirloom.lives_on).any(|lives_on| lives_on(state));
    while lives_on() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Hears what lives on in the process of before, for as long as there is one.
pub fn follow(channel: &Channel, state: &State) {
    let lives_on = |name: &str| Heirloom::named(name).is_some_and(|heirloom| heirloom.lives_on.is_some());
    let mut hearing = Hearing::default();
    while let Ok((message, _)) = channel.receive(None) {
        let Message::Kept(part) = message else { continue };
        if let Some((of, bytes)) = hearing.take(&part).filter(|(of, _)| lives_on(of)) {
            go_on_with(state, &of, &bytes);
        }
    }
    HEIRLOOMS.iter().filter(|heirloom| heirloom.lives_on.is_some()).for_each(|gone| go_on_with(state, gone.name, &[]));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn state() -> State {
        State::new(Arc::new(telemetry::Metrics::new(&crate::prepare::BUILD)))
    }

    fn heard(channel: &Channel) -> Vec<(String, Vec<u8>)> {
        let (mut hearing, mut heard) = (Hearing::default(), Vec::new());
        while let Ok((Message::Kept(part), _)) = channel.receive(Some(Instant::now())) {
            heard.extend(hearing.take(&part));
        }
        heard
    }

    #[test]
    fn only_what_is_known_is_told_and_what_lives_on_only_when_it_changes() {
        let (one, two) = Channel::pair().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut telling = Telling::to(vec!["places".into(), "of_later".into()]);
        telling.all(&one, &state(), deadline).unwrap();
        assert_eq!(heard(&two), [("places".to_owned(), Vec::new())]);
        telling.again(&one, &state());
        telling.nothing(&one, &state());
        assert_eq!(heard(&two), []);
    }

    #[test]
    fn what_is_long_arrives_whole_or_not_at_all() {
        let (one, two) = Channel::pair().unwrap();
        let mut telling = Telling::to(vec!["places".into()]);
        let places = Heirloom::named("places").unwrap();
        // More than the other side takes in without reading.
        let long: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        assert!(telling.tell(&one, places, long, Pace::Now).is_err());
        assert_eq!(heard(&two), []);
        let short: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        telling.tell(&one, places, short.clone(), Pace::Now).unwrap();
        assert_eq!(heard(&two), [("places".to_owned(), short)]);
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let (one, _two) = Channel::pair().unwrap();
        let mut telling = Telling::to(vec!["places".into()]);
        let places = Heirloom::named("places").unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let late = telling.tell(&one, places, vec![7; 3_000_000], Pace::Until(soon)).err().unwrap();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
