//! Bytes through pipes that hold little.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::sleep,
};

use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// Both far ends of a pair that is carried, and what becomes of it: how it ended, and how many bytes went up and down.
fn pair(room: usize) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<(Ended, u64, u64)>) {
    let ((client, mut near), (backend, mut far)) = (duplex(room), duplex(room));
    let carried = tokio::spawn(async move {
        let (mut up, mut down) = (0, 0);
        let half = Half::beginning_with(b"first ".to_vec());
        let ended = carry(&mut near, &mut far, half, IDLE, |more_up, more_down| {
            up += more_up;
            down += more_down;
        });
        (ended.await, up, down)
    });
    (client, backend, carried)
}

#[tokio::test]
async fn every_byte_arrives_in_order_through_little_room() {
    let (client, backend, carried) = pair(100);
    let bytes: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
    let send = |stream: DuplexStream, bytes: Vec<u8>| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let (mut got, sent) = (Vec::new(), async {
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let (read, ()) = tokio::join!(read.read_to_end(&mut got), sent);
        read.unwrap();
        got
    };
    let (down, up) = tokio::join!(send(client, bytes.clone()), send(backend, bytes.clone()));
    assert!(down == bytes && up[6..] == bytes && up.starts_with(b"first "));
    assert!(matches!(carried.await.unwrap(), (Ended::Well, 300_000, 300_000)));
}

#[tokio::test(start_paused = true)]
async fn one_half_goes_on_when_the_other_has_ended() {
    let (mut client, mut backend, carried) = pair(1000);
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    backend.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "first question");
    sleep(IDLE / 2).await;
    backend.write_all(b"answer").await.unwrap();
    drop(backend);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    assert!(matches!(carried.await.unwrap().0, Ended::Well));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_both() {
    let (mut client, backend, carried) = pair(1000);
    let began = Instant::now();
    for _ in 0..10 {
        sleep(IDLE / 2).await;
        client.write_all(b"x").await.unwrap();
    }
    assert!(matches!(carried.await.unwrap().0, Ended::Idle));
    assert!(began.elapsed() >= 6 * IDLE && began.elapsed() < 7 * IDLE);
    drop(backend);
}

#[tokio::test]
async fn nothing_is_held_of_what_was_taken() {
    let mut half = Half::default();
    let (mut source, mut target) = (&b"some bytes"[..], Vec::new());
    let end = poll_fn(|cx| half.poll(cx, &mut source, &mut target)).await;
    assert!(end.is_ok() && half.held.capacity() == 0);
    assert_eq!((target.as_slice(), half.moved), (&b"some bytes"[..], 10));
}
