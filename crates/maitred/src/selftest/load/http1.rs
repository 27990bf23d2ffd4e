//! Clients of HTTP/1: some keep their connection until they are told that it ends, some open one for each request.

use std::{sync::Arc, time::Instant};

use tokio::time::sleep;

use super::{Door, House, PAUSE, connect, in_time};
use crate::selftest::{
    service::HELLO,
    tally::{Fault, Tally, Trouble},
    wire::{Framing, Wire},
};

/// One request after the other on a connection that is kept.
pub async fn kept(house: House, door: Door, tally: Arc<Tally>) {
    let mut kept = None;
    while tally.course.goes_on() {
        let began = Instant::now();
        tally.note(began, hello(&house, door, &mut kept).await);
        sleep(PAUSE).await;
    }
}

/// One request after the other, each on a connection of its own.
pub async fn new(house: House, door: Door, tally: Arc<Tally>) {
    while tally.course.goes_on() {
        let began = Instant::now();
        tally.note(began, hello(&house, door, &mut None).await);
        sleep(PAUSE).await;
    }
}

/// Asks the service; leaves the connection in `kept` unless it ends with the answer. A connection that is found closed
/// has lost a request: nobody was told that it would end.
async fn hello(house: &House, door: Door, kept: &mut Option<Wire>) -> Result<(), Trouble> {
    let mut wire = match kept.take() {
        Some(wire) => wire,
        None => connect(house, door).await?,
    };
    let (body, closes) = ask(&mut wire, "/hello").await?;
    if body != HELLO {
        return Err(Trouble::failed(format!("a wrong answer: {}", String::from_utf8_lossy(&body))));
    }
    if !closes {
        *kept = Some(wire);
    }
    Ok(())
}

/// Gets what is at `path`, on a connection of its own.
pub async fn get(house: &House, path: &str) -> Result<Vec<u8>, Trouble> {
    let mut wire = connect(house, Door::Plain).await?;
    Ok(ask(&mut wire, path).await?.0)
}

async fn ask(wire: &mut Wire, path: &str) -> Result<(Vec<u8>, bool), Trouble> {
    let (body, closes) = answered(wire, "GET", path, "").await?;
    let whole = in_time(wire.whole(body)).await?.map_err(|error| Trouble::within(&error))?;
    Ok((whole, closes))
}

/// Sends the head of a request and reads that of its answer, which must be a success.
pub async fn answered(wire: &mut Wire, method: &str, path: &str, fields: &str) -> Result<(Framing, bool), Trouble> {
    send(wire, method, path, fields).await?;
    head(wire, "200").await
}

/// Sends the head of a request.
pub async fn send(wire: &mut Wire, method: &str, path: &str, fields: &str) -> Result<(), Trouble> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    in_time(wire.send(request)).await?.map_err(|error| Trouble::unanswered(&error))
}

/// Reads the head of an answer, which must have this status.
pub async fn head(wire: &mut Wire, status: &str) -> Result<(Framing, bool), Trouble> {
    let head = in_time(wire.head()).await?.map_err(|error| Trouble::unanswered(&error))?;
    let head = head.ok_or_else(|| Trouble::new(Fault::Reset, "the connection was closed before the answer"))?;
    if head.says == status {
        Ok((head.body, head.closes))
    } else {
        Err(Trouble::failed(format!("answered with {}", head.says)))
    }
}
