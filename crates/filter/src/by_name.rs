//! Facts by name, in the order of their names: a look-up allocates nothing.

/// Of several with one name the first counts.
pub(crate) fn sorted<T>(facts: impl IntoIterator<Item = (Box<str>, T)>) -> Box<[(Box<str>, T)]> {
    let mut facts: Vec<_> = facts.into_iter().collect();
    facts.sort_by(|one, two| one.0.cmp(&two.0));
    facts.dedup_by(|one, two| one.0 == two.0);
    facts.into()
}

/// The one called `name`.
pub(crate) fn find<'f, T>(facts: &'f [(Box<str>, T)], name: &str) -> Option<&'f T> {
    let index = facts.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
    facts.get(index).map(|(_, fact)| fact)
}
