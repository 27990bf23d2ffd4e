//! Answers in every framing, and what is no answer.

use std::{net::TcpListener, thread};

use super::*;

/// Answers one request with these bytes and gives back what was asked.
fn server(answer: &'static str) -> (Place, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(listener.local_addr().unwrap().to_string());
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap();
            asked.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    });
    (place, thread)
}

fn answered(answer: &'static str) -> io::Result<(u16, String)> {
    let (place, server) = server(answer);
    let answer = ask(&place, None, "GET", "/", None, Duration::from_secs(10));
    let read = answer.and_then(|answer| Ok((answer.status, String::from_utf8(answer.read()?).unwrap())));
    server.join().unwrap();
    read
}

#[test]
fn a_body_ends_where_its_framing_says() {
    for (answer, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", 200, "hello"),
        ("HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 422, "hello"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""),
    ] {
        assert_eq!(answered(answer).unwrap(), (status, body.to_owned()), "{answer:?}");
    }
}

#[test]
fn what_breaks_off_or_is_no_http_is_an_error() {
    for answer in [
        "",
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
    ] {
        assert!(answered(answer).is_err(), "{answer:?}");
    }
}

#[test]
fn an_order_is_sent_with_the_token() {
    let (place, server) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let token = Secret::new("0123456789abcdef");
    ask(&place, Some(&token), "POST", "/api/v1/reload", Some("{}"), Duration::from_secs(10)).unwrap();
    let asked = server.join().unwrap();
    assert!(asked.starts_with("POST /api/v1/reload HTTP/1.1\r\n"), "{asked}");
    for field in ["Authorization: Bearer 0123456789abcdef\r\n", "Content-Length: 2\r\n", "application/json\r\n"] {
        assert!(asked.contains(field), "{field} is missing in {asked}");
    }
}

#[test]
fn events_are_told_apart() {
    let (place, server) = server(
        "HTTP/1.1 200 OK\r\n\r\n: hello\n\nid: 1\nevent: act\ndata: {\"a\":1}\n\n: still here\n\ndata: x\ndata: y\n\n",
    );
    let answer = ask(&place, None, "GET", "/", None, Duration::from_secs(10)).unwrap();
    let events: Vec<Event> = answer.events().unwrap().map(Result::unwrap).collect();
    let event = |kind: &str, data: &str| Event { kind: kind.into(), data: data.into() };
    assert_eq!(events, [event("act", "{\"a\":1}"), event("", "xy")]);
    server.join().unwrap();
}
