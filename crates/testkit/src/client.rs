//! Clients: raw bytes, HTTP/1, HTTP/2, WebSocket, and curl.

mod connection;
mod h2;
mod program;
mod request;
mod response;
mod websocket;

pub use self::{
    connection::Connection,
    h2::{H2, Incoming, Outgoing},
    program::{Curl, curl, tool},
    request::Request,
    response::Response,
    websocket::{WebSocket, websocket},
};
