//! The origin's HTTP/2 side: plays the same scripts on streams.

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::task::JoinSet;

use super::{
    Outcome, Protocol, Seen,
    answer::{Answer, Ending, Step},
};
use crate::{Body, Cut, Fields, Messages, Stream, client::Outgoing, message, pattern};

/// Serves one connection until it closes.
pub(super) async fn serve(stream: Stream, connection: usize, protocol: Protocol) {
    let server_name = stream.server_name();
    let client_certificate = stream.tls().is_some_and(|tls| tls.peer_certificates().is_some());
    let mut builder = server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).max_concurrent_streams(256);
    let Ok(mut connected) = builder.handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    for turn in 0.. {
        let Some(Ok((request, respond))) = connected.accept().await else { break };
        let mut seen = read_request(&request, connection, turn);
        seen.server_name = server_name.clone();
        seen.client_certificate = client_certificate;
        streams.spawn(answer(request.into_body(), respond, seen, protocol.clone()));
    }
    // Every stream is over with its connection, and says so.
    while streams.join_next().await.is_some() {}
}

fn read_request(request: &Request<RecvStream>, connection: usize, turn: usize) -> Seen {
    let mut headers = Fields::from_map(request.headers());
    let uri = request.uri();
    let pseudo = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
    headers.0.extend(pseudo(":authority", uri.authority().map(ToString::to_string)));
    headers.0.extend(pseudo(":scheme", uri.scheme_str().map(str::to_owned)));
    Seen {
        connection,
        turn,
        head: Vec::new(),
        method: request.method().to_string(),
        target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: "HTTP/2".into(),
        headers,
        body: Body::default(),
        server_name: None,
        client_certificate: false,
        outcome: Outcome::Open,
    }
}

async fn answer(body: RecvStream, respond: SendResponse<Bytes>, seen: Seen, protocol: Protocol) {
    let script = (protocol.responder)(&seen);
    let id = protocol.log.begin(seen.clone());
    let mut turn = Turn { respond, body, out: None, id, seen, protocol, generated: 0 };
    let ending = script.ending;
    let outcome = match turn.play(script).await {
        Err(_) => Outcome::Cancelled,
        Ok(()) if ending == Ending::Hang => {
            turn.until_reset().await;
            Outcome::Cancelled
        }
        Ok(()) => Outcome::Answered,
    };
    turn.protocol.log.update(id, |seen| seen.outcome = outcome);
}

/// One stream being answered.
struct Turn {
    respond: SendResponse<Bytes>,
    body: RecvStream,
    out: Option<Outgoing>,
    id: usize,
    seen: Seen,
    protocol: Protocol,
    generated: u64,
}

impl Turn {
    async fn play(&mut self, script: Answer) -> Result<(), Cut> {
        if script.reads_body_first {
            self.read_body().await?;
        }
        for step in script.steps {
            self.step(step).await?;
        }
        match script.ending {
            Ending::Hang => {}
            Ending::Keep => self.finish().await?,
            Ending::Close | Ending::Reset => self.respond.send_reset(Reason::INTERNAL_ERROR),
            Ending::Refuse => self.respond.send_reset(Reason::REFUSED_STREAM),
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Cut> {
        match step {
            Step::Raw(_) | Step::Tunnel | Step::WebSocket => panic!("raw bytes and upgrades need HTTP/1"),
            Step::Head { status, fields, .. } => self.head(status, &fields),
            Step::Interim { status, fields } => {
                Ok(self.respond.send_informational(response(status, &fields)).map_err(cut)?)
            }
            Step::Data(bytes) => self.data(bytes).await,
            Step::Generated(length) => self.generated(length).await,
            Step::Trailers(fields) => self.trailers(&fields),
            Step::EchoRequest => {
                let json = self.protocol.log.get(self.id).to_json().to_string();
                self.head(200, &Fields(vec![("content-type".into(), "application/json".into())]))?;
                self.data(json.into()).await
            }
            Step::EchoBody => {
                while let Some(piece) = self.next_piece().await? {
                    self.data(piece).await?;
                }
                Ok(())
            }
            Step::ReadBody => self.read_body().await,
            Step::ReadSome(bytes) => self.read_some(bytes).await,
            Step::Wait(gate) => tokio::select! {
                () = gate.pass() => Ok(()),
                () = self.until_reset() => Err(Cut("reset at a gate".into())),
            },
            Step::Grpc => self.grpc().await,
        }
    }

    fn head(&mut self, status: u16, fields: &Fields) -> Result<(), Cut> {
        let stream = self.respond.send_response(response(status, fields), false).map_err(cut)?;
        self.out = Some(Outgoing::new(stream));
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) -> Result<(), Cut> {
        if self.seen.method == "HEAD" {
            return Ok(());
        }
        self.out()?.send(bytes).await
    }

    fn out(&mut self) -> Result<&mut Outgoing, Cut> {
        self.out.as_mut().ok_or_else(|| Cut("no head was sent".into()))
    }

    async fn generated(&mut self, length: u64) -> Result<(), Cut> {
        let end = self.generated + length;
        while self.generated < end {
            let piece = pattern(self.generated, end - self.generated);
            self.generated += piece.len() as u64;
            self.data(piece).await?;
        }
        Ok(())
    }

    fn trailers(&mut self, fields: &Fields) -> Result<(), Cut> {
        let out = self.out.take().ok_or_else(|| Cut("no head was sent".into()))?;
        out.trailers(header_map(fields))
    }

    async fn finish(&mut self) -> Result<(), Cut> {
        match self.out.as_mut() {
            Some(out) => out.finish().await,
            None => Ok(()),
        }
    }

    async fn until_reset(&mut self) {
        match self.out.as_mut() {
            Some(out) => out.until_reset().await,
            None => {
                let _ = std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await;
            }
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, Cut> {
        let Some(piece) = self.body.data().await else {
            let trailers = self.body.trailers().await.map_err(cut)?.unwrap_or_default();
            self.protocol.log.update(self.id, |seen| {
                seen.body.complete = true;
                seen.body.trailers = Fields::from_map(&trailers);
            });
            return Ok(None);
        };
        let piece = piece.map_err(cut)?;
        self.body.flow_control().release_capacity(piece.len()).map_err(cut)?;
        self.protocol.log.update(self.id, |seen| seen.body.take(&piece));
        Ok(Some(piece))
    }

    async fn read_body(&mut self) -> Result<(), Cut> {
        if self.seen_complete() {
            return Ok(());
        }
        while self.next_piece().await?.is_some() {}
        Ok(())
    }

    fn seen_complete(&self) -> bool {
        self.protocol.log.get(self.id).body.complete
    }

    async fn read_some(&mut self, bytes: u64) -> Result<(), Cut> {
        let mut read = 0;
        while read < bytes {
            match self.next_piece().await? {
                Some(piece) => read += piece.len() as u64,
                None => break,
            }
        }
        Ok(())
    }

    async fn grpc(&mut self) -> Result<(), Cut> {
        self.head(200, &Fields(vec![("content-type".into(), "application/grpc".into())]))?;
        let call = self.seen.target.rsplit('/').next().unwrap_or_default().to_owned();
        let mut messages = Messages::default();
        let mut collected = Vec::new();
        while let Some(piece) = self.next_piece().await? {
            messages.feed(&piece);
            for received in messages.by_ref() {
                match call.as_str() {
                    "Collect" => collected.extend_from_slice(&received),
                    "Expand" => {
                        for _ in 0..3 {
                            self.data(message(&received)).await?;
                        }
                    }
                    _ => self.data(message(&received)).await?,
                }
            }
        }
        if call == "Collect" {
            self.data(message(&collected)).await?;
        }
        self.trailers(&Fields(vec![("grpc-status".into(), "0".into()), ("grpc-message".into(), "ok".into())]))
    }
}

fn cut(error: h2::Error) -> Cut {
    Cut(error.to_string())
}

fn response(status: u16, fields: &Fields) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = header_map(fields);
    response
}

fn header_map(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        (name.to_ascii_lowercase().parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    fields.0.iter().map(pair).collect()
}
