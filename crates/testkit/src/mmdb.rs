//! A small database of addresses, written as MaxMind DB's specification 2.0 says.

use std::net::{IpAddr, Ipv6Addr};

/// What is known of networks. Of one within another the longer one counts.
#[derive(Debug, Clone, Default)]
pub struct Mmdb(Vec<(u128, u8, Record)>);

/// What is known of one network.
#[derive(Debug, Clone, Default, PartialEq)]
struct Record {
    country: Option<String>,
    number: Option<u32>,
}

/// A node of the tree: what is on its two sides.
type Node = [Side; 2];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Nothing,
    Node(usize),
    Record(usize),
}

/// What stands between the tree and the records.
const SEPARATOR: [u8; 16] = [0; 16];
/// What stands before the metadata.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

impl Mmdb {
    /// A network lies in this country.
    pub fn country(self, network: &str, code: &str) -> Self {
        self.with(network, |record| record.country = Some(code.into()))
    }

    /// A network belongs to this autonomous system.
    pub fn number(self, network: &str, number: u32) -> Self {
        self.with(network, |record| record.number = Some(number))
    }

    fn with(mut self, network: &str, set: impl FnOnce(&mut Record)) -> Self {
        let (address, length) = network.split_once('/').unwrap();
        let length: u8 = length.parse().unwrap();
        // IPv4 lies below `::/96`.
        let (bits, length) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), length + 96),
            IpAddr::V6(address) => (Ipv6Addr::to_bits(address), length),
        };
        let index = self.0.iter().position(|(own, long, _)| (*own, *long) == (bits, length)).unwrap_or_else(|| {
            self.0.push((bits, length, Record::default()));
            self.0.len() - 1
        });
        set(&mut self.0[index].2);
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut records: Vec<&(u128, u8, Record)> = self.0.iter().collect();
        records.sort_by_key(|(_, length, _)| *length);
        let (mut nodes, mut data, mut offsets) = (vec![[Side::Nothing; 2]], Vec::new(), Vec::new());
        for (bits, length, record) in records {
            offsets.push(data.len());
            write_record(record, &mut data);
            insert(&mut nodes, *bits, *length, offsets.len() - 1);
        }
        let count = nodes.len();
        let mut file = Vec::new();
        for side in nodes.iter().flatten() {
            let value = match side {
                Side::Nothing => count,
                Side::Node(index) => *index,
                Side::Record(index) => count + SEPARATOR.len() + offsets[*index],
            };
            file.extend_from_slice(&(value as u32).to_be_bytes());
        }
        file.extend_from_slice(&SEPARATOR);
        file.extend_from_slice(&data);
        file.extend_from_slice(MARKER);
        write_metadata(count, &mut file);
        file
    }
}

fn insert(nodes: &mut Vec<Node>, bits: u128, length: u8, record: usize) {
    let mut at = 0;
    for depth in 0..length {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == length {
            nodes[at][side] = Side::Record(record);
            return;
        }
        at = match nodes[at][side] {
            Side::Node(next) => next,
            other => {
                // A longer network within a shorter one: the rest of that one goes on around it.
                nodes.push([other; 2]);
                nodes[at][side] = Side::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

fn write_record(record: &Record, out: &mut Vec<u8>) {
    map(usize::from(record.country.is_some()) + usize::from(record.number.is_some()), out);
    if let Some(country) = &record.country {
        text("country", out);
        map(1, out);
        text("iso_code", out);
        text(country, out);
    }
    if let Some(number) = record.number {
        text("autonomous_system_number", out);
        unsigned(6, &number.to_be_bytes(), out);
    }
}

fn write_metadata(nodes: usize, out: &mut Vec<u8>) {
    map(9, out);
    for (name, value) in [
        ("binary_format_major_version", 2_u16),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 32),
    ] {
        text(name, out);
        unsigned(5, &value.to_be_bytes(), out);
    }
    text("node_count", out);
    unsigned(6, &(nodes as u32).to_be_bytes(), out);
    text("build_epoch", out);
    // An extended type: 64 bits are type 9, which is 2 beyond 7.
    out.extend_from_slice(&[8, 2]);
    out.extend_from_slice(&1_700_000_000_u64.to_be_bytes());
    text("database_type", out);
    text("Test", out);
    text("languages", out);
    out.extend_from_slice(&[0, 4]);
    text("description", out);
    map(0, out);
}

fn map(entries: usize, out: &mut Vec<u8>) {
    out.push(7 << 5 | entries as u8);
}

fn text(text: &str, out: &mut Vec<u8>) {
    assert!(text.len() < 29);
    out.push(2 << 5 | text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn unsigned(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind << 5 | bytes.len() as u8);
    out.extend_from_slice(bytes);
}
