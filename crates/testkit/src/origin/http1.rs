//! The origin's HTTP/1 side: reads a head, plays the script, keeps the record.

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::{WebSocketStream, tungstenite};

use super::{
    Outcome, Protocol, Seen,
    answer::{Ending, Step},
    seen::Log,
};
use crate::{Body, Cut, Fields, Framing, Wire, pattern};

/// Serves one connection until it closes or a script ends it.
pub(super) async fn serve(mut wire: Wire, connection: usize, protocol: Protocol) {
    for turn in 0.. {
        let Ok(Some(head)) = wire.read_head().await else { return };
        let seen = read_request(&head, &wire, connection, turn);
        let answer = (protocol.responder)(&seen);
        let body = Framing::of_request(&seen.headers);
        let id = protocol.log.begin(seen.clone());
        let mut turn =
            Turn { wire, log: &protocol.log, id, seen, body: Some(body), framing: Framing::Empty, generated: 0 };
        let ends = matches!(answer.ending, Ending::Keep | Ending::Close);
        let result = turn.play(answer.steps, answer.reads_body_first, ends).await;
        match (result, answer.ending) {
            (Err(_), _) => return turn.end(Outcome::Cancelled),
            (Ok(()), Ending::Keep) if turn.framing != Framing::UntilClose => {
                turn.end(Outcome::Answered);
                if turn.read_body().await.is_err() {
                    return;
                }
                wire = turn.wire;
            }
            (Ok(()), Ending::Keep | Ending::Close) => return turn.end(Outcome::Answered),
            (Ok(()), Ending::Reset | Ending::Refuse) => {
                turn.end(Outcome::Answered);
                return turn.wire.reset();
            }
            (Ok(()), Ending::Hang) => {
                turn.wire.until_closed().await;
                return turn.end(Outcome::Cancelled);
            }
        }
    }
}

fn read_request(head: &[u8], wire: &Wire, connection: usize, turn: usize) -> Seen {
    let text = String::from_utf8_lossy(head);
    let (line, fields) = text.split_once("\r\n").unwrap_or((&text, ""));
    let mut words = line.split(' ').map(str::to_owned);
    Seen {
        connection,
        turn,
        head: head.to_vec(),
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        version: words.next().unwrap_or_default(),
        headers: Fields::parse(fields),
        body: Body::default(),
        server_name: wire.stream().server_name(),
        client_certificate: wire.stream().tls().is_some_and(|tls| tls.peer_certificates().is_some()),
        outcome: Outcome::Open,
    }
}

/// One request being answered.
struct Turn<'a> {
    wire: Wire,
    log: &'a Log,
    id: usize,
    seen: Seen,
    /// How the request's body is framed, until it has been read.
    body: Option<Framing>,
    framing: Framing,
    /// How far the pattern has been sent.
    generated: u64,
}

impl Turn<'_> {
    fn end(&self, outcome: Outcome) {
        self.log.update(self.id, |seen| seen.outcome = outcome);
    }

    async fn play(&mut self, steps: Vec<Step>, reads_body_first: bool, ends: bool) -> Result<(), Cut> {
        if reads_body_first {
            self.read_body().await?;
        }
        for step in steps {
            self.step(step).await?;
        }
        if ends && self.framing == Framing::Chunked {
            self.wire.write(b"0\r\n\r\n").await?;
            self.framing = Framing::Empty;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Cut> {
        match step {
            Step::Raw(bytes) => self.wire.write(&bytes).await,
            Step::Head { status, fields, framing } => self.head(status, &fields, framing).await,
            Step::Interim { status, fields } => self.wire.write(render(status, &fields).as_bytes()).await,
            Step::Data(bytes) => self.data(&bytes).await,
            Step::Generated(length) => self.generated(length).await,
            Step::Trailers(fields) => self.trailers(&fields).await,
            Step::EchoRequest => self.echo_request().await,
            Step::EchoBody => self.echo_body().await,
            Step::ReadBody => self.read_body().await,
            Step::ReadSome(bytes) => self.read_some(bytes).await,
            Step::Wait(gate) => tokio::select! {
                () = gate.pass() => Ok(()),
                () = self.wire.until_closed() => Err(Cut("closed at a gate".into())),
            },
            Step::Tunnel => self.tunnel().await,
            Step::WebSocket => self.websocket().await,
            Step::Grpc => panic!("gRPC needs HTTP/2"),
        }
    }

    async fn head(&mut self, status: u16, fields: &Fields, framing: Framing) -> Result<(), Cut> {
        self.framing = framing;
        let mut fields = fields.clone();
        let declared = fields.has("content-length") || fields.has("transfer-encoding");
        match framing {
            Framing::Length(length) if !declared => fields.0.push(("Content-Length".into(), length.to_string())),
            Framing::Chunked if !declared => fields.0.push(("Transfer-Encoding".into(), "chunked".into())),
            Framing::UntilClose => fields.0.push(("Connection".into(), "close".into())),
            _ => {}
        }
        self.wire.write(render(status, &fields).as_bytes()).await?;
        if self.seen.method == "HEAD" {
            self.framing = Framing::Empty;
        }
        Ok(())
    }

    async fn data(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        if self.seen.method == "HEAD" {
            return Ok(());
        }
        if self.framing != Framing::Chunked {
            return self.wire.write(bytes).await;
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.wire.write(&chunk).await
    }

    async fn generated(&mut self, length: u64) -> Result<(), Cut> {
        let end = self.generated + length;
        while self.generated < end {
            let piece = pattern(self.generated, end - self.generated);
            self.data(&piece).await?;
            self.generated += piece.len() as u64;
        }
        Ok(())
    }

    async fn trailers(&mut self, fields: &Fields) -> Result<(), Cut> {
        self.framing = Framing::Empty;
        self.wire.write(format!("0\r\n{}\r\n", lines(fields)).as_bytes()).await
    }

    async fn echo_request(&mut self) -> Result<(), Cut> {
        let body = self.log.get(self.id).to_json().to_string();
        let fields = Fields(vec![("Content-Type".into(), "application/json".into())]);
        self.head(200, &fields, Framing::Length(body.len() as u64)).await?;
        self.data(body.as_bytes()).await
    }

    async fn read_body(&mut self) -> Result<(), Cut> {
        let Some(framing) = self.body.take() else { return Ok(()) };
        let (log, id) = (self.log, self.id);
        let trailers = self.wire.read_body(framing, |piece| log.update(id, |seen| seen.body.take(piece))).await?;
        self.complete(trailers);
        Ok(())
    }

    fn complete(&self, trailers: Fields) {
        self.log.update(self.id, |seen| {
            seen.body.complete = true;
            seen.body.trailers = trailers;
        });
    }

    async fn read_some(&mut self, mut left: u64) -> Result<(), Cut> {
        let Some(Framing::Length(length)) = self.body else { panic!("reading a part needs a Content-Length") };
        let kept = length - left;
        while left > 0 {
            let piece = self.wire.piece(left).await?;
            left -= piece.len() as u64;
            self.log.update(self.id, |seen| seen.body.take(&piece));
        }
        self.body = Some(Framing::Length(kept));
        Ok(())
    }

    async fn echo_body(&mut self) -> Result<(), Cut> {
        loop {
            let piece = match self.body {
                None | Some(Framing::Empty | Framing::UntilClose | Framing::Length(0)) => break,
                Some(Framing::Length(left)) => {
                    let piece = self.wire.piece(left).await?;
                    self.body = Some(Framing::Length(left - piece.len() as u64));
                    piece
                }
                Some(Framing::Chunked) => match self.wire.read_chunk_size().await? {
                    0 => break self.wire.read_trailers().await.map(|_| ())?,
                    size => {
                        let piece = self.wire.read_exactly(size as usize).await?;
                        self.wire.read_chunk_end().await?;
                        piece
                    }
                },
            };
            self.log.update(self.id, |seen| seen.body.take(&piece));
            self.data(&piece).await?;
        }
        self.body = None;
        self.complete(Fields::default());
        Ok(())
    }

    async fn tunnel(&mut self) -> Result<(), Cut> {
        loop {
            let piece = self.wire.take_ahead();
            if !piece.is_empty() {
                self.log.update(self.id, |seen| seen.body.take(&piece));
                self.wire.write(&piece).await?;
            }
            if !self.wire.fill().await? {
                return Ok(());
            }
        }
    }

    async fn websocket(&mut self) -> Result<(), Cut> {
        let key = self.seen.headers.get("sec-websocket-key").unwrap_or_default().to_owned();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.wire.write(head.as_bytes()).await?;
        let ahead = self.wire.take_ahead().to_vec();
        let stream = self.wire.stream_mut();
        let role = tungstenite::protocol::Role::Server;
        let mut socket = WebSocketStream::from_partially_read(stream, ahead, role, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn render(status: u16, fields: &Fields) -> String {
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Other");
    format!("HTTP/1.1 {status} {reason}\r\n{}\r\n", lines(fields))
}

fn lines(fields: &Fields) -> String {
    fields.0.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}
