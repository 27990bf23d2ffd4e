//! Edits of the query.

use document::{At, Code, Diagnostic, Report};
use filter::{
    Template, View,
    query::decode,
    template::{Escape, Scope},
};

use crate::{QueryConfig, template};

/// Parameters to remove, and parameters to put at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueryEdits {
    /// Decoded names of parameters that go, sorted; those that are set are among them.
    gone: Vec<Box<[u8]>>,
    /// Encoded names and values.
    added: Vec<(Box<str>, Template)>,
}

impl QueryEdits {
    /// What it adds.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.added.iter().map(|(_, template)| template)
    }

    pub fn compile(written: &QueryConfig, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let mut edits = Self::default();
        for (name, value) in written.set.iter().flatten() {
            let place = at.key("set").key(name);
            edits.gone.push(named(name, &place.name(), report).as_bytes().into());
            edits.add(name, value, &scope, &place, report);
        }
        for (name, values) in written.add.iter().flatten() {
            let place = at.key("add").key(name);
            named(name, &place.name(), report);
            for (index, value) in values.iter().enumerate() {
                edits.add(name, value, &scope, &place.index(index), report);
            }
        }
        for (index, name) in written.remove.iter().flat_map(|list| list.iter().enumerate()) {
            let place = at.key("remove").index(index);
            edits.gone.push(named(name, &place, report).as_bytes().into());
            if written.set.as_ref().is_some_and(|set| set.contains_key(name)) {
                let diagnostic =
                    Diagnostic::new(Code::E0107, format!("the query parameter `{name}` is set and removed"));
                let diagnostic =
                    diagnostic.label(place, "removed here").label(at.key("set").key(name).name(), "set here");
                report.push(diagnostic.help("delete one: `set` replaces what the client sent"));
            }
        }
        edits.gone.sort();
        (report.errors() == errors).then_some(edits)
    }

    fn add(&mut self, name: &str, value: &str, scope: &Scope<'_>, at: &At, report: &mut Report) {
        if let Some(value) = template::parse(value, scope, at, report) {
            self.added.push((encode(name).into(), value.map_text(encode)));
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends `?` and the edited query to `out`, or nothing where nothing is left of it.
    pub fn render(&self, view: &View<'_>, out: &mut String) {
        if self.is_empty() {
            if let Some(query) = view.query {
                out.push('?');
                out.push_str(query);
            }
            return;
        }
        let mut separator = '?';
        let mut put = |out: &mut String| out.push(std::mem::replace(&mut separator, '&'));
        let pairs = view.query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        for pair in pairs.filter(|pair| !self.is_gone(pair)) {
            put(out);
            out.push_str(pair);
        }
        for (name, value) in &self.added {
            put(out);
            out.push_str(name);
            out.push('=');
            value.render_as(Escape::Query, view, out);
        }
    }

    fn is_gone(&self, pair: &str) -> bool {
        if self.gone.is_empty() {
            return false;
        }
        let name = decode(pair.split_once('=').map_or(pair, |(name, _)| name));
        self.gone.binary_search_by(|gone| (**gone).cmp(&name)).is_ok()
    }
}

/// The name, after a look whether there is one.
fn named<'n>(name: &'n str, at: &At, report: &mut Report) -> &'n str {
    if name.is_empty() {
        report.add(Code::E0108, at, "a query parameter needs a name", "this is empty");
    }
    name
}

/// Plain text as part of a query (RFC 3986 section 3.4), with everything encoded that could end or change it.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
