//! Small documents of others, fetched over HTTP with bounds on everything.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Uri, header};
use pingora_core::{connectors::http::Connector, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;

/// The largest document that is read.
const LARGEST: usize = 1024 * 1024;
/// How long connecting, and each read, may take.
const WAIT: Duration = Duration::from_secs(4);

/// Where a document is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    secure: bool,
    host: Box<str>,
    port: u16,
    target: Box<str>,
}

impl Url {
    /// Reads `https://host/path`. The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "this is not a URL".to_owned())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("a URL begins with https:// or http://".into()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong into a URL".into());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host: authority.host().into(), port, target: target.into() })
    }

    /// Whether it is fetched over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether nobody but this machine could change what comes from there.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.bare_host(), "localhost" | "::1") || self.host.starts_with("127.")
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn authority(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whoever fetches. The system's authorities are read when the first document is.
#[derive(Clone, Default)]
pub(crate) struct Client(Arc<OnceLock<Connector>>);

impl Client {
    /// Gets a document. Redirects are not followed: who says where keys are is written in the configuration.
    pub(crate) async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let told = |what: &str| format!("{url}: {what}");
        let mut addresses =
            tokio::net::lookup_host((url.bare_host(), url.port)).await.map_err(|error| told(&error.to_string()))?;
        let address = addresses.next().ok_or_else(|| told("the host has no address"))?;
        let mut peer = HttpPeer::new(address, url.secure, url.bare_host().to_owned());
        peer.options.connection_timeout = Some(WAIT);
        peer.options.total_connection_timeout = Some(WAIT);
        peer.options.read_timeout = Some(WAIT);
        peer.options.write_timeout = Some(WAIT);
        let connector = self.0.get_or_init(|| Connector::new(None));
        let failed = |error: Box<pingora_core::Error>| told(error.etype().as_str());
        let (mut session, _) = connector.get_http_session(&peer).await.map_err(failed)?;
        session.set_read_timeout(Some(WAIT));
        session.set_write_timeout(Some(WAIT));
        let mut head = RequestHeader::build("GET", url.target.as_bytes(), None).map_err(failed)?;
        let fields = [
            (header::HOST, url.authority()),
            (header::ACCEPT, "application/json".to_owned()),
            (header::USER_AGENT, concat!("maitred/", env!("CARGO_PKG_VERSION")).to_owned()),
            (header::CONNECTION, "close".to_owned()),
        ];
        for (name, value) in fields {
            head.insert_header(name, value).map_err(failed)?;
        }
        session.write_request_header(Box::new(head)).await.map_err(failed)?;
        session.finish_request_body().await.map_err(failed)?;
        session.read_response_header().await.map_err(failed)?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        if status != 200 {
            return Err(told(&format!("the answer is {status}")));
        }
        let mut document = Vec::new();
        while let Some(chunk) = session.read_response_body().await.map_err(failed)? {
            if document.len() + chunk.len() > LARGEST {
                return Err(told("the answer is larger than 1 MiB"));
            }
            document.extend_from_slice(&chunk);
        }
        session.shutdown().await;
        Ok(document)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
