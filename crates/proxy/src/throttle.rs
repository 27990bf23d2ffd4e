//! Content that limits on bandwidth hold back, both ways.

use std::time::Duration;

use bytes::Bytes;
use limit::{Permits, Way};
use tokio::time::{Instant, sleep};

use crate::context::Context;

/// What the content of one request is charged to: the limits of the route, and those of the upstream.
#[derive(Clone, Copy)]
pub(crate) struct Flows<'c>([&'c Permits; 2]);

impl<'c> Flows<'c> {
    pub(crate) fn of(ctx: &'c Context) -> Self {
        Self([&ctx.proofs.permits, &ctx.attempt.permits])
    }

    /// How much may pass at once, where anything limits it.
    pub(crate) fn piece(self, way: Way) -> Option<usize> {
        self.0.iter().filter_map(|permits| permits.piece(way)).min()
    }

    /// Charges for so many bytes, and says for how long they have to wait.
    fn draw(self, way: Way, bytes: usize) -> Duration {
        self.0.iter().map(|permits| permits.draw(way, bytes)).max().unwrap_or_default()
    }

    /// As [`draw`](Flows::draw), for an engine that waits by itself; `None` where it need not.
    pub(crate) fn wait(self, way: Way, bytes: usize) -> Option<Duration> {
        self.piece(way)?;
        Some(self.draw(way, bytes)).filter(|wait| !wait.is_zero())
    }

    /// Holds so many bytes back until they may pass.
    pub(crate) async fn hold(self, way: Way, bytes: usize) {
        if let Some(wait) = self.wait(way, bytes) {
            sleep(wait).await;
        }
    }
}

/// Where content of an exchange waits, one way.
pub(crate) struct Valve {
    way: Way,
    held: Bytes,
    last: bool,
    /// The piece that has been charged, and when it may pass.
    next: Option<(usize, Instant)>,
}

/// Both ways.
pub(crate) struct Valves {
    pub(crate) down: Valve,
    pub(crate) up: Valve,
}

impl Valves {
    /// In a box, and only where a limit says so: an exchange of others has no use for their room.
    pub(crate) fn of(ctx: &Context) -> Option<Box<Self>> {
        let flows = Flows::of(ctx);
        let limited = flows.piece(Way::Down).is_some() || flows.piece(Way::Up).is_some();
        limited.then(|| Box::new(Self { down: Valve::new(Way::Down), up: Valve::new(Way::Up) }))
    }

    /// When the first of what waits may pass.
    pub(crate) fn opens(&self) -> Option<Instant> {
        let opens = |valve: &Valve| valve.next.map(|(_, at)| at);
        opens(&self.down).into_iter().chain(opens(&self.up)).min()
    }
}

impl Valve {
    fn new(way: Way) -> Self {
        Self { way, held: Bytes::new(), last: false, next: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.last
    }

    /// Takes content, the `last` or another piece of it. There must be none.
    pub(crate) fn put(&mut self, content: Bytes, last: bool) {
        (self.held, self.last) = (content, last);
    }

    /// The next piece, and whether it is the last, once it may pass.
    pub(crate) fn take(&mut self, ctx: &Context) -> Option<(Bytes, bool)> {
        if self.is_empty() {
            return None;
        }
        let now = Instant::now();
        let (piece, at) = *self.next.get_or_insert_with(|| {
            let flows = Flows::of(ctx);
            let piece = flows.piece(self.way).unwrap_or(usize::MAX).min(self.held.len());
            (piece, now + flows.draw(self.way, piece))
        });
        if at > now {
            return None;
        }
        self.next = None;
        let piece = self.held.split_to(piece);
        let last = self.last && self.held.is_empty();
        if self.held.is_empty() {
            (self.held, self.last) = (Bytes::new(), false);
        }
        Some((piece, last))
    }
}
