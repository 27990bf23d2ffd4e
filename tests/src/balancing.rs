//! Which backend takes a request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use testkit::{Answer, Gate, Origin, Proxy, Request, maitred, within};

use crate::setting::{BOTH, TRUSTING, until_under_way};

/// Origins that answer with their own number.
async fn numbered(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for n in 0..count {
        origins.push(Origin::start(move |_| Answer::text(n.to_string())).await);
    }
    origins
}

fn configured(head: &str, origins: &[Origin], lines: &str) -> String {
    let list: Vec<String> = origins.iter().map(|origin| format!("\"{origin}\"")).collect();
    format!("{head}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes]\n\"/*\" = \"app\"\n", list.join(", "))
}

/// Who answers requests that `make` makes out of their number.
async fn answers(proxy: &Proxy, count: usize, make: impl Fn(usize) -> Request) -> Vec<String> {
    let mut answers = Vec::new();
    for n in 0..count {
        answers.push(proxy.fetch(make(n)).await.expect(200).text());
    }
    answers
}

#[tokio::test]
async fn every_policy_uses_every_backend() {
    let origins = numbered(3).await;
    // What is fast stays with `ewma`, which has a test of its own.
    for policy in ["round_robin", "random", "least_requests", "p2c", "hash:path"] {
        let proxy = Proxy::start(configured(BOTH, &origins, &format!("balance = \"{policy}\""))).await;
        let answers = answers(&proxy, 60, |n| Request::get(&format!("/{n}"))).await;
        let used: BTreeSet<_> = answers.into_iter().collect();
        assert_eq!(used.len(), 3, "{policy} uses {used:?}");
    }
}

/// Makes the request number `n` with the key `key`.
type Make = Box<dyn Fn(usize, usize) -> Request>;

#[tokio::test]
async fn the_same_key_goes_to_the_same_backend() {
    let origins = numbered(4).await;
    let with = |n: usize, name: &str, value: String| Request::get(&format!("/{n}")).header(name, &value);
    let keys: [(&str, Make); 4] = [
        ("hash:header:X-User", Box::new(move |n, key| with(n, "X-User", format!("user-{key}")))),
        ("hash:cookie:visitor", Box::new(move |n, key| with(n, "Cookie", format!("a=b; visitor=v{key}; c=d{n}")))),
        ("hash:ip", Box::new(move |n, key| with(n, "X-Forwarded-For", format!("198.51.100.{key}")))),
        ("hash:path", Box::new(|n, key| Request::get(&format!("/{key}?n={n}")))),
    ];
    for (policy, make) in keys {
        let proxy = Proxy::start(configured(TRUSTING, &origins, &format!("balance = \"{policy}\""))).await;
        let mut homes: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for n in 0..60 {
            let answer = proxy.fetch(make(n, n % 20)).await.expect(200).text();
            homes.entry(n % 20).or_default().insert(answer);
        }
        assert!(homes.values().all(|homes| homes.len() == 1), "{policy}: {homes:?}");
        assert!(homes.values().flatten().collect::<BTreeSet<_>>().len() > 1, "{policy} spreads the keys");
    }
}

#[tokio::test]
async fn keys_stay_where_they_are_when_another_backend_fails_and_when_it_is_back() {
    let mut origins = numbered(4).await;
    let proxy = Proxy::start(configured(BOTH, &origins, "balance = \"hash:path\"")).await;
    let path = |n: usize| Request::get(&format!("/{n}"));
    let before = answers(&proxy, 40, path).await;
    let address = origins.remove(3).stop().await.socket();
    let meanwhile = answers(&proxy, 40, path).await;
    for (before, meanwhile) in before.iter().zip(&meanwhile) {
        assert!(before == meanwhile || before == "3");
    }
    let _back = Origin::builder().at(address).start(|_| Answer::text("3")).await;
    let home = before.iter().position(|answer| answer == "3").expect("a key whose backend is the fourth");
    within("the fourth to be back", async { while proxy.fetch(path(home)).await.text() != "3" {} }).await;
    assert_eq!(answers(&proxy, 40, path).await, before);
}

#[tokio::test]
async fn the_idle_backend_takes_the_request() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::start(move |_| Answer::status(200).chunk("slow").wait(&held)).await;
    let quick = Origin::text("quick").await;
    let origins = [slow, quick];
    let proxy = Proxy::start(configured(BOTH, &origins, "balance = \"least_requests\"")).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = proxy.connect().await;
        connection.start(&Request::get("/")).await;
        connection.answer_head().await;
        connections.push(connection);
    }
    // At most one of the three is at the slow one, unless all are: the next ones find it busy.
    for _ in 0..10 {
        until_under_way(&proxy, origins[0].requests().len() as u64).await;
        assert_eq!(proxy.get("/").await.expect(200).text(), "quick");
    }
    gate.open();
}

/// How long each of `count` requests takes, of which `at_once` are under way at a time.
async fn times(proxy: &Proxy, count: usize, at_once: usize) -> Vec<Duration> {
    let each = (0..at_once).map(|_| async {
        let mut connection = proxy.connect().await;
        let mut times = Vec::new();
        for _ in 0..count / at_once {
            let began = Instant::now();
            connection.fetch(Request::get("/")).await.expect(200);
            times.push(began.elapsed());
        }
        times
    });
    let mut times: Vec<Duration> = futures::future::join_all(each).await.concat();
    times.sort();
    times
}

/// An answer that takes fifty times as long as others do on a machine that is busy with other tests.
fn slowly() -> Answer {
    let gate = Gate::new();
    let clock = gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        clock.open();
    });
    Answer::text("slow").after(&gate)
}

#[tokio::test]
async fn one_slow_backend_of_four_is_hardly_noticed() {
    let mut origins = numbered(3).await;
    origins.push(Origin::start(|_| slowly()).await);
    for policy in ["p2c", "ewma", "least_requests"] {
        let proxy = Proxy::start(configured(BOTH, &origins, &format!("balance = \"{policy}\""))).await;
        let before = origins[3].requests().len();
        let times = times(&proxy, 1_000, 20).await;
        let share = origins[3].requests().len() - before;
        assert!(share < 120, "{policy}: {share} of 1,000 requests went to the slow one, median {:?}", times[500]);
    }
    let proxy = Proxy::start(configured(BOTH, &origins, "")).await;
    let before = origins[3].requests().len();
    times(&proxy, 200, 20).await;
    assert_eq!(origins[3].requests().len() - before, 50, "round robin goes by turns");
}

/// The median, and the longest but for one in a hundred, of requests before four backends of which one takes `slow` and the
/// others `fast`.
async fn p50_and_p99(policy: &str, fast: Duration, slow: Duration) -> (Duration, Duration) {
    let taking = |time: Duration| {
        move |_: &testkit::Seen| {
            let gate = Gate::new();
            let clock = gate.clone();
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                clock.open();
            });
            Answer::text("x").after(&gate)
        }
    };
    let mut origins = Vec::new();
    for time in [fast, fast, fast, slow] {
        origins.push(Origin::start(taking(time)).await);
    }
    let proxy = Proxy::start(configured(BOTH, &origins, &format!("balance = \"{policy}\""))).await;
    // Who has learnt nothing yet finds out first.
    times(&proxy, 200, 10).await;
    let times = times(&proxy, 1_500, 10).await;
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[tokio::test]
async fn the_slowest_of_a_hundred_does_not_feel_one_backend_that_is_fifty_times_slower() {
    const FAST: Duration = Duration::from_millis(20);
    for policy in ["p2c", "ewma"] {
        // Other tests share the machine: what holds on a quiet one holds in one of a few tries.
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (median, without) = p50_and_p99(policy, FAST, FAST).await;
            let (_, with) = p50_and_p99(policy, FAST, 50 * median).await;
            seen.push((with, without));
            if with <= 2 * without {
                break;
            }
        }
        assert!(seen.iter().any(|(with, without)| *with <= 2 * *without), "{policy}: with and without {seen:?}");
    }
}

#[tokio::test]
async fn a_route_goes_to_the_backends_that_it_names_by_their_labels() {
    let mut origins = numbered(4).await;
    let labels = ["version = \"1\"", "version = \"2\"", "version = \"2\", region = \"eu\"", ""];
    let text = |origins: &[Origin], lines: &str| {
        let backend = |(origin, labels): (&Origin, &str)| format!("{{ url = \"{origin}\", labels = {{ {labels} }} }}");
        let list: Vec<String> = origins.iter().zip(labels).map(backend).collect();
        format!(
            "{BOTH}[upstreams.app]\nbackends = [{}]\n{lines}\n[routes]\n\"/*\" = \"app\"\n\
             [routes.two]\npath = \"/2/*\"\nupstream = \"app\"\nsubset = {{ version = \"2\" }}\n\
             [routes.eu]\npath = \"/eu/*\"\nupstream = \"app\"\nsubset = {{ version = \"2\", region = \"eu\" }}\n",
            list.join(", ")
        )
    };
    let used = async |proxy: &Proxy, path: &str| {
        let answers = answers(proxy, 60, |n| Request::get(&format!("{path}{n}"))).await;
        answers.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().concat()
    };
    for policy in ["round_robin", "hash:path", "least_requests"] {
        let proxy = Proxy::start(text(&origins, &format!("balance = \"{policy}\""))).await;
        assert_eq!((used(&proxy, "/2/").await, used(&proxy, "/eu/").await), ("12".into(), "2".into()), "{policy}");
        assert_eq!(used(&proxy, "/").await, "0123", "{policy}");
    }
    let proxy = Proxy::start(text(&origins, "retries = 2\nsticky = \"cookie:at\"")).await;
    let told = proxy.command(["explain", "GET", "/eu/x"]).await.expect(0).stdout;
    let line = told.lines().find(|line| line.contains(" upstream ")).unwrap();
    assert!(line.contains(&origins[2].port().to_string()), "{told}");
    assert!(!line.contains(&origins[0].port().to_string()), "{told}");
    assert!(told.contains("by the cookie `at`"), "{told}");
    // Who has been elsewhere is not taken out of the subset, and a subset that is down is down.
    let stray = loop {
        let answer = proxy.get("/").await.expect(200);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        if answer.text() == "3" {
            break cookie;
        }
    };
    assert_ne!(proxy.fetch(Request::get("/2/x").header("Cookie", &stray)).await.expect(200).text(), "3");
    let gone = origins.remove(2);
    gone.stop().await;
    assert_eq!(used(&proxy, "/2/").await, "1");
    proxy.get("/eu/x").await.expect(502);
    assert_eq!(used(&proxy, "/").await, "013");
    let one = Proxy::with(text(&origins[..1], "")).refused().await;
    assert!(one.stderr.contains("no backend of upstream `app` has these labels"), "{}", one.stderr);
}

#[tokio::test]
async fn a_backup_and_another_zone_are_used_in_need() {
    let mut origins = numbered(3).await;
    let text = format!(
        "{BOTH}[upstreams.app]\nprefer_zone = \"a\"\nbackends = [\n{{ url = \"{}\", zone = \"a\" }},\n\
         {{ url = \"{}\", zone = \"b\" }},\n{{ url = \"{}\", zone = \"a\", backup = true }}]\n[routes]\n\"/*\" = \"app\"\n",
        origins[0], origins[1], origins[2]
    );
    let proxy = Proxy::start(text).await;
    for expected in ["0", "1", "2"] {
        for _ in 0..5 {
            assert_eq!(proxy.get("/").await.expect(200).text(), expected);
        }
        origins.remove(0).stop().await;
    }
    proxy.get("/").await.expect_problem(502, "upstream_refused");
}

#[tokio::test]
async fn an_unknown_policy_is_refused_with_what_was_meant() {
    let origins = numbered(1).await;
    let exit = Proxy::with(configured(BOTH, &origins, "balance = \"least_conn\"")).refused().await;
    for told in ["error[E0108]: `least_conn` is not a balancing policy", "did you mean `least_requests`?"] {
        assert!(exit.stderr.contains(told), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn the_same_user_goes_to_the_same_backend_and_the_same_side() {
    let origins = numbered(4).await;
    let route = "[routes.app]\npath = \"/*\"\nauth = { type = \"api_key\", keys = \"keys.toml\" }\n";
    let hashed = configured(BOTH, &origins, "balance = \"hash:user\"");
    let hashed = hashed.replace("[routes]\n\"/*\" = \"app\"\n", &format!("{route}upstream = \"app\"\n"));
    let arms: Vec<String> = (0..4).map(|n| format!("[upstreams.arm-{n}]\nbackends = \"{}\"\n", origins[n])).collect();
    let split = "split = { arm-0 = 1, arm-1 = 1, arm-2 = 1, arm-3 = 1 }\nsticky = \"user\"\n";
    for text in [hashed, format!("{BOTH}{}{route}{split}", arms.concat())] {
        let starter = Proxy::with(text);
        let mut keys = Vec::new();
        for user in 0..12 {
            let name = format!("user-{user}");
            let told = maitred(starter.folder(), ["key", "add", &name, "--file", "keys.toml"]).await.expect(0);
            keys.push(told.stdout.trim().to_owned());
        }
        let proxy = starter.start().await;
        let mut homes: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for n in 0..48 {
            let request = Request::get(&format!("/{n}")).header("X-API-Key", &keys[n % 12]);
            let h2 = n % 24 >= 12;
            let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
            homes.entry(n % 12).or_default().insert(answer.expect(200).text());
        }
        assert!(homes.values().all(|homes| homes.len() == 1), "{homes:?}");
        assert!(homes.values().flatten().collect::<BTreeSet<_>>().len() > 1, "users are spread");
    }
}
