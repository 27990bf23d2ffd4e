//! Errors as Pingora makes them, and what is read from them. Those of real connections are in `tests/connections.rs`.

use super::*;

fn read(kind: ErrorType) -> (Reason, Fault, bool) {
    facts(&Error::new_up(kind))
}

fn facts(error: &Error) -> (Reason, Fault, bool) {
    let Reading { reason, fault, sent } = Reading::of(error);
    (reason, fault, sent)
}

#[test]
fn every_kind_has_its_reason() {
    use Fault::{Backend, Ours};
    let table = [
        (ErrorType::ConnectTimedout, Reason::ConnectTimeout, Backend, false),
        (ErrorType::ConnectRefused, Reason::UpstreamRefused, Backend, false),
        (ErrorType::ConnectNoRoute, Reason::UpstreamUnreachable, Backend, false),
        (ErrorType::TLSHandshakeFailure, Reason::UpstreamTls, Backend, false),
        (ErrorType::InvalidCert, Reason::UpstreamTls, Backend, false),
        (ErrorType::ReadTimedout, Reason::UpstreamTimeout, Backend, true),
        (ErrorType::WriteTimedout, Reason::UpstreamTimeout, Backend, true),
        (pingora_core::protocols::http::v2::client::PING_TIMEDOUT, Reason::UpstreamTimeout, Backend, true),
        (ErrorType::ConnectionClosed, Reason::UpstreamReset, Backend, true),
        (ErrorType::InvalidHTTPHeader, Reason::UpstreamProtocol, Backend, true),
        (ErrorType::H2Error, Reason::UpstreamProtocol, Backend, true),
        (ErrorType::InternalError, Reason::Internal, Ours, true),
        (ErrorType::HTTPStatus(500), Reason::Internal, Ours, true),
    ];
    for (kind, reason, fault, sent) in table {
        assert_eq!(read(kind.clone()), (reason, fault, sent), "{kind:?}");
    }
}

#[test]
fn what_the_client_did_is_never_held_against_a_backend() {
    for kind in [ErrorType::ReadTimedout, ErrorType::ConnectionClosed, ErrorType::WriteError, ErrorType::H2Error] {
        assert_eq!(Reading::of(&Error::new_down(kind)).fault, Fault::Client);
    }
    assert_eq!(reason_of(&Error::new_down(ErrorType::ReadTimedout)), Reason::BodyTimeout);
    assert_eq!(reason_of(&Error::new_down(ErrorType::WriteError)), Reason::ClientClosed);
}

/// As `connectors::l4` does it with an error of `socket()`, `bind()` or `connect()`.
fn connecting(kind: ErrorType, errno: i32, outer: Option<ErrorType>) -> Box<Error> {
    let inner = Error::because(kind, "connect", io::Error::from_raw_os_error(errno));
    match outer {
        Some(outer) => Error::because(outer, "Fail to connect", inner),
        None => inner.more_context("Fail to connect"),
    }
    .into_up()
}

#[test]
fn what_runs_out_here_is_our_fault_and_nothing_was_sent() {
    const EADDRNOTAVAIL: i32 = 99;
    const EADDRINUSE: i32 = 98;
    for error in [
        connecting(ErrorType::SocketError, EMFILE, Some(ErrorType::InternalError)),
        connecting(ErrorType::BindError, EADDRNOTAVAIL, Some(ErrorType::InternalError)),
        connecting(ErrorType::ConnectError, ENOBUFS, None),
    ] {
        assert_eq!(facts(&error), (Reason::LocalResource, Fault::Ours, false), "{error}");
    }
    let in_use = connecting(ErrorType::InternalError, EADDRINUSE, None);
    assert_eq!(facts(&in_use).0, Reason::LocalResource);
}

#[test]
fn a_forbidden_connection_is_an_unreachable_backend() {
    const EACCES: i32 = 13;
    let error = connecting(ErrorType::InternalError, EACCES, None);
    assert_eq!(facts(&error), (Reason::UpstreamUnreachable, Fault::Backend, false));
}
