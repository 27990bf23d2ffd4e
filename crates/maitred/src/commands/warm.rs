//! `maitred warm`: a running server asks for what clients will ask for.

use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    cli::{self, Global},
    client::Client,
    commands::explain::header,
    exit::{Failure, Outcome},
    out,
};

/// How many URLs are told of at once.
const BATCH: usize = 100;

/// How long such a batch may take: each URL has a bound of its own.
const PATIENCE: Duration = Duration::from_secs(6100);

/// Asks for every URL of the list, and says what came of each. Fails where the cache does not have all of them then.
pub fn run(global: &Global, warm: &cli::Warm) -> Outcome {
    let wrong = |message: String| Failure { code: 2, message };
    let mut headers = serde_json::Map::new();
    for field in &warm.headers {
        let (name, value) = header(field).map_err(wrong)?;
        headers.insert(name.to_string(), value.to_str().unwrap_or_default().into());
    }
    let urls = urls(warm)?;
    let client = Client::find(global)?;
    let mut counts = [0; 3];
    for batch in urls.chunks(BATCH) {
        let order = json!({ "urls": batch, "headers": headers, "concurrency": warm.concurrency });
        let told = client.order("POST", "/api/v1/cache/warm", &order, PATIENCE)?.accepted()?;
        for (count, name) in counts.iter_mut().zip(["stored", "kept", "failed"]) {
            *count += told[name].as_u64().unwrap_or(0);
        }
        for url in told["urls"].as_array().into_iter().flatten() {
            if global.json {
                out::line(url.to_string())?;
            } else if !global.quiet {
                out::line(line(url))?;
            }
        }
    }
    let [stored, kept, failed] = counts;
    if !global.json {
        out::line(format!("{stored} stored, {kept} kept before, {failed} failed"))?;
    }
    if failed > 0 { Err(Failure::new(format!("the cache does not have {failed} of {}", urls.len()))) } else { Ok(()) }
}

fn line(url: &Value) -> String {
    let text = |name: &str| url[name].as_str().unwrap_or_default();
    let status = url["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
    let took = url["took_ms"].as_u64().unwrap_or(0);
    format!("{:<6} {status:>3} {took:>6} ms  {}  ({})", text("outcome"), text("url"), text("detail"))
}

/// Those of the command line, or else of the file: one a line, where `#` begins a remark.
fn urls(warm: &cli::Warm) -> Result<Vec<String>, Failure> {
    let Some(path) = &warm.file else { return Ok(warm.urls.clone()) };
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    let file: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut urls = warm.urls.clone();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(failed)?;
        let url = line.trim();
        if !url.is_empty() && !url.starts_with('#') {
            urls.push(url.to_owned());
        }
    }
    Ok(urls)
}
