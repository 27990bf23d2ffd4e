//! What a client receives of gathered writes.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

/// Both ends of a connection, ours as a [`Wire`].
async fn pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    (Wire::new(Socket::Tcp(socket), digest, BytesMut::new()), client)
}

fn nothing_arrived(client: &TcpStream) -> bool {
    let mut byte = [0];
    client.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn small_writes_leave_together_when_flushed() {
    let (mut wire, mut client) = pair().await;
    wire.write_all(b"head ").await.unwrap();
    let pieces = [IoSlice::new(b"bo"), IoSlice::new(b"dy")];
    assert_eq!(wire.write_vectored(&pieces).await.unwrap(), 4);
    assert!(nothing_arrived(&client));
    wire.flush().await.unwrap();
    let mut read = [0; 9];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"head body");
}

#[tokio::test]
async fn a_large_write_takes_what_was_gathered_along() {
    let (mut wire, mut client) = pair().await;
    wire.write_all(b"head").await.unwrap();
    let body = vec![7; GATHER];
    let written = wire.write(&body).await.unwrap();
    assert!(written > 0);
    let mut read = vec![0; 4 + written];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read[..4], b"head");
    assert!(wire.gathered.is_empty() && wire.gathered.capacity() <= KEEP);
}

#[tokio::test]
async fn every_byte_arrives_in_order_whatever_the_sizes() {
    let (mut wire, mut client) = pair().await;
    let sizes = [1, 100, GATHER, 3, GATHER - 1, 2, 1 << 20, 5, GATHER + 1, 17, 3 * GATHER];
    let all: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|at| (at % 251) as u8).collect();
    let expected = all.clone();
    let writing = tokio::spawn(async move {
        let mut rest = &all[..];
        for (turn, size) in sizes.into_iter().enumerate() {
            let (mut part, after) = rest.split_at(size);
            while turn % 2 == 1 && !part.is_empty() {
                let (one, two) = part.split_at(part.len() / 3);
                let written = wire.write_vectored(&[IoSlice::new(one), IoSlice::new(two)]).await.unwrap();
                part = &part[written..];
            }
            wire.write_all(part).await.unwrap();
            rest = after;
        }
        Shutdown::shutdown(&mut wire).await;
    });
    let mut read = Vec::new();
    timeout(Duration::from_secs(20), client.read_to_end(&mut read)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(read == expected);
}

#[tokio::test]
async fn what_was_said_is_sent_when_the_engine_lets_go() {
    let (mut wire, mut client) = pair().await;
    wire.write_all(b"farewell").await.unwrap();
    drop(wire);
    let mut read = String::new();
    client.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "farewell");
}

#[tokio::test]
async fn an_idle_wire_holds_no_buffer() {
    let (mut wire, mut client) = pair().await;
    wire.write_all(&[1; 4096]).await.unwrap();
    wire.flush().await.unwrap();
    assert_eq!(wire.gathered.capacity(), 0);
    client.read_exact(&mut [0; 4096]).await.unwrap();
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let (mut wire, mut client) = pair().await;
    wire.ahead = BytesMut::from(&b"ahead "[..]);
    client.write_all(b"of the rest").await.unwrap();
    let mut read = [0; 4];
    wire.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ahea");
    let mut rest = [0; 13];
    wire.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"d of the rest");
    assert_eq!(wire.ahead.capacity(), 0);
}

#[tokio::test]
async fn what_is_flushed_was_taken() {
    let (mut wire, _client) = pair().await;
    wire.write_all(b"gathered").await.unwrap();
    assert_eq!(wire.taken(), 0);
    wire.flush().await.unwrap();
    assert_eq!(wire.taken(), 8);
}
