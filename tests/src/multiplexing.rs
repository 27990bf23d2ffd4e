//! HTTP/2 from clients: what both engines make of it alike, and what our own one can do beyond.

use bytes::Bytes;
use testkit::{Answer, Gate, Origin, Outcome, Proxy, Request, Response, Seen, Wire, tool, within};

use crate::{
    frames::{Frame, GET, PREFACE, begin, headers, reset},
    setting::{BOTH, echoing, route},
};

/// What `MAITRED_ENGINE` is for each.
const ENGINES: [&str; 2] = ["", "general"];

/// A proxy for HTTP/1 and h2c that carries HTTP/2 by this engine, before `origin`.
async fn by(engine: &str, origin: &Origin) -> Proxy {
    Proxy::with(format!("{BOTH}{}", route(origin, ""))).variable("MAITRED_ENGINE", engine).start().await
}

/// An answer without what is different each time.
fn essence(answer: &Response) -> String {
    let own = |name: &str| ["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str());
    let mut fields: Vec<_> = answer.headers.0.iter().filter(|(name, _)| !own(name)).collect();
    fields.sort();
    let body = if answer.status == 200 { answer.text() } else { String::new() };
    format!("{} {fields:?} {body} {}", answer.status, answer.body.complete)
}

/// `GET http://a/` with a Host field beside its authority.
fn with_host(host: &str) -> Vec<u8> {
    [&b"\x82\x86\x84\x41\x01a\x66"[..], &[host.len() as u8], host.as_bytes()].concat()
}

#[tokio::test]
async fn answers_are_alike() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\nConnection: x-b\r\nX-B: 1\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        for method in ["GET", "HEAD"] {
            let mut made = Vec::new();
            for engine in ENGINES {
                let origin = Origin::raw(answer).await;
                let proxy = by(engine, &origin).await;
                made.push(essence(&proxy.h2c().await.fetch(Request::new(method, "/")).await));
            }
            assert_eq!(made[0], made[1], "the engines disagree on {}", String::from_utf8_lossy(answer));
        }
    }
}

#[tokio::test]
async fn the_origin_sees_the_same_request() {
    let requests = || {
        [
            Request::get("/a?b=c").header("Cookie", "a=1").header("Cookie", "b=2").header("TE", "trailers"),
            Request::get("/%7Ea/../b//c"),
            Request::new("OPTIONS", "/x").header("X-Forwarded-For", "1.2.3.4"),
            Request::post("/counted", "hello"),
            Request::post("/nothing", ""),
            Request::new("POST", "/pieces").chunks(&[b"one", b"two"]),
            Request::new("DELETE", "/"),
        ]
    };
    let mut saw: Vec<Vec<_>> = Vec::new();
    for engine in ENGINES {
        let origin = Origin::start(|_| Answer::text("ok")).await;
        let proxy = by(engine, &origin).await;
        let client = proxy.h2c().await;
        let mut all = Vec::new();
        for (number, request) in requests().into_iter().enumerate() {
            client.fetch(request).await.expect(200);
            let seen = origin.ended(number).await;
            let own = |name: &str| ["x-request-id", "traceparent", "x-forwarded-port"].contains(&name);
            let host = proxy.address().to_string();
            let fields =
                seen.headers.0.into_iter().map(|(name, value)| (name.to_lowercase(), value.replace(&host, "")));
            let mut fields: Vec<(String, String)> = fields.filter(|(name, _)| !own(name)).collect();
            fields.sort();
            all.push((seen.method, seen.target, seen.version, fields, seen.body.text(), seen.body.complete));
        }
        saw.push(all);
    }
    assert_eq!(saw[0], saw[1]);
}

#[tokio::test]
async fn interim_answers_reach_the_client_in_order() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n\
                   HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::raw(answer).await;
    let proxy = by("", &origin).await;
    let answer = proxy.h2c().await.fetch(Request::get("/")).await.expect(200);
    let told: Vec<_> = answer.interim.iter().map(|(status, fields)| (*status, fields.get("link"))).collect();
    assert_eq!((told, answer.text().as_str()), (vec![(103, Some("</a>")), (103, Some("</b>"))], "ok"));
}

#[tokio::test]
async fn nghttp_and_curl_see_early_hints() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </early>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::raw(answer).await;
    let proxy = by("", &origin).await;
    let mut nghttp = tool("nghttp", "nghttp2-client");
    let told = within("nghttp", nghttp.args(["-nv", &proxy.url("/")]).output()).await.unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains(":status: 103") && told.contains("link: </early>") && told.contains(":status: 200"),
        "{told}"
    );
    let mut curl = tool("curl", "curl");
    let curl = curl.args(["-si", "--http2-prior-knowledge", &proxy.url("/")]).output();
    let told = String::from_utf8_lossy(&within("curl", curl).await.unwrap().stdout).into_owned();
    assert!(told.starts_with("HTTP/2 103") && told.contains("HTTP/2 200") && told.ends_with("ok"), "{told}");
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one_from_either_kind_of_origin() {
    let plain = Origin::start(|_| Answer::echo().continues());
    for origin in [plain.await, Origin::builder().h2c().start(|_| Answer::echo()).await] {
        let proxy = by("", &origin).await;
        let client = proxy.h2c().await;
        let request = Request::new("POST", "/").header("Expect", "100-continue").header("Content-Length", "5");
        let (mut out, mut incoming) = client.stream(request).await;
        assert_eq!(incoming.interim().await.0, 100);
        out.send(Bytes::from("hello")).await.unwrap();
        out.finish().await.unwrap();
        assert_eq!(incoming.head().await.unwrap().0, 200);
        assert_eq!(origin.ended(0).await.body.text(), "hello");
    }
}

#[tokio::test]
async fn a_host_beside_the_authority_has_to_say_the_same() {
    let origin = Origin::echo().await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    let request = [PREFACE, &headers(1, &with_host("A")), &headers(3, &with_host("b"))].concat();
    wire.write(&request).await.unwrap();
    let line = proxy.logged_error("bad_host").await;
    assert_eq!((&line["status"], &line["protocol"]), (&400.into(), &"HTTP/2".into()), "{line}");
    assert_eq!(origin.ended(0).await.header("host"), Some("A"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn too_many_malformed_requests_end_their_connection() {
    let (_origin, proxy) = echoing("").await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    let flooding = async {
        let mut id = 1;
        while wire.write(&headers(id, &with_host("b"))).await.is_ok() {
            id += 2;
            tokio::task::yield_now().await;
        }
        id / 2
    };
    let taken = within("the connection to be ended", flooding).await;
    assert!(taken >= 32, "{taken}");
    proxy.h2c().await.fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn a_few_malformed_requests_among_many_end_nothing() {
    // Answers without content wait for no window of a client that does not read.
    let origin = Origin::start(|_| Answer::status(204)).await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    let (mut ids, good) = ((1..).step_by(2), 20);
    for round in 1..=60 {
        let hosts = std::iter::repeat_n("A", good).chain(["b"]);
        let requests: Vec<u8> = hosts.flat_map(|host| headers(ids.next().unwrap(), &with_host(host))).collect();
        wire.write(&requests).await.unwrap();
        origin.until("the good ones to come", |seen| seen.len() == round * good).await;
    }
    proxy.until_metric("http_errors_total", &[("reason", "bad_host")], 60.0).await;
}

/// An answer that ends with a byte or two looks as what the codec refuses by itself does.
#[tokio::test]
async fn requests_that_take_longer_than_many_others_are_not_taken_for_refused_ones() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::builder().h2c().start(move |seen| {
        let answer = Answer::status(200).chunk("ok").trailer("grpc-status", "0");
        if seen.target == "/slow" { answer.after(&script) } else { answer }
    });
    let origin = origin.await;
    let proxy = by("", &origin).await;
    let client = proxy.h2c().await;
    let mut slow = Vec::new();
    for _ in 0..60 {
        slow.push(client.open(&Request::get("/slow")).await);
    }
    gate.reached_by(60).await;
    for _ in 0..300 {
        client.fetch(Request::get("/quick")).await.expect(200);
    }
    gate.open();
    for (_out, mut incoming) in slow {
        assert_eq!(incoming.head().await.unwrap().0, 200);
        while incoming.piece().await.unwrap().is_some() {}
        assert_eq!(incoming.trailers().await.unwrap().get("grpc-status"), Some("0"));
    }
    client.fetch(Request::get("/quick")).await.expect(200);
    assert_eq!(proxy.metric("http_errors_total", &[]).await, 0.0);
}

/// Sends requests by the hundred and waits for the end of each answer; what `after` says is sent then.
async fn by_the_hundred(wire: &mut Wire, count: u32, request: impl Fn(u32) -> Vec<u8>, after: impl Fn(u32) -> Vec<u8>) {
    let ids: Vec<u32> = (0..count).map(|n| 2 * n + 1).collect();
    for hundred in ids.chunks(100) {
        let requests: Vec<u8> = hundred.iter().flat_map(|id| request(*id)).collect();
        wire.write(&requests).await.unwrap();
        let mut open = hundred.len();
        while open > 0 {
            let frame = Frame::read(wire).await;
            assert!(![3, 7].contains(&frame.kind), "reset or GOAWAY: {frame:?}");
            open -= usize::from(frame.ends());
        }
        let more: Vec<u8> = hundred.iter().flat_map(|id| after(*id)).collect();
        wire.write(&more).await.unwrap();
    }
}

/// As grpc-go does, without an error, with each call that the server ends.
#[tokio::test]
async fn streams_that_are_reset_after_their_answers_are_no_flood() {
    let origin = Origin::start(|_| Answer::status(204).early()).await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    by_the_hundred(&mut wire, 3000, |id| begin(id, GET), |id| reset(id, 0)).await;
    assert_eq!(proxy.metric("http_errors_total", &[("reason", "flood")]).await, 0.0);
}

#[tokio::test]
async fn long_heads_of_requests_that_are_served_are_no_flood() {
    let origin = Origin::start(|_| Answer::status(204)).await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    // A field that is in no table, of 14,000 bytes.
    let head = [GET, b"\x10\x01b\x7f\xb1\x6c".as_slice(), &[b'x'; 14_000]].concat();
    by_the_hundred(&mut wire, 1500, |id| headers(id, &head), |_| Vec::new()).await;
    assert_eq!(proxy.metric("http_errors_total", &[]).await, 0.0);
}

#[tokio::test]
async fn floods_are_counted_and_logged() {
    let origin = Origin::echo().await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(PREFACE).await.unwrap();
    let pings = b"\0\0\x08\x06\0\0\0\0\0ABCDEFGH".repeat(1000);
    let flooding = async { while wire.write(&pings).await.is_ok() {} };
    within("the flood to be ended", flooding).await;
    proxy.until_metric("http_errors_total", &[("listener", "http"), ("reason", "flood")], 1.0).await;
    let line = proxy.logged_error("flood").await;
    assert_eq!((&line["status"], &line["protocol"]), (&429.into(), &"HTTP/2".into()), "{line}");
}

#[tokio::test]
async fn requests_given_up_by_the_dozen_are_a_flood() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    // Each request is cancelled in the same breath (CVE-2023-44487).
    let given_up = |id: u32| [headers(id, GET), reset(id, 8)].concat();
    let many: Vec<u8> = (0..500).flat_map(|n| given_up(2 * n + 1)).collect();
    wire.write(&[PREFACE, &many].concat()).await.unwrap();
    let told = within("the connection to end", wire.read_to_end()).await.unwrap();
    assert!(told.windows(4).any(|code| code == b"\0\0\0\x0b"), "ENHANCE_YOUR_CALM: {}", told.escape_ascii());
    assert_eq!(proxy.logged_error("flood").await["protocol"], "HTTP/2");
    origin.until_open(0).await;
}

#[tokio::test]
async fn broken_frames_are_counted_and_logged() {
    let origin = Origin::echo().await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    // DATA on a stream that is not open, and a header block that is no HPACK.
    wire.write(&[PREFACE, b"\0\0\x01\0\0\0\0\0\x01x"].concat()).await.unwrap();
    let mut other = Wire::new(proxy.stream().await);
    other.write(&[PREFACE, &headers(1, b"\xff\xff\xff\xff\xff\xff\xff")].concat()).await.unwrap();
    proxy.until_metric("http_errors_total", &[("listener", "http"), ("reason", "bad_request")], 2.0).await;
    let line = proxy.logged_error("bad_request").await;
    assert_eq!((&line["status"], &line["protocol"]), (&400.into(), &"HTTP/2".into()), "{line}");
}

/// The codec resets such streams by itself, and nobody else hears of them.
#[tokio::test]
async fn what_the_codec_refuses_is_counted_and_logged() {
    let origin = Origin::echo().await;
    let proxy = by("", &origin).await;
    let mut wire = Wire::new(proxy.stream().await);
    // No path; then a pseudo-header after a field; then a request as it should be.
    let no_path = headers(1, b"\x82\x86\x41\x01a");
    let late = headers(3, b"\x82\x86\x41\x01a\x40\x01b\x01c\x84");
    let whole = headers(5, b"\x82\x86\x84\x41\x01a");
    wire.write(&[PREFACE, &no_path, &late, &whole].concat()).await.unwrap();
    // A field that is written once, and then meant a hundred times by one byte each.
    let long = [b"\x82\x86\x84\x41\x01a\x40\x01b\x7f\xe9\x06".as_slice(), &[b'x'; 1000], &[0xbe; 100]].concat();
    wire.write(&headers(7, &long)).await.unwrap();
    proxy.until_metric("http_errors_total", &[("listener", "http"), ("reason", "header_too_large")], 1.0).await;
    proxy.until_metric("http_errors_total", &[("listener", "http"), ("reason", "bad_request")], 2.0).await;
    let line = proxy.logged_error("bad_request").await;
    assert_eq!((&line["status"], &line["protocol"]), (&400.into(), &"HTTP/2".into()), "{line}");
    origin.request().await;
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn content_of_another_length_than_announced_is_refused() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let proxy = by("", &origin).await;
    let client = proxy.h2c().await;
    let (mut out, mut incoming) = client.stream(Request::new("POST", "/").header("Content-Length", "3")).await;
    origin.request().await;
    out.send(Bytes::from("four")).await.unwrap();
    assert!(incoming.head().await.is_err());
    assert_eq!(proxy.logged_error("bad_request").await["status"], 400);
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
    // The codec has reset the stream, and whoever carried the request has told of it: once is enough.
    assert_eq!(proxy.metric("http_errors_total", &[("reason", "bad_request")]).await, 1.0);
}

#[tokio::test]
async fn an_idle_connection_is_told_that_it_ends() {
    let origin = Origin::echo().await;
    let text = format!("{BOTH}timeouts = {{ idle = \"300ms\" }}\n{}", route(&origin, ""));
    let proxy = Proxy::with(text).variable("MAITRED_ENGINE", "").start().await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(&[PREFACE, &headers(1, b"\x82\x86\x84\x41\x01a")].concat()).await.unwrap();
    let told = within("the connection to end", wire.read_to_end()).await.unwrap();
    // GOAWAY without an error, and the last stream that was served.
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";
    assert!(told.ends_with(goaway), "{}", told.escape_ascii());
}

#[tokio::test]
async fn an_answer_takes_longer_than_an_idle_connection_is_kept() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |_| Answer::text("late").after(&script)).await;
    let listener = format!("{BOTH}timeouts = {{ idle = \"300ms\" }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    let client = proxy.h2c().await;
    let (_out, mut incoming) = client.open(&Request::get("/")).await;
    gate.reached().await;
    for _ in 0..3 {
        // Another connection's end says when time has passed.
        let mut idle = Wire::new(proxy.stream().await);
        idle.write(PREFACE).await.unwrap();
        within("an idle connection to end", idle.read_to_end()).await.unwrap();
    }
    gate.open();
    assert_eq!(incoming.head().await.unwrap().0, 200);
}

#[tokio::test]
async fn http_1_and_http_2_origins_serve_one_connection() {
    let plain = Origin::start(|seen: &Seen| Answer::text(format!("h1 {}", seen.version))).await;
    let other = Origin::builder().h2c().start(|seen| Answer::text(format!("h2 {}", seen.version))).await;
    let text = format!(
        "{BOTH}[routes.one]\npath = \"/one\"\nupstream = \"{plain}\"\n[routes.two]\npath = \"/two\"\nupstream = \"{other}\"\n"
    );
    let proxy = Proxy::start(text).await;
    let client = proxy.h2c().await;
    for _ in 0..3 {
        assert!(client.fetch(Request::get("/one")).await.expect(200).text().starts_with("h1 "));
        assert!(client.fetch(Request::get("/two")).await.expect(200).text().starts_with("h2 "));
    }
}
