//! From a node and a segment to the next node: one flat hash table for all nodes of all hosts.

/// An immutable open-addressing table. A step is one probe into one array, however many routes there are.
#[derive(Debug, Clone)]
pub(crate) struct Edges {
    slots: Box<[Slot]>,
    /// Segments too long to lie in their slot.
    long: Box<str>,
}

/// How much of a segment lies in the slot itself.
const INLINE: usize = 22;

#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Slot {
    from: u32,
    to: u32,
    length: u16,
    /// The segment, or where it begins in `long`.
    text: [u8; INLINE],
}

/// A slot that holds nothing leads nowhere.
const NOWHERE: u32 = u32::MAX;
const EMPTY: Slot = Slot { from: NOWHERE, to: NOWHERE, length: 0, text: [0; INLINE] };

impl Edges {
    /// Builds the table of edges `(from, segment, to)`, which are all different. Segments longer than 65,535 bytes do
    /// not occur in requests.
    pub fn new<'s>(edges: impl ExactSizeIterator<Item = (u32, &'s str, u32)>) -> Self {
        // At most half full, so that a probe seldom needs a second look.
        let mut slots = vec![EMPTY; (edges.len() * 2).next_power_of_two().max(2)];
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
            while slots[index].to != NOWHERE {
                index = (index + 1) & mask;
            }
            slots[index] = Slot { from, to, length, text };
        }
        Self { slots: slots.into(), long: long.into() }
    }

    /// Where `segment` leads from the node `from`.
    pub fn get(&self, from: u32, segment: &str) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut index = hash(from, segment.as_bytes()) as usize & mask;
        loop {
            let slot = &self.slots[index];
            if slot.to == NOWHERE {
                return None;
            }
            if slot.from == from && self.text(slot) == segment.as_bytes() {
                return Some(slot.to);
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
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        state = fold(state, u64::from_le_bytes(word));
    }
    fold(state, FACTOR.rotate_left(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_is_found_and_no_other() {
        let names: Vec<_> = (0..1000).map(|n| format!("{n}{}", "-long".repeat(n % 9))).collect();
        let edges: Vec<_> = names.iter().enumerate().map(|(n, name)| (n as u32 % 7, name.as_str(), n as u32)).collect();
        let table = Edges::new(edges.iter().copied());
        for (from, name, to) in edges {
            assert_eq!(table.get(from, name), Some(to));
            assert_eq!(table.get(from + 7, name), None);
            assert_eq!(table.get(from, &format!("{name}x")), None);
        }
        assert_eq!(Edges::new([].into_iter()).get(0, ""), None);
    }
}
