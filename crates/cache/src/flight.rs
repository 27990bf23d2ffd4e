//! One fetch for all who ask for the same thing at the same time.

use std::sync::Arc;

use filter::Reply;
use http::HeaderMap;
use tokio::sync::watch;

use crate::{key::Key, stored::Stored, zone::Zone};

/// A fetch under way, from the side that fetches.
pub struct Flight {
    landed: watch::Sender<Option<Landed>>,
    /// Where others find it; `None` for one that nobody may join.
    place: Option<(Arc<Zone>, Key)>,
    /// The request that it is for, where others may join: whether its answer is theirs as well, as far as that is to be foreseen.
    request: HeaderMap,
}

/// What became of a fetch.
#[derive(Debug, Clone)]
pub enum Landed {
    /// The head is there, and everybody may have the answer that it fits to.
    Shared(Arc<Stored>),
    /// The answer is for who asked first only; everybody else has to ask for themselves.
    Alone,
    /// There is no answer, and this is what whoever asked gets. Those who wait judge for themselves whether it is theirs as well.
    Failed(Reply),
}

/// Closes a fetch, however it ends: nobody is to wait for one that has.
pub struct Closing(Arc<Flight>);

/// Waits for a fetch. While it lives the fetch goes on.
pub struct Ticket(watch::Receiver<Option<Landed>>);

/// How a request takes part in a fetch.
pub enum Boarded {
    /// It is the one that asks.
    Leads(Arc<Flight>),
    /// Another one asks already.
    Follows(Ticket),
}

impl Flight {
    /// One that nobody else joins.
    pub fn alone() -> Arc<Self> {
        Arc::new(Self { landed: watch::Sender::new(None), place: None, request: HeaderMap::new() })
    }

    pub(crate) fn shared(zone: Arc<Zone>, key: Key, request: HeaderMap) -> Arc<Self> {
        Arc::new(Self { landed: watch::Sender::new(None), place: Some((zone, key)), request })
    }

    /// The request that it is for, where others may join.
    pub(crate) fn request(&self) -> &HeaderMap {
        &self.request
    }

    /// What became of it, where anything has yet.
    pub(crate) fn landed(&self) -> Option<Landed> {
        self.landed.borrow().clone()
    }

    /// A place on it.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.landed.subscribe())
    }

    /// Tells all who wait what became of it. What can be shared can be joined until [`close`](Flight::close).
    pub fn land(&self, landed: Landed) {
        let shared = matches!(landed, Landed::Shared(_));
        self.landed.send_replace(Some(landed));
        if !shared {
            self.close();
        }
    }

    /// Nobody can join from here on: what was fetched is kept, or never will be.
    pub fn close(&self) {
        if let Some((zone, key)) = &self.place {
            zone.land(key, self);
        }
    }

    /// To be held for as long as the fetch goes on.
    pub fn closing(self: &Arc<Self>) -> Closing {
        Closing(self.clone())
    }

    /// How many wait for it, or have not let go of their place yet.
    pub fn passengers(&self) -> usize {
        self.landed.receiver_count()
    }

    /// Ready once nobody waits for it.
    pub async fn abandoned(&self) {
        self.landed.closed().await;
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Ticket {
    /// What became of it. A fetch that was given up without a word leaves everybody to themselves.
    pub async fn landed(&mut self) -> Landed {
        match self.0.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Landed::Alone),
            Err(_) => Landed::Alone,
        }
    }
}
