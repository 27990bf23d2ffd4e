//! Compression: who gets it, who does not, and that real decoders read it.

use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, curl};

use crate::setting::{BOTH, route};

/// Text that compresses well.
fn text() -> String {
    (0..2000).map(|n| format!("line {n}\n")).collect()
}

async fn compressing(
    lines: &str,
    respond: impl Fn(&testkit::Seen) -> Answer + Send + Sync + 'static,
) -> (Origin, Proxy) {
    let origin = Origin::start(respond).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, lines))).await;
    (origin, proxy)
}

fn accepting(target: &str, coding: &str) -> Request {
    Request::get(target).header("Accept-Encoding", coding)
}

#[tokio::test]
async fn curl_reads_every_coding_in_every_version() {
    let (_origin, proxy) = compressing("compress = true", |_| Answer::text(text())).await;
    let url = format!("http://{}/", proxy.address());
    for version in ["--http1.1", "--http1.0", "--http2-prior-knowledge"] {
        let plain = curl([version, "--compressed", &url]).await.ok();
        assert!(plain == text(), "{version}: {} bytes", plain.len());
    }
    for coding in ["gzip", "br", "zstd"] {
        let header = format!("Accept-Encoding: {coding}");
        let size =
            curl(["--header", &header, "--output", "/dev/null", "--write-out", "%{size_download}", &url]).await.ok();
        assert!(size.parse::<usize>().unwrap() < text().len() / 3, "{coding}: {size}");
        let answer = curl(["--header", &header, "--head", "--request", "GET", &url]).await.ok();
        assert!(answer.to_lowercase().contains(&format!("content-encoding: {coding}")), "{answer}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_framed_anew_and_counted_as_sent() {
    let (_origin, proxy) = compressing("compress = true", |_| {
        Answer::text(text()).header("ETag", "\"v1\"").header("Accept-Ranges", "bytes")
    })
    .await;
    let mut client = Connection::to(proxy.address()).await;
    for path in ["/1", "/2"] {
        let answer = client.fetch(accepting(path, "gzip;q=0.9, br;q=0.5")).await.expect(200);
        assert!(answer.cut.is_none(), "the connection goes on: {:?}", answer.cut);
        assert_eq!(answer.headers.all("content-encoding"), ["gzip"]);
        assert_eq!(answer.headers.all("transfer-encoding"), ["chunked"]);
        assert_eq!(answer.headers.all("vary"), ["Accept-Encoding"]);
        assert_eq!(answer.headers.all("etag"), ["W/\"v1\""]);
        assert!(answer.header("content-length").is_none() && answer.header("accept-ranges").is_none());
        assert_eq!(proxy.logged(path).await["bytes_out"], answer.body.length);
    }
    let h2 = proxy.h2c().await;
    let answer = h2.fetch(accepting("/", "gzip")).await.expect(200);
    assert_eq!(answer.headers.all("content-encoding"), ["gzip"]);
    assert!(answer.header("transfer-encoding").is_none());
    let head = client.fetch(Request::new("HEAD", "/").header("Accept-Encoding", "gzip")).await.expect(200);
    assert_eq!(head.headers.all("content-encoding"), ["gzip"]);
    client.fetch(Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn what_must_stay_as_it_is_does() {
    let (_origin, proxy) = compressing("compress = true", |seen| match seen.target.as_str() {
        "/short" => Answer::text("short"),
        "/image" => Answer::status(200).header("Content-Type", "image/png").body(text()),
        "/encoded" => Answer::text(text()).header("Content-Encoding", "x-own"),
        "/fixed" => Answer::text(text()).header("Cache-Control", "no-transform"),
        "/part" => Answer::status(206)
            .header("Content-Type", "text/plain")
            .header("Content-Range", "bytes 0-18889/99999")
            .body(text()),
        _ => Answer::text(text()),
    })
    .await;
    for (target, coding) in [
        ("/short", "gzip"),
        ("/image", "gzip"),
        ("/encoded", "gzip"),
        ("/fixed", "gzip"),
        ("/part", "gzip"),
        ("/", "gzip;q=0"),
    ] {
        let answer = proxy.fetch(accepting(target, coding)).await;
        assert!(answer.header("content-length").is_some(), "{target}: {:?}", answer.headers);
        assert_ne!(answer.header("content-encoding"), Some("gzip"), "{target}");
    }
}

#[tokio::test]
async fn events_are_sent_on_as_they_come() {
    let gate = Gate::new();
    let events = {
        let gate = gate.clone();
        move |_: &testkit::Seen| Answer::events().chunk("data: 1\n\n").wait(&gate).chunk("data: 2\n\n")
    };
    let (_origin, proxy) = compressing("compress = { algorithms = \"gzip\" }", events).await;
    let mut client = Connection::to(proxy.address()).await;
    client.start(&accepting("/", "gzip").header("Accept", "text/event-stream")).await;
    let (status, headers) = client.answer_head().await;
    assert_eq!((status, headers.get("content-encoding")), (200, Some("gzip")));
    // The first event is there while the origin still waits: what came so far can be decoded.
    let mut encoded = client.chunk().await.unwrap().to_vec();
    while gunzipped(&encoded).await != "data: 1\n\n" {
        encoded.extend_from_slice(&client.chunk().await.unwrap());
    }
    gate.open();
    loop {
        let chunk = client.chunk().await.unwrap();
        if chunk.is_empty() {
            break;
        }
        encoded.extend_from_slice(&chunk);
    }
    assert_eq!(gunzipped(&encoded).await, "data: 1\n\ndata: 2\n\n");
}

/// What gzip makes of it, as far as it goes.
async fn gunzipped(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut command = testkit::tool("gzip", "gzip");
    let output = command.arg("-dc").stdin(std::fs::File::open(file.path()).unwrap()).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn an_answer_of_our_own_is_compressed_with_its_length() {
    let body = "x".repeat(5000);
    let proxy = Proxy::start(format!(
        "[routes.app]\npath = \"/\"\nrespond = {{ body = \"{body}\", headers = {{ Content-Type = \"text/plain\" }} }}\ncompress = true\n"
    ))
    .await;
    let answer = proxy.fetch(accepting("/", "gzip")).await.expect(200);
    assert_eq!(answer.headers.all("content-encoding"), ["gzip"]);
    assert_eq!(answer.header("content-length").unwrap(), answer.body.length.to_string());
    assert!(answer.body.length < 200);
    let plain = proxy.get("/").await.expect(200);
    assert_eq!((plain.body.length, plain.header("vary")), (5000, Some("Accept-Encoding")));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_ended() {
    let (_origin, proxy) = compressing("compress = true", |_| {
        Answer::status(200)
            .header("Content-Type", "text/plain")
            .framing(testkit::Framing::Chunked)
            .piece(text())
            .resetting()
    })
    .await;
    let mut client = Connection::to(proxy.address()).await;
    client.start(&accepting("/", "gzip")).await;
    let bytes = client.rest().await;
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "a truncated answer must not look whole");
}
