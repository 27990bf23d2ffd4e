//! Events: what is kept, and what somebody who listens gets to hear.

use super::*;

fn ids(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

#[test]
fn the_last_events_are_kept_and_no_more() {
    let events = Events::new();
    for n in 0..KEPT + 5 {
        events.tell("phase", format!("{n}"));
    }
    let all = events.since(0);
    assert_eq!((all.len(), all[0].id, all[0].message.as_str()), (KEPT, 6, "5"));
    let last = KEPT as u64 + 5;
    assert_eq!(ids(&events.since(last - 1)), [last]);
    assert_eq!(events.since(last).len(), 0);
    assert_eq!(events.since(last + 1).len(), KEPT, "an id of a process that is gone");
}

#[tokio::test]
async fn a_subscriber_misses_nothing_between_what_is_kept_and_what_comes() {
    let events = Events::new();
    events.tell("phase", "one");
    events.tell("phase", "two");
    let mut subscription = events.subscribe(1);
    events.tell("phase", "three");
    for expected in ["two", "three"] {
        assert_eq!(subscription.next().await.unwrap().message, expected);
    }
    for n in 0..2 * BEHIND {
        events.tell("phase", format!("{n}"));
    }
    let next = subscription.next().await.unwrap();
    assert_eq!(next.message, BEHIND.to_string(), "whoever is too slow goes on with what is still there");
    drop(events);
    while subscription.next().await.is_some() {}
}
