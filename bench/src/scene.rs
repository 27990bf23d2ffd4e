//! One request on its way through one route, both as real as they come.

#![expect(clippy::expect_used, reason = "a bench that cannot set up should stop")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use filter::{Captures, Client, RequestId, Scheme, Trace, View};
use http::{HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};
use snapshot::{Route, State};
use telemetry::{Build, Metrics};

/// A route that says where it leads and nothing else.
pub const EMPTY: &str = r#"
listen = "127.0.0.1:0"

[routes]
"/shops/{shop}/orders/*" = "http://127.0.0.1:9001"
"#;

/// A route with every policy of this release. Its rewrite is of the kind that can lead astray, and is looked at twice.
pub const FULL: &str = r#"
listen = "127.0.0.1:0"

[routes.orders]
path       = "/shops/{shop}/orders/*"
upstream   = "http://127.0.0.1:9001"
max_body   = "1MiB"
max_header = "16KiB"
max_url    = "2KiB"
timeout    = "5s"
retries    = 2
websocket  = { idle = "5m" }
cors       = { origins = ["https://app.example.com", "https://*.example.org"], credentials = true, expose = ["X-Request-Id"] }
security_headers = { permissions = "camera=()", coop = "same-origin" }

[routes.orders.request]
rewrite   = "/v1/{shop}{rest}"
query     = { set = { tenant = "{shop}" }, remove = ["debug"] }
host      = "orders.internal"
forwarded = true
set       = { X-Api-Version = "3", X-Client-IP = "{client_ip}", X-Shop = "{shop}" }
add       = { X-Via = "maitred" }
remove    = ["Cookie", "X-Debug-*"]

[routes.orders.response]
set       = { Cache-Control = "no-store", X-Request-Id = "{request_id}" }
remove    = ["X-Runtime-*"]
"#;

/// What a browser sends. The forwarded address is forged, and has to go.
const REQUEST: [(&str, &str); 13] = [
    ("Host", "shop.example.com"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Content-Type", "application/json"),
    ("Content-Length", "812"),
    ("Origin", "https://app.example.com"),
    ("Referer", "https://app.example.com/orders/99"),
    ("Authorization", "Bearer 7b1f0c7e2d1c4f0aa0d5c0de5eed5eed"),
    ("Cookie", "session=1f0aa0d5c0de5eed; theme=dark"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("Connection", "keep-alive"),
];

/// What an application server answers.
const ANSWER: [(&str, &str); 9] = [
    ("Date", "Sat, 01 Aug 2026 12:00:00 GMT"),
    ("Server", "gunicorn"),
    ("Connection", "keep-alive"),
    ("Content-Type", "application/json"),
    ("Content-Length", "2048"),
    ("X-Powered-By", "Express"),
    ("ETag", "\"5eed\""),
    ("Vary", "Accept-Encoding"),
    ("Access-Control-Allow-Origin", "*"),
];

/// A request that has arrived: its route is chosen, its client named.
pub struct Scene {
    /// The route that the request takes.
    pub route: Route,
    /// Who sent it.
    pub client: Client,
    /// What the route's path captured.
    pub captures: Captures,
    /// The request as the client sent it.
    pub from: RequestHeader,
}

impl Scene {
    /// Compiles a configuration that has one route, and takes the request there.
    pub fn of(text: &str) -> Self {
        let loaded = config::load_text("maitred.toml", text, Path::new("."));
        let build = Build { version: "0", revision: "-", rustc: "-", tls: "-" };
        let state = State::new(Arc::new(Metrics::new(&build)));
        let mut report = loaded.report.clone();
        let config = loaded.config.as_ref().expect("a document that can be read");
        let compiled = snapshot::compile(config, &state, &mut report);
        let mut snapshot = compiled.expect("a configuration without mistakes").snapshot;
        let (from, client, mut captures) = (request(), client(), Captures::new());
        let found = snapshot.table.find(&view(&from, &client, &Captures::new()), &mut captures);
        let route = snapshot.routes.swap_remove(found.expect("a route for the request").0 as usize);
        Self { route, client, captures, from }
    }

    /// The request as a concern sees it. The proxy makes one for each step, and so do the walks.
    pub fn view(&self) -> View<'_> {
        view(&self.from, &self.client, &self.captures)
    }

    /// The heads that a walk changes: a copy of the request, and an answer just read, both with as much room as the
    /// engine gives them.
    pub fn heads(&self) -> (RequestHeader, ResponseHeader) {
        (self.from.clone(), answer())
    }
}

/// A request as a concern sees it. Host and path stand in the head as they should, so that both are borrowed from it.
pub fn view<'a>(from: &'a RequestHeader, client: &'a Client, captures: &'a Captures) -> View<'a> {
    let host = from.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    View {
        generation: 1,
        identity: None,
        head: from,
        client,
        host,
        path: from.uri.path(),
        query: from.uri.query(),
        captures,
    }
}

fn request() -> RequestHeader {
    let target = b"/shops/4711/orders/99/items?page=2&debug=1";
    let mut head = RequestHeader::build("POST", target, Some(REQUEST.len())).expect("a request");
    for (name, value) in REQUEST {
        head.append_header(name, value).expect("a field");
    }
    // A first copy makes the values shared, as those are that the engine reads.
    let _ = head.clone();
    head
}

fn answer() -> ResponseHeader {
    let mut head = ResponseHeader::build(200, Some(ANSWER.len())).expect("an answer");
    for (name, value) in ANSWER {
        head.append_header(name, HeaderValue::from_static(value)).expect("a field");
    }
    head
}

fn client() -> Client {
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    Client {
        address: Some(address),
        peer: Some(SocketAddr::new(address, 54_321)),
        scheme: Scheme::Https,
        port: 443,
        request_id: RequestId::new(1_785_585_600_000, 0x5eed_5eed_5eed_5eed),
        trace: Trace::new(0x7b1f_0c7e_2d1c_4f0a, 0xa0d5_c0de),
        ..Client::local("public".into())
    }
}
