//! The task that connects, and connects again.

use std::{sync::Weak, time::Duration};

use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::store::Inner;

/// How long a connection may take to be made, login included.
const CONNECT: Duration = Duration::from_secs(1);

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
            if !lost && let Err(error) = ping(&mut link.0.clone(), CONNECT).await {
                inner.lose(&link, &error);
            }
            continue;
        }
        match connect(&inner).await {
            Ok((connection, took)) => {
                inner.found(connection, took);
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
async fn connect(inner: &Inner) -> Result<(MultiplexedConnection, Duration), String> {
    let told = |error: RedisError| error.to_string();
    let client = inner.settings.client().map_err(told)?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(CONNECT));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let made = timeout(CONNECT, connecting).await.map_err(|_| "it cannot be connected to in time".to_owned())?;
    let mut connection = made.map_err(told)?;
    let began = Instant::now();
    ping(&mut connection, inner.settings.timeout).await?;
    Ok((connection, began.elapsed()))
}

async fn ping(connection: &mut MultiplexedConnection, limit: Duration) -> Result<(), String> {
    let ping = redis::cmd("PING");
    let asked = timeout(limit, ping.query_async::<String>(connection)).await;
    asked.map_err(|_| "it does not answer in time".to_owned())?.map(drop).map_err(|error| error.to_string())
}
