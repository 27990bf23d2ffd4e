//! Heads that pass and heads that do not, each with its reason.

use super::*;

const LIMITS: Limits = Limits { head: 4096, target: 256 };

fn verdict(head: &str) -> Result<Boundary, Reason> {
    match judge(head.as_bytes(), LIMITS, |_, _| ()) {
        Judged::Passed(passed, ()) => {
            assert_eq!(passed.length, head.len(), "{head:?}");
            Ok(passed.body)
        }
        Judged::Refused(refused) => Err(refused.reason),
        Judged::Partial => panic!("{head:?} is a whole head"),
    }
}

#[test]
fn ordinary_heads_pass_with_their_boundary() {
    for (head, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Boundary::Left(0)),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Boundary::Left(0)),
        ("GET / HTTP/1.0\r\n\r\n", Boundary::Left(0)),
        ("POST /x?y=z HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\n\r\n", Boundary::Left(12)),
        ("POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n", Boundary::Chunked),
        ("GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n", Boundary::Left(0)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Boundary::Left(0)),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Boundary::Left(0)),
    ] {
        assert_eq!(verdict(head), Ok(body), "{head:?}");
    }
}

#[test]
fn what_is_ambiguous_is_refused() {
    use Reason::*;
    for (head, reason) in [
        ("GET / HTTP/1.1\nHost: a\n\n", BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", BadRequest),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BadRequest),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", BadRequest),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", BadRequest),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", BadRequest),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", BadRequest),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadRequest),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest),
        ("GET / HTTP/1.1\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", BadHost),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", BadHost),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadVersion),
        ("GET / FTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequest),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", MethodRefused),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", MethodRefused),
    ] {
        assert_eq!(verdict(head), Err(reason), "{head:?}");
    }
}

#[test]
fn limits_hold_before_the_head_is_whole() {
    let target = format!("GET /{}", "x".repeat(400));
    let Judged::Refused(refused) = judge(target.as_bytes(), LIMITS, |_, _| ()) else { panic!("refused") };
    assert_eq!(refused.reason, Reason::UrlTooLong);
    assert_eq!(refused.method.as_deref(), Some("GET"));

    let header = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000));
    let Judged::Refused(refused) = judge(header.as_bytes(), LIMITS, |_, _| ()) else { panic!("refused") };
    assert_eq!((refused.reason, refused.target.as_deref()), (Reason::HeaderTooLarge, Some("/")));

    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(verdict(&fields), Err(Reason::HeaderTooLarge));
}

#[test]
fn a_head_in_pieces_is_partial_until_its_end() {
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let end = head.len() - 3;
    for cut in 0..end {
        assert_eq!(judge(&head[..cut], LIMITS, |_, _| ()), Judged::Partial, "{cut}");
    }
    let passed = Passed { length: end, body: Boundary::Left(3), upgrade: false };
    assert_eq!(judge(head, LIMITS, |_, _| ()), Judged::Passed(passed, ()));
}
