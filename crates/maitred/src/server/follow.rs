//! What is in force as it changes, without a reload: files of keys, users and addresses; keys that issuers publish.

use std::{sync::Arc, time::Duration};

use admin::{Admin, Who};
use document::Change;
use pingora_core::server::ShutdownWatch;
use serde_json::json;
use snapshot::State;
use tokio::{task::spawn_blocking, time::sleep};

/// How often the files are looked at. A key that is revoked is refused within a second, however long another file takes.
const LOOK: Duration = Duration::from_millis(250);

/// Follows the files, and what issuers publish, until the process's shutdown. One task for all of them.
pub async fn follow(state: State, admin: Arc<Admin>, mut shutdown: ShutdownWatch) {
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|shutdown| *shutdown) => return,
            () = sleep(LOOK) => {}
        }
        state.auth.keep_fresh();
        let files = state.files.clone();
        match spawn_blocking(move || files.look()).await {
            Ok(changed) => changed.into_iter().for_each(|file| {
                let admin = admin.clone();
                // Nobody waits for it: the next look does not take it for changed before it is read.
                let reading = spawn_blocking(move || tell(&file.read(), &admin));
                drop(tokio::spawn(async move {
                    if let Err(error) = reading.await {
                        log::error!("a file that is followed was not read: {error}");
                    }
                }));
            }),
            Err(error) => log::error!("the watch over files failed: {error}"),
        }
    }
}

/// Says it in the log, and in the audit log: who may enter has changed.
fn tell(change: &Change, admin: &Admin) {
    let path = change.path.display();
    let outcome = if change.refused.is_some() { "refused" } else { "applied" };
    admin.record(Who::Itself, "file", json!({ "path": path.to_string() }), outcome, admin.generation());
    match &change.refused {
        None => log::info!("{path} has changed, and is in force"),
        Some(why) => log::error!("{path} has changed and cannot be used, what it said before stays in force: {why}"),
    }
}
