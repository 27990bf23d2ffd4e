//! Content of an exchange that limits on bandwidth hold back.

use bytes::Bytes;

use super::{client::Client, exchange::Exchange};
use crate::throttle::{Valve, Valves};

impl<C: Client> Exchange<'_, C> {
    /// Whether anything is held back.
    pub(super) fn holds(&self, way: impl FnOnce(&Valves) -> &Valve) -> bool {
        self.valves.as_ref().is_some_and(|valves| !way(valves).is_empty())
    }

    /// A piece for the origin, of which what comes from the client for the first time is held back where a limit says so.
    pub(super) fn put_up(&mut self, chunk: Option<Bytes>, last: bool, received_before: u64) {
        match &mut self.valves {
            Some(valves) if self.upload.received() > received_before => {
                valves.up.put(chunk.unwrap_or_default(), last);
                self.let_up();
            }
            _ => self.upload.put(chunk, last),
        }
    }

    /// Passes on to the origin what need not wait any more.
    pub(super) fn let_up(&mut self) -> bool {
        let Some(valves) = self.valves.as_mut().filter(|_| self.upload.wants_more()) else { return false };
        let Some((piece, last)) = valves.up.take(self.ctx) else { return false };
        self.upload.put(Some(piece), last);
        true
    }

    /// A piece for the client.
    pub(super) fn put_down(&mut self, content: Bytes, last: bool) {
        match &mut self.valves {
            Some(valves) => {
                valves.down.put(content, last);
                self.let_down();
            }
            None => self.client.put(content, last),
        }
    }

    /// Passes on to the client what need not wait any more.
    pub(super) fn let_down(&mut self) {
        if let Some(valves) = self.valves.as_mut().filter(|_| self.client.has_room())
            && let Some((piece, last)) = valves.down.take(self.ctx)
        {
            self.client.put(piece, last);
        }
    }
}
