//! What is ordered to be let go, or to be stale from then on. All that is kept is looked at, so that many orders at once would
//! take all threads that there are for what takes its time: one is carried out after the other.

use std::{collections::HashSet, sync::Arc};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
};

use super::Zone;
use crate::{freshness::Millis, key::Key, ledger::Purge, lock, purge::Selector, stored::Stored};

/// Answers: the hash of the key of each, and when it was asked for.
type Meant = HashSet<(u128, Millis)>;

type Purges = Arc<[Purge]>;

/// What one purge at a time passes. A disk that does not answer keeps none of them from being carried out in memory.
#[derive(Default)]
pub(super) struct Gates {
    memory: Arc<Mutex<()>>,
    disk: Arc<Mutex<()>>,
}

impl Zone {
    /// Lets go of all that these mean, or makes it stale where `soft`, to its end even where nobody waits for it any more. Says how
    /// many answers it were; `None` where it breaks off.
    pub async fn order(self: &Arc<Self>, selectors: Vec<Selector>, soft: bool, now: Millis) -> Option<u64> {
        let (zone, purge_of) = (self.clone(), |selector| Purge { when: now, soft, selector });
        let purges: Purges = selectors.into_iter().map(purge_of).collect();
        let ordering = async move {
            purges.iter().for_each(|purge| zone.tell(purge));
            let mut meant = zone.carry_out_in_memory(purges.clone()).await?;
            meant.extend(zone.carry_out_on_disk(purges).await?);
            Some(meant.len() as u64)
        };
        tokio::spawn(ordering).await.ok()?
    }

    /// The same of one selector, on the thread that calls.
    #[cfg(test)]
    pub(crate) fn purge(&self, selector: &Selector, soft: bool, now: Millis) -> u64 {
        let purge = Purge { when: now, soft, selector: selector.clone() };
        self.tell(&purge);
        self.carry_out(&purge)
    }

    /// Those who share what is kept are told.
    fn tell(&self, purge: &Purge) {
        self.shared.load().iter().for_each(|shared| shared.publish(purge));
        self.news.purge(purge);
    }

    pub(crate) fn carry_out(&self, purge: &Purge) -> u64 {
        let mut meant = self.purge_memory(purge);
        meant.extend(self.purge_disk(purge));
        meant.len() as u64
    }

    /// Carries out what others have ordered. Nothing that they mean is found any more once this is ready; the files are gone
    /// some time soon.
    pub(crate) async fn follow(self: &Arc<Self>, purges: Vec<Purge>) {
        if purges.is_empty() {
            return;
        }
        let (zone, purges): (_, Purges) = (self.clone(), purges.into());
        let _ = zone.carry_out_in_memory(purges.clone()).await;
        tokio::spawn(async move { zone.carry_out_on_disk(purges).await });
    }

    async fn carry_out_in_memory(self: &Arc<Self>, purges: Purges) -> Option<Meant> {
        let (zone, turn) = (self.clone(), self.gates.memory.clone().lock_owned().await);
        in_turn(turn, move || purges.iter().flat_map(|purge| zone.purge_memory(purge)).collect()).await
    }

    async fn carry_out_on_disk(self: &Arc<Self>, purges: Purges) -> Option<Meant> {
        let (zone, turn) = (self.clone(), self.gates.disk.clone().lock_owned().await);
        in_turn(turn, move || purges.iter().flat_map(|purge| zone.purge_disk(purge)).collect()).await
    }

    /// From here on what is meant is found in no tier.
    fn purge_memory(&self, purge: &Purge) -> Meant {
        self.ledger.note(purge.clone());
        // Who did not see it yet has added by then what they were about to add.
        drop(lock(&self.changing));
        let mut meant = HashSet::new();
        for (key, variants) in self.kept.iter() {
            let mut any = false;
            let is_meant = |stored: &&Arc<Stored>| purge.means(stored.label(), stored.freshness().asked());
            for stored in variants.answers.iter().filter(is_meant) {
                meant.insert((key.hash(), stored.freshness().asked()));
                any = true;
                // Of a key whose answers are let go together, the others are only asked for anew.
                stored.outdate(purge.when);
            }
            if any && !purge.soft {
                self.drop_meant(&key, purge);
            }
        }
        meant
    }

    fn drop_meant(&self, key: &Key, purge: &Purge) {
        self.drop_of(key, |stored| purge.means(stored.label(), stored.freshness().asked()));
    }

    fn purge_disk(&self, purge: &Purge) -> Vec<(u128, Millis)> {
        self.disk.load_full().map(|disk| disk.purge(purge)).unwrap_or_default()
    }
}

/// Does it on a thread that may wait. The turn ends with it, and not with who waits for it.
async fn in_turn<T: Send + 'static>(turn: OwnedMutexGuard<()>, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let working = spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    working.await.ok()
}
