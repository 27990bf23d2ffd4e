//! How many connections are open.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// Counts the open connections of all listeners and tells when the last one has ended.
#[derive(Debug, Default)]
pub(crate) struct Live {
    open: AtomicUsize,
    idle: Notify,
}

/// Counts the open connections of one listener and lets no more in than it may have.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicUsize,
    most: AtomicUsize,
    /// How many connections each client address has: no entry is without one.
    by_address: Mutex<HashMap<IpAddr, u32>>,
    all: Arc<Live>,
}

/// An open connection; counted until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

impl Live {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.open() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Gate {
    pub(crate) fn new(most: usize, all: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most: AtomicUsize::new(most), by_address: Mutex::default(), all })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Lets other numbers in from now on; whoever is in stays.
    pub(crate) fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Release);
    }

    /// Lets a connection in, unless there are as many as there may be.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entered> {
        self.all.open.fetch_add(1, Ordering::AcqRel);
        let entered = Entered { gate: Arc::clone(self), address: None };
        (self.open.fetch_add(1, Ordering::AcqRel) < self.most.load(Ordering::Acquire)).then_some(entered)
    }
}

impl Gate {
    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// Counts the connection for the address of its client; false where that one has `most` already.
    pub(crate) fn count_for(&mut self, address: IpAddr, most: u32) -> bool {
        let address = network(address);
        let mut addresses = self.gate.addresses();
        let open = addresses.entry(address).or_default();
        if *open >= most {
            return false;
        }
        *open += 1;
        drop(addresses);
        self.address = Some(address);
        true
    }
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 client has all to itself (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let gate = &self.gate;
        if let Some(address) = self.address {
            let mut addresses = gate.addresses();
            if let Some(open) = addresses.get_mut(&address) {
                *open -= 1;
                if *open == 0 {
                    addresses.remove(&address);
                }
            }
        }
        gate.open.fetch_sub(1, Ordering::AcqRel);
        if gate.all.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            gate.all.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_enter_than_may() {
        let live = Arc::new(Live::default());
        let gate = Gate::new(2, Arc::clone(&live));
        let first = gate.enter();
        let _second = gate.enter();
        assert!(gate.enter().is_none());
        assert_eq!((gate.open(), live.open()), (2, 2));
        drop(first);
        assert!(gate.enter().is_some());
    }

    #[test]
    fn an_address_has_no_more_than_its_share_and_leaves_no_trace() {
        let gate = Gate::new(9, Arc::default());
        let enter = |address: &str| {
            let mut entered = gate.enter().unwrap();
            entered.count_for(address.parse().unwrap(), 2).then_some(entered)
        };
        let first = enter("192.0.2.7");
        let _second = enter("::ffff:192.0.2.7").unwrap();
        assert!(enter("192.0.2.7").is_none());
        let v6 = (enter("2001:db8:0:1::1").unwrap(), enter("2001:db8:0:1:ffff::2").unwrap());
        assert!(enter("2001:db8:0:1::3").is_none());
        let _other = (enter("192.0.2.8").unwrap(), enter("2001:db8:0:2::1").unwrap());
        assert_eq!((gate.open(), gate.addresses().len()), (6, 4));
        drop((first, v6));
        assert_eq!((gate.open(), gate.addresses().len()), (3, 3));
        assert!(enter("192.0.2.7").is_some());
    }

    #[tokio::test]
    async fn idle_is_told_when_the_last_one_leaves() {
        let live = Arc::new(Live::default());
        live.idle().await;
        let gate = Gate::new(9, Arc::clone(&live));
        let (first, second) = (gate.enter(), gate.enter());
        let waiting = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.idle().await }
        });
        drop(first);
        assert!(!waiting.is_finished());
        drop(second);
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
}
