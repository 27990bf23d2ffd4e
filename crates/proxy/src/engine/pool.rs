//! Connections to origins that wait for their next request.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    hash::{BuildHasherDefault, Hasher},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop::unconstrained,
};
use upstream::Counter;

use super::origin::Origin;

/// How often the idle ones are looked through while there are any.
const SWEEP: Duration = Duration::from_secs(1);

/// Idle connections, found again by what Pingora calls a peer's reuse hash: address, name, certificates.
///
/// Each worker has a part of its own, so that its lock is free, and asks the other workers' only where its own has
/// nothing. Nobody watches a connection that waits: it is looked at when it is taken, and once a second by one task for
/// all of them, which has the lock of a part for as long as it looks at what is in it.
#[derive(Debug)]
pub(crate) struct Pool {
    parts: Box<[Mutex<Part>]>,
    /// How many each part may keep.
    size: usize,
    sweeping: AtomicBool,
}

#[derive(Debug, Default)]
struct Part {
    idle: HashMap<u64, VecDeque<Idle>, BuildHasherDefault<Hashed>>,
    count: usize,
}

/// Hashes what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

#[derive(Debug)]
struct Idle {
    stream: Origin,
    since: Instant,
    until: Option<Instant>,
}

impl Pool {
    /// One part for each of `workers`, with `size` connections each.
    pub(crate) fn new(workers: usize, size: usize) -> Arc<Self> {
        let parts = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        Arc::new(Self { parts, size, sweeping: AtomicBool::new(false) })
    }

    /// The connection of this key that was used last and still lives at `now`, from then on counted by `counter`.
    pub(crate) fn take(&self, key: u64, counter: &Counter, now: Instant) -> Option<Origin> {
        let own = self.own();
        (0..self.parts.len()).find_map(|offset| {
            let part = &self.parts[(own + offset) % self.parts.len()];
            loop {
                let mut idle = lock(part).take(key)?;
                if idle.lives(now) {
                    idle.stream.counted().resume(counter);
                    return Some(idle.stream);
                }
            }
        })
    }

    /// Keeps a connection for the next request, for no longer than `idle` and its lifetime. Where there is no room the one that waits
    /// longest goes.
    pub(crate) fn put(self: &Arc<Self>, key: u64, mut stream: Origin, idle: Option<Duration>) {
        let since = Instant::now();
        let counted = stream.counted();
        let until = idle.and_then(|idle| since.checked_add(idle)).into_iter().chain(counted.retires()).min();
        if until.is_some_and(|until| until <= since) {
            return;
        }
        counted.rest();
        let kept = Idle { stream, since, until };
        let gone = lock(&self.parts[self.own()]).put(key, kept, self.size);
        drop(gone);
        if !self.sweeping.load(Ordering::Relaxed) && !self.sweeping.swap(true, Ordering::AcqRel) {
            self.watch();
        }
    }

    /// This thread's part.
    fn own(&self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        NUMBER.with(|number| number % self.parts.len())
    }

    /// Looks through the idle ones for as long as there are any.
    fn watch(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep() == 0 {
                    pool.sweeping.store(false, Ordering::Release);
                    // One that was put in between has seen the watch still going.
                    if pool.sweep() == 0 || pool.sweeping.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }

    /// Closes those that have ended or have waited for too long; says how many are left.
    fn sweep(&self) -> usize {
        let now = Instant::now();
        let mut left = 0;
        for part in &self.parts {
            // Closed once the lock is free again.
            let mut gone = Vec::new();
            let mut part = lock(part);
            part.sweep(now, &mut gone);
            left += part.count;
            drop(part);
        }
        left
    }
}

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Part {
    fn take(&mut self, key: u64) -> Option<Idle> {
        let idle = self.idle.get_mut(&key)?.pop_back()?;
        self.count -= 1;
        Some(idle)
    }

    /// Returns what had to go.
    fn put(&mut self, key: u64, idle: Idle, size: usize) -> Option<Idle> {
        if size == 0 {
            return Some(idle);
        }
        let gone = if self.count >= size { self.oldest() } else { None };
        self.idle.entry(key).or_default().push_back(idle);
        self.count += 1;
        gone
    }

    fn oldest(&mut self) -> Option<Idle> {
        let oldest = self.idle.iter().filter_map(|(key, queue)| Some((queue.front()?.since, *key))).min()?;
        let queue = self.idle.get_mut(&oldest.1)?;
        let idle = queue.pop_front()?;
        if queue.is_empty() {
            self.idle.remove(&oldest.1);
        }
        self.count -= 1;
        Some(idle)
    }

    fn sweep(&mut self, now: Instant, gone: &mut Vec<Idle>) {
        self.idle.retain(|_, queue| {
            for _ in 0..queue.len() {
                if let Some(mut idle) = queue.pop_front() {
                    if idle.lives(now) { queue.push_back(idle) } else { gone.push(idle) }
                }
            }
            !queue.is_empty()
        });
        self.count -= gone.len();
    }
}

impl Idle {
    /// Whether it may still be used: in time, and with nothing to read, which would be the end of the connection or an
    /// answer that nobody asked for.
    fn lives(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            return false;
        }
        let mut byte = [0; 1];
        let mut byte = ReadBuf::new(&mut byte);
        let read = poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut byte));
        // Where a task has done much in one go, tokio says of everything that it is not ready.
        let read = pin!(unconstrained(read));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    fn origin(ours: DuplexStream) -> Origin {
        Origin::new(Box::new(ours), Counter::new(&Arc::default(), None).connection())
    }

    fn taken(pool: &Pool, key: u64) -> Option<Origin> {
        pool.take(key, &Counter::new(&Arc::default(), None), Instant::now())
    }

    fn kept(pool: &Arc<Pool>, key: u64, idle: Option<Duration>) -> DuplexStream {
        let (ours, theirs) = duplex(64);
        pool.put(key, origin(ours), idle);
        theirs
    }

    #[tokio::test]
    async fn the_one_used_last_is_taken_first_and_only_under_its_key() {
        let pool = Pool::new(2, 10);
        let (mut first, mut second) = (kept(&pool, 1, LONG), kept(&pool, 1, LONG));
        assert!(taken(&pool, 2).is_none());
        taken(&pool, 1).unwrap().write_all(b"b").await.unwrap();
        taken(&pool, 1).unwrap().write_all(b"a").await.unwrap();
        assert!(taken(&pool, 1).is_none());
        let read = async |stream: &mut DuplexStream| tokio::io::AsyncReadExt::read_u8(stream).await.unwrap();
        assert_eq!((read(&mut second).await, read(&mut first).await), (b'b', b'a'));
    }

    #[tokio::test]
    async fn one_that_has_ended_or_talks_or_is_too_old_is_not_taken() {
        let pool = Pool::new(1, 10);
        drop(kept(&pool, 1, LONG));
        let mut talking = kept(&pool, 1, LONG);
        talking.write_all(b"HTTP/1.1 408").await.unwrap();
        let _old = kept(&pool, 1, Some(Duration::ZERO));
        assert!(taken(&pool, 1).is_none());
    }

    #[tokio::test]
    async fn of_many_that_have_ended_none_is_taken() {
        let pool = Pool::new(1, 1000);
        (0..500).for_each(|_| drop(kept(&pool, 1, LONG)));
        assert!(taken(&pool, 1).is_none());
        (0..500).for_each(|_| drop(kept(&pool, 1, LONG)));
        assert_eq!(pool.sweep(), 0);
    }

    #[tokio::test]
    async fn the_one_that_waits_longest_makes_room() {
        let pool = Pool::new(1, 2);
        let (_a, _b, _c) = (kept(&pool, 1, LONG), kept(&pool, 2, LONG), kept(&pool, 3, LONG));
        assert!(taken(&pool, 1).is_none());
        assert!(taken(&pool, 2).is_some() && taken(&pool, 3).is_some());
        let none = Pool::new(1, 0);
        let _d = kept(&none, 1, LONG);
        assert!(taken(&none, 1).is_none());
    }

    #[tokio::test]
    async fn another_workers_connection_is_better_than_none() {
        let pool = Pool::new(2, 10);
        let other = pool.clone();
        let theirs = tokio::task::spawn_blocking(move || {
            let (ours, theirs) = duplex(64);
            let idle = Idle { stream: origin(ours), since: Instant::now(), until: None };
            lock(&other.parts[other.own()]).put(1, idle, 10);
            theirs
        });
        let _theirs = theirs.await.unwrap();
        assert!(taken(&pool, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_are_looked_after() {
        let pool = Pool::new(1, 10);
        let (ended, _lives) = (kept(&pool, 1, LONG), kept(&pool, 1, LONG));
        drop(ended);
        tokio::time::sleep(2 * SWEEP).await;
        assert_eq!(lock(&pool.parts[0]).count, 1);
    }
}
