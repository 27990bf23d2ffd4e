//! What a name remembers of its addresses.

use super::*;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn taken(name: &Name, count: usize) -> Vec<String> {
    let best = |address: &Address| !address.shun.is_shunned();
    (0..count).map(|_| name.next(best).unwrap().1.ip().to_string()).collect()
}

#[test]
fn addresses_take_turns() {
    let name = Name::new("users", 80);
    assert_eq!(name.next(|_| true), None);
    name.publish(&ips(&["10.0.0.1", "10.0.0.2", "10.0.0.1", "::1"]));
    assert_eq!(taken(&name, 4), ["10.0.0.1", "10.0.0.2", "::1", "10.0.0.1"]);
}

#[test]
fn what_is_known_of_an_address_outlives_an_answer_that_has_it_again() {
    let name = Name::new("users", 80);
    name.publish(&ips(&["10.0.0.1", "10.0.0.2"]));
    let id = name.next(|address| address.socket.ip() == ips(&["10.0.0.2"])[0]).unwrap().0;
    name.unreachable(id);
    assert_eq!(taken(&name, 2), ["10.0.0.1", "10.0.0.1"]);
    name.publish(&ips(&["10.0.0.2", "10.0.0.3"]));
    assert_eq!(taken(&name, 2), ["10.0.0.3", "10.0.0.3"]);
    name.publish(&ips(&["10.0.0.1"]));
    assert!(name.next(|_| true).unwrap().0 > id, "no id is given twice");
}

#[test]
fn what_a_shunned_address_leaves_is_shared_by_all_others() {
    let name = Name::new("users", 80);
    name.publish(&ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    name.unreachable(name.next(|_| true).unwrap().0);
    let taken = taken(&name, 20);
    for ip in ["10.0.0.2", "10.0.0.3"] {
        assert_eq!(taken.iter().filter(|&other| other == ip).count(), 10);
    }
}

#[test]
fn pauses_grow_and_are_bounded() {
    assert_eq!([1, 2, 3, 6, 60].map(|failures| pause_after(failures).as_secs()), [1, 2, 4, 30, 30]);
    for _ in 0..100 {
        let pause = jittered(Duration::from_secs(100));
        assert!((90..=100).contains(&pause.as_secs()), "{pause:?}");
    }
    assert_eq!(jittered(SHORTEST_TTL), SHORTEST_TTL);
}
