//! `maitred demo`: three small backends and a proxy before them, in one process.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::{
    apps::{HttpServerApp, ReusedHttpStream, ServerApp},
    protocols::{http::ServerSession, l4::stream::Stream},
    server::ShutdownWatch,
};
use pingora_http::ResponseHeader;
use tokio::net::TcpListener;

use crate::{cli, cli::Global, exit::Outcome, server};

/// What the demo's proxy is configured with; `{n}` are the addresses of its backends.
const CONFIG: &str = include_str!("demo.toml");

/// A token that the demo's own secret has signed, until the year 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJzY29wZSI6Im1lbnUiLCJleHAiOjQxMDI0NDQ4MDB9.vDTKvleF4nQSDHuCFHqw3Ncf9-7hb0YrxSdJ6ietSmQ";

/// Starts the backends, then the proxy with every policy that exists.
pub fn run(global: &Global, demo: &cli::Demo) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let mut text = CONFIG.replace("{listen}", &demo.listen);
    for name in ["users-1", "users-2", "orders-1"] {
        let address = runtime.block_on(start(name, shutdown.clone()))?;
        text = text.replace(&format!("{{{name}}}"), &address.to_string());
    }
    server::run_text(global, "demo.toml", &text, Some(&guide))
}

/// What to try, and what it shows.
const TRIALS: &[(&str, &str)] = &[
    ("curl -i {base}/users/7", "two backends in turn, 3 : 1"),
    ("curl -i {base}/api/v1/orders/5", "a prefix stripped, headers edited"),
    ("curl -i {base}/orders -H 'X-API-Version: v2'", "a route chosen by a header"),
    ("curl -i {base}/old/page?x=1", "a redirect that keeps the query"),
    ("curl -i {base}/gone", "an answer out of the configuration"),
    ("curl -i {base}/nowhere", "a problem document (RFC 9457)"),
    (
        "curl -i -X OPTIONS {base}/users/7 -H 'Origin: https://app.example.com' \
         -H 'Access-Control-Request-Method: GET'",
        "a CORS preflight",
    ),
    ("head -c 5000 /dev/zero | curl -i {base}/users/7 --data-binary @-", "a body over the limit of 4 KiB"),
    (
        "curl -i {base}/menu/today -H 'Authorization: Bearer {token}'",
        "a signed token; without it, or with another, 401",
    ),
    ("curl -s -o /dev/null -w '%{http_code}\\n' '{base}/kitchen?[1-5]'", "three in ten seconds, and no more"),
    (
        "curl -si --compressed {base}/daily | grep -i -e cache-status -e encoding",
        "kept for half a minute, and compressed",
    ),
    ("curl -s '{base}/tasting?[1-20]' | grep backend", "one in ten goes to the canary; some are mirrored as well"),
    ("curl -N {base}/events", "server-sent events, as they happen"),
    ("curl -s --path-as-is {base}/x/../%75sers/7", "the path is normalised before it is matched"),
];

/// The commands to try, once the proxy's address is known.
fn guide(base: &str) -> String {
    let mut text = String::from("\nTry, in another terminal:\n\n");
    for (command, what) in TRIALS {
        let _ = writeln!(text, "  # {what}\n  {}\n", command.replace("{base}", base).replace("{token}", TOKEN));
    }
    text.push_str("Your own service next: maitred init --to http://localhost:3000, then maitred run\n");
    text
}

/// One backend: says who it is and what it was asked.
struct Backend {
    name: &'static str,
}

async fn start(name: &'static str, shutdown: ShutdownWatch) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let backend = Arc::new(Backend { name });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (backend, shutdown) = (backend.clone(), shutdown.clone());
            tokio::spawn(async move { backend.process_new(Box::new(Stream::from(stream)), &shutdown).await });
        }
    });
    Ok(address)
}

#[async_trait]
impl HttpServerApp for Backend {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(Some(60));
        if session.req_header().uri.path() == "/events" {
            events(&mut session).await?;
        } else {
            self.echo(&mut session).await?;
        }
        let settings = pingora_core::apps::HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

impl Backend {
    async fn echo(&self, session: &mut ServerSession) -> Option<()> {
        let mut body = 0;
        while let Some(chunk) = session.read_request_body().await.ok()? {
            body += chunk.len();
        }
        let head = session.req_header();
        let headers: serde_json::Map<_, _> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        let content = serde_json::json!({
            "backend": self.name,
            "method": head.method.as_str(),
            "target": head.uri.to_string(),
            "headers": headers,
            "body_bytes": body,
        });
        let content = format!("{content:#}\n");
        let mut answer = ResponseHeader::build(200, Some(4)).ok()?;
        answer.insert_header("Content-Type", "application/json").ok()?;
        answer.insert_header("Content-Length", content.len().to_string()).ok()?;
        answer.insert_header("X-Powered-By", "the demo").ok()?;
        session.write_response_header(Box::new(answer)).await.ok()?;
        session.write_response_body(Bytes::from(content), true).await.ok()
    }
}

/// Five events, half a second apart.
async fn events(session: &mut ServerSession) -> Option<()> {
    let mut answer = ResponseHeader::build(200, Some(2)).ok()?;
    answer.insert_header("Content-Type", "text/event-stream").ok()?;
    answer.insert_header("Transfer-Encoding", "chunked").ok()?;
    session.write_response_header(Box::new(answer)).await.ok()?;
    for number in 1..=5 {
        let event = format!("id: {number}\ndata: course {number} of 5\n\n");
        session.write_response_body(Bytes::from(event), false).await.ok()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    session.write_response_body(Bytes::new(), true).await.ok()
}
