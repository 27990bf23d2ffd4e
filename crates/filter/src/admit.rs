//! The things that a concern may do to a request.

use bytes::{Bytes, BytesMut};

use crate::{Reply, View};

/// May this request pass? Refusing is answering.
///
/// *Judging and charging are two acts*: [`judge`](Admit::judge) looks without touching anything, which is what
/// `maitred explain` needs; [`admit`](Admit::admit) is judge and commit in one atomic step. On the same state they agree.
pub trait Admit {
    /// What passing proves: an identity, a permit, or nothing.
    type Proof;

    /// Admits the request, or says what to answer instead.
    fn admit(&self, request: &View<'_>) -> Result<Self::Proof, Reply>;

    /// What [`admit`](Admit::admit) would say, without charging for it.
    fn judge(&self, request: &View<'_>) -> Result<(), Reply>;
}

/// A concern that a route does not have admits everything: one branch, no allocation.
impl<A: Admit> Admit for Option<A>
where
    A::Proof: Default,
{
    type Proof = A::Proof;

    fn admit(&self, request: &View<'_>) -> Result<Self::Proof, Reply> {
        match self {
            Some(concern) => concern.admit(request),
            None => Ok(A::Proof::default()),
        }
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        match self {
            Some(concern) => concern.judge(request),
            None => Ok(()),
        }
    }
}

/// Change a message head in place. Cannot refuse and cannot fail: what could fail was ruled out when it was compiled.
pub trait Amend<Head> {
    /// Changes `head`; `request` is the request as the client sent it, for templates.
    fn amend(&self, head: &mut Head, request: &View<'_>);
}

impl<Head, A: Amend<Head>> Amend<Head> for Option<A> {
    fn amend(&self, head: &mut Head, request: &View<'_>) {
        if let Some(concern) = self {
            concern.amend(head, request);
        }
    }
}

/// What an [`Amend`] does to a head that leaves over HTTP/1 at once, in two acts: its fields are lines behind all others
/// then, which costs a tenth of putting them among the others. Both acts together say what `amend` says, as long as
/// nothing else changes the same fields.
pub trait Trail<Head>: Amend<Head> {
    /// Takes out of `head` what is removed, and what [`write`](Trail::write) has in its place.
    fn clear(&self, head: &mut Head, request: &View<'_>);

    /// Writes the lines behind a `head` that was [cleared](Trail::clear).
    fn write(&self, head: &Head, request: &View<'_>, out: &mut BytesMut);
}

impl<Head, T: Trail<Head>> Trail<Head> for Option<T> {
    fn clear(&self, head: &mut Head, request: &View<'_>) {
        if let Some(concern) = self {
            concern.clear(head, request);
        }
    }

    fn write(&self, head: &Head, request: &View<'_>, out: &mut BytesMut) {
        if let Some(concern) = self {
            concern.write(head, request, out);
        }
    }
}

/// Writes a field as a line of HTTP/1 (RFC 9112 section 5).
pub fn write_line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Watch a body go by, a chunk at a time. Made anew for every attempt.
pub trait Inspect {
    /// Sees one chunk, and may change it; `last` is true for the final one. To hold a chunk back put an empty
    /// [`Bytes`], never `None`.
    fn chunk(&mut self, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply>;
}
