//! Settings that several subjects share: an origin, a proxy with one route to it, and what stands before them.

use testkit::{Answer, Connection, Origin, Proxy, Seen, within};

/// What a listener for HTTP/1 and HTTP/2 in plaintext is written as.
pub const BOTH: &str = "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n";

/// A listener that believes what loopback peers say about their clients.
pub const TRUSTING: &str = "[listeners.http]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2c\"]\n\
                            trusted_proxies = \"127.0.0.1\"\n";

/// A route named `app` that takes everything to `origin`, with these lines in its table.
pub fn route(origin: &Origin, lines: &str) -> String {
    format!("[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n{lines}\n")
}

/// A configuration with `origin` behind an upstream, which has these lines in its table.
pub fn upstream(origin: &Origin, lines: &str) -> String {
    format!("{BOTH}[upstreams.app]\nbackends = \"{origin}\"\n{lines}\n[routes]\n\"/*\" = \"app\"\n")
}

/// A proxy for HTTP/1 and h2c before an origin of this script.
pub async fn before(respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::start(respond).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    (origin, proxy)
}

/// A proxy before an echoing origin, with these lines in its route's table.
pub async fn echoing(lines: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
    (origin, proxy)
}

/// A proxy before an echoing origin that believes its peers, with these lines in its route's table.
pub async fn trusting(lines: &str) -> (Origin, Proxy) {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(format!("{TRUSTING}{}", route(&origin, lines))).await;
    (origin, proxy)
}

/// Waits until the proxy still serves a fresh connection: what a test did to another one has not hurt it.
pub async fn still_serves(proxy: &Proxy) {
    let answer = Connection::to(proxy.address()).await.fetch(testkit::Request::get("/health")).await;
    assert!(answer.status < 500, "{answer:?}");
}

/// Waits until so many requests are under way at the backends of the first upstream: an answer is read a moment before its
/// place is free.
pub async fn until_under_way(proxy: &Proxy, count: u64) {
    let in_flight = async || {
        let told = proxy.admin("/api/v1/status").await.json();
        let backends = told["upstreams"][0]["backends"].as_array().unwrap().clone();
        backends.iter().map(|backend| backend["in_flight"].as_u64().unwrap()).sum::<u64>()
    };
    within(format!("{count} to be under way"), async { while in_flight().await != count {} }).await;
}
