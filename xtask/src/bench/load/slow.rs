//! Clients that never come to the end of their head: one byte a second each, and another connection when theirs is closed.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::shell::{Failure, because};

/// How often each of them sends a byte.
const BEAT: Duration = Duration::from_secs(1);

/// What they send the first bytes of.
const HEAD: &[u8] =
    b"GET /tiny HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// So many of them, until dropped.
pub(crate) struct SlowClients {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One of them, and how much of the head it has sent.
struct Client {
    stream: TcpStream,
    sent: usize,
}

impl SlowClients {
    /// Connects all of them.
    pub(crate) fn start(port: u16, count: usize) -> Result<Self, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let connected = (0..count).map(|_| Client::connect(address)).collect::<Result<Vec<_>, _>>();
        let mut clients = connected.map_err(because("cannot open the connections of slow clients"))?;
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                for client in &mut clients {
                    client.beat(address);
                }
                thread::sleep(BEAT.saturating_sub(began.elapsed()));
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Client {
    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, sent: 0 })
    }

    /// Sends one more byte, over a new connection where the old one was closed.
    fn beat(&mut self, address: SocketAddr) {
        let byte = HEAD.get(self.sent).copied().unwrap_or(b'a');
        match self.stream.write_all(&[byte]) {
            Ok(()) => self.sent += 1,
            // One that is not let in tries again at the next beat.
            Err(_) => drop(Self::connect(address).map(|client| *self = client)),
        }
    }
}
