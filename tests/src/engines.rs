//! The two engines: what an HTTP/1 client and its origin see is the same whichever of them carries the request.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use testkit::{Answer, Framing, Gate, Origin, Outcome, Proxy, Request, Seen, within_limit};

use crate::setting::route;

/// What `MAITRED_ENGINE` is for each.
const ENGINES: [&str; 2] = ["", "general"];

/// A proxy that carries HTTP/1 by this engine, before `origin`.
async fn by(engine: &str, origin: &Origin, lines: &str) -> Proxy {
    Proxy::with(route(origin, lines)).variable("MAITRED_ENGINE", engine).start().await
}

/// An origin and a proxy for each engine.
async fn each(respond: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static) -> Vec<(Origin, Proxy)> {
    let mut all = Vec::new();
    for engine in ENGINES {
        let origin = Origin::start(respond.clone()).await;
        let proxy = by(engine, &origin, "").await;
        all.push((origin, proxy));
    }
    all
}

/// An answer without what is different each time, and what the engines may write differently.
fn essence(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default().to_owned();
    let told = |line: &&str| !["date:", "x-request-id:"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let mut fields: Vec<String> = lines.filter(told).map(str::to_ascii_lowercase).collect();
    // What limits say of the time differs from request to request.
    for limit in fields.iter_mut().filter(|field| field.contains("ratelimit")) {
        limit.retain(|letter| !letter.is_ascii_digit());
    }
    fields.sort();
    let body = if status.contains(" 200") { body } else { "" };
    format!("{status}\n{}\n\n{body}", fields.join("\n"))
}

/// What each engine makes of an origin's `answer` to `request`; they must agree.
async fn agreed(answer: &'static [u8], request: &str) -> String {
    let mut made = Vec::new();
    for engine in ENGINES {
        let origin = Origin::raw(answer).await;
        let proxy = by(engine, &origin, "").await;
        made.push(essence(&proxy.exchange(request).await));
    }
    let shown = String::from_utf8_lossy(answer);
    assert_eq!(made[0], made[1], "the engines disagree on {shown:?}");
    made.swap_remove(0)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn answers_are_framed_alike() {
    for (answer, becomes) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX: y\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 200 OK\r\n\r\nok", "HTTP/1.1 200 OK"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200 OK"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content"),
        (b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 7\r\n\r\n", "HTTP/1.1 304 Not Modified"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "HTTP/1.1 502 Bad Gateway"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", "HTTP/1.1 502 Bad Gateway"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 502 Bad Gateway"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 502 Bad Gateway"),
        (b"nonsense\r\n\r\n", "HTTP/1.1 502 Bad Gateway"),
    ] {
        for request in [GET, OLD] {
            let made = agreed(answer, request).await;
            assert!(made.starts_with(becomes), "{answer:?} became {made}");
            assert!(!made.contains(" 200 ") || made.contains("ok") || made.contains("content-length: 0"), "{made}");
        }
    }
}

/// Fields as origins write them, and how many lines of them a client gets, without the date and what is said of the length
/// and the connection.
const FIELDS: [(&str, usize); 20] = [
    ("", 0),
    ("Server: x\r\nX-A: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nx-case-Kept: \"q\"\r\n", 5),
    ("Date: Thu, 26 Nov 2026 10:00:00 GMT\r\nServer: x\r\n", 1),
    ("Connection: close\r\nServer: x\r\n", 1),
    ("Server: x\r\nConnection: keep-alive\r\nX-A: 1\r\n", 2),
    ("X-A: 1\r\nConnection: Keep-Alive\r\nConnection: close\r\n", 1),
    ("X-A: 1\r\nConnection: X-A\r\nX-B: 2\r\n", 1),
    ("Connection: x-a, close\r\nX-A: 1\r\n", 0),
    ("Keep-Alive: timeout=5\r\nConnection: keep-alive\r\nX-A: 1\r\n", 1),
    ("Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nX-A: 1\r\n", 1),
    ("Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nX-A: 1\r\n", 1),
    ("X-A:1\r\n", 1),
    ("X-A:   1  \r\nX-B: 2\r\n", 2),
    ("X-A:\t1\r\n", 1),
    ("X-A: \r\nX-B:\r\n", 2),
    ("Retry-After: 5\r\n", 1),
    ("X-RateLimit-Reset: 5\r\nRateLimit: \"a\";r=1\r\n", 2),
    ("Vary: Origin\r\nAccess-Control-Allow-Origin: https://b.test\r\nX-Frame-Options: DENY\r\n", 3),
    ("ETag: W/\"a\"\r\nLast-Modified: Thu, 26 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n", 3),
    ("Location: /a\r\nVia: 1.1 x\r\nCache-Control: no-store\r\nX-Request-Id: 7\r\n", 3),
];

/// Policies that change the fields of answers, after one that has none.
const POLICIES: [&str; 7] = [
    "",
    "response = { set = { Server = \"m\", X-New = \"1\" }, remove = [\"X-A\"], add = { Via = \"1.1 m\" } }",
    "response = { remove = [\"X-*\"] }",
    "security_headers = true",
    "cors = { origins = [\"https://a.test\"] }",
    "limit = { requests = 1000, window = \"1m\", x_headers = true }",
    "compress = true",
];

/// An origin that answers `/…/N` with the fields `N` and this line of its length, and a proxy for each engine with a route
/// `/N/*` for each of the policies.
async fn with_policies(length: &'static str) -> (Origin, Vec<Proxy>) {
    let origin = Origin::start(move |seen: &Seen| {
        let number: usize = seen.target.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or_default();
        Answer::raw(format!("HTTP/1.1 200 Fine\r\n{}{length}\r\nok", FIELDS[number].0)).closing()
    })
    .await;
    let route =
        |(number, lines)| format!("[routes.r{number}]\npath = \"/{number}/*\"\nupstream = \"{origin}\"\n{lines}\n");
    let routes: String = POLICIES.iter().enumerate().map(route).collect();
    let mut proxies = Vec::new();
    for engine in ENGINES {
        proxies.push(Proxy::with(routes.clone()).variable("MAITRED_ENGINE", engine).start().await);
    }
    (origin, proxies)
}

/// The fields of an answer's [essence], without what is said of its length and the connection.
fn passed(essence: &str) -> Vec<&str> {
    let head = essence.split("\n\n").next().unwrap_or_default();
    let framing = ["content-length:", "transfer-encoding:", "connection:"];
    let own = |line: &&str| !line.is_empty() && !framing.iter().any(|own| line.starts_with(own));
    head.split('\n').skip(1).filter(own).collect()
}

#[tokio::test]
async fn fields_of_answers_pass_alike() {
    for length in ["Content-Length: 2\r\n", "Content-Length: 02\r\n", ""] {
        let (_origin, proxies) = with_policies(length).await;
        for (policy, lines) in POLICIES.iter().enumerate() {
            for (number, (fields, count)) in FIELDS.iter().enumerate() {
                let mut made = Vec::new();
                for proxy in &proxies {
                    let request = format!("GET /{policy}/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                    made.push(essence(&proxy.exchange(&request).await));
                }
                assert_eq!(made[0], made[1], "the engines disagree on {fields:?} with {lines:?}");
                assert!(policy > 0 || passed(&made[0]).len() == *count, "{fields:?} became {}", made[0]);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_has_one_date() {
    for dated in ["", "Date: Thu, 26 Nov 2026 10:00:00 GMT\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{dated}Content-Length: 2\r\n\r\nok");
        let origin = Origin::raw(answer.into_bytes().leak()).await;
        for engine in ENGINES {
            let got = by(engine, &origin, "").await.exchange(GET).await;
            assert_eq!(got.to_ascii_lowercase().matches("\r\ndate: ").count(), 1, "{got}");
            // Pingora's engine writes its own.
            assert!(got.contains(dated) || engine == "general", "{got}");
        }
    }
}

#[tokio::test]
async fn heads_alone_are_alike() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ] {
        let made = agreed(answer, HEAD).await;
        assert!(made.ends_with("\n\n"), "an answer to HEAD has no content: {made}");
    }
}

#[tokio::test]
async fn the_origin_sees_the_same_request() {
    let requests = [
        "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Case-Kept: Y\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\n\r\n",
        "GET http://a/abs HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: b\r\n\r\n",
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        "GET /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    ];
    let proxies = each(|_| Answer::text("ok")).await;
    for (number, request) in requests.iter().enumerate() {
        let mut saw = Vec::new();
        for (origin, proxy) in &proxies {
            assert!(proxy.exchange(request).await.starts_with("HTTP/1.1 200"), "{request:?}");
            let seen = origin.ended(number).await;
            let own =
                |name: &str| ["x-request-id", "traceparent", "x-forwarded-port"].contains(&&*name.to_ascii_lowercase());
            let mut fields: Vec<(String, String)> = seen.headers.0.into_iter().filter(|(name, _)| !own(name)).collect();
            fields.sort();
            saw.push((seen.method, seen.target, seen.version, fields, seen.body.text(), seen.body.complete));
        }
        assert_eq!(saw[0], saw[1], "{request:?}");
    }
}

#[tokio::test]
async fn a_connection_outlives_what_went_wrong_on_it() {
    let respond = |seen: &Seen| match seen.target.as_str() {
        "/chunked" => Answer::status(200).chunk("one").chunk("two"),
        "/gone" => Answer::status(410).body("gone"),
        _ => Answer::text("fine"),
    };
    for (_origin, proxy) in each(respond).await {
        let mut client = proxy.connect().await;
        client.fetch(Request::get("/%2f")).await.expect_problem(400, "bad_path");
        client.fetch(Request::get("/gone")).await.expect(410);
        assert_eq!(client.fetch(Request::get("/chunked")).await.expect(200).text(), "onetwo");
        client.fetch(Request::post("/gone", "content")).await.expect(410);
        assert_eq!(client.fetch(Request::get("/fine")).await.expect(200).text(), "fine");
        assert_eq!(proxy.metric("connections_total", &[("listener", "http")]).await, 1.0);
    }
}

/// Pingora's engine closes the connection in these cases.
#[tokio::test]
async fn a_request_that_was_answered_before_its_end_is_read_to_its_end() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/early" => Answer::status(413).body("no").early().closing(),
        _ => Answer::text("fine"),
    })
    .await;
    let proxy = by("", &origin, "").await;
    let mut client = proxy.connect().await;
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        for (target, status) in [("/%2f", 400), ("/early", 413)] {
            client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")).await;
            let (came, fields) = client.answer_head().await;
            assert_eq!(came, status);
            let length = fields.get("content-length").unwrap().parse().unwrap();
            client.send(if head.starts_with('T') { "3\r\nabc\r\n0\r\n\r\n" } else { "0123456789" }).await;
            client.bytes(length).await;
        }
    }
}

#[tokio::test]
async fn every_interim_answer_passes_in_order() {
    let hinting = |_: &Seen| Answer::text("final").interim(102, &[]).interim(103, &[("Link", "</a>")]);
    for (_origin, proxy) in each(hinting).await {
        let mut client = proxy.connect().await;
        for _ in 0..2 {
            let answer = client.fetch(Request::get("/")).await.expect(200);
            let mut interim: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
            interim.sort_unstable();
            assert_eq!((interim, answer.text().as_str()), (vec![102, 103], "final"));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_before_and_while_it_is_answered() {
    let respond = |seen: &Seen| if seen.target == "/silent" { Answer::hang() } else { Answer::generated(1 << 30) };
    for (origin, proxy) in each(respond).await {
        for (number, target) in ["/silent", "/endless"].into_iter().enumerate() {
            let mut client = proxy.connect().await;
            client.start(&Request::get(target)).await;
            origin.until("the request", |seen| seen.len() > number).await;
            drop(client);
            let ended = within_limit(Duration::from_secs(2), "the origin to hear of it", origin.ended(number)).await;
            assert_eq!(ended.outcome, Outcome::Cancelled);
            assert_eq!(proxy.logged(target).await["error"], "client_closed");
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_not_wanted_does_not_hold_its_answer_up() {
    for (_origin, proxy) in each(|_| Answer::status(403).body("no").early().closing()).await {
        for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let mut client = proxy.connect().await;
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\nbegin\r\n")).await;
            assert_eq!(client.answer("POST").await.expect(403).text(), "no");
        }
    }
}

#[tokio::test]
async fn a_put_is_sent_again_as_a_whole_and_a_post_is_not() {
    for engine in ENGINES {
        let (broken, fine) = (Origin::raw(b"").await, Origin::echo().await);
        let text = format!(
            "[upstreams.app]\nbackends = [\"{broken}\", \"{fine}\"]\nretries = 1\n[routes]\n\"/*\" = \"app\"\n"
        );
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        for framing in [
            "Content-Length: 10\r\n\r\nhello worl",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\n worl\r\n0\r\n\r\n",
        ] {
            for _ in 0..2 {
                let mut client = proxy.connect().await;
                client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
                assert_eq!(client.answer("PUT").await.expect(200).json()["body"], "hello worl");
            }
        }
        assert!(!broken.requests().is_empty());
        let (missed, served) = (broken.requests().len(), fine.requests().len());
        let mut refused = 0;
        for _ in 0..4 {
            refused += usize::from(proxy.fetch(Request::post("/", "order")).await.status == 502);
        }
        let (missed, served) = (broken.requests().len() - missed, fine.requests().len() - served);
        assert_eq!((missed + served, refused), (4, missed));
    }
}

#[tokio::test]
async fn content_that_came_in_pieces_is_sent_again_piece_by_piece() {
    for engine in ENGINES {
        let asked = AtomicUsize::new(0);
        let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::raw("").closing(),
            _ => Answer::echo(),
        })
        .await;
        let text = format!("[upstreams.app]\nbackends = [\"{origin}\"]\nretries = 1\n[routes]\n\"/*\" = \"app\"\n");
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        let mut client = proxy.connect().await;
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        origin.until("half of the content", |seen| seen.first().is_some_and(|seen| seen.body.length == 5)).await;
        client.send("6\r\n world\r\n0\r\n\r\n").await;
        assert_eq!(client.answer("PUT").await.expect(200).json()["body"], "hello world");
        assert_eq!(origin.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_is_no_failure() {
    for (origin, proxy) in each(|_| Answer::text("ok").closing()).await {
        for _ in 0..20 {
            proxy.get("/").await.expect(200);
        }
        assert_eq!(origin.requests().len(), 20);
        assert_eq!(proxy.metric("upstream_retries_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn idle_connections_to_origins_end_when_the_configuration_says() {
    for engine in ENGINES {
        let origin = Origin::echo().await;
        let text = format!(
            "[upstreams.app]\nbackends = [\"{origin}\"]\npool = {{ idle = \"1s\" }}\n[routes]\n\"/*\" = \"app\"\n"
        );
        let proxy = Proxy::with(text).variable("MAITRED_ENGINE", engine).start().await;
        proxy.get("/").await.expect(200);
        // The client may have its answer before the connection is in the pool.
        proxy.until_metric_is("upstream_connections", &[("state", "idle")], 1.0).await;
        proxy.get("/").await.expect(200);
        assert_eq!(origin.connections(), 1);
        origin.until_open(0).await;
        proxy.get("/").await.expect(200);
        assert_eq!(origin.connections(), 2);
    }
}

#[tokio::test]
async fn large_bodies_pass_whole_both_ways() {
    for (origin, proxy) in
        each(|seen| if seen.target == "/up" { Answer::text("ok") } else { Answer::generated(3 << 20) }).await
    {
        let mut client = proxy.connect().await;
        for number in 0..2 {
            client.fetch(Request::new("POST", "/up").generated(3 << 20)).await.expect(200);
            let up = origin.ended(2 * number).await.body;
            let down = client.fetch(Request::get("/down")).await.expect(200).body;
            for body in [up, down] {
                assert!(body.complete && body.is_pattern);
                assert_eq!(body.length, 3 << 20);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_broken_off_never_looks_whole_to_an_old_client() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin =
        Origin::start(move |_| Answer::status(200).framing(Framing::Chunked).piece("half").wait(&script).resetting())
            .await;
    let proxy = by("", &origin, "").await;
    let mut client = proxy.connect().await;
    client.send(OLD).await;
    assert_eq!(client.answer_head().await.0, 200);
    assert_eq!(client.bytes(4).await, "half");
    gate.open();
    assert!(client.wire().fill().await.is_err(), "the connection ended as if the answer had");
}

/// Pingora's engine says nothing of it.
#[tokio::test]
async fn a_request_that_is_cut_when_maitred_stops_is_in_the_access_log() {
    let origin = Origin::start(|_| Answer::hang()).await;
    let text = format!("{}[server]\ngrace_period = \"300ms\"\n", route(&origin, ""));
    let proxy = Proxy::with(text).variable("MAITRED_ENGINE", "").start().await;
    let mut client = proxy.connect().await;
    client.start(&Request::get("/cut")).await;
    origin.request().await;
    proxy.signal("TERM").await;
    let exit = proxy.wait().await.expect(0);
    assert!(exit.stdout.contains(r#""error":"stopping""#), "{}", exit.stdout);
}
