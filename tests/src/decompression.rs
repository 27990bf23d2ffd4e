//! Requests that come packed: the origin gets them plain, and bombs get a 413.

use std::io::{Read, Write};

use testkit::{Answer, Connection, Origin, Proxy, Request, Response, curl};

use crate::setting::BOTH;

/// What `MAITRED_ENGINE` is for each engine.
const ENGINES: [&str; 2] = ["", "general"];

const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

fn text() -> Vec<u8> {
    (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

fn pack(coding: &str, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        "br" => {
            let mut packed = Vec::new();
            brotli::CompressorReader::new(plain, 4096, 5, 20).read_to_end(&mut packed).unwrap();
            packed
        }
        "zstd" => zstd::encode_all(plain, 3).unwrap(),
        "deflate" => {
            let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
        _ => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), level);
            coder.write_all(plain).unwrap();
            coder.finish().unwrap()
        }
    }
}

fn packed(path: &str, coding: &str, plain: &[u8]) -> Request {
    Request::post(path, pack(coding, plain)).header("Content-Encoding", coding)
}

/// What came of the request's body, as an echoing origin tells.
fn told(answer: &Response) -> String {
    let seen = answer.json();
    let is_text = seen["body"].as_str().unwrap_or_default().as_bytes() == text();
    let about = |name: &str| answer.seen_all(name).join("|");
    format!(
        "{} {is_text} coding={} length={} digest={} kind={}",
        seen["body_length"],
        about("content-encoding"),
        about("content-length"),
        about("content-digest"),
        about("content-type"),
    )
}

async fn unpacking(engine: &str, origin: &Origin, lines: &str) -> Proxy {
    let route = format!("[routes.app]\npath = \"/*\"\nupstream = \"{origin}\"\n{lines}\n");
    Proxy::with(format!("{BOTH}{route}")).variable("MAITRED_ENGINE", engine).start().await
}

#[tokio::test]
async fn the_origin_gets_plain_content_by_every_way() {
    let plain = text();
    for engine in ENGINES {
        for origin in [Origin::builder(), Origin::builder().h2c()] {
            let origin = origin.start(|_| Answer::echo()).await;
            let proxy = unpacking(engine, &origin, "decompress = true").await;
            let mut client = Connection::to(proxy.address()).await;
            let h2 = proxy.h2c().await;
            let expected = format!("{} true coding= length= digest= kind=text/plain", plain.len());
            for coding in CODINGS {
                let request = || {
                    packed("/", coding, &plain)
                        .header("Content-Type", "text/plain")
                        .header("Content-Digest", "sha-256=:AA==:")
                };
                let way = format!("{coding}, engine {engine:?}, {origin}");
                assert_eq!(told(&client.fetch(request()).await.expect(200)), expected, "{way}, HTTP/1");
                assert_eq!(told(&h2.fetch(request()).await.expect(200)), expected, "{way}, HTTP/2");
                let bytes = pack(coding, &plain);
                let pieces: Vec<&[u8]> = bytes.chunks(999).collect();
                let chunked = Request::new("PUT", "/").header("Content-Encoding", coding).chunks(&pieces);
                let answer = told(&client.fetch(chunked.clone()).await.expect(200));
                assert!(answer.starts_with(&format!("{} true coding= length= ", plain.len())), "{way}: {answer}");
                let answer = told(&h2.fetch(chunked).await.expect(200));
                assert!(answer.starts_with(&format!("{} true coding= length= ", plain.len())), "{way}: {answer}");
            }
            // What is not packed is left alone, its length too.
            let answer = client.fetch(Request::post("/", "plain")).await.expect(200);
            assert_eq!(told(&answer), "5 false coding= length=5 digest= kind=", "{engine:?}");
        }
    }
}

#[tokio::test]
async fn bombs_are_refused_before_they_go_off() {
    let zeros = vec![0; 128 << 20];
    let bombs: Vec<(&str, Vec<u8>)> = CODINGS.iter().map(|coding| (*coding, pack(coding, &zeros))).collect();
    for engine in ENGINES {
        for lines in ["decompress = true\nmax_body = false", "decompress = { max_ratio = 100000 }\nmax_body = \"1MiB\""]
        {
            let origin = Origin::echo().await;
            let proxy = unpacking(engine, &origin, lines).await;
            let before = proxy.rss();
            for (coding, bomb) in &bombs {
                let request = || Request::post("/bomb", bomb.clone()).header("Content-Encoding", coding);
                proxy.fetch(request()).await.expect_problem(413, "body_too_large");
                proxy.h2c().await.fetch(request()).await.expect_problem(413, "body_too_large");
            }
            let grown = proxy.rss().saturating_sub(before);
            assert!(grown < 96 << 20, "{engine:?}, {lines}: {} MiB", grown >> 20);
            assert!(origin.requests().iter().all(|seen| seen.body.length < 8 << 20), "{engine:?}, {lines}");
            assert_eq!(proxy.logged_error("body_too_large").await["status"], 413);
        }
    }
}

#[tokio::test]
async fn the_limit_of_the_body_counts_what_is_made_of_it() {
    let origin = Origin::echo().await;
    let plain = text();
    for (most, status) in [(plain.len() - 1, 413), (plain.len(), 200)] {
        let proxy = unpacking("", &origin, &format!("decompress = true\nmax_body = \"{most}B\"")).await;
        for coding in CODINGS {
            proxy.fetch(packed("/", coding, &plain)).await.expect(status);
        }
    }
}

#[tokio::test]
async fn what_is_not_known_or_not_whole_is_refused() {
    for engine in ENGINES {
        let origin = Origin::echo().await;
        let proxy = unpacking(engine, &origin, "decompress = true").await;
        for coding in ["compress", "gzip, gzip", "utf-8"] {
            let request = || Request::post("/", "content").header("Content-Encoding", coding);
            for answer in [proxy.fetch(request()).await, proxy.h2c().await.fetch(request()).await] {
                let answer = answer.expect_problem(415, "unknown_coding");
                // RFC 9110 section 15.5.16.
                assert_eq!(answer.headers.all("accept-encoding"), ["gzip, br, zstd, deflate"]);
            }
        }
        assert!(origin.requests().is_empty(), "nothing of it came to the origin");
        for coding in CODINGS {
            let whole = pack(coding, &text());
            let torn = Request::post("/", whole[..whole.len() / 2].to_vec()).header("Content-Encoding", coding);
            proxy.fetch(torn.clone()).await.expect_problem(400, "bad_content");
            proxy.h2c().await.fetch(torn).await.expect_problem(400, "bad_content");
            let nonsense = Request::post("/", "nonsense without end").header("Content-Encoding", coding);
            proxy.fetch(nonsense).await.expect_problem(400, "bad_content");
        }
        // Where nothing follows, nothing is packed.
        proxy.fetch(Request::get("/").header("Content-Encoding", "utf-8")).await.expect(200);
    }
}

#[tokio::test]
async fn a_route_that_does_not_say_so_passes_on_what_comes() {
    let origin = Origin::echo().await;
    let proxy = unpacking("", &origin, "").await;
    let packed = pack("gzip", &text());
    let expected = format!("{} false coding=gzip length={} digest= kind=", packed.len(), packed.len());
    let answer = proxy.fetch(Request::post("/", packed).header("Content-Encoding", "gzip")).await.expect(200);
    assert_eq!(told(&answer), expected);
}

#[tokio::test]
async fn what_is_sent_again_is_unpacked_again() {
    let plain = text();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Answer::status(503),
        _ => Answer::echo(),
    })
    .await;
    let lines = "decompress = true\nretries = { attempts = 2, on = [\"503\"] }";
    let proxy = unpacking("", &origin, lines).await;
    let request = Request::new("PUT", "/").header("Content-Encoding", "gzip").body(pack("gzip", &plain));
    let answer = told(&proxy.fetch(request).await.expect(200));
    assert!(answer.starts_with(&format!("{} true", plain.len())), "{answer}");
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn what_gzip_itself_has_packed_comes_unpacked() {
    let origin = Origin::echo().await;
    let proxy = unpacking("", &origin, "decompress = true").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, text()).unwrap();
    assert!(testkit::tool("gzip", "gzip").arg(&file).status().await.unwrap().success());
    let data = format!("@{}", folder.path().join("text.gz").display());
    let url = proxy.url("/");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl([version, "--header", "Content-Encoding: gzip", "--data-binary", &data, &url]).await.ok();
        let seen: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(seen["body"].as_str().unwrap().as_bytes() == text(), "{version}: {answer}");
    }
}
