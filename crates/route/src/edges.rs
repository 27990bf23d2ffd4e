//! From a node and a segment to the next node: one flat hash table for all nodes of all hosts.

use crate::node::{NOWHERE, Node, Run};

/// An immutable open-addressing table. A step is one probe into one array, however many routes there are.
#[derive(Debug, Clone)]
pub(crate) struct Edges {
    slots: Box<[Slot]>,
    /// Segments too long to lie in their slot.
    long: Box<str>,
}

/// How much of a segment lies in the slot itself: as much as fills a cache line together with the node.
const INLINE: usize = 22;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Slot {
    from: u32,
    length: u16,
    /// The segment, or where it begins in `long`.
    text: [u8; INLINE],
    to: Node,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// A slot that holds nothing leads nowhere.
const EMPTY: Slot = Slot {
    from: NOWHERE,
    length: 0,
    text: [0; INLINE],
    to: Node { id: NOWHERE, any: NOWHERE, own: Run::None, below: Run::None, leads_on: false },
};

impl Edges {
    /// Builds the table of edges `(from, segment, to)`, which are all different. Segments longer than 65,535 bytes do
    /// not occur in requests.
    pub fn new<'s>(edges: impl ExactSizeIterator<Item = (u32, &'s str, Node)>) -> Self {
        // At most half full, so that a probe seldom looks further.
        let mut slots = vec![EMPTY; (edges.len() * 2 + 1).next_power_of_two()];
        let mut long = String::new();
        for (from, segment, to) in edges {
            let Ok(length) = u16::try_from(segment.len()) else { continue };
            let mut text = [0; INLINE];
            if segment.len() <= INLINE {
                text[..segment.len()].copy_from_slice(segment.as_bytes());
            } else {
                text[..8].copy_from_slice(&(long.len() as u64).to_le_bytes());
                long.push_str(segment);
            }
            let mask = slots.len() - 1;
            let mut index = hash(from, segment.as_bytes()) as usize & mask;
            while slots[index].to.id != NOWHERE {
                index = (index + 1) & mask;
            }
            slots[index] = Slot { from, length, text, to };
        }
        Self { slots: slots.into(), long: long.into() }
    }

    /// Where `segment` leads from the node `from`.
    pub fn get(&self, from: u32, segment: &str) -> Option<&Node> {
        let mask = self.slots.len() - 1;
        let mut index = hash(from, segment.as_bytes()) as usize & mask;
        loop {
            let slot = &self.slots[index];
            if slot.to.id == NOWHERE {
                return None;
            }
            if slot.from == from && usize::from(slot.length) == segment.len() && self.text(slot) == segment.as_bytes() {
                return Some(&slot.to);
            }
            index = (index + 1) & mask;
        }
    }

    fn text<'t>(&'t self, slot: &'t Slot) -> &'t [u8] {
        let length = usize::from(slot.length);
        if length <= INLINE {
            return &slot.text[..length];
        }
        let mut start = [0; 8];
        start.copy_from_slice(&slot.text[..8]);
        let start = u64::from_le_bytes(start) as usize;
        self.long.as_bytes().get(start..start + length).unwrap_or(b"")
    }
}

/// A multiply-and-fold hash. The keys of the table are the operator's and the table never grows, so a client gains
/// nothing from segments that collide: a probe ends at the next empty slot whatever is looked up.
fn hash(from: u32, text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut state = fold(FACTOR, u64::from(from) << 32 | text.len() as u64);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        state = fold(state, u64::from_le_bytes(*word));
    }
    fold(state, remainder(text, rest))
}

/// What is left of `text` after its words: up to eight bytes, read without a loop and, where there were words, together
/// with bytes that were read before.
fn remainder(text: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    match *rest {
        [first, .., last] => u64::from(first) << 16 | u64::from(rest[1]) << 8 | u64::from(last),
        [one] => u64::from(one),
        [] => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_is_found_and_no_other() {
        let names: Vec<_> = (0..1000).map(|n| format!("{n}{}", "-long".repeat(n % 9))).collect();
        let node = |n: usize| Node { id: n as u32, ..EMPTY.to };
        let edges: Vec<_> = names.iter().enumerate().map(|(n, name)| (n as u32 % 7, name.as_str(), node(n))).collect();
        let table = Edges::new(edges.iter().copied());
        for (from, name, to) in edges {
            assert_eq!(table.get(from, name).map(|node| node.id), Some(to.id));
            assert!(table.get(from + 7, name).is_none());
            assert!(table.get(from, &format!("{name}x")).is_none());
        }
        assert!(Edges::new([].into_iter()).get(0, "").is_none());
    }
}
