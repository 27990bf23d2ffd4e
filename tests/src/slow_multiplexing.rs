//! HTTP/2 clients that take their time: what waits for one after its request is over is not lost, and not kept for ever.

use std::time::Duration;

use tempfile::TempDir;
use testkit::{Answer, Gate, Origin, Outcome, Proxy, Request, Seen, Wire, within};

use crate::{
    frames::{CLOSED, Frame, GET, PREFACE, WIDE, headers, reset, window},
    setting::{BOTH, route},
};

/// Less than the codec holds for a stream, so that the request is over at once.
const LENGTH: usize = 200 << 10;

/// How many of these are asked for: more than a socket holds.
const COUNT: usize = 8;

/// A proxy whose clients have sockets that hold little.
async fn impatient(origin: &Origin, timeouts: &str) -> (TempDir, Proxy) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let listener = format!(
        "[listeners.http]\naddress = \"{address}\"\nprotocols = [\"h1\", \"h2c\"]\ntimeouts = {{ {timeouts} }}\n"
    );
    let proxy = Proxy::with(format!("{listener}{}", route(origin, "")));
    (folder, proxy.variable("MAITRED_ENGINE", "").start().await)
}

/// The frames for each of so many streams, from this one on.
fn each(from: u32, frame: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (from..).step_by(2).take(COUNT).flat_map(frame).collect()
}

/// Asks for so many answers, from this stream on.
fn many(from: u32) -> Vec<u8> {
    each(from, |id| headers(id, GET))
}

/// A client for which answers wait, and who has to do with it.
struct Waiting {
    _folder: TempDir,
    _origin: Origin,
    proxy: Proxy,
    wire: Wire,
}

/// All of its answers wait, and nobody carries a request any more.
async fn waiting(timeouts: &str) -> Waiting {
    let origin = Origin::start(|_| Answer::generated(LENGTH as u64)).await;
    let (folder, proxy) = impatient(&origin, timeouts).await;
    let mut wire = Wire::new(proxy.stream().await);
    wire.write(&[WIDE, &many(1)].concat()).await.unwrap();
    proxy.access_log(COUNT).await;
    Waiting { _folder: folder, _origin: origin, proxy, wire }
}

/// How many bytes of content come before the connection ends, in how many answers that end, and what ends it.
async fn taken(wire: &mut Wire) -> (usize, usize, Frame) {
    let (mut length, mut ended) = (0, 0);
    loop {
        let frame = Frame::read(wire).await;
        if frame.kind == 7 {
            return (length, ended, frame);
        }
        length += frame.content();
        ended += usize::from(frame.ends());
    }
}

/// GOAWAY without an error, for this last stream.
fn goodbye(last: u32) -> Vec<u8> {
    [last.to_be_bytes(), [0; 4]].concat()
}

#[tokio::test]
async fn answers_that_a_client_is_still_taking_are_not_lost() {
    let mut client = waiting("idle = \"400ms\", body = \"2s\"").await;
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let mut read = Vec::new();
    while read.len() < LENGTH * COUNT * 3 / 4 {
        beat.tick().await;
        read.extend_from_slice(&within("more of the answers", client.wire.read_exactly(48 << 10)).await.unwrap());
    }
    read.extend_from_slice(&within("the rest and the end", client.wire.read_to_end()).await.unwrap());
    let (mut rest, mut length, mut ended) = (&read[..], 0, 0);
    while let Some(frame) = Frame::first(rest) {
        length += frame.content();
        ended += usize::from(frame.ends());
        rest = &rest[9 + frame.payload.len()..];
    }
    assert_eq!((length, ended), (LENGTH * COUNT, COUNT));
    assert!(read.ends_with(&goodbye(15)));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go_though_one_of_its_requests_lives() {
    let origin = Origin::start(|seen: &Seen| match seen.target.as_str() {
        "/" => Answer::generated(LENGTH as u64),
        _ => Answer::events().chunk("data: 1\n\n").hanging(),
    })
    .await;
    let (_folder, proxy) = impatient(&origin, "body = \"500ms\"").await;
    let mut wire = Wire::new(proxy.stream().await);
    let events = headers(1, b"\x82\x86\x04\x02/e\x41\x01a");
    wire.write(&[WIDE, &events].concat()).await.unwrap();
    origin.request().await;
    wire.write(&many(3)).await.unwrap();
    let line = proxy.logged_error("answer_timeout").await;
    assert_eq!((&line["status"], &line["protocol"]), (&408.into(), &"HTTP/2".into()), "{line}");
    assert_eq!(proxy.logged("/e").await["error"], "client_closed");
    assert_eq!(origin.ended(0).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn what_waits_for_windows_that_were_taken_back_is_not_kept_for_ever() {
    let mut client = waiting("body = \"500ms\"").await;
    client.wire.write(CLOSED).await.unwrap();
    let (length, ended, last) = taken(&mut client.wire).await;
    assert!(length < LENGTH * COUNT && ended < COUNT, "{ended} answers, {length} bytes");
    assert_eq!(last.payload, goodbye(15));
    assert_eq!(client.proxy.logged_error("answer_timeout").await["protocol"], "HTTP/2");
}

#[tokio::test]
async fn windows_that_open_little_by_little_get_everything() {
    let mut client = waiting("body = \"400ms\", idle = \"200ms\"").await;
    // The streams share what is on its way. As much again is granted for it, since the windows are below nothing now.
    let all = |more: u32| each(1, |id| window(id, more));
    client.wire.write(&[CLOSED, &all(48 << 10)].concat()).await.unwrap();
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let opens = async {
        let (mut length, mut ended) = (0, 0);
        while ended < COUNT {
            tokio::select! {
                _ = beat.tick() => client.wire.write(&all(8 << 10)).await.unwrap(),
                more = client.wire.fill() => assert!(more.unwrap(), "{length} bytes of {ended} answers"),
            }
            while let Some(frame) = Frame::first(client.wire.ahead()) {
                client.wire.read_exactly(9 + frame.payload.len()).await.unwrap();
                assert_ne!(frame.kind, 7, "{length} bytes of {ended} answers");
                length += frame.content();
                ended += usize::from(frame.ends());
            }
        }
        length
    };
    assert_eq!(within("all of it", opens).await, LENGTH * COUNT);
}

#[tokio::test]
async fn a_stream_without_events_is_no_stall() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::start(move |_| Answer::events().chunk("data: 1\n\n").wait(&script).chunk("data: 2\n\n")).await;
    let listener = format!("{BOTH}timeouts = {{ idle = \"300ms\", body = \"300ms\" }}\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, ""))).await;
    let client = proxy.h2c().await;
    let (_out, mut incoming) = client.open(&Request::get("/")).await;
    incoming.head().await.unwrap();
    assert_eq!(incoming.piece().await.unwrap().unwrap(), "data: 1\n\n");
    for _ in 0..4 {
        // Another connection's end says when time has passed.
        let mut idle = Wire::new(proxy.stream().await);
        idle.write(PREFACE).await.unwrap();
        within("an idle connection to end", idle.read_to_end()).await.unwrap();
    }
    gate.open();
    assert_eq!(incoming.piece().await.unwrap().unwrap(), "data: 2\n\n");
}

/// Streams that are given up take what waited for them along; the connection is as good as new.
#[tokio::test]
async fn a_client_that_gives_its_streams_up_may_go_on() {
    let mut client = waiting("body = \"500ms\"").await;
    client.wire.write(CLOSED).await.unwrap();
    let resets = each(1, |id| reset(id, 8));
    client.wire.write(&[&resets[..], &headers(101, GET), &window(101, 1 << 20)].concat()).await.unwrap();
    let mut length = 0;
    loop {
        let frame = Frame::read(&mut client.wire).await;
        assert_ne!(frame.kind, 7);
        length += if frame.id == 101 { frame.content() } else { 0 };
        if frame.id == 101 && frame.ends() {
            break;
        }
    }
    assert_eq!(length, LENGTH);
}
