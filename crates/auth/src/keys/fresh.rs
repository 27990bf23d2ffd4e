//! A new key.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};

/// How many letters of a key tell it apart: those that are shown.
pub const ID_LENGTH: usize = 8;

/// Letters that nobody mistakes for each other: Crockford's.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A key that was made just now; this is the only time that it is known.
pub struct Fresh {
    /// The letters that it is shown by.
    pub id: String,
    /// The key.
    pub text: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Fresh {
    /// A key of 160 random bits, with its id in front: `mtd_7k3a9c1d_…`. `None` where the system has no randomness.
    pub fn new() -> Option<Self> {
        let (id, secret) = (letters::<ID_LENGTH>()?, letters::<32>()?);
        let text = format!("mtd_{id}_{secret}");
        let sha256 = digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { id, text, sha256 })
    }
}

/// Five random bits each.
fn letters<const COUNT: usize>() -> Option<String> {
    let mut bytes = [0; COUNT];
    rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
