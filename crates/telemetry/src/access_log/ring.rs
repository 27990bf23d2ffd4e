//! Between the workers and the writer: bounded buffers that nobody waits for.

use std::{
    sync::{
        Condvar, Mutex, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;

/// How many bytes of lines may wait in one shard.
const SHARD: usize = 1024 * 1024;

/// How often all shards are tried before a line is dropped because each of them was being used at that moment.
const ROUNDS: usize = 4;

/// Lines on their way to the writer.
///
/// Each worker appends to a shard of its own, so that workers do not meet; a shard that is full or in use is passed
/// over for the next. The writer takes whole shards at a time, by exchanging buffers, and puts lines back in the order
/// of their times.
pub(super) struct Ring {
    shards: Box<[Mutex<Shard>]>,
    dropped: IntCounter,
    epoch: Instant,
    /// Whether there are lines that the writer has not begun to take.
    pending: AtomicBool,
    /// Whether the writer sleeps until it is woken, and does not merely let lines gather.
    idle: AtomicBool,
    closed: AtomicBool,
    reopen: AtomicBool,
    flushes: AtomicU64,
    flushed: Mutex<u64>,
    flushed_changed: Condvar,
    writer: OnceLock<Thread>,
}

/// Lines one after another, and where each ends.
#[derive(Default)]
pub(super) struct Shard {
    bytes: Vec<u8>,
    /// For each line: its time in nanoseconds since the ring's epoch, and where it ends.
    marks: Vec<(u64, usize)>,
}

thread_local! {
    /// The shard that this thread tries first.
    static FIRST: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Ring {
    /// A ring whose dropped lines are counted by `dropped`.
    pub(super) fn new(dropped: IntCounter) -> Self {
        // One more than there are workers, so that the shard the writer is taking leaves another one free.
        let shards = std::thread::available_parallelism().map_or(2, usize::from).min(16) + 1;
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            dropped,
            epoch: Instant::now(),
            pending: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            flushed: Mutex::new(0),
            flushed_changed: Condvar::new(),
            writer: OnceLock::new(),
        }
    }

    /// Hands over a line that was finished at `time`, or drops and counts it.
    pub(super) fn push(&self, time: Instant, line: &[u8]) {
        let nanos = time.saturating_duration_since(self.epoch).as_nanos() as u64;
        match self.append(nanos, line) {
            Some(half_full) => self.wake(half_full),
            None => self.dropped.inc(),
        }
    }

    /// Appends to the first shard that has room and is free; says whether that shard is now half full.
    fn append(&self, nanos: u64, line: &[u8]) -> Option<bool> {
        let first = FIRST.with(|first| *first);
        for _ in 0..ROUNDS {
            let mut in_use = false;
            for offset in 0..self.shards.len() {
                let mut shard = match self.shards[(first + offset) % self.shards.len()].try_lock() {
                    Ok(shard) => shard,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {
                        in_use = true;
                        continue;
                    }
                };
                if shard.bytes.len() + line.len() <= SHARD {
                    shard.bytes.extend_from_slice(line);
                    let end = shard.bytes.len();
                    shard.marks.push((nanos, end));
                    return Some(end > SHARD / 2);
                }
            }
            if !in_use {
                return None;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Wakes the writer when it sleeps and this is the first line for it, or when a shard fills up.
    fn wake(&self, urgent: bool) {
        let told = self.pending.load(Ordering::Relaxed) || self.pending.swap(true, Ordering::SeqCst);
        // The writer says that it is idle before it looks at `pending` for the last time: one of us sees the other.
        if urgent || (!told && self.idle.load(Ordering::SeqCst)) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Counts `lines` that could not be written.
    pub(super) fn drop_lines(&self, lines: u64) {
        self.dropped.inc_by(lines);
    }

    /// Asks the writer to open its file again.
    pub(super) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        self.unpark();
    }

    /// Says that no more lines come.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.unpark();
    }

    /// Waits until all lines pushed before are written, at most for `deadline`. Says whether they are.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let wanted = self.flushes.fetch_add(1, Ordering::AcqRel) + 1;
        self.unpark();
        let done = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.flushed_changed.wait_timeout_while(done, deadline, |done| *done < wanted);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= wanted
    }
}

/// The writer's side.
impl Ring {
    /// Names the thread to wake.
    pub(super) fn attach(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    /// Sleeps until there is something to do: lines, a flush, a file to open again, or the end.
    pub(super) fn wait(&self) {
        self.idle.store(true, Ordering::SeqCst);
        while !self.pending.load(Ordering::SeqCst) && !self.reopen.load(Ordering::Acquire) && !self.is_urgent() {
            std::thread::park();
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    /// Whether no more lines come.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether somebody waits, so that there is no point in waiting for more lines.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_closed() || self.flush_wanted() > *self.flushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file is to be opened again; asked once.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    /// The number of the last flush asked for; to be read before [`take`](Ring::take).
    pub(super) fn flush_wanted(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Says that all lines pushed before flush `number` are written.
    pub(super) fn flush_done(&self, number: u64) {
        let mut done = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if *done < number {
            *done = number;
            self.flushed_changed.notify_all();
        }
    }

    /// Takes all lines there are into `batch`, in the order of their times.
    pub(super) fn take(&self, batch: &mut Batch) {
        // Before the shards are taken: whoever appends after that sees this, because it locks the shard after us.
        self.pending.store(false, Ordering::SeqCst);
        batch.taken.resize_with(self.shards.len(), Shard::default);
        for (shard, taken) in self.shards.iter().zip(&mut batch.taken) {
            taken.bytes.clear();
            taken.marks.clear();
            std::mem::swap(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner), taken);
        }
        batch.merge();
    }
}

/// Lines that were taken, and the memory to take more.
#[derive(Default)]
pub(super) struct Batch {
    taken: Vec<Shard>,
    order: Vec<(u64, usize, usize, usize)>,
    /// The lines in the order of their times.
    pub(super) bytes: Vec<u8>,
}

impl Batch {
    /// How many lines there are.
    pub(super) fn lines(&self) -> u64 {
        self.order.len() as u64
    }

    fn merge(&mut self) {
        self.order.clear();
        self.bytes.clear();
        for (index, shard) in self.taken.iter().enumerate() {
            let mut start = 0;
            for &(time, end) in &shard.marks {
                self.order.push((time, index, start, end));
                start = end;
            }
        }
        // Almost sorted runs, which the standard sort finds.
        self.order.sort_by_key(|&(time, ..)| time);
        for &(_, index, start, end) in &self.order {
            self.bytes.extend_from_slice(&self.taken[index].bytes[start..end]);
        }
    }
}

#[cfg(test)]
mod tests;
