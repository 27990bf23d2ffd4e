//! Requests that two readers could read differently: refused, answered, closed, logged and counted under one word.

use testkit::{Origin, Proxy};

use crate::setting::{echoing, route, still_serves};

/// Sends `bytes`, and holds what comes back to: one answer with this status and reason, then the end; and the origin
/// saw nothing.
async fn refused(origin: &Origin, proxy: &Proxy, bytes: &[u8], status: u16, reason: &str) {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let before = proxy.metric("http_errors_total", &[("reason", reason)]).await;
    let answer = proxy.exchange(bytes).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?} was answered {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?} was answered {answer:?}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{shown:?} was answered {answer:?}");
    assert!(answer.contains(&format!("problem:{reason}\"")), "{shown:?} was answered {answer:?}");
    assert!(origin.requests().is_empty(), "{shown:?} reached the origin");
    proxy.until_metric("http_errors_total", &[("reason", reason)], before + 1.0).await;
}

async fn all_refused(reason: &str, status: u16, requests: &[&[u8]]) {
    let (origin, proxy) = echoing("").await;
    for bytes in requests {
        refused(&origin, &proxy, bytes, status, reason).await;
    }
    let lines = proxy.access_log(requests.len()).await;
    assert_eq!(lines.len(), requests.len());
    for line in lines {
        assert_eq!((&line["error"], &line["status"]), (&reason.into(), &status.into()), "{line}");
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn two_ways_to_read_the_length_are_one_too_many() {
    all_refused(
        "bad_request",
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\nhello",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_length_is_digits() {
    all_refused(
        "bad_request",
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        ],
    )
    .await;
}

#[tokio::test]
async fn chunked_is_the_only_transfer_coding() {
    all_refused(
        "bad_request",
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn lines_end_in_one_way_and_fields_have_one_form() {
    all_refused(
        "bad_request",
        400,
        &[
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: w\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\x80: b\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_request_line_is_three_words() {
    all_refused(
        "bad_request",
        400,
        &[
            b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET /\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"hello\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_request_has_one_host() {
    all_refused(
        "bad_host",
        400,
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:port\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a%00b\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn other_versions_are_not_spoken() {
    all_refused(
        "bad_version",
        505,
        &[
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn connect_and_trace_are_not_for_a_reverse_proxy() {
    all_refused(
        "method_refused",
        405,
        &[
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_refusal_is_logged_with_what_could_be_read() {
    let (_origin, proxy) = echoing("").await;
    let answer = proxy.exchange("GET /read/me?x=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let line = proxy.logged("/read/me").await;
    assert_eq!(line["error"], "bad_host");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["query"], "x=1");
    assert_eq!(line["status"], 400);
    assert_eq!(line["client_ip"], "127.0.0.1");
    assert_eq!(line["listener"], "http");
    assert!(answer.contains(line["request_id"].as_str().unwrap()), "{answer}");
    proxy.until_metric("http_requests_total", &[("route", "-"), ("code", "400")], 1.0).await;
}

/// Bodies whose chunks are not what they should be. None may reach the origin as a whole message.
const BROKEN_CHUNKS: &[&[u8]] = &[
    b"zz\r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5 \x01\r\nhello\r\n0\r\n\r\n",
];

#[tokio::test]
async fn broken_chunks_end_broken() {
    let mut taken = Vec::new();
    for chunks in BROKEN_CHUNKS {
        let (origin, proxy) = echoing("").await;
        let mut bytes = b"POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend_from_slice(chunks);
        bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let shown = String::from_utf8_lossy(chunks).into_owned();
        let answer = proxy.exchange(&bytes).await;
        let whole = |seen: &testkit::Seen| seen.body.complete || seen.target != "/chunks";
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 400");
        if !refused || origin.requests().iter().any(whole) {
            taken.push(format!("{shown:?} was answered {answer:?}"));
        }
        still_serves(&proxy).await;
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[tokio::test]
async fn whole_chunks_are_made_anew() {
    let (origin, proxy) = echoing("").await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3;ext=1\r\nabc\r\n0002\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let answer = proxy.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = origin.request().await;
    assert_eq!(seen.body.text(), "abcde");
    assert_eq!(seen.headers.all("transfer-encoding"), ["chunked"]);
    assert!(seen.header("content-length").is_none());
    assert!(seen.body.complete);
}

#[tokio::test]
async fn an_answer_is_framed_once_whatever_the_origin_said() {
    for (origin, fine) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"[..], true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\nok", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
    ] {
        let shown = String::from_utf8_lossy(origin).into_owned();
        let origin = Origin::raw(origin).await;
        let proxy = Proxy::start(route(&origin, "")).await;
        let answer = proxy.get("/").await;
        if answer.status == 200 && (fine || answer.body.complete) {
            let framings = answer.headers.all("content-length").len() + answer.headers.all("transfer-encoding").len();
            assert_eq!(framings, 1, "{shown:?} became {:?}", answer.headers);
            assert_eq!(answer.text(), "ok", "{shown:?}");
        } else if answer.status != 200 {
            answer.expect_problem(502, "upstream_protocol");
        }
    }
}
