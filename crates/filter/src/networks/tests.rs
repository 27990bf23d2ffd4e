//! Membership in a set of networks, against the plain definition.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn network() -> impl Strategy<Value = IpNet> {
    // Few high bits differ, so that networks meet.
    let v4 =
        (0u32..16, 0u8..=32).prop_map(|(bits, length)| (IpAddr::from(Ipv4Addr::from_bits(bits << 28 | bits)), length));
    let v6 = (0u128..16, 0u8..=128)
        .prop_map(|(bits, length)| (IpAddr::from(Ipv6Addr::from_bits(bits << 124 | bits)), length));
    prop_oneof![v4, v6].prop_map(|(address, length)| IpNet::new(address, length).unwrap().trunc())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..16, 0u32..20).prop_map(|(high, low)| IpAddr::from(Ipv4Addr::from_bits(high << 28 | low))),
        (0u128..16, 0u128..20).prop_map(|(high, low)| IpAddr::from(Ipv6Addr::from_bits(high << 124 | low))),
        any::<IpAddr>(),
    ]
}

proptest! {
    #[test]
    fn a_set_holds_what_one_of_its_networks_holds(
        networks in prop::collection::vec(network(), 0..12),
        addresses in prop::collection::vec(address(), 20),
    ) {
        let set = Networks::new(networks.iter().copied());
        prop_assert_eq!(set.is_empty(), networks.is_empty());
        for address in addresses {
            let expected = networks.iter().any(|network| network.contains(&address.to_canonical()));
            prop_assert_eq!(set.contains(address), expected, "{}", address);
        }
        for network in &networks {
            prop_assert!(set.contains(network.network()) || is_mapped(network.network()));
            prop_assert!(set.contains(network.broadcast()) || is_mapped(network.broadcast()));
        }
    }
}

/// An IPv6 network over the mapped range does not speak for IPv4.
fn is_mapped(address: IpAddr) -> bool {
    address != address.to_canonical()
}

#[test]
fn mapped_addresses_count_as_ipv4() {
    let set = Networks::new([parse("10.0.0.0/8").unwrap()]);
    assert!(set.contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!Networks::new([parse("::/0").unwrap()]).contains("10.1.2.3".parse().unwrap()));
}

#[test]
fn networks_and_addresses_are_read() {
    assert_eq!(parse("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
    assert_eq!(parse("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
    assert_eq!(parse("10.1.2.3/8").unwrap_err(), Some("10.0.0.0/8".parse().unwrap()));
    assert_eq!((parse("private"), parse("10.0.0.0/33")), (Err(None), Err(None)));
}
