//! What a name remembers of its addresses.

use super::*;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn each_address_is_had_once_in_the_order_of_the_answer() {
    let name = Name::new("users", 80, None);
    assert!(!name.is_resolved());
    name.publish(&ips(&["10.0.0.1", "10.0.0.2", "10.0.0.1", "::1"]));
    let list: Vec<String> = name.sockets().iter().map(ToString::to_string).collect();
    assert_eq!(list, ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]);
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
