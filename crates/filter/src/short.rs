//! Numbers and addresses as text on the stack: they stand in every request, and `core::fmt` takes a thousand instructions
//! for an address.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

/// A short text.
///
/// ```
/// use maitred_filter::Short;
///
/// assert_eq!(Short::of_number(4711_u32).as_str(), "4711");
/// assert_eq!(Short::of_address("203.0.113.7".parse()?).as_str(), "203.0.113.7");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Short {
    bytes: [u8; LONGEST],
    length: usize,
}

/// No address is longer: `0000:0000:0000:0000:0000:ffff:255.255.255.255`.
const LONGEST: usize = 45;

impl Short {
    const EMPTY: Self = Self { bytes: [0; LONGEST], length: 0 };

    /// A number in decimal.
    pub fn of_number(number: impl Into<u64>) -> Self {
        let mut digits = [0; 20];
        let (mut number, mut at) = (number.into(), digits.len());
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        let mut text = Self::EMPTY;
        text.push(&digits[at..]);
        text
    }

    /// An address, without a port.
    pub fn of_address(address: IpAddr) -> Self {
        let mut text = Self::EMPTY;
        match address {
            IpAddr::V4(address) => text.push_v4(address),
            // It has room for the longest.
            IpAddr::V6(address) => drop(write!(text, "{address}")),
        }
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // It was made of text.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push_v4(&mut self, address: Ipv4Addr) {
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                self.push_byte(b'.');
            }
            if octet > 99 {
                self.push_byte(b'0' + octet / 100);
            }
            if octet > 9 {
                self.push_byte(b'0' + octet / 10 % 10);
            }
            self.push_byte(b'0' + octet % 10);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        self.push(&[byte]);
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_fmt_writes(number: u64, v4: u32, v6: u128) {
            let written = |text: Short| text.as_str().to_owned();
            prop_assert_eq!(written(Short::of_number(number)), number.to_string());
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                prop_assert_eq!(written(Short::of_address(address)), address.to_string());
            }
        }
    }

    #[test]
    fn the_longest_and_the_shortest_fit() {
        for text in ["0.0.0.0", "255.255.255.255", "::", "1111:2222:3333:4444:5555:6666:7777:8888", "::ffff:1.2.3.4"] {
            assert_eq!(Short::of_address(text.parse().unwrap()).as_str(), text);
        }
        assert_eq!(Short::of_number(0_u32).as_str(), "0");
        assert_eq!(Short::of_number(u64::MAX).as_str(), "18446744073709551615");
    }
}
