//! Header edits: remove, set and add, on requests and on answers.

mod compile;
mod config;

use bytes::{Bytes, BytesMut};
use filter::{Amend, Template, Trail, View, write_line};
use http::HeaderName;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::head::Head;

pub use compile::Written;
pub use config::{Fields, ResponseConfig};

/// Edits of a request, made after the forwarding headers, which they may therefore change.
pub type RequestEdits = HeaderEdits<RequestHeader>;

/// Edits of an answer; their templates see the request that it answers.
pub type ResponseEdits = HeaderEdits<ResponseHeader>;

/// What to change in a head: fields to remove, to set and to add, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdits<H> {
    remove: Box<[HeaderName]>,
    remove_prefixes: Box<[Box<str>]>,
    set: Box<[Edit]>,
    add: Box<[Edit]>,
    head: std::marker::PhantomData<fn(H)>,
}

/// A field and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    name: HeaderName,
    /// The name as the configuration writes it, which HTTP/1.1 sends.
    written: Bytes,
    values: Box<[Template]>,
}

impl<H> HeaderEdits<H> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.remove_prefixes.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether the field `name`, in lower case, may be changed.
    pub fn touches(&self, name: &str) -> bool {
        let edited = self.set.iter().chain(&self.add).map(|edit| &edit.name);
        self.remove.iter().chain(edited).any(|edited| edited == name)
            || self.remove_prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }

    /// Whether nothing of the field `name`, in lower case, passes as it came.
    pub fn hides(&self, name: &str) -> bool {
        self.remove.iter().chain(self.set.iter().map(|edit| &edit.name)).any(|edited| edited == name)
            || self.remove_prefixes.iter().any(|prefix| name.starts_with(&**prefix))
    }

    /// The names of the fields that are set or added, in lower case.
    pub fn put(&self) -> impl Iterator<Item = &str> {
        self.set.iter().chain(&self.add).map(|edit| edit.name.as_str())
    }

    /// The names of the fields that are taken out whatever they say, in lower case: those that are removed, and those that are
    /// set. `None` where they are told by how they begin.
    pub fn taken(&self) -> Option<impl Iterator<Item = &str>> {
        let set = self.set.iter().map(|edit| &edit.name);
        self.remove_prefixes.is_empty().then(|| self.remove.iter().chain(set).map(HeaderName::as_str))
    }

    /// What its values are made of.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.told().map(|(_, template)| template)
    }

    /// The same with the fields that they are for.
    pub fn told(&self) -> impl Iterator<Item = (&HeaderName, &Template)> {
        self.set.iter().chain(&self.add).flat_map(|edit| edit.values.iter().map(|value| (&edit.name, value)))
    }

    /// The names of the fields that are removed, set and added, in words for `explain`.
    pub fn describe(&self) -> impl Iterator<Item = String> + '_ {
        let remove = self.remove.iter().map(|name| format!("remove {name}"));
        let prefixes = self.remove_prefixes.iter().map(|prefix| format!("remove {prefix}*"));
        let written = |edit: &Edit| String::from_utf8_lossy(&edit.written).into_owned();
        let set = self.set.iter().map(move |edit| format!("set {}", written(edit)));
        let add = self.add.iter().map(move |edit| format!("add {}", written(edit)));
        remove.chain(prefixes).chain(set).chain(add)
    }
}

fn remove<H: Head>(edits: &HeaderEdits<H>, head: &mut H) {
    for name in &edits.remove {
        head.take(name);
    }
    if !edits.remove_prefixes.is_empty() {
        remove_by_prefix(&edits.remove_prefixes, head);
    }
}

fn edit<H: Head>(edits: &HeaderEdits<H>, head: &mut H, request: &View<'_>) {
    remove(edits, head);
    for edit in &edits.set {
        let mut values = edit.values.iter().filter_map(|value| value.render_header(request));
        match values.next() {
            Some(first) => head.put(edit.written.clone(), first),
            None => head.take(&edit.name),
        }
        values.for_each(|value| head.append(edit.written.clone(), value));
    }
    for edit in &edits.add {
        let values = edit.values.iter().filter_map(|value| value.render_header(request));
        values.for_each(|value| head.append(edit.written.clone(), value));
    }
}

/// Removes what begins as told. Fields that frame the message stay: `Content-*` means content, not its end.
fn remove_by_prefix<H: Head>(prefixes: &[Box<str>], head: &mut H) {
    let begins = |name: &str| prefixes.iter().any(|prefix| name.starts_with(&**prefix));
    head.take_where(|name| begins(name.as_str()) && !compile::is_framing(name.as_str()));
}

macro_rules! edits {
    ($head:ty) => {
        impl Amend<$head> for HeaderEdits<$head> {
            fn amend(&self, head: &mut $head, request: &View<'_>) {
                edit(self, head, request);
            }
        }

        impl Trail<$head> for HeaderEdits<$head> {
            fn clear(&self, head: &mut $head, _: &View<'_>) {
                remove(self, head);
                self.set.iter().for_each(|edit| head.take(&edit.name));
            }

            fn write(&self, _: &$head, request: &View<'_>, out: &mut BytesMut) {
                let mut room = String::new();
                for edit in self.set.iter().chain(&self.add) {
                    for value in &edit.values {
                        if let Some(value) = value.render_line(request, &mut room) {
                            write_line(out, &edit.written, value);
                        }
                    }
                }
            }
        }
    };
}

edits!(RequestHeader);
edits!(ResponseHeader);

#[cfg(test)]
mod tests;
