//! Requests that wait for a place: who is within its share comes first, and nobody waits for ever.

use std::sync::{Arc, Mutex};

use futures::future::join_all;
use testkit::{Answer, Gate, Origin, Proxy, Request, Response, within};

use crate::setting::{BOTH, route};

/// An origin that answers nobody before the test lets it, one request after the other.
struct Slow {
    origin: Origin,
    gates: Arc<Mutex<Vec<Gate>>>,
}

impl Slow {
    async fn start() -> Self {
        let gates = Arc::<Mutex<Vec<Gate>>>::default();
        let held = gates.clone();
        let origin = Origin::start(move |_| {
            let gate = Gate::new();
            held.lock().unwrap().push(gate.clone());
            Answer::text("x").after(&gate)
        })
        .await;
        Self { origin, gates }
    }

    /// Lets the request go that came as the `index`th.
    fn let_go(&self, index: usize) {
        self.gates.lock().unwrap()[index].open();
    }
}

const PLACES: &str = "limit = { concurrent = 2, key = \"route\", over = \"delay\", max_delay = \"25s\", \
                      max_waiting = 3, fair_by = \"header:X-Who\" }";

fn ask(proxy: &Proxy, who: &str, path: &str) -> impl Future<Output = Response> + use<> {
    let (address, request) = (proxy.address().clone(), Request::get(path).header("X-Who", who));
    async move { testkit::Connection::to(&address).await.fetch(request).await }
}

async fn until_waiting(proxy: &Proxy, count: u64) {
    within("requests to wait", async {
        while proxy.admin("/api/v1/limits/app/keys/app").await.expect(200).json()["rules"][0]["waiting"] != count {}
    })
    .await;
}

#[tokio::test]
async fn who_is_within_its_share_comes_first_and_the_greedy_one_waits() {
    let slow = Slow::start().await;
    let proxy = Proxy::start(format!("{BOTH}{}", route(&slow.origin, PLACES))).await;
    let mut greedy = Vec::new();
    for number in 0..2 {
        greedy.push(tokio::spawn(ask(&proxy, "greedy", &format!("/greedy/{number}"))));
        slow.origin.nth(number).await;
    }
    for number in 2..5 {
        greedy.push(tokio::spawn(ask(&proxy, "greedy", &format!("/greedy/{number}"))));
        until_waiting(&proxy, number as u64 - 1).await;
    }
    // The queue is full: one more of the same has to go; one of somebody else takes the place of the newest.
    let refused = ask(&proxy, "greedy", "/greedy/5").await.expect_problem(429, "quota-exceeded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let modest = tokio::spawn(ask(&proxy, "modest", "/modest"));
    greedy.pop().unwrap().await.unwrap().expect(429);
    let told = proxy.command(["explain", "GET", "/", "--live"]).await.expect(0).stdout;
    assert!(told.contains("app: 0 of 2 places left, 3 waiting for app"), "{told}");

    // A place becomes free: it came last, and is served first.
    slow.let_go(0);
    assert_eq!(slow.origin.nth(2).await.target, "/modest");
    slow.let_go(2);
    modest.await.unwrap().expect(200);
    assert_eq!(slow.origin.nth(3).await.target, "/greedy/2");
    [1, 3].iter().for_each(|index| slow.let_go(*index));
    assert_eq!(slow.origin.nth(4).await.target, "/greedy/3");
    slow.let_go(4);
    for answer in join_all(greedy).await {
        answer.unwrap().expect(200);
    }
    let metric = async |result| proxy.metric("limit_total", &[("limit", "app"), ("result", result)]).await;
    assert_eq!((metric("allowed").await, metric("delayed").await, metric("limited").await), (2.0, 3.0, 2.0));
}

#[tokio::test]
async fn nobody_waits_longer_than_told_and_who_leaves_makes_room() {
    let slow = Slow::start().await;
    let limits =
        "limit = [{ concurrent = 1, key = \"route\", over = \"delay\", max_delay = \"300ms\" }, \"3/h per ip\"]";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&slow.origin, limits))).await;
    let first = tokio::spawn(ask(&proxy, "a", "/first"));
    slow.origin.nth(0).await;
    for _ in 0..4 {
        // It waited in vain, and counts for no other limit.
        let refused = ask(&proxy, "a", "/late").await.expect_problem(429, "quota-exceeded");
        assert_eq!(
            (refused.json()["violated-policies"][0].clone(), refused.header("retry-after")),
            ("app-1".into(), Some("1"))
        );
    }
    slow.let_go(0);
    first.await.unwrap().expect(200);
    // A place is free again, over HTTP/2 as well, and after a client that has left in the middle.
    let h2 = proxy.h2c().await;
    let (_, held) = h2.stream(Request::get("/gone")).await;
    slow.origin.nth(1).await;
    drop((held, h2));
    let last = tokio::spawn(async move {
        loop {
            let answer = ask(&proxy, "b", "/last").await;
            if answer.status == 200 || answer.json()["violated-policies"][0] == "app-2" {
                return (proxy, answer.status);
            }
        }
    });
    slow.origin.nth(2).await;
    slow.let_go(2);
    let (proxy, status) = within("the last one", last).await.unwrap();
    assert_eq!(status, 200);
    ask(&proxy, "b", "/more").await.expect(429);
}

#[tokio::test]
async fn who_leaves_while_it_waits_takes_no_place() {
    let slow = Slow::start().await;
    let limits = "limit = { concurrent = 1, key = \"route\", over = \"delay\", max_delay = \"25s\", max_waiting = 2 }";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&slow.origin, limits))).await;
    let first = tokio::spawn(ask(&proxy, "a", "/first"));
    slow.origin.nth(0).await;
    let waiting = async |count: u64| {
        let reading =
            async || proxy.admin("/api/v1/limits/app/keys/app").await.expect(200).json()["rules"][0]["waiting"].clone();
        within(format!("{count} to wait"), async { while reading().await != count {} }).await;
    };
    let mut h1 = proxy.connect().await;
    h1.start(&Request::get("/ghost")).await;
    let h2 = proxy.h2c().await;
    let ghost = h2.stream(Request::get("/ghost")).await;
    waiting(2).await;
    drop((h1, ghost, h2));
    waiting(0).await;
    assert_eq!(proxy.logged("/ghost").await["status"], 499);
    slow.let_go(0);
    first.await.unwrap().expect(200);
    assert_eq!(slow.origin.requests().len(), 1, "nobody is asked for who has left");
}

#[tokio::test]
async fn who_asks_for_an_upgrade_and_leaves_takes_no_place_either() {
    let slow = Slow::start().await;
    let limits = "limit = { concurrent = 1, key = \"route\", over = \"delay\", max_delay = \"25s\", max_waiting = 1 }";
    let proxy = Proxy::start(format!("{BOTH}{}", route(&slow.origin, limits))).await;
    let first = tokio::spawn(ask(&proxy, "a", "/first"));
    slow.origin.nth(0).await;
    let mut ghost = proxy.connect().await;
    let upgrade = "GET /ghost HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    ghost.send(upgrade).await;
    until_waiting(&proxy, 1).await;
    drop(ghost);
    until_waiting(&proxy, 0).await;
    assert_eq!(proxy.logged("/ghost").await["status"], 499);
    let next = tokio::spawn(ask(&proxy, "a", "/next"));
    until_waiting(&proxy, 1).await;
    slow.let_go(0);
    first.await.unwrap().expect(200);
    assert_eq!(slow.origin.nth(1).await.target, "/next");
    slow.let_go(1);
    next.await.unwrap().expect(200);
}

#[tokio::test]
async fn places_are_those_of_the_configuration_in_force() {
    let slow = Slow::start().await;
    let lines = |places: u32| route(&slow.origin, &PLACES.replace("concurrent = 2", &format!("concurrent = {places}")));
    let proxy = Proxy::start(format!("{BOTH}{}", lines(1))).await;
    let held = [tokio::spawn(ask(&proxy, "a", "/0")), tokio::spawn(ask(&proxy, "b", "/1"))];
    until_waiting(&proxy, 1).await;
    proxy.hang_up(format!("{BOTH}{}", lines(3))).await;
    // Who has a place under the old configuration has one under the new.
    let more = [tokio::spawn(ask(&proxy, "c", "/2")), tokio::spawn(ask(&proxy, "d", "/3"))];
    until_waiting(&proxy, 3).await;
    slow.let_go(0);
    // One ends, and three go on.
    slow.origin.nth(3).await;
    [1, 2, 3].iter().for_each(|index| slow.let_go(*index));
    for answer in join_all(held.into_iter().chain(more)).await {
        answer.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_tunnel_waits_for_its_place_and_keeps_it() {
    let origin = Origin::start(|_| Answer::websocket()).await;
    let limit = "limit = { concurrent = 1, key = \"route\", over = \"delay\", max_delay = \"25s\" }";
    let proxy = Arc::new(Proxy::start(format!("{BOTH}{}", route(&origin, limit))).await);
    let first = proxy.websocket("/first").await;
    let second = tokio::spawn({
        let proxy = proxy.clone();
        async move { drop(proxy.websocket("/second").await) }
    });
    until_waiting(&proxy, 1).await;
    assert_eq!(origin.requests().len(), 1);
    drop(first);
    within("the second to be let in", second).await.unwrap();
}

#[tokio::test]
async fn a_retry_does_not_wait_for_its_own_place() {
    let origin = Origin::text("x").await;
    for over in ["refuse", "delay"] {
        let text = format!(
            "{BOTH}[upstreams.paid]\nbackends = [\"http://{}\", \"{origin}\"]\nretries = 1\n[routes.app]\npath = \"/*\"\n\
             upstream = \"paid\"\nlimit = {{ concurrent = 1, key = \"upstream\", over = \"{over}\" }}\n",
            testkit::Address::refusing()
        );
        let proxy = Proxy::start(text).await;
        // On one connection each request begins when the one before has given its place back.
        let mut client = proxy.connect().await;
        for _ in 0..6 {
            client.fetch(Request::get("/")).await.expect(200);
        }
    }
}

#[tokio::test]
async fn two_that_wait_for_the_same_places_do_not_wait_for_each_other() {
    let slow = Slow::start().await;
    let limit = "concurrent = 1\nover = \"delay\"\nmax_delay = \"5s\"\nmax_waiting = 4\n";
    let route = |name: &str, limit: &str| {
        format!("[routes.{name}]\npath = \"/{name}\"\nupstream = \"{}\"\nlimit = {limit}\n", slow.origin)
    };
    let routes = [("a", "\"a\""), ("b", "\"b\""), ("one", "[\"a\", \"b\"]"), ("two", "[\"b\", \"a\"]")];
    let routes = routes.map(|(name, limit)| route(name, limit)).concat();
    let proxy = Proxy::start(format!("{BOTH}[limits.a]\n{limit}[limits.b]\n{limit}{routes}")).await;
    let mut held = Vec::new();
    for (number, path) in ["/a", "/b"].into_iter().enumerate() {
        held.push(tokio::spawn(ask(&proxy, "a", path)));
        slow.origin.nth(number).await;
    }
    held.extend(["/one", "/two"].map(|path| tokio::spawn(ask(&proxy, "a", path))));
    let waiting = async |limit: &str| {
        let reading = proxy.admin(&format!("/api/v1/limits/{limit}/keys/127.0.0.1")).await.expect(200).json();
        reading["rules"][0]["waiting"].as_u64().unwrap()
    };
    within("two to wait", async { while waiting("a").await + waiting("b").await != 2 {} }).await;
    // Both places become free at once, and each of the two wants both.
    [0, 1].iter().for_each(|index| slow.let_go(*index));
    for index in [2, 3] {
        slow.origin.nth(index).await;
        slow.let_go(index);
    }
    for answer in join_all(held).await {
        answer.unwrap().expect(200);
    }
}
