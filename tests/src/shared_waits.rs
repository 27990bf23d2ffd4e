//! How long one request waits for Redis, all its limits and attempts together.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use testkit::{Answer, Connection, Origin, Proxy, Request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::{setting::BOTH, shared_limits::Redis};

/// What `MAITRED_ENGINE` is for each engine.
const ENGINES: [&str; 2] = ["", "general"];

/// Less than two waits for Redis, and much more than one.
const ALLOWED: Duration = Duration::from_millis(38);

/// A proxy with a shared limit in each of the three steps, and a client that has a key.
struct Three {
    proxy: Proxy,
    key: String,
    client: Connection,
    _origin: Origin,
}

impl Three {
    async fn start(redis: &Path, engine: &str) -> Self {
        let origin = Origin::start(|seen| Answer::status(if seen.target == "/busy" { 503 } else { 200 })).await;
        let limit = |name: &str, key: &str| {
            format!("[limits.{name}]\nrequests = 1000000\nwindow = \"1h\"\nkey = \"{key}\"\nstore = \"redis\"\n")
        };
        let limits =
            [("address", "ip"), ("caller", "user"), ("upstream", "upstream")].map(|(name, key)| limit(name, key));
        let text = format!(
            "{BOTH}[redis]\nurl = \"unix:{}\"\n[auth.partners]\ntype = \"api_key\"\nkeys = \"keys.toml\"\n{}\
             [upstreams.app]\nbackends = \"{origin}\"\noutlier = false\nretries = {{ attempts = 3, on = [\"503\"] }}\n\
             [routes.app]\npath = \"/*\"\nupstream = \"app\"\nauth = \"partners\"\nlimit = [\"address\", \"caller\", \"upstream\"]\n",
            redis.display(),
            limits.concat(),
        );
        let starter = Proxy::with(text).variable("MAITRED_ENGINE", engine);
        let added = ["key", "add", "acme", "--file", "keys.toml"];
        let key = testkit::maitred(starter.folder(), added).await.expect(0).stdout.trim().to_owned();
        let proxy = starter.start().await;
        proxy.printed("redis: connected to").await;
        let client = proxy.connect().await;
        let mut three = Self { proxy, key, client, _origin: origin };
        three.ready().await;
        three
    }

    async fn ask(&mut self, target: &str) -> (u16, Duration) {
        let request = Request::get(target).header("X-API-Key", &self.key);
        let began = Instant::now();
        let status = self.client.fetch(request).await.status;
        (status, began.elapsed())
    }

    /// Asks ten times while Redis is held up: each time the answer waits for as long as one step does, and once at least for
    /// no more.
    async fn held_up(&mut self, hold: impl Fn(), let_go: impl Fn(), one: Duration) {
        let mut fastest = Duration::MAX;
        for _ in 0..10 {
            self.ready().await;
            hold();
            let (status, took) = self.ask("/").await;
            let_go();
            assert_eq!(status, 200);
            assert!(took >= one, "it has not waited at all: {took:?}");
            fastest = fastest.min(took);
        }
        println!("{fastest:?} with three limits");
        assert!(fastest < ALLOWED, "{fastest:?}");
    }

    async fn missed(&self) -> f64 {
        let mut all = 0.0;
        for limit in ["address", "caller", "upstream"] {
            all += self.proxy.metric("limit_total", &[("limit", limit), ("result", "store_error")]).await;
        }
        all
    }

    /// Waits until Redis answers all that a request asks it.
    async fn ready(&mut self) {
        within("Redis to answer in time", async {
            loop {
                let before = self.missed().await;
                assert_eq!(self.ask("/").await.0, 200);
                let up = self.proxy.admin("/api/v1/status").await.expect(200).json()["redis"]["up"] == true;
                if up && self.missed().await == before {
                    return;
                }
            }
        })
        .await;
    }
}

/// Stands before a Redis and tells what it says later than it did, by so many milliseconds.
fn slow(redis: PathBuf, place: &Path) -> Arc<AtomicU64> {
    let listener = UnixListener::bind(place).unwrap();
    let millis = Arc::new(AtomicU64::new(0));
    let late = millis.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = UnixStream::connect(&redis).await else { continue };
            let (mut asks, mut hears) = client.into_split();
            let (mut says, mut asked) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
            let late = late.clone();
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = says.read(&mut piece).await {
                    tokio::time::sleep(Duration::from_millis(late.load(Relaxed))).await;
                    if hears.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    millis
}

fn questions(redis: &Redis) -> usize {
    let stats = redis.cli(&["info", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn limits_of_three_steps_together_wait_20_ms_for_a_redis_that_hangs() {
    let redis = Redis::start().await;
    for engine in ENGINES {
        let mut three = Three::start(&redis.socket(), engine).await;
        let keys = redis.cli(&["keys", "*"]);
        assert!(
            ["address", "caller", "upstream"].iter().all(|name| keys.contains(&format!("limit:{name}:"))),
            "{keys}"
        );
        let (stop, go_on) = (|| redis.signal("STOP"), || redis.signal("CONT"));
        three.held_up(stop, go_on, Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_slow_redis_takes_for_one_step_is_not_there_for_the_next() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    for engine in ENGINES {
        let place = folder.path().join(format!("slow{engine}.sock"));
        let millis = slow(redis.socket(), &place);
        let mut three = Three::start(&place, engine).await;
        let (delay, go_on) = (|| millis.store(18, Relaxed), || millis.store(0, Relaxed));
        three.held_up(delay, go_on, Duration::from_millis(18)).await;
    }
}

#[tokio::test]
async fn attempts_that_are_tried_again_have_no_time_of_their_own_for_redis() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    for engine in ENGINES {
        let place = folder.path().join(format!("slow{engine}.sock"));
        let millis = slow(redis.socket(), &place);
        let mut three = Three::start(&place, engine).await;
        // Where it answers at once, each of four attempts is a question. On a busy machine it may take its 20 ms.
        let all_ask = async {
            loop {
                let before = questions(&redis);
                assert_eq!(three.ask("/busy").await.0, 503);
                match questions(&redis) - before {
                    6 => break,
                    fewer => assert!(fewer < 6, "{fewer} questions"),
                }
                three.ready().await;
            }
        };
        within("each attempt to ask", all_ask).await;
        three.ready().await;
        let before = questions(&redis);
        millis.store(18, Relaxed);
        assert_eq!(three.ask("/busy").await.0, 503);
        millis.store(0, Relaxed);
        let asked = questions(&redis) - before;
        assert!((1..=2).contains(&asked), "{asked} questions");
    }
}
