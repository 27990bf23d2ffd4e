//! A connection on which a backend is asked something by ourselves: for the cache, beside a slow backend, for a mirror.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use pingora_core::{
    Error, ErrorType,
    connectors::http::Connector,
    protocols::http::client::HttpSession,
    upstreams::peer::{HttpPeer, Peer},
};
use upstream::{Connection, Use};

/// The connection, and whose it is.
pub(crate) struct Line {
    /// `None` once it was given back.
    session: Option<HttpSession<()>>,
    home: Home,
}

/// Whose a connection is.
enum Home {
    /// Ours, of HTTP/1; this counts it.
    Own(Option<Connection>),
    /// One of Pingora's pool, which others may use besides.
    Pool { connector: Arc<Connector<()>>, peer: Box<HttpPeer>, used: Option<Use> },
}

impl Line {
    /// One that nobody else uses, which `counted` counts.
    pub(crate) fn own(session: HttpSession<()>, counted: Connection) -> Self {
        Self { session: Some(session), home: Home::Own(Some(counted)) }
    }

    /// A connection to the `peer` out of `connector`'s pool, and whether it was used before.
    pub(crate) async fn of_pool(connector: Arc<Connector<()>>, peer: &HttpPeer) -> pingora_core::Result<(Self, bool)> {
        let (session, reused) = connector.get_http_session(peer).await?;
        let used = Use::of(session.digest());
        let home = Home::Pool { connector, peer: Box::new(peer.clone()), used };
        Ok((Self { session: Some(session), home }, reused))
    }

    /// What is said on it.
    pub(crate) fn session(&mut self) -> pingora_core::Result<&mut HttpSession<()>> {
        self.session
            .as_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a connection that was given back"))
    }

    /// The next piece of an answer's content.
    pub(crate) async fn next_piece(&mut self) -> pingora_core::Result<Option<Bytes>> {
        let came = self.session()?.read_response_body().await;
        came.inspect_err(|error| self.doubt(error))
    }

    /// Where the `error` is that it was silent for too long, others get another one, as from Pingora's own proxy: it may be one
    /// that nothing comes by any more.
    pub(crate) fn doubt(&self, error: &Error) {
        if *error.etype() == ErrorType::ReadTimedout
            && let Some(HttpSession::H2(stream)) = &self.session
        {
            stream.conn.mark_shutdown();
        }
    }

    /// Whether it has had its time: this is the last thing that is asked on it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&self.home, Home::Pool { used: Some(used), .. } if used.is_over())
    }

    /// Gives it back to its pool, its answer being read; what of it is ours comes back from here.
    pub(crate) async fn give_back(mut self) -> Option<(HttpSession<()>, Connection)> {
        let session = self.session.take()?;
        match &mut self.home {
            Home::Own(counted) => Some((session, counted.take()?)),
            Home::Pool { connector, peer, .. } => {
                connector.release_http_session(session, &**peer, peer.idle_timeout()).await;
                None
            }
        }
    }
}

impl Drop for Line {
    /// A stream of HTTP/2 is given back whatever came of it, as Pingora's own proxy does: its pool lets go of a connection
    /// only where the last of its streams is. Nobody is waited for.
    fn drop(&mut self) {
        if let (Some(session @ HttpSession::H2(_)), Home::Pool { connector, peer, .. }) =
            (self.session.take(), &self.home)
        {
            let _ = connector.release_http_session(session, &**peer, peer.idle_timeout()).now_or_never();
        }
    }
}
