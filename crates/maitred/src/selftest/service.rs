//! The service behind the proxy under test: short answers, slow downloads, uploads that are counted, events, echoes.

use std::{io, net::SocketAddr, sync::LazyLock, time::Duration};

use tokio::{net::TcpListener, time::interval};

use super::wire::{Framing, Head, Wire};

/// What a short answer says.
pub const HELLO: &[u8] = b"hello\n";

/// How much of a slow body is sent at a time, and how often.
pub const PIECE: usize = 16 * 1024;
pub const BEAT: Duration = Duration::from_millis(10);

/// The example of RFC 6455 section 1.3: one key and its answer do for a service that nobody else asks.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The pattern's period is no divisor of any buffer's size, so that bytes lost or doubled show.
const PERIOD: u64 = 251;
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD).cycle().map(|byte| byte as u8).take(PIECE + PERIOD as usize).collect());

/// What a slow body has from `offset` on, up to [`PIECE`] bytes of it.
pub fn pattern(offset: u64, length: usize) -> &'static [u8] {
    let from = (offset % PERIOD) as usize;
    &PATTERN[from..from + length.min(PIECE)]
}

/// Whether `piece` is what a slow body has from `offset` on.
pub fn is_pattern(offset: u64, piece: &[u8]) -> bool {
    let parts = piece.chunks(PIECE).enumerate();
    parts.into_iter().all(|(number, part)| part == pattern(offset + (number * PIECE) as u64, part.len()))
}

/// Serves on a free port for as long as the runtime lives.
pub async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            // What a client makes of a connection that breaks is the client's to count.
            tokio::spawn(async move { serve(Wire::new(stream)).await });
        }
    });
    Ok(address)
}

async fn serve(mut wire: Wire) -> io::Result<()> {
    while let Some(Head { says, mut body, .. }) = wire.head().await? {
        let (path, beats) = says.rsplit_once('/').unwrap_or((&says, ""));
        let beats = beats.parse().unwrap_or(0);
        match path {
            "GET /download" => download(&mut wire, beats).await?,
            "GET /events" => events(&mut wire, beats).await?,
            "POST " => upload(&mut wire, &mut body).await?,
            _ if says == "GET /echo" => return echo(&mut wire).await,
            _ => answer(&mut wire, HELLO).await?,
        }
    }
    Ok(())
}

async fn answer(wire: &mut Wire, body: &[u8]) -> io::Result<()> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    wire.send(answer).await
}

async fn download(wire: &mut Wire, beats: u64) -> io::Result<()> {
    let length = beats * PIECE as u64;
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await?;
    let mut beat = interval(BEAT);
    for number in 0..beats {
        beat.tick().await;
        wire.send(pattern(number * PIECE as u64, PIECE)).await?;
    }
    Ok(())
}

async fn events(wire: &mut Wire, beats: u64) -> io::Result<()> {
    wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let mut beat = interval(BEAT);
    for number in 0..beats {
        beat.tick().await;
        wire.send_chunk(format!("data: {number}\n\n").as_bytes()).await?;
    }
    wire.send_chunk(b"").await
}

/// Answers with the number of bytes, or with another text where they are not the pattern.
async fn upload(wire: &mut Wire, body: &mut Framing) -> io::Result<()> {
    let (mut count, mut right) = (0, true);
    while let Some(piece) = wire.piece(body).await? {
        right &= is_pattern(count, &piece);
        count += piece.len() as u64;
    }
    let says = if right { count.to_string() } else { "other bytes than were sent".to_owned() };
    answer(wire, says.as_bytes()).await
}

async fn echo(wire: &mut Wire) -> io::Result<()> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    wire.send(format!("{head}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n")).await?;
    while let Some(bytes) = wire.bytes().await? {
        wire.send(bytes).await?;
    }
    Ok(())
}
