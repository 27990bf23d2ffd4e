//! A list of URLs is asked for, so that the cache has the answers before clients want them.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use admin::{Warm, WarmOutcome, Warmed, WarmedUrl};
use config::Loaded;
use http::{HeaderName, HeaderValue};
use listen::Listener;
use proxy::{Asked, Front, Warmer};
use tokio::{sync::Semaphore, task::JoinSet};
use trial::Request;

use crate::{
    asked::{Circumstances, Unfit, asked},
    commands::explain,
    prepare::{Ready, compile},
};

/// How many URLs one order may have.
const MOST: usize = 1000;

/// How many are asked for at once where nothing is said, and at most.
const CONCURRENCY: (usize, usize) = (8, 64);

/// Asks for all of them, a bounded number at the same time.
pub(super) async fn warm(front: Arc<Front>, loaded: &Loaded, order: &Warm) -> Result<Warmed, String> {
    if order.urls.len() > MOST {
        return Err(format!("{} URLs are more than the {MOST} that one order may have", order.urls.len()));
    }
    let concurrency = order.concurrency.unwrap_or(CONCURRENCY.0);
    if !(1..=CONCURRENCY.1).contains(&concurrency) {
        return Err(format!("`concurrency` cannot be {concurrency}: from 1 to {}", CONCURRENCY.1));
    }
    let fields = order.headers.iter().map(|(name, value)| explain::header(&format!("{name}: {value}")));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let listeners = listeners(loaded)?;
    let warmer = Arc::new(Warmer::new(front));
    let places = Arc::new(Semaphore::new(concurrency));
    let mut asking = JoinSet::new();
    for (index, url) in order.urls.iter().enumerate() {
        let (warmer, places, url) = (warmer.clone(), places.clone(), url.clone());
        let asks = request(&url, &listeners, &fields);
        asking.spawn(async move {
            let _place = places.acquire_owned().await;
            (index, one(&warmer, url, asks).await)
        });
    }
    let mut urls: Vec<(usize, WarmedUrl)> = Vec::with_capacity(order.urls.len());
    while let Some(asked) = asking.join_next().await {
        urls.push(asked.map_err(|_| "a request broke off".to_owned())?);
    }
    urls.sort_by_key(|(index, _)| *index);
    let urls: Vec<WarmedUrl> = urls.into_iter().map(|(_, url)| url).collect();
    let count = |outcome| urls.iter().filter(|url| url.outcome == outcome).count();
    let (stored, kept) = (count(WarmOutcome::Stored), count(WarmOutcome::Kept));
    Ok(Warmed { stored, kept, failed: urls.len() - stored - kept, urls })
}

fn listeners(loaded: &Loaded) -> Result<Vec<Arc<Listener>>, String> {
    let mut prepared = compile(loaded.clone());
    match prepared.ready.take() {
        Some(Ready { compiled, .. }) => Ok(compiled.listeners),
        None => Err(prepared.render(false)),
    }
}

/// The request for a URL, and the listener that it would come in by.
fn request(url: &str, listeners: &[Arc<Listener>], fields: &[(HeaderName, HeaderValue)]) -> Result<Asked, String> {
    let asks = Request::parse(url).map_err(|mistake| format!("{}; {}", mistake.problem, mistake.help))?;
    let around = Circumstances { listeners, named: None, route: None };
    let listener = around.listener(&asks).map_err(|unfit| match unfit {
        Unfit::Scheme(scheme) => format!("no listener speaks {}", scheme.as_str()),
        Unfit::Named(listener) => format!("listener `{}` speaks another scheme", listener.name),
    })?;
    let from = Ipv4Addr::LOCALHOST.into();
    asked(&asks, listener, &around.host(), fields, from, None)
        .ok_or_else(|| "it cannot be asked for with these headers".to_owned())
}

async fn one(warmer: &Warmer, url: String, asks: Result<Asked, String>) -> WarmedUrl {
    let began = Instant::now();
    let warmed = match asks {
        Ok(asks) => warmer.warm(&asks).await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match warmed {
        Ok(warmed) => WarmedUrl {
            url,
            outcome: outcome(warmed.cache.as_deref()),
            status: Some(warmed.status),
            detail: warmed.cache.unwrap_or_else(|| "its route keeps nothing".into()),
            bytes: warmed.bytes,
            took_ms,
        },
        Err(detail) => WarmedUrl { url, outcome: WarmOutcome::Failed, status: None, detail, bytes: 0, took_ms },
    }
}

/// What the words of `Cache-Status` come to (RFC 9211 section 2).
fn outcome(cache: Option<&str>) -> WarmOutcome {
    let has = |word: &str| cache.is_some_and(|cache| cache.split("; ").any(|own| own == word));
    if has("stored") {
        WarmOutcome::Stored
    } else if has("hit") || has("collapsed") {
        WarmOutcome::Kept
    } else {
        WarmOutcome::Failed
    }
}
