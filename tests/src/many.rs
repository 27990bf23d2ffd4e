//! Many clients that do nothing, or next to nothing: what they cost, and what those pay who want something.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use testkit::{Connection, Proxy, Request, within, within_limit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::setting::BOTH;

/// Long enough for a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

const IDLE: usize = 10_000;
const SLOW: usize = 2_000;

/// What an idle connection may take, in bytes; a release build takes less than half of it (bench/results.md).
const BOUND: u64 = 32 << 10;

/// What slow clients have sent of their heads.
const HALF: &str = "GET / HTTP/1.1\r\nHost: a.t";

/// For how long the good clients are counted at a time.
const TURN: Duration = Duration::from_secs(1);

/// Headers and silence that outlast the test.
async fn patient() -> Proxy {
    let timeouts = "timeouts = { header = \"10m\", idle = \"10m\" }";
    Proxy::start(format!(
        "[logging]\naccess = false\n{BOTH}{timeouts}\n[routes.\"/*\"]\nrespond = {{ body = \"x\" }}\n"
    ))
    .await
}

/// So many connections on which these bytes were sent, and something has come back where `answered`.
async fn open(address: SocketAddr, count: usize, bytes: &'static str, answered: bool) -> Vec<TcpStream> {
    let one = |_| async move {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        if answered {
            let mut answer = [0; 1024];
            let read = socket.read(&mut answer).await.unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
        }
        socket
    };
    let all = stream::iter(0..count).map(one).buffer_unordered(64).collect();
    within_limit(LIMIT, "the connections to be open", all).await
}

async fn until_open(proxy: &Proxy, count: usize) {
    proxy.until_metric("connections", &[("listener", "http")], count as f64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_stay_within_their_memory() {
    let proxy = patient().await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    // What is made once, and kept.
    let address = proxy.address().socket();
    drop(open(address, 200, request, true).await);
    let (memory, descriptors) = (proxy.rss(), proxy.descriptors());
    let mut idle = open(address, IDLE, request, true).await;
    until_open(&proxy, IDLE).await;
    let each = proxy.rss().saturating_sub(memory) / IDLE as u64;
    assert!(each < BOUND, "an idle connection takes {each} bytes");
    // They are none the worse for it, and neither is anybody else.
    for socket in idle.iter_mut().step_by(1000) {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        assert!(within("an answer", socket.read(&mut answer)).await.unwrap() > 0);
    }
    proxy.get("/").await.expect(200);
    drop(idle);
    within_limit(LIMIT, "their descriptors to be closed", async {
        while proxy.descriptors() > descriptors + 250 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How many answers four good clients get in a turn.
async fn answers(proxy: &Proxy) -> usize {
    let end = Instant::now() + TURN;
    let client = || async {
        let (mut connection, mut count) = (Connection::to(proxy.address()).await, 0);
        while Instant::now() < end {
            connection.fetch(Request::get("/")).await.expect(200);
            count += 1;
        }
        count
    };
    let (one, two, three, four) = tokio::join!(client(), client(), client(), client());
    one + two + three + four
}

/// A byte each now and then for a turn, from clients that have sent half of a head.
async fn drip(slow: &mut [TcpStream]) {
    let (end, mut beat) = (Instant::now() + TURN, tokio::time::interval(TURN / SLOW as u32));
    for index in (0..SLOW).cycle() {
        if Instant::now() >= end {
            break;
        }
        slow[index].write_all(b"e").await.unwrap();
        beat.tick().await;
    }
}

/// As many slow clients of somebody who never looks at them. To be slow takes work as well, which the proxy has no part in.
async fn unheard() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let deaf = socket.listen(SLOW as u32).unwrap();
    let slow = open(deaf.local_addr().unwrap(), SLOW, HALF, false).await;
    (deaf, slow)
}

/// Machines that run tests are busy with other things as well: what slow clients take away they take away each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_clients_with_slow_headers_leave_the_others_their_throughput() {
    let proxy = patient().await;
    answers(&proxy).await;
    let (_deaf, mut unheard) = unheard().await;
    let mut shares = Vec::new();
    for _ in 0..5 {
        let (alone, ()) = tokio::join!(answers(&proxy), drip(&mut unheard));
        let mut slow = open(proxy.address().socket(), SLOW, HALF, false).await;
        until_open(&proxy, SLOW).await;
        let (beside, ()) = tokio::join!(answers(&proxy), drip(&mut slow));
        shares.push(beside as f64 / alone as f64);
        if shares.last().is_some_and(|share| *share >= 0.9) {
            return;
        }
        drop(slow);
    }
    panic!("good clients are left with these shares of what they get alone: {shares:?}");
}
