//! The backends of an upstream that have certain labels.

use std::collections::BTreeMap;

use crate::{backend::Backend, set::Tier};

/// What a backend is labelled with: `version = "2"`.
pub(crate) type Labels = BTreeMap<Box<str>, Box<str>>;

/// Which of an upstream's subsets a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubsetId(pub(crate) u16);

/// The endpoints of those backends, at one time.
#[derive(Debug)]
pub(crate) struct Subset {
    pub(crate) labels: Labels,
    pub(crate) tiers: Box<[Tier]>,
}

/// Whether a backend has all of these labels.
pub(crate) fn matches(labels: &Labels, backend: &Backend) -> bool {
    labels.iter().all(|(name, value)| backend.labels.get(name) == Some(value))
}
