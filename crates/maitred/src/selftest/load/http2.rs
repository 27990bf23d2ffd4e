//! Clients of HTTP/2: several requests at a time on one connection, until it says that it ends.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::SendRequest};
use tokio::{net::TcpStream, time::sleep};

use super::{House, PAUSE, in_time};
use crate::selftest::{
    service::HELLO,
    tally::{Fault, Tally, Trouble},
};

type Connection = SendRequest<Bytes>;

/// Three requests at a time on one connection after the other.
pub async fn requests(house: House, tally: Arc<Tally>) {
    let mut kept = None;
    while tally.course.goes_on() {
        let open = match kept.take() {
            Some(open) => Ok(open),
            None => connect(&house).await,
        };
        match open {
            Ok(open) => {
                let goes_on = tokio::join!(hello(&open, &tally), hello(&open, &tally), hello(&open, &tally));
                kept = (goes_on == (true, true, true)).then_some(open);
            }
            Err(trouble) => tally.fault(trouble),
        }
        sleep(PAUSE * 2).await;
    }
}

async fn connect(house: &House) -> Result<Connection, Trouble> {
    let stream = in_time(TcpStream::connect(house.plain)).await?.map_err(|error| Trouble::connecting(&error))?;
    stream.set_nodelay(true).map_err(|error| Trouble::connecting(&error))?;
    let (sender, connection) = in_time(h2::client::handshake(stream)).await?.map_err(|error| trouble(error, false))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Counts one request. Says whether the connection goes on: one that has said that it ends takes no request, and so
/// loses none. What it has said that it did not process is asked again, on the next one (RFC 9113 section 8.7).
async fn hello(connection: &Connection, tally: &Tally) -> bool {
    let Ok(Ok(mut ready)) = in_time(connection.clone().ready()).await else { return false };
    let began = Instant::now();
    let answer = match ready.send_request(request(), true) {
        Ok((answer, _)) => in_time(answer).await,
        Err(error) => Ok(Err(error)),
    };
    let outcome = match answer {
        Ok(Ok(answer)) => whole(answer).await,
        Ok(Err(error)) if is_unprocessed(&error) => {
            tally.ask_again();
            return false;
        }
        Ok(Err(error)) => Err(trouble(error, false)),
        Err(late) => Err(late),
    };
    let goes_on = outcome.is_ok();
    tally.note(began, outcome);
    goes_on
}

/// Whether the server has said that it has done nothing about the request: GOAWAY without an error names the last stream
/// that it looks at. A request can be overtaken by the acknowledged PING that GOAWAY waits for.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
}

fn request() -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://localhost/hello");
    request
}

async fn whole(answer: http::Response<RecvStream>) -> Result<(), Trouble> {
    if answer.status() != http::StatusCode::OK {
        return Err(Trouble::failed(format!("answered with {}", answer.status())));
    }
    let (mut body, mut whole) = (answer.into_body(), Vec::new());
    while let Some(piece) = in_time(body.data()).await? {
        let piece = piece.map_err(|error| trouble(error, true))?;
        let _ = body.flow_control().release_capacity(piece.len());
        whole.extend_from_slice(&piece);
    }
    if whole == HELLO { Ok(()) } else { Err(Trouble::failed("a wrong answer")) }
}

fn trouble(error: h2::Error, answered: bool) -> Trouble {
    let ended =
        error.is_io() || error.is_reset() || error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    let fault = match (ended, answered) {
        (false, _) => Fault::Failed,
        (true, false) => Fault::Reset,
        (true, true) => Fault::Truncated,
    };
    Trouble::new(fault, format!("HTTP/2: {error}"))
}
