//! The three things a concern may do to a request.

use bytes::Bytes;

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

/// Watch a body go by, a chunk at a time. Made anew for every attempt.
pub trait Inspect {
    /// Sees one chunk, and may change it; `last` is true for the final one. To hold a chunk back put an empty
    /// [`Bytes`], never `None`.
    fn chunk(&mut self, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply>;
}
