//! What stands before the content of a file: what it says of itself, and the sums.

use xxhash_rust::xxh3::xxh3_64;

use super::file::{BLOCK, FIXED, MAGIC};
use crate::{freshness::Millis, wire::Out};

/// How long it is.
pub(super) fn length(record: usize, content: u64) -> u64 {
    (FIXED + record) as u64 + content.div_ceil(BLOCK as u64) * 8
}

/// The head of a file with so much content, whose blocks have these sums.
pub(super) fn written(record: &[u8], content: u64, sums: &[u64], outdated: Millis) -> Vec<u8> {
    let mut summed = Out::default();
    summed.number(record.len() as u64);
    summed.number(content);
    let fixed = summed.0.len();
    summed.0.extend_from_slice(record);
    sums.iter().for_each(|sum| summed.number(*sum));
    let whole = xxh3_64(&summed.0);
    let mut out = Out::default();
    out.0.extend_from_slice(MAGIC);
    out.number(outdated);
    out.number(!outdated);
    out.0.extend_from_slice(&summed.0[..fixed]);
    out.number(whole);
    out.0.extend_from_slice(&summed.0[fixed..]);
    out.0
}
