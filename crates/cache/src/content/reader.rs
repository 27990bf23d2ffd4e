//! Who reads content, from where on.

use std::sync::Arc;

use bytes::Bytes;
use filter::Reason;

use super::Content;
use crate::disk::Growing;

/// What a reader is given at most at once.
const PIECE: usize = 128 * 1024;

/// What one is given that [hurries](Reader::hurry): none of it is copied.
const LARGE_PIECE: usize = 1024 * 1024;

/// Reads content from its beginning, or a part of it. Waits for what has not come yet.
#[derive(Debug)]
pub struct Reader {
    content: Arc<Content>,
    /// Where the content knows it; `None` where all of it was there when it began.
    slot: Option<usize>,
    pub(super) at: u64,
    /// Where it stops; at the end where `None`.
    to: Option<u64>,
    /// How much it is given at most at once.
    most: usize,
}

impl Reader {
    /// `slot` is where the content knows it, which it does not need to where all of it is there.
    pub(super) fn new(content: &Arc<Content>, slot: Option<usize>, at: u64, to: Option<u64>) -> Self {
        Self { content: content.clone(), slot, at, to, most: PIECE }
    }

    /// From here on pieces may be large.
    pub fn hurry(&mut self) {
        self.most = LARGE_PIECE;
    }

    /// The next piece; `None` at the end, or why there is none.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        if let Some(piece) = self.of_whole() {
            return Ok(piece);
        }
        let content = self.content.clone();
        if let Some(file) = &content.resting {
            let to = self.to.unwrap_or(file.length()).min(file.length());
            if self.at >= to {
                return Ok(None);
            }
            let piece = file.read(self.at, to).await?;
            self.at += piece.len() as u64;
            return Ok(Some(piece));
        }
        loop {
            let changed = content.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(told) = self.ready() {
                return told;
            }
            if let Some((file, to)) = self.written() {
                let piece = file.read(self.at, to).await?;
                self.moved(piece.len());
                return Ok(Some(piece));
            }
            changed.await;
        }
    }

    /// What comes next of content that is whole and in memory.
    fn of_whole(&mut self) -> Option<Option<Bytes>> {
        let whole = self.content.whole.get()?;
        let end = self.to.and_then(|to| usize::try_from(to).ok()).map_or(whole.len(), |to| to.min(whole.len()));
        let from = usize::try_from(self.at).ok().filter(|from| *from < end);
        let Some(from) = from else { return Some(None) };
        let piece = whole.slice(from..end.min(from + self.most));
        self.at += piece.len() as u64;
        Some(Some(piece))
    }

    fn ready(&mut self) -> Option<Result<Option<Bytes>, Reason>> {
        if self.to.is_some_and(|to| self.at >= to) {
            return Some(Ok(None));
        }
        let state = self.content.lock();
        if self.slot.is_some_and(|slot| !state.readers.has(slot)) {
            return Some(Err(Reason::AnswerTimeout));
        }
        if let Some(piece) = state.piece(self.at, self.to, self.most) {
            drop(state);
            self.moved(piece.len());
            return Some(Ok(Some(piece)));
        }
        if self.at < state.written {
            return None;
        }
        state.end.map(|how| how.map(|()| None))
    }

    /// The file that holds what comes next, and up to where.
    fn written(&self) -> Option<(Arc<Growing>, u64)> {
        let written = self.content.lock().written;
        let to = self.to.map_or(written, |to| to.min(written));
        self.content.grows_in().filter(|_| self.at < to).map(|file| (file.clone(), to))
    }

    /// So much was read.
    fn moved(&mut self, count: usize) {
        self.at += count as u64;
        let mut state = self.content.lock();
        self.slot.iter().for_each(|slot| state.readers.moved(*slot, self.at));
        let waits = state.keeps.is_none();
        drop(state);
        if waits {
            self.content.changed.notify_waiters();
        }
    }

    /// Whether the next piece is the last, as far as is known.
    pub fn is_done(&self) -> bool {
        let end = self.to.or_else(|| match self.content.whole.get() {
            Some(whole) => Some(whole.len() as u64),
            None => {
                let state = self.content.lock();
                matches!(state.end, Some(Ok(()))).then_some(state.total)
            }
        });
        end.is_some_and(|end| self.at >= end)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        self.content.lock().readers.gone(slot);
        self.content.changed.notify_waiters();
    }
}
