//! What the design rests on, proved against Pingora itself before anything was built on it (docs/adr/0002 and 0003).
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use filter::{Captures, Client, RequestId, Scheme, Trace, View};
use pingora_core::{
    Error, ErrorType, Result, apps::HttpServerApp, protocols::http::ServerSession, server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    time::timeout,
};

/// A proxy that looks at a request through a `View` across an await point, and retries where the origin says 503.
struct Proof {
    origin: SocketAddr,
}

/// Stands for an authenticator that has to ask somebody.
async fn ask_elsewhere(view: &View<'_>) -> bool {
    tokio::task::yield_now().await;
    view.header("authorization") == Some("Bearer ok")
}

fn client() -> Client {
    Client {
        address: None,
        peer: None,
        trusted: false,
        scheme: Scheme::Http,
        port: 80,
        listener: "test".into(),
        tls: None,
        request_id: RequestId::new(0, 0),
        trace: Trace::new(1, 1),
    }
}

#[async_trait]
impl ProxyHttp for Proof {
    type CTX = usize;

    fn new_ctx(&self) -> usize {
        0
    }

    async fn request_filter(&self, session: &mut Session, _attempts: &mut usize) -> Result<bool> {
        let (client, captures) = (client(), Captures::new());
        let head = session.req_header();
        let view = View {
            generation: 1,
            identity: None,
            head,
            client: &client,
            host: "a",
            path: head.uri.path(),
            query: None,
            captures: &captures,
        };
        let admitted = ask_elsewhere(&view).await;
        if !admitted {
            session.respond_error(401).await?;
        }
        Ok(!admitted)
    }

    async fn upstream_peer(&self, _session: &mut Session, attempts: &mut usize) -> Result<Box<HttpPeer>> {
        *attempts += 1;
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        attempts: &mut usize,
    ) -> Result<()> {
        if head.status == 503 && *attempts < 3 {
            assert!(session.response_written().is_none(), "nothing went to the client yet");
            let mut error = Error::explain(ErrorType::HTTPStatus(503), "worth another attempt");
            error.set_retry(true);
            return Err(error);
        }
        Ok(())
    }
}

/// An origin that answers its connections with `answers` in turn, and counts the requests that it saw.
async fn origin(answers: &'static [&'static str]) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        answers.len()
    });
    (address, seen)
}

async fn ask(proxy: Proof, request: &str) -> String {
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), proxy));
    let (mut client, server): (DuplexStream, DuplexStream) = tokio::io::duplex(65_536);
    let (_keep, shutdown) = tokio::sync::watch::channel(false);
    let served = tokio::spawn(async move {
        let session = ServerSession::new_http1(Box::new(server));
        proxy.process_new_http(session, &shutdown).await;
    });
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), client.read_to_string(&mut answer)).await.unwrap().unwrap();
    served.await.unwrap();
    answer
}

#[tokio::test]
async fn a_view_is_held_across_an_await() {
    let (address, _) = origin(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).await;
    let proof = || Proof { origin: address };
    let refused = ask(proof(), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ok\r\nConnection: close\r\n\r\n";
    let admitted = ask(proof(), request).await;
    assert!(admitted.starts_with("HTTP/1.1 200"), "{admitted}");
}

#[tokio::test]
async fn a_status_is_retried_before_anything_went_downstream() {
    let (address, seen) = origin(&[
        "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ])
    .await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ok\r\nConnection: close\r\n\r\n";
    let answer = ask(Proof { origin: address }, request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    assert!(!answer.contains("busy") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    assert_eq!(timeout(Duration::from_secs(10), seen).await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn a_status_is_not_retried_for_a_request_that_may_have_been_executed() {
    let (address, seen) = origin(&["HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"]).await;
    let request =
        "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ok\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    let answer = ask(Proof { origin: address }, request).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(timeout(Duration::from_secs(10), seen).await.unwrap().unwrap(), 1);
}
