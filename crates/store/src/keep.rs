//! The task that connects, and connects again.

use std::{sync::Weak, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    connect::{self, Link},
    store::Inner,
};

/// How long a connection may take to be made, login included.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);

/// How often a connection is asked whether it is still there.
const PULSE: Duration = Duration::from_secs(1);

/// How long is waited between attempts: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Keeps the store connected for as long as somebody has it.
pub(crate) async fn keep(store: Weak<Inner>) {
    let [first, longest] = PAUSES;
    let mut pause = first;
    while let Some(inner) = store.upgrade() {
        if let Some(link) = inner.link.load_full() {
            let lost = timeout(PULSE, inner.lost.notified()).await.is_ok();
            if !lost && let Err(error) = ping(&link, CONNECT).await {
                inner.lose(&link, &error);
            }
            continue;
        }
        match connect(&inner).await {
            Ok((link, took)) => {
                inner.found(link, took);
                pause = first;
            }
            Err(why) => {
                inner.say(false, &why);
                drop(inner);
                sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// A connection that answers as fast as requests need it to.
async fn connect(inner: &Inner) -> Result<(Link, Duration), String> {
    let made = timeout(CONNECT, connect::open(&inner.settings, CONNECT)).await;
    let link = made.map_err(|_| "it cannot be connected to in time".to_owned())?.map_err(|error| error.to_string())?;
    let began = Instant::now();
    ping(&link, inner.settings.timeout).await?;
    Ok((link, began.elapsed()))
}

async fn ping(link: &Link, limit: Duration) -> Result<(), String> {
    let asked = timeout(limit, link.ping()).await;
    asked.map_err(|_| "it does not answer in time".to_owned())?.map_err(|error| error.to_string())
}
