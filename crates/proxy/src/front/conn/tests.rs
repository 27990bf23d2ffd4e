//! The boundary between one message and the next.

use super::*;
use tokio::io::AsyncWriteExt;

fn pair() -> (tokio::io::DuplexStream, Conn) {
    let (client, server) = tokio::io::duplex(1 << 20);
    (client, Conn::new(Box::new(server), Box::new(()), None).unwrap())
}

#[tokio::test]
async fn a_reader_sees_its_own_message_and_nothing_after_it() {
    let (mut client, mut conn) = pair();
    client.write_all(b"headbodyNEXT").await.unwrap();
    conn.read_ahead().await.unwrap();
    assert_eq!(conn.ahead(), b"headbodyNEXT");
    conn.set_boundary(4, Boundary::Left(4));

    let mut message = [0; 8];
    conn.read_exact(&mut message).await.unwrap();
    assert_eq!(&message, b"headbody");

    let mut more = [0; 1];
    let read = tokio::time::timeout(std::time::Duration::from_millis(50), conn.read(&mut more)).await;
    assert!(read.is_err(), "the next message waits");
    assert_eq!(conn.ahead(), b"NEXT");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_request_is_answered() {
    let (mut client, mut conn) = pair();
    client.write_all(b"head").await.unwrap();
    conn.read_ahead().await.unwrap();
    conn.set_boundary(4, Boundary::Left(0));
    let mut head = [0; 4];
    conn.read_exact(&mut head).await.unwrap();
    drop(client);
    assert_eq!(conn.read(&mut head).await.unwrap(), 0);
}

#[tokio::test]
async fn a_long_body_is_counted_down_to_its_last_byte() {
    let (mut client, mut conn) = pair();
    client.write_all(&[b'x'; 5000]).await.unwrap();
    conn.set_boundary(0, Boundary::Left(3000));
    let mut body = vec![0; 3000];
    conn.read_exact(&mut body).await.unwrap();
    let mut more = [0; 1];
    let read = tokio::time::timeout(std::time::Duration::from_millis(50), conn.read(&mut more)).await;
    assert!(read.is_err());
}

#[tokio::test]
async fn a_chunked_message_ends_where_its_coding_says() {
    let (mut client, mut conn) = pair();
    client.write_all(b"head5\r\nhello\r\n0\r\n\r\nNEXT").await.unwrap();
    conn.read_ahead().await.unwrap();
    conn.set_boundary(4, Boundary::Chunked);
    let mut message = vec![0; 19];
    conn.read_exact(&mut message).await.unwrap();
    assert_eq!(message, b"head5\r\nhello\r\n0\r\n\r\n");
    let mut more = [0; 1];
    let read = tokio::time::timeout(std::time::Duration::from_millis(50), conn.read(&mut more)).await;
    assert!(read.is_err(), "the next message waits");
    assert_eq!(conn.ahead(), b"NEXT");
}

#[tokio::test]
async fn a_malformed_chunk_is_an_error_for_the_reader() {
    let (mut client, mut conn) = pair();
    client.write_all(b"\r\nhello\r\n0\r\n\r\n").await.unwrap();
    conn.set_boundary(0, Boundary::Chunked);
    let error = conn.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_a_large_head_has_needed_is_given_back() {
    let (mut client, mut conn) = pair();
    client.write_all(&[b'x'; 200 << 10]).await.unwrap();
    while conn.ahead().len() < 200 << 10 {
        conn.read_ahead().await.unwrap();
    }
    conn.skip(200 << 10);
    let more = std::future::poll_fn(|cx| Poll::Ready(conn.poll_ahead(cx))).await;
    assert!(more.is_pending() && conn.ahead.capacity() <= 2 * HEAD_BUFFER, "{}", conn.ahead.capacity());
    client.write_all(b"head").await.unwrap();
    conn.read_ahead().await.unwrap();
    assert_eq!(conn.ahead(), b"head");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_closed_its_side_and_takes_nothing_is_gone_soon() {
    let (mut client, server) = tokio::io::duplex(16);
    let mut conn = Conn::new(Box::new(server), Box::new(()), None).unwrap();
    conn.set_boundary(0, Boundary::Left(0));
    AsyncWriteExt::shutdown(&mut client).await.unwrap();
    conn.write_all(&[b'x'; 16]).await.unwrap();
    let mut beat = tokio::time::interval(HALF_CLOSED / 5);
    let gone = std::future::poll_fn(|cx| {
        while beat.poll_tick(cx).is_ready() {
            assert!(Pin::new(&mut conn).poll_write(cx, b"more").is_pending());
        }
        conn.poll_gone(cx)
    });
    timeout(2 * HALF_CLOSED, gone).await.unwrap();
}
