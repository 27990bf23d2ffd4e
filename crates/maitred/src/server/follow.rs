//! What is in force as it changes, without a reload: files of keys, users and addresses; keys that issuers publish.

use std::time::Duration;

use document::{Change, Followers};
use pingora_core::server::ShutdownWatch;
use tokio::{task::spawn_blocking, time::sleep};

/// How often the files are looked at. A key that is revoked is refused within a second, however slow the disk.
const LOOK: Duration = Duration::from_millis(250);

/// Follows the files, and what issuers publish, until the process's shutdown. One task for all of them.
pub async fn follow(files: Followers, issuers: auth::State, mut shutdown: ShutdownWatch) {
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|shutdown| *shutdown) => return,
            () = sleep(LOOK) => {}
        }
        issuers.keep_fresh();
        let files = files.clone();
        match spawn_blocking(move || files.look()).await {
            Ok(changes) => changes.iter().for_each(tell),
            Err(error) => log::error!("the watch over files failed: {error}"),
        }
    }
}

fn tell(change: &Change) {
    let path = change.path.display();
    match &change.refused {
        None => log::info!("{path} has changed, and is in force"),
        Some(why) => log::error!("{path} has changed and cannot be used, what it said before stays in force: {why}"),
    }
}
