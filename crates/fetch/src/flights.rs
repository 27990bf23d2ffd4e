//! One question for all who ask the same at the same time.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

/// What is being asked at the moment. It holds as many questions as there are requests that wait for one.
pub struct Flights<K, T>(Mutex<HashMap<K, Arc<OnceCell<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Copy, T: Clone> Flights<K, T> {
    /// What `ask` brings, or what another one's has brought that began before. Whoever gives up leaves it to the next.
    pub async fn share(&self, key: K, ask: impl Future<Output = T>) -> T {
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(key).or_default().clone()
        };
        let seat = Seat { flights: self, key, cell };
        seat.cell.get_or_init(|| ask).await.clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One who waits. The question goes with the answer, or with the last who waits for it.
struct Seat<'f, K: Hash + Eq + Copy, T> {
    flights: &'f Flights<K, T>,
    key: K,
    cell: Arc<OnceCell<T>>,
}

impl<K: Hash + Eq + Copy, T> Drop for Seat<'_, K, T> {
    fn drop(&mut self) {
        let mut all = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&self.key).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // The map's and this one's.
        if own && (self.cell.initialized() || Arc::strong_count(&self.cell) <= 2) {
            all.remove(&self.key);
        }
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn many_ask_once_and_nothing_stays_behind() {
        let flights: Arc<Flights<u8, usize>> = Arc::default();
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |key: u8| {
            let (flights, asked, gate) = (flights.clone(), asked.clone(), gate.clone());
            tokio::spawn(async move {
                let question = async {
                    let number = asked.fetch_add(1, SeqCst);
                    drop(gate.acquire().await);
                    number
                };
                flights.share(key, question).await
            })
        };
        let (first, given_up) = (ask(1), ask(2));
        while asked.load(SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = (0..10).map(|_| ask(1)).collect();
        given_up.abort();
        assert!(given_up.await.is_err());
        assert_eq!(flights.len(), 1);
        gate.add_permits(20);
        let first = first.await.unwrap();
        for one in rest {
            assert_eq!(one.await.unwrap(), first);
        }
        assert_eq!((asked.load(SeqCst), flights.len()), (2, 0));
    }
}
