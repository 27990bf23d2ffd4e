//! What is made of files that change, and when somebody is told.

use std::{fs, time::Duration};

use document::At;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::{CertificateConfig, TicketKeys, Written, compile};

const DAY: i64 = 86_400;

/// A listener `web` with `site.pem` and `site.key`, and a clock to turn.
struct House {
    folder: TempDir,
    written: Written,
    watched: Vec<Watched>,
    watch: Watch,
    now: Instant,
    unix: i64,
}

/// A certificate for `name` that ends in so many days, and its key.
fn pair(name: &str, days: i64) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(clock::unix() as u64);
    params.not_before = now - Duration::from_secs(365 * DAY as u64);
    params.not_after = now + Duration::from_secs((days * DAY) as u64);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn store(written: &Written) -> Arc<Store> {
    compile(written.clone(), &At::root().key("web"), &TicketKeys::default(), &mut Report::new()).unwrap()
}

impl House {
    fn new() -> Self {
        Self::ending(90)
    }

    fn ending(days: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = pair("one.test", days);
        fs::write(folder.path().join("site.pem"), cert).unwrap();
        fs::write(folder.path().join("site.key"), key).unwrap();
        let file = |name: &str| Some(folder.path().join(name).display().to_string());
        let site = CertificateConfig { cert: file("site.pem"), key: file("site.key") };
        let written = Written { certificates: vec![site], ..Written::default() };
        let watched = vec![(Arc::from("web"), store(&written))];
        Self { folder, written, watched, watch: Watch::default(), now: Instant::now(), unix: clock::unix() }
    }

    /// Puts a file in the place of another, as one that is written beside it and renamed.
    fn put(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.folder.path().join(name)).unwrap();
    }

    /// Looks after so many milliseconds.
    fn look(&mut self, after: u64) -> Vec<Event> {
        self.now += Duration::from_millis(after);
        self.watch.look_at(&self.watched, self.now, self.unix)
    }

    fn serves(&self, name: &str) -> bool {
        self.watched[0].1.certificates().covers(name)
    }
}

#[test]
fn a_new_pair_is_served_at_once_and_told_of_once() {
    let mut house = House::new();
    assert!(house.look(0).is_empty());
    let before = house.watched[0].1.config();
    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    assert!(matches!(house.look(500).as_slice(), [Event::Replaced { listener }] if &**listener == "web"));
    assert!(house.serves("two.test") && !house.serves("one.test"));
    let after = house.watched[0].1.config();
    assert!(!Arc::ptr_eq(&before, &after));
    for _ in 0..5 {
        assert!(house.look(500).is_empty());
    }
    assert!(Arc::ptr_eq(&after, &house.watched[0].1.config()), "nothing is made anew without a reason");
}

#[test]
fn a_half_written_pair_is_neither_served_nor_complained_of() {
    let mut house = House::new();
    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    assert!(house.look(500).is_empty());
    assert!(house.serves("one.test"));
    house.put("site.key", &key);
    assert!(matches!(house.look(500).as_slice(), [Event::Replaced { .. }]));
    assert!(house.serves("two.test"));
}

#[test]
fn a_broken_pair_is_told_of_once_and_mended_when_it_is() {
    let mut house = House::new();
    house.put("site.pem", "-----BEGIN CERTIFICATE-----\nhalf of i");
    let told: Vec<Event> = (0..10).flat_map(|_| house.look(500)).collect();
    let [Event::Refused { report, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert!(report.diagnostics()[0].message.ends_with("breaks off inside a PEM section"), "{report:?}");
    assert!(house.serves("one.test"));

    // Touched, but broken in the same way.
    house.put("site.pem", "-----BEGIN CERTIFICATE-----\nhalf of i");
    assert!((0..10).all(|_| house.look(500).is_empty()));
    // Broken in another way.
    fs::remove_file(house.folder.path().join("site.pem")).unwrap();
    let told: Vec<Event> = (0..10).flat_map(|_| house.look(500)).collect();
    assert!(matches!(told.as_slice(), [Event::Refused { .. }]), "{told:?}");

    let (cert, key) = pair("two.test", 90);
    house.put("site.key", &key);
    house.put("site.pem", &cert);
    assert!(matches!(house.look(500).as_slice(), [Event::Replaced { .. }]));
    assert!(house.serves("two.test"));
}

#[test]
fn a_change_that_leaves_no_trace_is_caught_by_reading_once_more() {
    let mut house = House::new();
    house.look(0);
    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    assert_eq!(house.look(500).len(), 1);
    // As if both had been written within a tick of the file system's clock: what was seen is what is there.
    let (cert, key) = pair("three.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    house.watched[0].1.pretend_seen();
    assert!(house.look(500).is_empty());
    assert!(matches!(house.look(600).as_slice(), [Event::Replaced { .. }]));
    assert!(house.serves("three.test"));
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_taken_when_it_is() {
    let mut house = House::new();
    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    house.unix -= 400 * DAY;
    let told: Vec<Event> = (0..4).flat_map(|_| house.look(500)).collect();
    assert!(matches!(told.as_slice(), [Event::Refused { .. }]), "{told:?}");
    house.unix += 400 * DAY;
    assert!(house.look(500).is_empty());
    assert!(matches!(house.look(60_000).as_slice(), [Event::Replaced { .. }]));
}

#[test]
fn each_stage_is_told_of_once_and_an_ended_certificate_is_served_on() {
    let mut house = House::ending(40);
    let mut told = Vec::new();
    for _ in 0..45 {
        for event in house.look(1000) {
            let Event::Ends { stage, left, .. } = event else { panic!("{event:?}") };
            told.push((stage, left.div_euclid(DAY)));
        }
        house.unix += DAY;
    }
    let expected = [(Stage::Month, 29), (Stage::Fortnight, 13), (Stage::Days, 2), (Stage::Over, -1)];
    assert_eq!(told.as_slice(), expected);
    assert!(house.serves("one.test"));

    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    house.unix = clock::unix();
    assert_eq!(house.look(1000).len(), 1);
    assert!(house.watch.told.is_empty());
}

#[test]
fn two_listeners_with_one_certificate_are_one_warning() {
    let mut house = House::ending(10);
    house.watched.push((Arc::from("other"), Arc::clone(&house.watched[0].1)));
    assert_eq!(house.look(0).len(), 1);
}

#[test]
fn a_reload_takes_over_what_it_has_read_and_what_came_after() {
    let mut house = House::new();
    let (cert, key) = pair("two.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    let reloaded = store(&house.written);
    // The files change once more before the reload is done, and the watch is faster.
    let (cert, key) = pair("three.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    house.look(500);
    house.watched[0].1.take_over(&reloaded);
    assert!(house.serves("two.test"));
    assert!(matches!(house.look(500).as_slice(), [Event::Replaced { .. }]));
    assert!(house.serves("three.test"));

    // What the reload has read is no news.
    let (cert, key) = pair("four.test", 90);
    house.put("site.pem", &cert);
    house.put("site.key", &key);
    house.watched[0].1.take_over(&store(&house.written));
    assert!(house.serves("four.test"));
    assert!(house.look(500).is_empty());
}
