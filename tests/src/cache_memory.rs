//! What the cache takes of memory: what is configured, however much comes by.

use std::sync::Arc;

use testkit::{Answer, Connection, Origin, Proxy, Request, Seen};

use crate::setting::{BOTH, route};

const MIB: u64 = 1 << 20;

/// How many clients ask at once.
const CLIENTS: usize = 8;

/// An answer whose size is told by its path.
fn sized(seen: &Seen) -> Answer {
    let path = seen.target.rsplit('/').next().unwrap_or_default();
    let size = path.split('-').next().and_then(|size| size.parse().ok()).unwrap_or(0);
    Answer::generated(size)
        .header("Content-Type", "application/octet-stream")
        .header("Cache-Control", "max-age=3600")
        .header("ETag", "\"0123456789abcdef\"")
        .header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        .header("X-Served-By", "a machine with a long name")
}

/// Asks for all of these, each once.
async fn fetch_all(proxy: &Proxy, paths: Vec<String>) {
    let paths = Arc::new(paths);
    let client = |number: usize| {
        let (paths, address) = (paths.clone(), proxy.address().clone());
        tokio::spawn(async move {
            let mut connection = Connection::to(&address).await;
            for path in paths.iter().skip(number).step_by(CLIENTS) {
                connection.fetch(Request::get(path)).await.expect(200);
            }
        })
    };
    for client in (0..CLIENTS).map(client).collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// Sizes between `least` and `most`, as many small ones as large ones of each order, of so many bytes together.
fn sizes(least: u64, most: u64, total: u64) -> Vec<u64> {
    let (mut sizes, mut sum, mut state) = (Vec::new(), 0, 0x2545_f491_4f6c_dd1d_u64);
    while sum < total {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
        let size = (least as f64 * (most as f64 / least as f64).powf(share)) as u64;
        sum += size;
        sizes.push(size);
    }
    sizes
}

/// How much the process has grown by ten times of what the cache may hold, and what the cache says that it holds.
async fn grown(memory: u64, sizes: Vec<u64>) -> (u64, u64) {
    let origin = Origin::start(sized).await;
    let lines = "cache = true";
    let plain = format!("[routes.plain]\npath = \"/plain/*\"\nupstream = \"{origin}\"\n");
    let cache = format!("[cache]\nmemory = \"{memory}MiB\"\n");
    let proxy = Proxy::start(format!("{BOTH}{cache}{}{plain}", route(&origin, lines))).await;
    // Connections, buffers and threads are there before it counts.
    fetch_all(&proxy, (0..2000).map(|n| format!("/plain/{}-{n}", 1 + n * 64)).collect()).await;
    let before = proxy.rss();
    fetch_all(&proxy, sizes.iter().enumerate().map(|(n, size)| format!("/{size}-{n}")).collect()).await;
    let held = proxy.metric("cache_bytes", &[("tier", "memory")]).await as u64;
    (proxy.rss().saturating_sub(before), held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_within_a_tenth_of_what_is_configured_under_ten_times_as_much() {
    // Large enough for a tenth to be more than what an allocator keeps for itself.
    let memory = 256;
    let sizes = sizes(2 * 1024, MIB, 10 * memory * MIB);
    let count = sizes.len();
    let (grown, held) = grown(memory, sizes).await;
    let told = format!("{count} answers: {:.1} MiB for {:.1} MiB", grown as f64 / MIB as f64, held as f64 / MIB as f64);
    println!("{told}");
    assert!(held <= memory * MIB && held > memory * MIB * 9 / 10, "it is full: {told}");
    assert!(grown <= memory * MIB * 11 / 10, "{told}");
}

/// Answers that come faster than their clients read them are not all kept meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_to_clients_that_do_not_read_is_bounded_too() {
    let (memory, size, clients) = (32, 4 * MIB, 100);
    let origin = Origin::start(sized).await;
    let cache = format!("[cache]\nmemory = \"{memory}MiB\"\n");
    let proxy = Proxy::start(format!("{BOTH}{cache}{}", route(&origin, "cache = true"))).await;
    proxy.get("/1-0").await.expect(200);
    let before = proxy.rss();
    let mut slow = Vec::new();
    for n in 0..clients {
        let mut connection = Connection::to(proxy.address()).await;
        connection.start(&Request::get(&format!("/{size}-{n}"))).await;
        slow.push(connection);
    }
    // Who does not read yet stands in nobody's way: the last head is there once all of them have been asked for.
    for connection in &mut slow {
        assert_eq!(connection.answer_head().await.0, 200);
    }
    // Meanwhile their answers come as fast as these do.
    for n in 0..clients {
        assert_eq!(proxy.get(&format!("/{size}-{}", clients + n)).await.expect(200).body.length, size);
    }
    let grown = proxy.rss().saturating_sub(before);
    let most = (memory * 5 / 4 + clients) * MIB;
    println!("{} MiB for {clients} clients", grown / MIB);
    assert!(grown < most, "{} MiB for {clients} clients, at most {} MiB", grown / MIB, most / MIB);
}
