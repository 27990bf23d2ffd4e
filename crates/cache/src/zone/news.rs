//! What a process that drains tells the one that has taken over: what the requests that it still serves have changed and purged.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Zone;
use crate::{
    ledger::{PLACES, Purge},
    lock,
    wire::{In, Out},
};

/// So many bytes are told at once, or a few more.
const PIECE: usize = 32 * 1024;

/// What is to be told, once there is anybody.
#[derive(Default)]
pub(super) struct News {
    is_asked_for: AtomicBool,
    untold: Mutex<Untold>,
}

#[derive(Default)]
struct Untold {
    changed: BTreeSet<usize>,
    purges: VecDeque<Purge>,
}

impl News {
    pub(super) fn change(&self, place: usize) {
        if self.is_asked_for.load(Ordering::Acquire) {
            lock(&self.untold).changed.insert(place);
        }
    }

    pub(super) fn purge(&self, purge: &Purge) {
        if self.is_asked_for.load(Ordering::Acquire) {
            purge.wait_in(&mut lock(&self.untold).purges);
        }
    }
}

impl Zone {
    /// What was changed and purged since this was asked for the last time. Whoever asks for the first time knows the rest.
    pub fn news(&self) -> Vec<u8> {
        self.news.is_asked_for.store(true, Ordering::Release);
        let (mut out, mut untold) = (Out::default(), lock(&self.news.untold));
        while out.0.len() < PIECE
            && let Some(place) = untold.changed.pop_first()
        {
            out.flag(true);
            out.number(place as u64);
            out.number(self.ledger.changed_at(place));
        }
        while out.0.len() < PIECE
            && let Some(purge) = untold.purges.pop_front()
        {
            out.flag(false);
            purge.write(&mut out);
        }
        out.0
    }

    /// Nobody asks for them any more.
    pub fn tell_no_news(&self) {
        self.news.is_asked_for.store(false, Ordering::Release);
        *lock(&self.news.untold) = Untold::default();
    }

    /// Takes to heart what another process tells.
    pub fn hear(&self, news: &[u8]) -> Result<(), &'static str> {
        let mut from = In(news);
        while !from.0.is_empty() {
            self.hear_one(&mut from).ok_or("it is not written as it should be")?;
        }
        Ok(())
    }

    fn hear_one(&self, from: &mut In<'_>) -> Option<()> {
        if from.flag()? {
            let place = usize::try_from(from.number()?).ok().filter(|place| *place < PLACES)?;
            self.ledger.change_place(place, from.number()?);
            self.changed(place);
        } else {
            let purge = Purge::take(from)?;
            self.news.purge(&purge);
            self.carry_out(&purge);
        }
        Some(())
    }
}
