//! Which socket is which: found again by its place after a reload, and in a successor.

use std::{collections::HashMap, fmt, os::fd::OwnedFd};

use crate::{Address, Listener};

/// A socket's name among all of the process's: its address, and whose it is where the address alone does not say, because
/// the system chose the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(Box<str>);

/// Listening sockets that another process of ours has handed over, each to be taken once.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<Place, OwnedFd>);

/// Every address of a listener with its place.
pub(crate) fn places(listener: &Listener) -> impl Iterator<Item = (Place, &Address)> {
    listener.addresses.iter().enumerate().map(|(index, address)| {
        let own = address.port() == Some(0);
        let place = if own { format!("{address} {} {index}", listener.name) } else { address.to_string() };
        (Place(place.into()), address)
    })
}

impl Place {
    /// The place of this name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name, in one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Inherited {
    /// Takes the socket of a place, if it was handed over.
    pub(crate) fn take(&mut self, place: &Place) -> Option<OwnedFd> {
        self.0.remove(place)
    }

    /// The places that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &Place> {
        self.0.keys()
    }
}

impl FromIterator<(Place, OwnedFd)> for Inherited {
    fn from_iter<T: IntoIterator<Item = (Place, OwnedFd)>>(sockets: T) -> Self {
        Self(sockets.into_iter().collect())
    }
}
