//! What the tree is made of: nodes, and the routes that end at them.

/// A place in the tree. Small, for it lies beside the segment that leads to it: one step reads one cache line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub id: u32,
    /// Where any segment that is not empty leads, or [`NOWHERE`].
    pub any: u32,
    /// Routes whose pattern ends here.
    pub own: Run,
    /// Routes whose pattern takes this and everything below.
    pub below: Run,
    /// Whether some text leads on from here.
    pub leads_on: bool,
}

/// No node.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The routes of one place, the more specific first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    None,
    /// One route, without conditions and placeholders: the common case needs no look at the entries.
    One(u32),
    /// Some of the entries.
    Many {
        start: u32,
        length: u32,
    },
}

/// A route as the tree knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// A bit for every segment that a placeholder takes.
    pub taken: u64,
    pub route: u32,
    /// A bit for every method that the route takes, as [`method_bit`] has them.
    pub methods: u16,
    /// Whether there are conditions besides host, path and these methods.
    pub more: bool,
}

/// Any method at all.
pub(crate) const EVERY_METHOD: u16 = u16::MAX;

impl Entry {
    /// A route without conditions and placeholders.
    pub fn plain(route: u32) -> Self {
        Self { taken: 0, route, methods: EVERY_METHOD, more: false }
    }

    pub fn is_plain(&self) -> bool {
        self.taken == 0 && self.methods == EVERY_METHOD && !self.more
    }
}

/// The bit of a method; those that are not in RFC 9110 and RFC 5789 share one.
pub(crate) fn method_bit(method: &http::Method) -> u16 {
    use http::Method;
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::PATCH => 1 << 4,
        Method::DELETE => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::CONNECT => 1 << 8,
        _ => OTHER_METHODS,
    }
}

/// The bit that all other methods share.
pub(crate) const OTHER_METHODS: u16 = 1 << 15;
