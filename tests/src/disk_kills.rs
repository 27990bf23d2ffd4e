//! Processes that are killed while they write to the cache's folder: what the next one gives is what the origin gave.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use testkit::{Address, Answer, Connection, Origin, Proxy, Request, Response, Seen, within};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    caching::status,
    setting::{BOTH, route},
};

/// How many processes are killed, where `MAITRED_KILLS` does not say.
const KILLS: u64 = 100;

/// How many folders there are, each with a process at a time.
const LANES: u64 = 4;

/// How many clients ask a process at once.
const CLIENTS: u64 = 4;

/// The longest wait for a file that is being written.
const PATIENCE: Duration = Duration::from_millis(500);

/// What lies in a file before its content (see `crates/cache/src/disk/file.rs`).
const FIXED: usize = 48;

/// Content that its path alone decides: in each place something else, and nowhere what another path has there.
fn content(path: &str) -> Bytes {
    static KNOWN: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap();
    known.entry(path.to_owned()).or_insert_with(|| content_of(path)).clone()
}

fn content_of(path: &str) -> Bytes {
    let seed = path.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(byte)));
    let size = match path.as_bytes()[1] {
        b's' => 1000 + seed % 100_000,
        // Its writing takes a moment.
        b'm' => 600_000 + seed % 400_000,
        _ => unreachable!("{path}"),
    };
    let words = (0..size / 8 + 1).flat_map(|at| (seed ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(size as usize).collect()
}

/// How long the content is that is written to disk as it comes. It is [recognised](testkit::pattern) by itself, and no two
/// have the same length.
fn large(path: &str) -> Option<u64> {
    let number: u64 = path.strip_prefix("/l/")?.parse().unwrap();
    Some((5 << 20) + number * 1001)
}

/// How many paths there are of each kind: more than the folder holds, so that there is always something to write.
const PATHS: [(&str, u64); 3] = [("s", 199), ("m", 61), ("l", 23)];

/// What clients ask for, one after the other.
fn path(turn: u64) -> String {
    let (kind, count) = PATHS[match turn % 11 {
        3 | 9 => 1,
        7 => 2,
        _ => 0,
    }];
    format!("/{kind}/{}", turn % count)
}

fn all_paths() -> impl Iterator<Item = String> {
    PATHS.into_iter().flat_map(|(kind, count)| (0..count).map(move |number| format!("/{kind}/{number}")))
}

/// Whether the content is what the origin gives, or the part of it that was asked for. Gives whether it came from disk.
fn check(path: &str, range: Option<(usize, usize)>, answer: &Response) -> bool {
    let told = status(answer);
    match (large(path), range) {
        (Some(length), _) => {
            assert_eq!(answer.status, 200, "{path}");
            assert!(
                answer.body.is_pattern && answer.body.length == length,
                "{path}: {} bytes, {told}",
                answer.body.length
            );
        }
        (None, Some((from, to))) if answer.status == 206 => {
            assert!(answer.body.start == content(path)[from..to], "{path} from {from} to {to}: {told}");
        }
        (None, _) => {
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body.start == content(path), "{path} is not what the origin gives: {told}");
        }
    }
    told.contains("detail=disk")
}

/// Asks for one thing after the other until the connection ends; tells of each whole answer whether it came from disk.
async fn ask(address: Address, first: u64, tell: UnboundedSender<bool>) {
    let mut connection = Connection::to(&address).await;
    for turn in (first..).step_by(7) {
        let path = path(turn);
        let range = (turn % 5 == 0 && path.starts_with("/s/")).then_some((100, 900));
        let mut request = Request::get(&path);
        if let Some((from, to)) = range {
            request = request.header("Range", &format!("bytes={from}-{}", to - 1));
        }
        let Some(answer) = connection.try_fetch(request).await else { return };
        // What was cut off is not given as whole.
        if answer.cut.is_some() {
            return;
        }
        let _ = tell.send(check(&path, range, &answer));
    }
}

/// What became of the processes of a lane.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    answers: usize,
    from_disk: usize,
    /// How many left a file that was being written, and how many one of which a part was missing.
    writing: usize,
    torn: usize,
}

struct Lane {
    number: u64,
    folder: tempfile::TempDir,
    configuration: String,
}

impl Lane {
    fn new(number: u64, origin: &Origin) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "{BOTH}[cache]\nmemory = \"4MiB\"\ndisk = {{ path = \"{}\", size = \"48MiB\" }}\n{}",
            folder.path().join("cache").display(),
            // Not by host: the port is another one after each start.
            route(origin, "cache = { key = [\"path\", \"query\"], max_object = \"8MiB\" }")
        );
        Self { number, folder, configuration }
    }

    /// Where files are until they are whole.
    fn new_files(&self) -> PathBuf {
        self.folder.path().join("cache/v1/new")
    }

    /// Kills so many processes, and looks at what all of them have left.
    async fn run(self, kills: u64) -> Tally {
        let mut tally = Tally::default();
        for round in 0..kills {
            self.kill_one(round, &mut tally).await;
        }
        let proxy = Proxy::start(&self.configuration).await;
        for path in all_paths() {
            let answer = proxy.get(&path).await;
            assert!(answer.cut.is_none(), "{path}");
            check(&path, None, &answer);
        }
        assert_eq!(proxy.metric("cache_broken_total", &[("tier", "disk")]).await, 0.0, "no file was torn");
        tally
    }

    /// Old and new, until the axe falls, at another moment each time.
    async fn kill_one(&self, round: u64, tally: &mut Tally) {
        let mut proxy = Proxy::start(&self.configuration).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let first = |client: u64| self.number * 1009 + round * 17 + client * 5;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| tokio::spawn(ask(proxy.address().clone(), first(client), tell.clone())))
            .collect();
        drop(tell);
        let mut left = 1 + (round * 13 + self.number * 7) % 40;
        while let Some(from_disk) = within("an answer", told.recv()).await {
            tally.answers += 1;
            tally.from_disk += usize::from(from_disk);
            left = left.saturating_sub(1);
            if left == 0 {
                // One in four falls wherever it falls.
                if !round.is_multiple_of(4) {
                    // Each lane may keep a thread of the test's busy with that.
                    wait_for_writing(&self.new_files());
                }
                proxy.kill();
                left = u64::MAX;
            }
        }
        assert_eq!(proxy.wait().await.signal, Some(9));
        for client in clients {
            client.await.unwrap();
        }
        let unfinished = files(&self.new_files());
        tally.kills += 1;
        tally.writing += usize::from(!unfinished.is_empty());
        tally.torn += usize::from(unfinished.iter().any(|path| !is_whole(path)));
    }
}

/// Waits, without giving way to anybody for long, until something is being written.
fn wait_for_writing(folder: &Path) {
    let began = Instant::now();
    while files(folder).is_empty() && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Whether a file has the head that is written last, or all that its head promises.
fn is_whole(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    if bytes.len() < FIXED || !bytes.starts_with(b"maitred") {
        return false;
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (record, length) = (number(24), number(32));
    bytes.len() as u64 == FIXED as u64 + record + length.div_ceil(64 * 1024) * 8 + length
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_kill_in_mid_write_leaves_nothing_wrong() {
    let kills = std::env::var("MAITRED_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let origin = Origin::start(|seen: &Seen| {
        let answer = match large(&seen.target) {
            Some(length) => Answer::generated(length),
            None => Answer::text(content(&seen.target)),
        };
        answer.header("Cache-Control", "max-age=3600").header("ETag", "\"v\"")
    })
    .await;
    let lanes = (0..LANES).map(|number| {
        let share = kills / LANES + u64::from(number < kills % LANES);
        tokio::spawn(Lane::new(number, &origin).run(share))
    });
    let mut all = Tally::default();
    for lane in lanes.collect::<Vec<_>>() {
        let tally = lane.await.unwrap();
        all.kills += tally.kills;
        all.answers += tally.answers;
        all.from_disk += tally.from_disk;
        all.writing += tally.writing;
        all.torn += tally.torn;
    }
    println!("{all:?}");
    let kills = kills as usize;
    assert_eq!(all.kills, kills);
    assert!(all.answers > 15 * kills && all.from_disk > 2 * kills, "the cache was used: {all:?}");
    assert!(all.writing > kills / 3 && all.torn > kills / 4, "the kills hit what was being written: {all:?}");
}
