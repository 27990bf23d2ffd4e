//! A WebSocket client.

use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};

use crate::{Stream, within};

/// An open WebSocket.
pub type WebSocket = WebSocketStream<Stream>;

/// Opens a WebSocket for `path` at `host` over `stream`; fails the test when the upgrade is not granted.
pub async fn websocket(stream: Stream, host: &str, path: &str) -> WebSocket {
    let request: tungstenite::http::Uri = format!("ws://{host}{path}").parse().unwrap();
    let opening = client_async(tungstenite::ClientRequestBuilder::new(request), stream);
    match within("the WebSocket handshake", opening).await {
        Ok((socket, _)) => socket,
        Err(error) => panic!("the WebSocket handshake failed: {error}"),
    }
}
