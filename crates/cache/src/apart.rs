//! What of a URL tells the answers of a route apart. Purges go by it, which are ordered with a URL as clients write it.

use filter::query::first;

use crate::{
    key::{Part, sorted},
    wire::{In, Out},
};

/// Which parts of a URL do, beside its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Apart {
    pub(crate) scheme: bool,
    pub(crate) host: bool,
    query: Parameters,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Parameters {
    /// The whole query as it stands.
    AsWritten,
    /// All but these, in the order of their names.
    Sorted(Box<[Box<str>]>),
    /// These alone.
    Only(Box<[Box<str>]>),
}

impl Apart {
    pub(crate) fn of(key: &[Part]) -> Self {
        let all = key.iter().find_map(|part| match part {
            Part::Query => Some(Parameters::AsWritten),
            Part::Sorted(without) => Some(Parameters::Sorted(without.clone())),
            _ => None,
        });
        let names = key.iter().filter_map(|part| match part {
            Part::Parameter(name) => Some(name.clone()),
            _ => None,
        });
        let query = all.unwrap_or_else(|| Parameters::Only(names.collect()));
        Self { scheme: key.contains(&Part::Scheme), host: key.contains(&Part::Host), query }
    }

    /// What of a query does; `None` where that is all of it as it stands.
    pub(crate) fn narrowed(&self, query: Option<&str>) -> Option<String> {
        let names = match &self.query {
            Parameters::AsWritten => return None,
            Parameters::Sorted(without) => return Some(sorted(query, without).unwrap_or_default()),
            Parameters::Only(names) => names,
        };
        let query = query.unwrap_or_default();
        let of = |name: &str| first(query, name).map(|value| format!("{name}={value}"));
        Some(names.iter().filter_map(|name| of(name)).collect::<Vec<_>>().join("&"))
    }

    /// What it takes of memory.
    pub(crate) fn weight(&self) -> usize {
        let names: usize = self.names().iter().map(|name| name.len() + 16).sum();
        names + 64
    }

    fn names(&self) -> &[Box<str>] {
        match &self.query {
            Parameters::AsWritten => &[],
            Parameters::Sorted(names) | Parameters::Only(names) => names,
        }
    }

    pub(crate) fn write(&self, out: &mut Out) {
        out.flag(self.scheme);
        out.flag(self.host);
        out.number(match &self.query {
            Parameters::AsWritten => 0,
            Parameters::Sorted(_) => 1,
            Parameters::Only(_) => 2,
        });
        out.number(self.names().len() as u64);
        self.names().iter().for_each(|name| out.text(name.as_bytes()));
    }

    pub(crate) fn read(from: &mut In<'_>) -> Option<Self> {
        let (scheme, host, kind) = (from.flag()?, from.flag()?, from.number()?);
        let mut names = Vec::new();
        for _ in 0..from.number()? {
            names.push(from.string()?.into());
        }
        let query = match kind {
            0 => Parameters::AsWritten,
            1 => Parameters::Sorted(names.into()),
            2 => Parameters::Only(names.into()),
            _ => return None,
        };
        Some(Self { scheme, host, query })
    }
}
