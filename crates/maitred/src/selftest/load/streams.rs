//! What lasts: downloads and uploads whose every byte is checked, WebSockets, server-sent events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::interval;

use super::{
    Door, House, connect,
    http1::{answered, head, send},
    in_time,
};
use crate::selftest::{
    service::{BEAT, KEY, PIECE, is_pattern, pattern},
    tally::{Tally, Trouble},
};

/// How many beats something takes that lasts so long.
fn beats(lasts: Duration) -> u64 {
    u64::try_from(lasts.as_millis() / BEAT.as_millis()).unwrap_or(u64::MAX)
}

/// One download after the other.
pub async fn download(house: House, tally: Arc<Tally>, lasts: Duration) {
    let got = async || {
        let mut wire = connect(&house, Door::Plain).await?;
        let path = format!("/download/{}", beats(lasts));
        let (mut body, _) = answered(&mut wire, "GET", &path, "").await?;
        let mut count = 0;
        while let Some(piece) = in_time(wire.piece(&mut body)).await?.map_err(|error| Trouble::within(&error))? {
            if !is_pattern(count, &piece) {
                return Err(Trouble::failed("other bytes than were sent"));
            }
            count += piece.len() as u64;
            tally.add(piece.len() as u64);
        }
        expect(&count.to_string(), &(beats(lasts) * PIECE as u64).to_string())
    };
    while tally.course.goes_on() {
        got().await.unwrap_or_else(|trouble| tally.fault(trouble));
    }
}

/// One upload after the other.
pub async fn upload(house: House, tally: Arc<Tally>, lasts: Duration) {
    let sent = async || {
        let mut wire = connect(&house, Door::Plain).await?;
        send(&mut wire, "POST", "/upload", "Transfer-Encoding: chunked\r\n").await?;
        let mut beat = interval(BEAT);
        for number in 0..beats(lasts) {
            beat.tick().await;
            let piece = pattern(number * PIECE as u64, PIECE);
            in_time(wire.send_chunk(piece)).await?.map_err(|error| Trouble::within(&error))?;
            tally.add(PIECE as u64);
        }
        in_time(wire.send_chunk(b"")).await?.map_err(|error| Trouble::within(&error))?;
        let (body, _) = head(&mut wire, "200").await?;
        let says = in_time(wire.whole(body)).await?.map_err(|error| Trouble::within(&error))?;
        expect(&String::from_utf8_lossy(&says), &(beats(lasts) * PIECE as u64).to_string())
    };
    while tally.course.goes_on() {
        sent().await.unwrap_or_else(|trouble| tally.fault(trouble));
    }
}

/// One stream of events after the other; each event has the number that follows.
pub async fn events(house: House, tally: Arc<Tally>, lasts: Duration) {
    let heard = async || {
        let mut wire = connect(&house, Door::Plain).await?;
        let (mut body, _) = answered(&mut wire, "GET", &format!("/events/{}", beats(lasts)), "").await?;
        let (mut text, mut next) = (String::new(), 0);
        while let Some(piece) = in_time(wire.piece(&mut body)).await?.map_err(|error| Trouble::within(&error))? {
            text.push_str(&String::from_utf8_lossy(&piece));
            while let Some((event, rest)) = text.split_once("\n\n") {
                expect(event, &format!("data: {next}"))?;
                tally.add(1);
                next += 1;
                text = rest.to_owned();
            }
        }
        expect(&next.to_string(), &beats(lasts).to_string())
    };
    while tally.course.goes_on() {
        heard().await.unwrap_or_else(|trouble| tally.fault(trouble));
    }
}

/// One WebSocket after the other; each message has to come back before the next.
pub async fn websocket(house: House, tally: Arc<Tally>, lasts: Duration) {
    let talked = async || {
        let mut wire = connect(&house, Door::Plain).await?;
        let fields = format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        );
        send(&mut wire, "GET", "/echo", &fields).await?;
        head(&mut wire, "101").await?;
        let mut beat = interval(BEAT);
        for number in 0..beats(lasts) {
            beat.tick().await;
            let began = Instant::now();
            let message = frame(0x81, &format!("message {number}"));
            let echo = async {
                wire.send(&message).await?;
                wire.exactly(message.len()).await
            };
            let echo = in_time(echo).await?.map_err(|error| Trouble::within(&error))?;
            let outcome = if echo == message { Ok(()) } else { Err(Trouble::failed("another message came back")) };
            tally.note(began, outcome);
        }
        in_time(wire.send(frame(0x88, ""))).await?.map_err(|error| Trouble::within(&error))
    };
    while tally.course.goes_on() {
        talked().await.unwrap_or_else(|trouble| tally.fault(trouble));
    }
}

/// One frame of a client (RFC 6455 section 5.2), masked with zeros, of up to 125 bytes.
fn frame(kind: u8, text: &str) -> Vec<u8> {
    let mut frame = vec![kind, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn expect(got: &str, expected: &str) -> Result<(), Trouble> {
    if got == expected { Ok(()) } else { Err(Trouble::failed(format!("`{got}` instead of `{expected}`"))) }
}
