//! Reads the header, from bytes that anybody may have sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{BINARY, Ends, TEXT};

/// The longest header that is read, in bytes. A line of version 1 has at most 107; what a header of version 2 says beyond
/// the addresses is skipped, and may be this long as well.
pub const MAX_LENGTH: usize = 4096;

/// The longest line of version 1, with its end.
const MAX_LINE: usize = 107;

/// What stands before the addresses in version 2.
const FIXED: usize = BINARY.len() + 4;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header of so many bytes, and what it tells.
    Whole(usize, Told),
    /// The beginning of a header, as far as can be seen.
    Partial,
    /// Something else.
    Absent,
    /// What begins as a header and is none.
    Malformed(Malformed),
}

/// What a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The connection is what it seems: a health check of the proxy's own, or a client whose address cannot be said.
    Nothing,
    /// The connection is a client's. Both ends are known.
    Client(Ends),
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than a header may be.
    TooLong,
    /// It cannot be read.
    Unreadable,
    /// A version, command, family or protocol that the specification does not have.
    Unsupported,
}

/// Reads the header that `bytes` begin with. Whether they can be the beginning of one is told from the first byte on.
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, TEXT) {
        text(bytes)
    } else if begins(bytes, BINARY) {
        binary(bytes)
    } else {
        Parsed::Absent
    }
}

/// Whether `bytes` are `signature` as far as either goes.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn text(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < MAX_LINE { Parsed::Partial } else { Parsed::Malformed(Malformed::TooLong) };
    };
    let read = std::str::from_utf8(&window[..end]).ok().and_then(|line| line.get(TEXT.len()..)).and_then(line);
    read.map_or(Parsed::Malformed(Malformed::Unreadable), |told| Parsed::Whole(end + 2, told))
}

/// What follows `PROXY ` in the line.
fn line(line: &str) -> Option<Told> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    let ends = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(Told::Nothing),
        "TCP4" => ends::<Ipv4Addr>(rest),
        "TCP6" => ends::<Ipv6Addr>(rest),
        _ => None,
    };
    ends.map(Told::Client)
}

fn ends<A: std::str::FromStr + Into<IpAddr>>(text: &str) -> Option<Ends> {
    let mut words = text.split(' ');
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (from, to) = (address()?, address()?);
    let (from_port, to_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| told(from, from_port, to, to_port))
}

/// A decimal number without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// IPv4 addresses that are written as IPv6 are told as IPv4.
fn told(from: IpAddr, from_port: u16, to: IpAddr, to_port: u16) -> Ends {
    Ends {
        source: Some(SocketAddr::new(from.to_canonical(), from_port)),
        destination: Some(SocketAddr::new(to.to_canonical(), to_port)),
    }
}

fn binary(bytes: &[u8]) -> Parsed {
    let Some(&[version, family, high, low]) = bytes.get(BINARY.len()..FIXED) else { return Parsed::Partial };
    let is_client = match version {
        0x20 => false,
        0x21 => true,
        _ => return Parsed::Malformed(Malformed::Unsupported),
    };
    if family >> 4 > 3 || family & 0xF > 2 {
        return Parsed::Malformed(Malformed::Unsupported);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Parsed::Malformed(Malformed::TooLong);
    }
    let Some(payload) = bytes.get(FIXED..length) else { return Parsed::Partial };
    let told = match (is_client, family) {
        (true, 0x11) => wire::<4>(payload),
        (true, 0x21) => wire::<16>(payload),
        // The addresses of unix sockets are 108 bytes each, and say nothing about a client.
        (true, 0x31) => (payload.len() >= 216).then_some(Told::Nothing),
        // Datagrams do not come by a stream; no family is one that cannot be said; LOCAL is the proxy itself.
        _ => Some(Told::Nothing),
    };
    told.map_or(Parsed::Malformed(Malformed::Unreadable), |told| Parsed::Whole(length, told))
}

/// Two addresses of `N` bytes, then two ports.
fn wire<const N: usize>(payload: &[u8]) -> Option<Told>
where
    IpAddr: From<[u8; N]>,
{
    let (from, rest) = payload.split_first_chunk::<N>()?;
    let (to, rest) = rest.split_first_chunk::<N>()?;
    let (from_port, rest) = rest.split_first_chunk::<2>()?;
    let (to_port, _) = rest.split_first_chunk::<2>()?;
    let (from_port, to_port) = (u16::from_be_bytes(*from_port), u16::from_be_bytes(*to_port));
    Some(Told::Client(told((*from).into(), from_port, (*to).into(), to_port)))
}

#[cfg(test)]
mod tests;
