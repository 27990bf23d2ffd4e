//! From a key to a number that is the same in every process and every release.

/// FNV-1a's offset and prime for 64 bits (draft-eastlake-fnv).
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of a key: FNV-1a, whose high bits are then mixed into the low ones. It spreads well and is not secret: what a
/// client can gain by choosing its key is bounded by the load that an endpoint takes.
pub fn hash(key: &[u8]) -> u64 {
    mix(key.iter().fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// The last step of SplitMix64: every bit of the number changes about half of the result's.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
