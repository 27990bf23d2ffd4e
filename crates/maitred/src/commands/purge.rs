//! `maitred purge`: kept answers of a running server are let go.

use serde_json::json;

use crate::{
    cli,
    cli::Global,
    client::{Client, PATIENCE},
    exit::Outcome,
    out,
};

/// Lets go of what was named, and says how many answers it were.
pub fn run(global: &Global, purge: &cli::Purge) -> Outcome {
    let client = Client::find(global)?;
    let order = json!({ "url": purge.url, "tag": purge.tag, "all": purge.all, "soft": purge.soft });
    let told = client.order("POST", "/api/v1/cache/purge", &order, PATIENCE)?.accepted()?;
    if global.json {
        return out::line(told.to_string());
    }
    let count = told["purged"].as_u64().unwrap_or(0);
    let done = if purge.soft { "made stale" } else { "purged" };
    out::line(format!("{count} answer{} {done}", if count == 1 { "" } else { "s" }))
}
