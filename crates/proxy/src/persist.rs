//! What an answer's head says of the client's connection: whether it stays, and where the body ends.

use http::{StatusCode, Version, header};
use pingora_core::{
    Result,
    upstreams::peer::{ALPN, HttpPeer},
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::front;

/// Settles it, once the head is as it will be sent but for `Connection` and `Date`, which the engine writes.
pub(crate) fn settle(session: &mut Session, head: &mut ResponseHeader) {
    if head.status.is_informational() {
        return;
    }
    if session.req_header().version == Version::HTTP_10 && head.headers.contains_key(header::TRANSFER_ENCODING) {
        // RFC 9112 section 6.1: a client of HTTP/1.0 cannot read chunks. Its body ends with the connection.
        head.remove_header(&header::TRANSFER_ENCODING);
        session.set_keepalive(None);
    } else if session.is_process_shutting_down() || is_closing(session) {
        session.set_keepalive(None);
    } else if head.status != StatusCode::SWITCHING_PROTOCOLS && expects_more(session.req_header()) {
        // The engine gives the connection up when it passes a 100 on, since the body is still to come then.
        if session.is_body_done() {
            session.set_keepalive(Some(0));
        }
    }
}

/// Whether the listener of the client's connection is gone or has changed.
fn is_closing(session: &Session) -> bool {
    front::connection_of(session.digest()).is_some_and(|connection| connection.is_closing())
}

/// The final head that the client was sent; an interim one is no answer yet.
pub(crate) fn answered(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|head| !is_interim(head.status))
}

/// Whether another head follows one of this status (RFC 9110 section 15.2). A 101 is the last one.
pub(crate) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Answers `Expect: 100-continue` for an origin of HTTP/2: the engine drops the 100 that such a one sends, and the client
/// may wait for it for ever (RFC 9110 section 10.1.1).
pub(crate) async fn tell_to_go_on(session: &mut Session, peer: &HttpPeer) -> Result<()> {
    let waits = session.req_header().version != Version::HTTP_10
        && session.req_header().headers.contains_key(header::EXPECT)
        && !session.is_body_done();
    if waits && matches!(peer.options.alpn, ALPN::H2) { session.write_continue_response().await } else { Ok(()) }
}

/// Whether the client waited for a 100 and wants to go on using its connection (RFC 9110 section 10.1.1, RFC 9112
/// section 9.3).
fn expects_more(request: &RequestHeader) -> bool {
    let mut options = request.headers.get_all(header::CONNECTION).into_iter();
    let closes = options.any(|line| {
        let mut members = line.as_bytes().split(|byte| *byte == b',');
        members.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    });
    request.version == Version::HTTP_11 && request.headers.contains_key(header::EXPECT) && !closes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_waited_for_a_100_stays_unless_it_says_otherwise() {
        let request = |fields: &[(&'static str, &str)]| {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.set_version(Version::HTTP_11);
            for (name, value) in fields {
                request.append_header(*name, *value).unwrap();
            }
            expects_more(&request)
        };
        assert!(request(&[("Expect", "100-continue")]));
        assert!(request(&[("Expect", "100-continue"), ("Connection", "keep-alive")]));
        assert!(!request(&[("Expect", "100-continue"), ("Connection", "x, Close")]));
        assert!(!request(&[]));
    }
}
