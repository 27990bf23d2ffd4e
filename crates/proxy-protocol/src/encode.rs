//! Writes the header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{BINARY, Ends, TEXT, Version};

/// Command PROXY of version 2: the addresses are a client's.
const PROXY: u8 = 0x21;

/// The family and the protocol of version 2: none, TCP over IPv4, TCP over IPv6.
const UNKNOWN: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Both ends in one family, which is all that a header can say.
enum Pair {
    V4((Ipv4Addr, u16), (Ipv4Addr, u16)),
    V6((Ipv6Addr, u16), (Ipv6Addr, u16)),
}

/// The header that tells `ends`. A client whose address is not known makes one that says so; a destination that is not
/// known is told as the unspecified address.
pub fn encode(version: Version, ends: &Ends) -> Vec<u8> {
    match version {
        Version::V1 => text(pair(ends)).into_bytes(),
        Version::V2 => binary(pair(ends)),
    }
}

/// Where the two ends differ in their family, the one of IPv4 is written as IPv6 (RFC 4291 section 2.5.5.2).
fn pair(ends: &Ends) -> Option<Pair> {
    let source = ends.source?;
    let destination = ends.destination.unwrap_or_else(|| match source {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    });
    Some(match (source, destination) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => Pair::V4((*from.ip(), from.port()), (*to.ip(), to.port())),
        (from, to) => Pair::V6(wide(from), wide(to)),
    })
}

fn wide(address: SocketAddr) -> (Ipv6Addr, u16) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip, address.port())
}

fn text(pair: Option<Pair>) -> String {
    let name = String::from_utf8_lossy(TEXT);
    match pair {
        None => format!("{name}UNKNOWN\r\n"),
        Some(Pair::V4((from, from_port), (to, to_port))) => {
            format!("{name}TCP4 {from} {to} {from_port} {to_port}\r\n")
        }
        Some(Pair::V6((from, from_port), (to, to_port))) => {
            format!("{name}TCP6 {from} {to} {from_port} {to_port}\r\n")
        }
    }
}

fn binary(pair: Option<Pair>) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    let family = match pair {
        None => UNKNOWN,
        Some(Pair::V4((from, from_port), (to, to_port))) => {
            addresses.extend(from.octets().into_iter().chain(to.octets()));
            addresses.extend(from_port.to_be_bytes().into_iter().chain(to_port.to_be_bytes()));
            TCP4
        }
        Some(Pair::V6((from, from_port), (to, to_port))) => {
            addresses.extend(from.octets().into_iter().chain(to.octets()));
            addresses.extend(from_port.to_be_bytes().into_iter().chain(to_port.to_be_bytes()));
            TCP6
        }
    };
    let mut header = Vec::with_capacity(BINARY.len() + 4 + addresses.len());
    header.extend_from_slice(BINARY);
    header.extend([PROXY, family, 0, addresses.len() as u8]);
    header.extend(addresses);
    header
}
