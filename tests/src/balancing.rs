//! Which backend takes a request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use testkit::{Answer, Gate, Origin, Proxy, Request, within};

use crate::setting::{BOTH, TRUSTING};

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
