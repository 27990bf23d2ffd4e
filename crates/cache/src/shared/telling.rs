//! What processes that share a Redis tell each other. Purges are told before all else, and those of others are looked for by a
//! task of its own: however much is changed, neither waits for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use store::{Down, Failed, Store};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{DAY, Instead, Shared};
use crate::{
    ledger::{PURGES, Purge},
    lock,
    wire::{In, Out},
    zone::Zone,
};

/// How many names are told at once.
const BATCH: usize = 256;

/// How often it is looked for purges of others, and for Redis while it is away.
const PULSE: Duration = Duration::from_secs(1);

/// How long what Redis refuses is not told again, at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What is told of one kind: what Redis refuses of it is told again once some time has passed, the more the more often it was
/// refused, and holds up no other kind meanwhile.
#[derive(Default)]
struct Kind(Option<(Instant, Duration)>);

impl Kind {
    /// Tells of it, unless it was refused a short while ago. Says whether there is more to be told at once.
    async fn told(
        &mut self,
        shared: &Shared,
        telling: impl Future<Output = Result<bool, Failed>>,
    ) -> Result<bool, Down> {
        let pause = match self.0 {
            Some((until, _)) if Instant::now() < until => return Ok(false),
            Some((_, pause)) => (pause * 2).min(LONGEST),
            None => PULSE,
        };
        match telling.await {
            Ok(is_more) => {
                self.0 = None;
                Ok(is_more)
            }
            Err(Failed::Refused) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
                self.0 = Some((Instant::now() + pause, pause));
                Ok(false)
            }
            Err(Failed::Down) => Err(Down),
        }
    }
}

/// Tells what the others do not know, for as long as the tier is there.
pub(super) async fn tell_others(shared: Weak<Shared>) {
    let Some(wake) = shared.upgrade().map(|shared| shared.wake.clone()) else { return };
    let mut kinds = Default::default();
    loop {
        let told = match shared.upgrade() {
            Some(shared) => shared.tell(&mut kinds).await,
            None => return,
        };
        // While Redis is away it stays what is to be told, and more of it is no reason to try again at once.
        match told {
            Ok(()) => drop(timeout(PULSE, wake.notified()).await),
            Err(Down) => sleep(PULSE).await,
        }
    }
}

/// Carries out what the others have ordered, for as long as the tier is there. What is there is believed as long as that goes
/// well.
pub(super) async fn follow_others(shared: Weak<Shared>, zone: Weak<Zone>) {
    let mut last = "0".to_owned();
    loop {
        let Some(redis) = shared.upgrade().map(|shared| shared.awaits()) else { return };
        // The first look is as early as the first request that could be answered from there.
        let is_there = timeout(PULSE, redis.connected()).await.is_ok();
        drop(redis);
        let next_look = Instant::now() + PULSE;
        let (Some(shared), Some(zone)) = (shared.upgrade(), zone.upgrade()) else { return };
        let is_all = !is_there || shared.follow(&zone, &mut last).await;
        drop((shared, zone));
        if is_there && is_all {
            sleep_until(next_look).await;
        }
    }
}

impl Shared {
    /// The connection that is waited for. Where there is none, what others purge meanwhile is not known once there is.
    fn awaits(&self) -> Store {
        if !self.redis.is_connected() {
            self.is_told.store(false, Ordering::Release);
        }
        self.redis.clone()
    }

    /// Carries out what was ordered after the entry `last`. Says whether that was all there is, as far as it could be heard of.
    async fn follow(&self, zone: &Arc<Zone>, last: &mut String) -> bool {
        let Ok(entries) = self.redis.since(&self.list(), last, PURGES).await else {
            self.is_told.store(false, Ordering::Release);
            return true;
        };
        if let Some((name, _)) = entries.last() {
            last.clone_from(name);
        }
        let is_all = entries.len() < PURGES;
        let purges: Vec<Purge> = entries.iter().filter_map(|(_, entry)| Purge::take(&mut In(entry))).collect();
        // What was before the oldest that is known is known no more.
        if let Some(oldest) = purges.first().filter(|_| !is_all) {
            self.ledger.forget_before(oldest.when);
        }
        zone.follow(purges).await;
        if is_all && !self.is_told.swap(true, Ordering::AcqRel) {
            log::info!("cache: what others have purged is known: what is in Redis is used");
        }
        is_all
    }

    /// Tells what the others do not know yet: a batch of each kind in turn, and all purges before each.
    async fn tell(&self, [purges, changes, older]: &mut [Kind; 3]) -> Result<(), Down> {
        loop {
            purges.told(self, self.tell_of_purges()).await?;
            let changes_are_left = changes.told(self, self.tell_of_changes()).await?;
            let older_is_left = older.told(self, self.tell_of_older()).await?;
            if !changes_are_left && !older_is_left {
                return Ok(());
            }
        }
    }

    /// Tells of all purges.
    async fn tell_of_purges(&self) -> Result<bool, Failed> {
        loop {
            let Some(purge) = lock(&self.purges).front().cloned() else { return Ok(false) };
            let mut out = Out::default();
            purge.write(&mut out);
            self.redis.append(&self.list(), &out.0, PURGES).await?;
            let mut purges = lock(&self.purges);
            if purges.front() == Some(&purge) {
                purges.pop_front();
            }
        }
    }

    /// Tells when something was changed. Says whether there is more of it.
    async fn tell_of_changes(&self) -> Result<bool, Failed> {
        let places = batch(&lock(&self.changed), self.turn.load(Ordering::Relaxed));
        let Some(last) = places.last() else { return Ok(false) };
        self.turn.store(last + 1, Ordering::Relaxed);
        let told: Vec<_> = places.iter().map(|place| (*place, self.ledger.changed_at(*place))).collect();
        let values = told.iter().map(|(place, when)| (self.place(*place), Store::order(*when).into_bytes(), DAY));
        // Who was cut off for a while may know of an earlier change than the one that is there.
        self.redis.put_all_after(values.collect()).await?;
        let mut changed = lock(&self.changed);
        for (place, when) in told {
            // What was changed again meanwhile is told again.
            if self.ledger.changed_at(place) == when {
                changed.remove(&place);
            }
        }
        Ok(!changed.is_empty())
    }

    /// Takes away what is older than what is known. Says whether there is more of it.
    async fn tell_of_older(&self) -> Result<bool, Failed> {
        let batch: Vec<(String, Instead)> = {
            let older = lock(&self.older);
            older.iter().take(BATCH).map(|(name, instead)| (name.clone(), instead.clone())).collect()
        };
        let gone = batch.iter().filter(|(_, instead)| instead.value.is_none());
        let gone: Vec<_> = gone.map(|(name, instead)| (name.as_str(), instead.asked)).collect();
        if !gone.is_empty() {
            self.redis.remove_until(&gone).await?;
        }
        let values = batch.iter().filter_map(|(name, instead)| {
            let (value, lasts) = instead.value.clone()?;
            Some((name.clone(), value, lasts))
        });
        self.redis.put_all_after(values.collect()).await?;
        // What was ordered anew meanwhile is told anew.
        let mut older = lock(&self.older);
        for (name, instead) in batch {
            if older.get(&name) == Some(&instead) {
                older.remove(&name);
            }
        }
        Ok(!older.is_empty())
    }
}

/// As many as are told at once: those from `turn` on, and then those before it, so that each has its turn whatever is changed
/// all the time.
fn batch(changed: &BTreeSet<usize>, turn: usize) -> Vec<usize> {
    changed.range(turn..).chain(changed.range(..turn)).take(BATCH).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BATCH, batch};

    #[test]
    fn each_change_has_its_turn_whatever_is_changed_all_the_time() {
        let changed: BTreeSet<usize> = (0..3 * BATCH).collect();
        let (mut turn, mut told) = (0, BTreeSet::new());
        for _ in 0..3 {
            let batch = batch(&changed, turn);
            turn = batch.last().unwrap() + 1;
            told.extend(batch);
        }
        assert_eq!(told, changed);
        assert_eq!(batch(&[5, 9].into(), 7), [9, 5]);
    }
}
