//! `maitred explain`: which route a request takes, why every other lost, and what happens to it step by step.

use std::sync::Arc;

use config::Loaded;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    explained::Ground,
    files, out,
    prepare::{Ready, compile},
    style::Style,
};

/// Explains one request on the configuration of the file; nothing is sent anywhere.
pub fn run(global: &Global, explain: &cli::Explain) -> Outcome {
    let mut prepared = compile(config::load(&files::find(global)?));
    let style = Style::of(global.color, &std::io::stdout());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else {
        eprint!("{}", prepared.render(style.is_on()));
        return Err(Failure::invalid("the configuration is not valid"));
    };
    let wrong = |message: String| Failure { code: 2, message };
    let fields = explain.headers.iter().map(|field| header(field)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let snapshot = Arc::new(compiled.snapshot);
    let ground = Ground { snapshot: &snapshot, listeners: &compiled.listeners, loaded: &prepared.loaded };
    let explained = ground.explain(&explain.request.join(" "), &fields, explain.user.as_deref()).map_err(wrong)?;
    if let Some(scheme) = explained.unspoken {
        eprintln!("{}: no listener speaks {scheme}; this is what becomes of it on another", style.warning("note"));
    }
    if global.json { out::line(format!("{:#}", explained.json())) } else { out::text(&explained.text(style)) }
}

/// Explains one request on a configuration that a running server has.
pub fn of(loaded: &Loaded, request: &admin::Explain) -> Result<Value, String> {
    let mut prepared = compile(loaded.clone());
    let Some(Ready { compiled, .. }) = prepared.ready.take() else { return Err(prepared.render(false)) };
    let fields = request.headers.iter().map(|(name, value)| header(&format!("{name}: {value}")));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let snapshot = Arc::new(compiled.snapshot);
    let ground = Ground { snapshot: &snapshot, listeners: &compiled.listeners, loaded };
    let method = request.method.as_deref().unwrap_or("GET");
    Ok(ground.explain(&format!("{method} {}", request.url), &fields, request.user.as_deref())?.json())
}

/// Reads `NAME: VALUE`.
fn header(field: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = field.split_once(':').ok_or_else(|| format!("{field:?} is not NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| format!("{field:?} is no header"))?;
    Ok((name, value))
}
