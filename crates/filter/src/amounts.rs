//! How much a caller may of what limits count, where that is something of its own.

use crate::by_name;

/// A caller's own amounts by the names of limits, in the order of the names: a look-up allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(Box<[(Box<str>, u32)]>);

impl Amounts {
    /// The largest one: what a limit can count.
    pub const MOST: u32 = (1 << 24) - 1;

    /// How many one caller may have.
    pub const MANY: usize = 64;

    /// Whether there are none, as of nearly everybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amount for the limit called `name`.
    pub fn get(&self, name: &str) -> Option<u32> {
        by_name::find(&self.0, name).copied()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }
}

/// Of several amounts with one name the first counts.
impl FromIterator<(Box<str>, u32)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Box<str>, u32)>>(amounts: I) -> Self {
        Self(by_name::sorted(amounts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_found_by_the_names_of_limits_whatever_their_order() {
        let amounts: Amounts = [("uploads", 7), ("calls", 5000), ("uploads", 8)]
            .map(|(name, amount)| (name.into(), amount))
            .into_iter()
            .collect();
        assert_eq!(["calls", "uploads", "call", ""].map(|name| amounts.get(name)), [Some(5000), Some(7), None, None]);
        assert_eq!(amounts.iter().collect::<Vec<_>>(), [("calls", 5000), ("uploads", 7)]);
        assert!(!amounts.is_empty() && Amounts::default().is_empty());
    }
}
