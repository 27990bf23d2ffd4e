//! Which keys seal, which open, and what a hand-over carries.

use super::*;

const NOW: i64 = 1_795_000_000;
const HOUR: i64 = 3600;

#[test]
fn a_ticket_is_opened_for_twelve_hours_and_not_for_ever() {
    let tickets = Tickets::new(NOW).unwrap();
    // Sealed at the very end of its key's time.
    let sealed = NOW + TURN - 1;
    let ticket = tickets.seal(b"session", sealed).unwrap();
    for hours in 0..12 {
        let later = sealed + hours * HOUR;
        tickets.seal(b"another", later).unwrap();
        assert_eq!(tickets.open(&ticket, later).as_deref(), Some(&b"session"[..]), "after {hours} h");
    }
    tickets.seal(b"another", sealed + 12 * HOUR).unwrap();
    assert_eq!(tickets.open(&ticket, sealed + 12 * HOUR + 1), None);
}

#[test]
fn keys_turn_every_six_hours_and_old_ones_are_forgotten_without_any_traffic() {
    let tickets = Tickets::new(NOW).unwrap();
    let name = |now| tickets.seal(b"", now).unwrap()[..NAME].to_vec();
    let first = name(NOW);
    assert_eq!(name(NOW + 6 * HOUR - 1), first);
    assert_ne!(name(NOW + 6 * HOUR), first);
    assert_ne!(name(NOW + 12 * HOUR), first);
    assert_eq!(tickets.keys.load().len(), 3);
    tickets.turn(NOW + 100 * HOUR);
    assert_eq!(tickets.keys.load().len(), 1);
}

#[test]
fn a_clock_that_is_put_back_keeps_the_sessions() {
    let tickets = Tickets::new(NOW).unwrap();
    let ticket = tickets.seal(b"session", NOW).unwrap();
    tickets.seal(b"another", NOW - 30 * HOUR).unwrap();
    assert_eq!(tickets.open(&ticket, NOW - 30 * HOUR).as_deref(), Some(&b"session"[..]));
}

#[test]
fn nothing_but_a_whole_ticket_of_ours_is_opened() {
    let (ours, theirs) = (Tickets::new(NOW).unwrap(), Tickets::new(NOW).unwrap());
    let ticket = ours.seal(b"session", NOW).unwrap();
    assert_eq!(theirs.open(&ticket, NOW), None);
    for length in 0..ticket.len() {
        assert_eq!(ours.open(&ticket[..length], NOW), None);
    }
    for at in 0..ticket.len() {
        let mut damaged = ticket.clone();
        damaged[at] ^= 1;
        assert_eq!(ours.open(&damaged, NOW), None, "byte {at}");
    }
}

#[test]
fn the_same_session_is_never_sealed_the_same() {
    let tickets = Tickets::new(NOW).unwrap();
    assert_ne!(tickets.seal(b"session", NOW), tickets.seal(b"session", NOW));
}

#[test]
fn a_successor_opens_what_was_sealed_before_and_one_without_the_keys_does_not() {
    let old = TicketKeys::default();
    let (web, api) = (old.of("web").unwrap(), old.of("api").unwrap());
    web.turn(clock::unix() + TURN);
    let (of_web, of_api) = (web.encrypt(b"web").unwrap(), api.encrypt(b"api").unwrap());

    let (new, foreign) = (TicketKeys::default(), TicketKeys::default());
    let compiled_before = new.of("api").unwrap();
    new.import(&old.export()).unwrap();
    assert_eq!(new.of("web").unwrap().decrypt(&of_web).as_deref(), Some(&b"web"[..]));
    assert_eq!(compiled_before.decrypt(&of_api).as_deref(), Some(&b"api"[..]));
    assert_eq!(foreign.of("web").unwrap().decrypt(&of_web), None);
    // Each listener has its own: what one of them let in is no pass for another.
    assert_eq!(new.of("api").unwrap().decrypt(&of_web), None);
    // And the successor's are opened by the old process, which may still be asked.
    assert!(api.decrypt(&compiled_before.encrypt(b"back").unwrap()).is_some());
}

#[test]
fn a_listener_keeps_its_tickets_and_a_forgotten_one_loses_them_in_time() {
    let keys = TicketKeys::default();
    let (web, again) = (keys.of("web").unwrap(), keys.of("web").unwrap());
    assert!(Arc::ptr_eq(&web, &again));
    let gone = keys.of("gone").unwrap();
    gone.keys.store(Arc::new(vec![Arc::new(Key::generate(clock::unix() - 19 * HOUR).unwrap())]));
    assert!(Arc::ptr_eq(&gone, &keys.of("gone").unwrap()), "it is still in use");
    let dead = Arc::downgrade(&gone);
    drop(gone);
    keys.of("web").unwrap();
    assert!(dead.upgrade().is_none());
}

#[test]
fn what_is_no_hand_over_is_refused_whole() {
    let (old, new) = (TicketKeys::default(), TicketKeys::default());
    let (_web, _api) = (old.of("web").unwrap(), old.of("api").unwrap());
    let bytes = old.export();
    let whole: Vec<usize> = vec![4, 4 + 3 + 3 + Key::SIZE, bytes.len()];
    for length in (0..bytes.len()).filter(|length| !whole.contains(length)) {
        assert_eq!(new.import(&bytes[..length]), Err(NotTicketKeys), "{length}");
    }
    assert_eq!(*new.export(), b"mtk\x01");
    assert_eq!(new.import(b"mtk\x02"), Err(NotTicketKeys));
    assert_eq!(new.import(b"mtk\x01\x00\x01a\xff"), Err(NotTicketKeys));
    let mut two_keys_less = bytes.clone();
    two_keys_less[4 + 2 + 3] = 200;
    assert_eq!(new.import(&two_keys_less), Err(NotTicketKeys));
}

#[test]
fn no_key_is_ever_printed() {
    let keys = TicketKeys::default();
    let tickets = keys.of("web").unwrap();
    assert_eq!(format!("{keys:?} {tickets:?}"), r#"{"web"} Tickets { keys: 1, .. }"#);
}
