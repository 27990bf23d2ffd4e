//! Whoever asks: one exchange at a time over connections that are kept.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_core::{connectors::http::Connector, protocols::http::client::HttpSession, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use tokio::time::timeout;

use crate::{Trust, Url, names::Names, places::Places};

/// How many exchanges are under way at once, and how many of them with one service.
const AT_ONCE: usize = 4096;
const AT_ONE: usize = 1024;
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
/// How many connections that were kept may turn out to be closed before a new one is made.
const CLOSED: usize = 4;
/// How many addresses of a host are tried.
const ADDRESSES: usize = 3;
/// How many interim answers are passed over.
const INTERIM: usize = 8;

/// Who is asked, and how long that may take.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// Where it is.
    pub url: Url,
    /// Which authorities its certificate may be from.
    pub trust: Trust,
    /// How long connecting and answering may take together.
    pub timeout: Duration,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The header fields besides `Host` and the framing.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// What is sent.
    pub content: Bytes,
    /// How many bytes of content the answer may have.
    pub most: usize,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The content.
    pub content: Bytes,
}

/// Whoever asks. The system's authorities are read when the first question is asked.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connector: OnceLock<Connector>,
    names: Names,
    places: Places,
}

impl Default for Client {
    fn default() -> Self {
        let places = Places::new(AT_ONCE, AT_ONE);
        Self(Arc::new(Inner { connector: OnceLock::new(), names: Names::default(), places }))
    }
}

/// Why an exchange came to nothing, and whether the service may have seen the request.
struct Failed {
    why: String,
    /// The connection was one that was kept, and the service had closed it meanwhile.
    stale: bool,
    /// There was none.
    unconnected: bool,
}

impl Client {
    /// Asks. The error is a sentence without secrets. Redirects are not followed: who is asked is written in the
    /// configuration.
    pub async fn ask(&self, service: &Service, ask: &Ask) -> Result<Answer, String> {
        let told = |what: &str| format!("{}: {what}", service.url);
        let _place = self.0.places.take(&service.url).ok_or_else(|| told("too many questions are under way"))?;
        match timeout(service.timeout, self.exchange(service, ask)).await {
            Ok(answer) => answer.map_err(|why| told(&why)),
            Err(_) => Err(told("there was no answer in time")),
        }
    }

    /// Gets a document, which has at most `most` bytes.
    pub async fn get(&self, service: &Service, most: usize) -> Result<Bytes, String> {
        let fields = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        let answer = self.ask(service, &Ask { method: Method::GET, fields, content: Bytes::new(), most }).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.content)
        } else {
            Err(format!("{}: the answer is {}", service.url, answer.status.as_u16()))
        }
    }

    async fn exchange(&self, service: &Service, ask: &Ask) -> Result<Answer, String> {
        let url = &service.url;
        let addresses = self.0.names.addresses(url.bare_host(), url.port).await.map_err(|error| error.to_string())?;
        let mut why = "the host has no address".to_owned();
        for address in addresses.iter().take(ADDRESSES) {
            let peer = peer(service, *address);
            let mut left = CLOSED;
            let failed = loop {
                match self.once(&peer, url, ask).await {
                    Ok(answer) => return Ok(answer),
                    Err(failed) if failed.stale && left > 0 => left -= 1,
                    Err(failed) => break failed,
                }
            };
            why = failed.why;
            if !failed.unconnected {
                break;
            }
        }
        Err(why)
    }

    async fn once(&self, peer: &HttpPeer, url: &Url, ask: &Ask) -> Result<Answer, Failed> {
        let connector = self.0.connector.get_or_init(|| Connector::new(None));
        let connected = connector.get_http_session(peer).await;
        let (mut session, reused) =
            connected.map_err(|error| Failed { why: sentence(&error), stale: false, unconnected: true })?;
        match exchange(&mut session, url, ask).await {
            Ok(answer) => {
                connector.release_http_session(session, peer, Some(IDLE)).await;
                Ok(answer)
            }
            Err(why) => {
                let answered = session.response_header().is_some();
                session.shutdown().await;
                Err(Failed { why, stale: reused && !answered, unconnected: false })
            }
        }
    }
}

fn sentence(error: &pingora_core::Error) -> String {
    error.etype().as_str().to_owned()
}

fn peer(service: &Service, address: SocketAddr) -> HttpPeer {
    let mut peer = HttpPeer::new(address, service.url.is_secure(), service.url.bare_host().to_owned());
    // The whole exchange has a bound of its own.
    let wait = Some(service.timeout);
    peer.options.connection_timeout = wait;
    peer.options.total_connection_timeout = wait;
    peer.options.read_timeout = wait;
    peer.options.write_timeout = wait;
    peer.options.ca = service.trust.ca.clone();
    peer.group_key = service.trust.identity;
    peer
}

async fn exchange(session: &mut HttpSession, url: &Url, ask: &Ask) -> Result<Answer, String> {
    let failed = |error: Box<pingora_core::Error>| sentence(&error);
    let mut head = RequestHeader::build(ask.method.as_str(), url.target.as_bytes(), None).map_err(failed)?;
    head.insert_header(header::HOST, url.authority()).map_err(failed)?;
    head.insert_header(header::USER_AGENT, concat!("maitred/", env!("CARGO_PKG_VERSION"))).map_err(failed)?;
    for (name, value) in &ask.fields {
        head.append_header(name.clone(), value.clone()).map_err(failed)?;
    }
    if !ask.content.is_empty() {
        head.insert_header(header::CONTENT_LENGTH, ask.content.len()).map_err(failed)?;
    }
    session.write_request_header(Box::new(head)).await.map_err(failed)?;
    if !ask.content.is_empty() {
        session.write_request_body(ask.content.clone(), true).await.map_err(failed)?;
    }
    session.finish_request_body().await.map_err(failed)?;
    for _ in 0..INTERIM {
        session.read_response_header().await.map_err(failed)?;
        if !session.response_header().is_some_and(|head| head.status.is_informational()) {
            break;
        }
    }
    let head = session.response_header().ok_or("there is no answer")?;
    let (status, headers) = (head.status, head.headers.clone());
    if status.is_informational() {
        return Err("the answer does not come to its point".into());
    }
    let mut content = Vec::new();
    while let Some(chunk) = session.read_response_body().await.map_err(failed)? {
        if content.len() + chunk.len() > ask.most {
            return Err(format!("the answer is larger than {} bytes", ask.most));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, content: content.into() })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Answer, Gate, Origin};

    use super::*;

    #[tokio::test]
    async fn a_service_that_hangs_does_not_keep_others_from_being_asked() {
        let gate = Gate::new();
        let script = gate.clone();
        let slow = Origin::start(move |_| Answer::text("late").after(&script)).await;
        let other = Origin::text("here").await;
        let service = |origin: &Origin| Service {
            url: Url::parse(&format!("{origin}/")).unwrap(),
            trust: Trust::default(),
            timeout: Duration::from_secs(10),
        };
        let places = Places::new(2, 1);
        let client = Client(Arc::new(Inner { connector: OnceLock::new(), names: Names::default(), places }));
        let (slow, other) = (service(&slow), service(&other));
        let held = async { assert_eq!(client.get(&slow, 9).await.unwrap(), "late") };
        let meanwhile = async {
            gate.reached().await;
            assert!(client.get(&slow, 9).await.unwrap_err().ends_with("too many questions are under way"));
            assert_eq!(client.get(&other, 9).await.unwrap(), "here");
            gate.open();
        };
        tokio::join!(held, meanwhile);
        assert_eq!(client.get(&slow, 9).await.unwrap(), "late");
    }
}
