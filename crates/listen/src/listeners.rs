//! All listeners of the process: opened, changed, closed, counted, handed over.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use telemetry::ListenerMeters;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Address, BindCause, BindError, Inherited, Listener, Place, Serve,
    accept::{Doorkeeper, Incoming, Order},
    bind::{self, BoundSocket, Kind},
    live::{Gate, Live},
    place::places,
    site::{Post, Site},
};

/// The sockets of the process and the tasks that accept on them. Dropping it closes every listener.
#[derive(Debug, Default)]
pub struct Listeners {
    open: Mutex<Open>,
    live: Arc<Live>,
}

#[derive(Debug, Default)]
struct Open {
    sites: HashMap<Arc<str>, Arc<Site>>,
    sockets: HashMap<Place, Socket>,
}

/// A socket that accepts.
#[derive(Debug)]
struct Socket {
    address: Address,
    local: Option<SocketAddr>,
    post: Arc<Post>,
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
    /// The same socket once more, to be handed over.
    fd: OwnedFd,
    /// Set when another process has the socket as well.
    shared: Option<Arc<AtomicBool>>,
}

/// The listeners that are to be open, with every address taken that was not yet. Nothing has changed so far, for no client
/// either; dropping it gives the new addresses back.
#[derive(Debug)]
pub struct Change {
    wanted: Vec<Arc<Listener>>,
    taken: HashMap<Place, (Address, BoundSocket)>,
}

/// The same once clients can connect to the new sockets, where they wait until somebody accepts.
#[derive(Debug)]
pub struct Listening {
    wanted: Vec<Arc<Listener>>,
    taken: HashMap<Place, Fresh>,
}

/// A socket that does not accept yet.
#[derive(Debug)]
struct Fresh {
    address: Address,
    local: Option<SocketAddr>,
    fd: OwnedFd,
    shared: Option<Arc<AtomicBool>>,
    incoming: Incoming,
}

/// Who serves a listener, and what is counted of it.
pub struct Staff {
    /// Who serves its connections.
    pub serve: Arc<dyn Serve>,
    /// What is counted of it.
    pub meters: Arc<ListenerMeters>,
}

/// What a change has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Sockets that were opened.
    pub opened: usize,
    /// Sockets that were closed.
    pub closed: usize,
    /// Connections that were asked to end, because their listener is gone or has changed.
    pub retired: usize,
}

impl Listeners {
    /// No listener yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes every socket that `wanted` needs and that is not open yet: from `inherited` where it is there and can be
    /// reached, else from the system.
    ///
    /// # Errors
    ///
    /// The first address that cannot be had, with the reason. Nothing has changed then.
    pub fn prepare(&self, wanted: Vec<Arc<Listener>>, inherited: &mut Inherited) -> Result<Change, BindError> {
        let open = self.lock();
        let all = all_places(&wanted);
        let mut taken = HashMap::new();
        for (place, address) in wanted.iter().flat_map(|listener| places(listener)) {
            if open.sockets.contains_key(&place) {
                continue;
            }
            let refused = |error| BindError { address: address.clone(), cause: BindCause::Other(error) };
            let bound = match inherited.take(&place) {
                Some(fd) if !bind::is_lost(address) => bind::adopt(address, fd).map_err(refused)?,
                _ => bind::bind(address, &open.in_the_way(address, &all))?,
            };
            taken.insert(place, (address.clone(), bound));
        }
        Ok(Change { wanted, taken })
    }

    /// Lets clients connect to the new sockets. What then waits on them is lost unless the change is made, so this comes
    /// right before that. Must be called within the runtime that is to serve the connections.
    ///
    /// # Errors
    ///
    /// The first address that somebody has taken meanwhile, with the reason. Nothing has changed then.
    pub fn listen(&self, change: Change) -> Result<Listening, BindError> {
        let Change { wanted, taken } = change;
        let (open, all) = (self.lock(), all_places(&wanted));
        let listening = taken.into_iter().map(|(place, (address, bound))| {
            bind::listen(&address, &bound, &open.in_the_way(&address, &all))?;
            let refused = |error| BindError { address: address.clone(), cause: BindCause::Other(error) };
            Ok((place, Fresh::new(&address, bound).map_err(refused)?))
        });
        let taken = listening.collect::<Result<_, _>>()?;
        Ok(Listening { wanted, taken })
    }

    /// Makes the change: opens what is new, hands sockets to the listeners that have them now, and closes what is not
    /// wanted any more. A listener that is written as before goes on as it is, with its certificates as they are now;
    /// the connections of one that has changed are asked to end. When this returns, the addresses that were given up are
    /// free.
    pub async fn apply(&self, change: Listening, staff: impl Fn(&Arc<Listener>) -> Staff) -> Changed {
        let Listening { wanted, mut taken } = change;
        let mut changed = Changed { opened: taken.len(), ..Changed::default() };
        let mut ending = Vec::new();
        {
            let mut open = self.lock();
            let mut sites = HashMap::new();
            let mut kept = HashSet::new();
            for listener in wanted {
                let site = open.site(&listener, &staff, &self.live);
                for (place, _) in places(&listener) {
                    if let Some(socket) = open.sockets.get(&place) {
                        socket.post.store(Arc::clone(&site));
                    } else if let Some(fresh) = taken.remove(&place) {
                        open.sockets.insert(place.clone(), fresh.open(&site));
                    }
                    kept.insert(place);
                }
                sites.insert(Arc::clone(&site.listener.name), site);
            }
            let gone: Vec<Place> = open.sockets.keys().filter(|place| !kept.contains(*place)).cloned().collect();
            ending.extend(gone.iter().filter_map(|place| open.sockets.remove(place)));
            let before = std::mem::replace(&mut open.sites, sites);
            let is_current = |site: &Arc<Site>| {
                open.sites.get(&site.listener.name).is_some_and(|current| Arc::ptr_eq(current, site))
            };
            changed.retired = before.values().filter(|site| !is_current(site)).map(|site| site.retire()).sum();
        }
        changed.closed = ending.len();
        close(ending, Order::Close).await;
        changed
    }

    /// Stops accepting on every socket and closes it; connections go on, those that were waiting to be accepted among
    /// them.
    pub async fn close_all(&self) {
        let all: Vec<Socket> = self.lock().sockets.drain().map(|(_, socket)| socket).collect();
        close(all, Order::Close).await;
    }

    /// Asks every connection to end as soon as it can.
    pub fn retire_all(&self) {
        self.lock().sites.values().for_each(|site| {
            site.retire();
        });
    }

    /// Says that the process which had the sockets before leaves them to this one: their files are this one's to remove.
    pub fn own_files(&self) {
        let open = self.lock();
        open.sockets.values().filter_map(|socket| socket.shared.as_ref()).for_each(|shared| {
            shared.store(false, Ordering::Release);
        });
    }

    /// Every socket, to be given to a successor.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left for a copy.
    pub fn copies(&self) -> io::Result<Vec<(Place, OwnedFd)>> {
        let open = self.lock();
        open.sockets.iter().map(|(place, socket)| Ok((place.clone(), socket.fd.try_clone()?))).collect()
    }

    /// Leaves the sockets of `taken` to a successor, which accepts what waits on them, and closes all others.
    pub async fn hand_over(&self, taken: &HashSet<Place>) {
        let all: Vec<(Place, Socket)> = self.lock().sockets.drain().collect();
        let (left, closed): (Vec<_>, Vec<_>) = all.into_iter().partition(|(place, _)| taken.contains(place));
        for (_, socket) in &left {
            if let Some(shared) = &socket.shared {
                shared.store(true, Ordering::Release);
            }
        }
        close(left.into_iter().map(|(_, socket)| socket), Order::Leave).await;
        close(closed.into_iter().map(|(_, socket)| socket), Order::Close).await;
    }

    /// How many connections are open, on all listeners, those of closed ones included.
    pub fn live(&self) -> usize {
        self.live.open()
    }

    /// How many connections are open on a listener; `None` when no such listener is open.
    pub fn live_on(&self, name: &str) -> Option<usize> {
        self.lock().sites.get(name).map(|site| site.gate.open())
    }

    /// Waits until no connection is open.
    pub async fn idle(&self) {
        self.live.idle().await;
    }

    /// Every open listener, by name.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        let mut all: Vec<_> = self.lock().sites.values().map(|site| Arc::clone(&site.listener)).collect();
        all.sort_by(|one, two| one.name.cmp(&two.name));
        all
    }

    /// Where a listener can be reached: each address as written and, for TCP, as the system has it.
    pub fn addresses(&self, listener: &Listener) -> Vec<(Address, Option<SocketAddr>)> {
        let open = self.lock();
        let found = places(listener).filter_map(|(place, _)| open.sockets.get(&place));
        found.map(|socket| (socket.address.clone(), socket.local)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// The address with the port that the system chose, where it was to choose.
    fn taken(&self) -> Address {
        match (&self.address, self.local) {
            (Address::Any(_), Some(local)) => Address::Any(local.port()),
            (Address::Ip(_), Some(local)) => Address::Ip(local),
            (address, _) => address.clone(),
        }
    }
}

fn all_places(listeners: &[Arc<Listener>]) -> HashSet<Place> {
    listeners.iter().flat_map(|listener| places(listener)).map(|(place, _)| place).collect()
}

/// Ends sockets as ordered, and waits until each is closed.
async fn close(sockets: impl IntoIterator<Item = Socket>, order: Order) {
    let end = |socket: Socket| {
        drop(socket.fd);
        socket.order.send_replace(order);
        socket.task
    };
    let tasks: Vec<JoinHandle<()>> = sockets.into_iter().map(end).collect();
    for task in tasks {
        let _ = task.await;
    }
}

impl Open {
    /// Our sockets that take connections to `address` and are not wanted any more.
    fn in_the_way(&self, address: &Address, wanted: &HashSet<Place>) -> Vec<BorrowedFd<'_>> {
        let in_the_way = |(place, socket): &(&Place, &Socket)| {
            !wanted.contains(*place) && !matches!(address, Address::Unix(_)) && socket.taken().overlaps(address)
        };
        self.sockets.iter().filter(in_the_way).map(|(_, socket)| socket.fd.as_fd()).collect()
    }

    /// How a listener's connections are met: as before where it is written as before.
    fn site(&self, listener: &Arc<Listener>, staff: impl Fn(&Arc<Listener>) -> Staff, live: &Arc<Live>) -> Arc<Site> {
        let before = self.sites.get(&listener.name);
        if let Some(site) = before.filter(|site| site.listener.is_written_as(listener)) {
            site.listener.renew_from(listener);
            return Arc::clone(site);
        }
        let gate = match before {
            Some(site) => Arc::clone(&site.gate),
            None => Gate::new(listener.max_connections, Arc::clone(live)),
        };
        gate.allow(listener.max_connections);
        let Staff { serve, meters } = staff(listener);
        Arc::new(Site::new(Arc::clone(listener), meters, gate, serve))
    }
}

impl Fresh {
    fn new(address: &Address, bound: BoundSocket) -> io::Result<Self> {
        let fd = bound.as_fd().try_clone_to_owned()?;
        let shared = match &bound.kind {
            Kind::Unix(_, file) => Some(file.shared()),
            Kind::Tcp(_) => None,
        };
        Ok(Self { address: address.clone(), local: bound.local, fd, shared, incoming: Incoming::new(bound)? })
    }

    /// Begins to accept.
    fn open(self, site: &Arc<Site>) -> Socket {
        let post = Arc::new(Post::new(Arc::clone(site)));
        let (order, ordered) = watch::channel(Order::Accept);
        let doorkeeper = Doorkeeper { post: Arc::clone(&post), order: ordered };
        let task = tokio::spawn(doorkeeper.run(self.incoming));
        let Self { address, local, fd, shared, .. } = self;
        Socket { address, local, post, order, task, fd, shared }
    }
}

#[cfg(test)]
mod tests;
