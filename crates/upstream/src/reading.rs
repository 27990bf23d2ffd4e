//! What an error of Pingora's means: the reason to tell, whose fault it is, and how far the request came.

use std::{error, io};

use filter::Reason;
use pingora_core::{BError, Error, ErrorSource, ErrorType};

/// An error of Pingora's, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The word for log, metric and problem document.
    pub reason: Reason,
    /// Whose fault it is. Only a backend's own may count against it.
    pub fault: Fault,
    /// Whether any of the request can have reached a backend that may have done something with it: not while
    /// connecting, nor where the backend says so itself. What never left may be sent elsewhere whatever its method.
    pub sent: bool,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The backend's, or the network's on the way to it.
    Backend,
    /// Nobody's: a backend of HTTP/2 has refused the request unprocessed, as one does that is full or about to end.
    Nobody,
    /// The client's: it left, stalled or sent nonsense.
    Client,
    /// Ours: descriptors, ports or memory have run out, or there is a mistake in maitred.
    Ours,
}

/// The reason to tell for an error of Pingora's.
pub fn reason_of(error: &Error) -> Reason {
    Reading::of(error).reason
}

impl Reading {
    /// Reads an error.
    pub fn of(error: &Error) -> Self {
        if *error.esource() == ErrorSource::Downstream {
            return Self { reason: client_reason(error), fault: Fault::Client, sent: true };
        }
        if is_refusal(error) {
            return Self { reason: Reason::UpstreamReset, fault: Fault::Nobody, sent: false };
        }
        let reason = if is_local(error) { Reason::LocalResource } else { backend_reason(error) };
        let fault = match reason {
            Reason::LocalResource | Reason::Internal => Fault::Ours,
            _ => Fault::Backend,
        };
        Self { reason, fault, sent: !is_connecting(error) }
    }

    /// Whether another backend may do better: not where the client or this machine is to blame.
    pub fn may_go_elsewhere(&self) -> bool {
        matches!(self.fault, Fault::Backend | Fault::Nobody)
    }
}

fn client_reason(error: &Error) -> Reason {
    // What the proxy's own reader says of a body whose framing is broken.
    if io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
        return Reason::BadRequest;
    }
    match error.etype() {
        ErrorType::ReadTimedout => Reason::BodyTimeout,
        ErrorType::WriteTimedout => Reason::AnswerTimeout,
        // The same reader's word for a body that drips.
        _ if io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) => Reason::BodyTimeout,
        ErrorType::InvalidHTTPHeader => Reason::BadRequest,
        ErrorType::HTTPStatus(400..=499) => Reason::BadRequest,
        _ => Reason::ClientClosed,
    }
}

fn backend_reason(error: &Error) -> Reason {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Reason::ConnectTimeout,
        ErrorType::ConnectRefused => Reason::UpstreamRefused,
        ErrorType::ConnectNoRoute | ErrorType::ConnectError | ErrorType::ConnectProxyFailure => {
            Reason::UpstreamUnreachable
        }
        ErrorType::TLSHandshakeFailure | ErrorType::TLSWantX509Lookup | ErrorType::InvalidCert => Reason::UpstreamTls,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Reason::UpstreamTimeout,
        // No answer to a PING of HTTP/2: the connection is dead.
        ErrorType::Custom("PingTimedout") => Reason::UpstreamTimeout,
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => Reason::UpstreamReset,
        ErrorType::H2Error if ends_stream(error) => Reason::UpstreamReset,
        // Pingora's own words for a body that is not in the chunked coding.
        ErrorType::Custom("InvalidChunk")
        | ErrorType::InvalidHTTPHeader
        | ErrorType::H1Error
        | ErrorType::H2Error
        | ErrorType::H2Downgrade
        | ErrorType::InvalidH2
        | ErrorType::HandshakeError => Reason::UpstreamProtocol,
        // Connecting was forbidden: by the permissions of a unix socket or by a packet filter.
        ErrorType::InternalError
            if io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) =>
        {
            Reason::UpstreamUnreachable
        }
        _ => Reason::Internal,
    }
}

/// Whether the error is one of connecting, when nothing of the request has been sent.
fn is_connecting(error: &Error) -> bool {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, HandshakeError,
        InvalidCert, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout, TLSWantX509Lookup,
    };
    let connecting = |kind: &ErrorType| {
        matches!(
            kind,
            BindError
                | ConnectError
                | ConnectNoRoute
                | ConnectProxyFailure
                | ConnectRefused
                | ConnectTimedout
                | HandshakeError
                | InvalidCert
                | SocketError
                | TLSHandshakeFailure
                | TLSHandshakeTimedout
                | TLSWantX509Lookup
        )
    };
    // Pingora turns an error of our own socket into an internal one, with the first as its cause.
    let forbidden = || io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    connecting(error.etype())
        || connecting(error.root_etype())
        || (*error.etype() == ErrorType::InternalError && forbidden())
}

/// Whether this machine has run out of something: descriptors, ports, buffers, memory.
fn is_local(error: &Error) -> bool {
    if matches!(error.root_etype(), ErrorType::SocketError | ErrorType::BindError) {
        return true;
    }
    let Some(io) = io_error(error) else { return false };
    matches!(io.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || has_run_out(io)
}

/// Whether the system has no more descriptors or buffers for us.
pub(crate) fn has_run_out(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

/// "Too many open files in system", "Too many open files" and "No buffer space available" (errno(3) on Linux).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// Whether the backend ended an HTTP/2 stream or connection on purpose, which is a reset and not a protocol error.
fn ends_stream(error: &Error) -> bool {
    find(error, |cause| cause.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_remote)
}

/// Whether a backend of HTTP/2 says that it has done nothing with the request (RFC 9113 section 8.7): it refuses the
/// stream, or ends its connection in peace and the stream is none of those that it still serves, since the codec gives
/// the error of a GOAWAY to no other ones. Only where no answer has begun: an error within it is of another kind.
fn is_refusal(error: &Error) -> bool {
    if *error.etype() != ErrorType::H2Error {
        return false;
    }
    find(error, |cause| cause.downcast_ref::<h2::Error>()).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let left_out = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (refused || left_out)
    })
}

fn io_error(error: &Error) -> Option<&io::Error> {
    find(error, |cause| cause.downcast_ref::<io::Error>())
}

/// Looks along the chain of causes. Pingora's own links are not in `source()`, others' are.
fn find<'e, T>(error: &'e Error, wanted: impl Fn(&'e (dyn error::Error + 'static)) -> Option<T>) -> Option<T> {
    let cause = error.cause.as_deref()?;
    if let Some(next) = cause.downcast_ref::<BError>() {
        return find(next, wanted);
    }
    let mut link: &(dyn error::Error + 'static) = cause;
    loop {
        if let Some(found) = wanted(link) {
            return Some(found);
        }
        link = link.source()?;
    }
}

#[cfg(test)]
mod tests;
