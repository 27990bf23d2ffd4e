//! Who hears of what.

use std::{sync::mpsc, time::Instant};

use super::*;

fn record(status: u16) -> Record {
    let mut record = Record::new(Instant::now());
    record.status = status;
    record.close(Instant::now());
    record
}

#[test]
fn each_hears_what_it_wants_and_nothing_once_it_is_gone() {
    let followers = Arc::new(Followers::default());
    assert!(!followers.are_there());
    let (everything, heard_all) = mpsc::channel();
    let (failures, heard_failures) = mpsc::channel();
    let all = followers.follow(Wanted::default(), move |line| everything.send(line.to_vec()).unwrap());
    let wanted = Wanted { route: Some("users".into()), ..Wanted::default() }.with_status("404,5xx").unwrap();
    let some = followers.follow(wanted, move |line| failures.send(line.to_vec()).unwrap());
    for (status, route) in [(200, "users"), (404, "users"), (503, "users"), (503, "orders"), (403, "users")] {
        assert!(followers.are_there());
        followers.tell(&record(status), &LoggedRequest::new("http", route), &[]);
    }
    assert_eq!(heard_all.try_iter().count(), 5);
    let lines: Vec<Vec<u8>> = heard_failures.try_iter().collect();
    assert_eq!(lines.len(), 2);
    let line = String::from_utf8(lines[0].clone()).unwrap();
    assert!(line.starts_with('{') && line.ends_with('}') && line.contains("\"status\":404"), "{line}");
    drop(some);
    followers.tell(&record(503), &LoggedRequest::new("http", "users"), &[]);
    assert_eq!((heard_all.try_iter().count(), heard_failures.try_iter().count()), (1, 0));
    drop(all);
    assert!(!followers.are_there());
}

#[test]
fn a_status_is_a_code_or_a_class() {
    for wrong in ["", "abc", "6xx", "0xx", "99", "600", "404,", "x5x"] {
        assert!(Wanted::default().with_status(wrong).is_err(), "{wrong}");
    }
    for right in ["404", "5xx", "4XX, 502"] {
        assert!(Wanted::default().with_status(right).is_ok(), "{right}");
    }
}
