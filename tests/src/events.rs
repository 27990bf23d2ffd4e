//! Server-sent events and other answers that come bit by bit: each bit at once, for as long as it takes.

use testkit::{Answer, Gate, Origin, Proxy, Request};

use crate::setting::{BOTH, route};

const EVENT: &str = "data: tick\n\n";

/// An origin that sends an event, waits at the gate, sends another and waits at the next.
async fn ticking(first: &Gate, second: &Gate) -> Origin {
    let (first, second) = (first.clone(), second.clone());
    let respond = move |seen: &testkit::Seen| match seen.target.as_str() {
        "/silent" => Answer::hang(),
        _ => Answer::events().chunk(EVENT).wait(&first).chunk(EVENT).wait(&second),
    };
    Origin::start(respond).await
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let (first, second) = (Gate::new(), Gate::new());
    let origin = ticking(&first, &second).await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, ""))).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/").header("Accept", "text/event-stream")).await;
    let (status, fields) = connection.answer_head().await;
    assert_eq!((status, fields.get("content-type")), (200, Some("text/event-stream")));
    assert_eq!(connection.chunk().await.unwrap(), EVENT);
    let client = proxy.h2c().await;
    let (_, mut incoming) = client.open(&Request::get("/")).await;
    incoming.head().await.unwrap();
    assert_eq!(incoming.piece().await.unwrap().unwrap(), EVENT);
    first.reached_by(2).await;
    first.open();
    assert_eq!(connection.chunk().await.unwrap(), EVENT);
    assert_eq!(incoming.piece().await.unwrap().unwrap(), EVENT);
    second.open();
    assert_eq!(connection.chunk().await.unwrap(), "");
    assert!(incoming.piece().await.unwrap().is_none());
}

#[tokio::test]
async fn a_silent_stream_outlives_the_timeouts_of_ordinary_answers() {
    let (first, second) = (Gate::new(), Gate::new());
    let origin = ticking(&first, &second).await;
    let listener = "[listeners.http]\naddress = \"127.0.0.1:0\"\ntimeouts = { body = \"300ms\" }\n";
    let upstream = format!("[upstreams.app]\nbackends = \"{origin}\"\ntimeout = \"300ms\"\n");
    let text = format!("{listener}{upstream}[routes.app]\npath = \"/*\"\nupstream = \"app\"\ntimeout = \"300ms\"\n");
    let proxy = Proxy::start(text).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/").header("Accept", "text/event-stream")).await;
    connection.answer_head().await;
    assert_eq!(connection.chunk().await.unwrap(), EVENT);
    // Once two ordinary requests that began later have met their deadlines, the stream's would have passed.
    for _ in 0..2 {
        proxy.get("/silent").await.expect_problem(504, "upstream_timeout");
    }
    first.open();
    assert_eq!(connection.chunk().await.unwrap(), EVENT);
    second.open();
    assert_eq!(connection.chunk().await.unwrap(), "");
}

#[tokio::test]
async fn a_stream_ends_after_its_own_idle_time() {
    let (first, second) = (Gate::new(), Gate::new());
    let origin = ticking(&first, &second).await;
    let proxy = Proxy::start(route(&origin, "websocket = { idle = \"300ms\" }")).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/").header("Accept", "text/event-stream")).await;
    connection.answer_head().await;
    assert_eq!(connection.chunk().await.unwrap(), EVENT);
    assert!(connection.chunk().await.is_err(), "a stream that was cut must not end cleanly");
}
