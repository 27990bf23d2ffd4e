//! Many connections of which each has its turn. wrk asks on all of its connections at once.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::Said;
use crate::{
    bench::{origin, peer::Proxy, scenario::Scenario},
    shell::{self, Failure, because},
};

/// How many ask at a time: as many as there are connections where all of them are busy.
const ASKERS: usize = 32;
/// How long a part of an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than a small answer has with its head.
const ROOM: usize = 4096;

/// The connections, which are open until it is dropped.
pub(super) struct Crowd {
    request: Vec<u8>,
    askers: Vec<Asker>,
}

/// Some of the connections, and whose turn it is.
struct Asker {
    connections: Vec<TcpStream>,
    next: usize,
}

impl Crowd {
    /// Opens as many as the scenario has, and asks once on each.
    pub(super) fn open(scenario: &Scenario, proxy: &Proxy) -> Result<Self, Failure> {
        pin()?;
        Self::of(scenario.connections as usize, proxy.plain, scenario.path)
    }

    fn of(count: usize, port: u16, path: &str) -> Result<Self, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        let shares = (0..ASKERS).map(|asker| count / ASKERS + usize::from(asker < count % ASKERS));
        let askers = together(shares, |share| Asker::open(share, address, &request));
        askers.map(|askers| Self { request, askers }).map_err(because(format!("cannot open {count} connections")))
    }

    /// Asks on one connection after the other, for so long.
    pub(super) fn ask(&mut self, time: Duration) -> Result<Said, Failure> {
        let began = Instant::now();
        let (end, request) = (began + time, &*self.request);
        let times = together(self.askers.iter_mut(), |asker| asker.ask(end, request));
        let rate = 1.0 / began.elapsed().as_secs_f64();
        let mut times = times.map_err(because("a request in turn failed"))?.concat();
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::INFINITY);
        let requests = times.len() as u64;
        Ok(Said { requests, failed: 0, rate: rate * requests as f64, p50: at(0.5), p99: at(0.99) })
    }
}

impl Asker {
    fn open(count: usize, address: SocketAddr, request: &[u8]) -> io::Result<Self> {
        let one = |_| {
            let mut connection = TcpStream::connect(address)?;
            connection.set_nodelay(true)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            exchange(&mut connection, request)?;
            Ok(connection)
        };
        let connections: io::Result<Vec<TcpStream>> = (0..count).map(one).collect();
        Ok(Self { connections: connections?, next: 0 })
    }

    /// The microseconds of every answer.
    fn ask(&mut self, end: Instant, request: &[u8]) -> io::Result<Vec<f64>> {
        let mut times = Vec::new();
        while let Some(connection) = self.connections.get_mut(self.next) {
            let began = Instant::now();
            if began >= end {
                break;
            }
            exchange(connection, request)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            self.next = (self.next + 1) % self.connections.len();
        }
        Ok(times)
    }
}

/// Does the work for each at the same time.
fn together<T: Send, R: Send>(
    all: impl Iterator<Item = T>,
    work: impl Fn(T) -> io::Result<R> + Sync,
) -> io::Result<Vec<R>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = all.map(|one| scope.spawn(move || work(one))).collect();
        let panicked = |_| Err(io::Error::other("a thread of the load has panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

/// Asks, and reads the answer to its end.
fn exchange(connection: &mut TcpStream, request: &[u8]) -> io::Result<()> {
    connection.write_all(request)?;
    let (mut buffer, mut filled) = ([0; ROOM], 0);
    while !is_whole(&buffer[..filled])? {
        match connection.read(&mut buffer[filled..])? {
            0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, "an answer is cut off, or larger than expected")),
            read => filled += read,
        }
    }
    Ok(())
}

/// Whether an answer has come to its end. One that is not 200, or of which nobody knows where it ends, is an error.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.next().and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match length {
        Some(length) if head.starts_with("HTTP/1.1 200 ") && body.len() <= length => Ok(body.len() == length),
        _ => Err(io::Error::new(ErrorKind::InvalidData, format!("the answer is `{}`", text.escape_debug()))),
    }
}

/// Keeps this process off the core of the proxy, for good: whomever it starts is told where to run.
fn pin() -> Result<(), Failure> {
    let mut taskset = Command::new("taskset");
    let own = std::process::id().to_string();
    shell::output(taskset.args(["--all-tasks", "--cpu-list", "--pid", &origin::CORE.to_string(), &own])).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering::Relaxed},
        },
    };

    use super::*;

    #[test]
    fn every_connection_has_its_turn() {
        const COUNT: usize = 70;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts: Arc<[AtomicU64]> = (0..COUNT).map(|_| AtomicU64::new(0)).collect();
        let told = counts.clone();
        thread::spawn(move || {
            for (index, connection) in listener.incoming().take(COUNT).enumerate() {
                let (connection, counts) = (connection.unwrap(), told.clone());
                thread::spawn(move || {
                    let heads = BufReader::new(&connection).lines().map_while(Result::ok).filter(String::is_empty);
                    heads.for_each(|_| {
                        counts[index].fetch_add(1, Relaxed);
                        (&connection).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").unwrap();
                    });
                });
            }
        });
        let mut crowd = Crowd::of(COUNT, port, "/").unwrap();
        let (mut asked, patience) = (0, Instant::now() + PATIENCE);
        let of_all = || counts.iter().map(|count| count.load(Relaxed));
        // Each was asked once as it was opened. A busy machine may be slow to run one of those who ask.
        while of_all().any(|count| count < 2) && Instant::now() < patience {
            asked += crowd.ask(Duration::from_millis(20)).unwrap().requests;
        }
        let counts: Vec<u64> = of_all().collect();
        assert_eq!(counts.iter().sum::<u64>(), asked + COUNT as u64);
        assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    }

    #[test]
    fn an_answer_ends_where_it_says_and_is_a_good_one() {
        let whole = |text: &str| is_whole(text.as_bytes()).map_err(|error| error.kind());
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"), Ok(false));
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"), Ok(false));
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"), Ok(true));
        for bad in [
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\n\r\nab",
        ] {
            assert_eq!(whole(bad), Err(ErrorKind::InvalidData), "{bad}");
        }
    }
}
