//! A client and services that behave, and that do not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use fetch::{Answer, Ask, Client, Service, Trust, Url};
use http::Method;
use maitred_fetch as fetch;
use testkit::{Origin, Seen};

fn service(origin: &Origin) -> Service {
    Service {
        url: Url::parse(&format!("{origin}/a?b")).unwrap(),
        trust: Trust::default(),
        timeout: Duration::from_secs(9),
    }
}

fn ask(content: &'static str, most: usize) -> Ask {
    let method = if content.is_empty() { Method::GET } else { Method::POST };
    Ask { method, fields: Vec::new(), content: Bytes::from_static(content.as_bytes()), most }
}

async fn answers(script: impl Fn(&Seen) -> testkit::Answer + Send + Sync + 'static) -> Origin {
    Origin::start(script).await
}

#[tokio::test]
async fn connections_are_kept_and_one_that_was_closed_meanwhile_costs_nothing() {
    let origin = answers(|_| testkit::Answer::text("yes")).await;
    let (client, service) = (Client::default(), service(&origin));
    for content in ["", "x=1", "", ""] {
        let Answer { status, content, .. } = client.ask(&service, &ask(content, 9)).await.unwrap();
        assert_eq!((status.as_u16(), &*content), (200, &b"yes"[..]));
    }
    // Now and then Pingora's pool does not get hold of a connection that was given back a moment ago.
    assert!(origin.connections() < 4);
    let seen = origin.requests();
    assert_eq!(
        (&*seen[0].target, &*seen[1].body.text(), seen[0].host()),
        ("/a?b", "x=1", Some(&*origin.socket().to_string()))
    );
    let socket = origin.socket();
    origin.stop().await;
    let again = Origin::builder().at(socket).start(|_| testkit::Answer::text("again")).await;
    assert_eq!(&*client.ask(&service, &ask("", 9)).await.unwrap().content, b"again");
    drop(again);
}

#[tokio::test]
async fn what_is_too_large_or_stops_halfway_is_no_answer() {
    let large = answers(|_| testkit::Answer::generated(1 << 20)).await;
    let client = Client::default();
    let why = client.ask(&service(&large), &ask("", 1000)).await.unwrap_err();
    assert!(why.ends_with("the answer is larger than 1000 bytes") && !why.contains('?'), "{why}");
    let halved =
        answers(|_| testkit::Answer::status(200).framing(testkit::Framing::Length(9)).piece("abc").closing()).await;
    assert!(client.ask(&service(&halved), &ask("", 1000)).await.is_err());
    let interim = answers(|_| testkit::Answer::text("ok").interim(103, &[("Link", "</a>")])).await;
    assert_eq!(&*client.ask(&service(&interim), &ask("", 9)).await.unwrap().content, b"ok");
}
