//! `maitred explain`: which route a request takes, why every other lost, and what happens to it step by step.

use std::sync::Arc;

use config::Loaded;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use snapshot::Snapshot;

use crate::{
    cli,
    cli::Global,
    client::{Client, PATIENCE},
    exit::{Failure, Outcome},
    explained::{Ground, text},
    files, out,
    prepare::{Ready, compile},
    style::Style,
};

/// Explains one request on the configuration of the file, or on that of the running server; nothing is sent anywhere.
pub fn run(global: &Global, explain: &cli::Explain) -> Outcome {
    if explain.live {
        return live(global, explain);
    }
    let mut prepared = compile(config::load(&files::find(global)?));
    let style = Style::of(global.color, &std::io::stdout());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else {
        eprint!("{}", prepared.render(style.is_on()));
        return Err(Failure::invalid("the configuration is not valid"));
    };
    let wrong = |message: String| Failure { code: 2, message };
    let fields = explain.headers.iter().map(|field| header(field)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let snapshot = Arc::new(compiled.snapshot);
    let ground = Ground { snapshot: &snapshot, listeners: &compiled.listeners, loaded: &prepared.loaded, live: false };
    let explained = ground.explain(&explain.request.join(" "), &fields, explain.user.as_deref()).map_err(wrong)?;
    if let Some(scheme) = explained.unspoken {
        eprintln!("{}: no listener speaks {scheme}; this is what becomes of it on another", style.warning("note"));
    }
    show(global, &explained.json(), style)
}

/// Asks the running server.
fn live(global: &Global, explain: &cli::Explain) -> Outcome {
    let (method, url) = match &explain.request[..] {
        [method, url] => (method.as_str(), url),
        [url] => ("GET", url),
        _ => return Err(Failure { code: 2, message: "expected a method and a URL".into() }),
    };
    let mut headers = serde_json::Map::new();
    for field in &explain.headers {
        let (name, value) = header(field).map_err(|message| Failure { code: 2, message })?;
        headers.insert(name.to_string(), value.to_str().unwrap_or_default().into());
    }
    let asked = serde_json::json!({ "method": method, "url": url, "headers": headers, "user": explain.user });
    let told = Client::find(global)?.order("POST", "/api/v1/explain", &asked, PATIENCE)?.accepted()?;
    show(global, &told, Style::of(global.color, &std::io::stdout()))
}

fn show(global: &Global, told: &Value, style: Style) -> Outcome {
    if global.json { out::line(format!("{told:#}")) } else { out::text(&text(told, style)) }
}

/// Explains one request on what a running server runs, with what it has counted.
pub fn of(snapshot: &Arc<Snapshot>, loaded: &Loaded, request: &admin::Explain) -> Result<Value, String> {
    let mut prepared = compile(loaded.clone());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else { return Err(prepared.render(false)) };
    let fields = request.headers.iter().map(|(name, value)| header(&format!("{name}: {value}")));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let ground = Ground { snapshot, listeners: &compiled.listeners, loaded, live: true };
    let method = request.method.as_deref().unwrap_or("GET");
    Ok(ground.explain(&format!("{method} {}", request.url), &fields, request.user.as_deref())?.json())
}

/// Reads `NAME: VALUE`.
pub fn header(field: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = field.split_once(':').ok_or_else(|| format!("{field:?} is not NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| format!("{field:?} is no header"))?;
    Ok((name, value))
}
