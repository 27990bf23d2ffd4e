//! One of three backends fails in every way there is, while clients keep coming.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use testkit::{Answer, Framing, Gate, Origin, Proxy, Request, Seen, within};

use crate::setting::BOTH;

/// How large an answer is: several reads' worth.
const LENGTH: u64 = 100_000;

/// What the failing backend does.
const FAULTS: [&str; 6] = ["breaks off", "resets", "talks nonsense", "says nothing", "drips", "is overloaded"];

fn well(_: &Seen) -> Answer {
    Answer::generated(LENGTH)
}

fn ill(fault: u8) -> Answer {
    match FAULTS.get(usize::from(fault)) {
        Some(&"breaks off") => {
            Answer::status(200).framing(Framing::Length(LENGTH)).piece(testkit::pattern(0, 30_000)).closing()
        }
        Some(&"resets") => Answer::raw("").resetting(),
        Some(&"talks nonsense") => Answer::raw("\x00\x01nonsense\r\n\r\n").closing(),
        Some(&"says nothing") => Answer::hang(),
        Some(&"drips") => drips(),
        Some(_) => Answer::status(503),
        None => Answer::generated(LENGTH),
    }
}

/// A head that comes a byte at a time, and never to its end.
fn drips() -> Answer {
    let gates: Vec<Gate> = (0..40).map(|_| Gate::new()).collect();
    let head = Answer::raw("HTTP/1.1 200 OK\r\nX-Drops: ");
    let answer = gates.iter().fold(head, |answer, gate| answer.wait(gate).bytes("x")).hanging();
    tokio::spawn(async move {
        for gate in gates {
            tokio::time::sleep(Duration::from_millis(100)).await;
            gate.open();
        }
    });
    answer
}

/// What became of the requests of one fault.
#[derive(Default)]
struct Tally {
    whole: AtomicUsize,
    failed: AtomicUsize,
}

/// A client that asks until it is told to stop.
async fn client(proxy: &Proxy, tally: &Tally, stop: &AtomicBool, name: &str) {
    let mut n = 0;
    while !stop.load(Relaxed) {
        n += 1;
        let target = format!("/{name}-{n}");
        let request = if n % 3 == 0 { Request::post(&target, "order") } else { Request::get(&target) };
        let answer = proxy.fetch(request).await;
        let whole = answer.status == 200 && answer.body.complete;
        if whole {
            assert!(answer.body.length == LENGTH && answer.body.is_pattern, "a truncated answer ended as a whole one");
        } else if answer.status == 200 {
            assert!(!answer.body.complete);
        } else {
            assert!([502, 503, 504].contains(&answer.status), "{answer:?}");
        }
        if whole { &tally.whole } else { &tally.failed }.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_backend_that_fails_is_left_alone_and_no_answer_is_cut_short_in_silence() {
    let fault = Arc::new(AtomicU8::new(u8::MAX));
    let told = fault.clone();
    let failing = Origin::start(move |_| ill(told.load(Relaxed))).await;
    let (one, two) = (Origin::start(well).await, Origin::start(well).await);
    let proxy = Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [\"{failing}\", \"{one}\", \"{two}\"]\ntimeout = \"500ms\"\n\
         outlier = {{ consecutive_errors = 3, eject_for = \"1s\" }}\n[routes]\n\"/*\" = \"app\"\n"
    ))
    .await;
    for (number, name) in (0_u8..).zip(FAULTS) {
        fault.store(number, Relaxed);
        let (tally, stop) = (Tally::default(), AtomicBool::new(false));
        let clients = (0..6).map(|n| {
            let (proxy, tally, stop) = (&proxy, &tally, &stop);
            async move { client(proxy, tally, stop, &format!("{number}-{n}")).await }
        });
        let end = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            // A machine that does something else as well takes longer over as many.
            within("others to be answered", async {
                while tally.whole.load(Relaxed) <= 50 {
                    tokio::task::yield_now().await
                }
            })
            .await;
            stop.store(true, Relaxed);
        };
        tokio::join!(futures::future::join_all(clients), end);
        let (whole, failed) = (tally.whole.load(Relaxed), tally.failed.load(Relaxed));
        // Three errors in a row, and what was under way meanwhile, each time that it is tried again.
        assert!(failed <= 30, "a backend that {name}: {failed} failed and {whole} did not");
    }
    let mut orders: HashMap<String, usize> = HashMap::new();
    for seen in [&failing, &one, &two].into_iter().flat_map(Origin::requests).filter(|seen| seen.method == "POST") {
        *orders.entry(seen.target.clone()).or_default() += 1;
    }
    assert!(!orders.is_empty() && orders.values().all(|times| *times == 1), "a POST reached an origin twice");
}

/// GETs until they are told to stop. Each is answered; one whose backend goes away in the middle is not answered to its end.
async fn careful(proxy: &Proxy, stop: &AtomicBool, tally: &Tally) {
    while !stop.load(Relaxed) {
        let answer = proxy.get("/").await.expect(200);
        assert!(!answer.body.complete || answer.body.is_pattern && answer.body.length == LENGTH);
        if answer.body.complete { &tally.whole } else { &tally.failed }.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_backend_that_comes_and_goes_costs_what_it_has_begun() {
    const CLIENTS: usize = 4;
    const FLAPS: usize = 4;
    let (one, two) = (Origin::start(well).await, Origin::start(well).await);
    let flapping = Origin::start(well).await;
    let proxy = Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [\"{flapping}\", \"{one}\", \"{two}\"]\noutlier = false\n\
         retries = {{ attempts = 2, budget = \"100%\" }}\n[routes]\n\"/*\" = \"app\"\n"
    ))
    .await;
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let clients = (0..CLIENTS).map(|_| careful(&proxy, &stop, &tally));
    let flaps = async {
        let mut address = flapping.stop().await.socket();
        for _ in 0..FLAPS {
            let before = tally.whole.load(Relaxed);
            while tally.whole.load(Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
            let began = Instant::now();
            let back = Origin::builder().at(address).start(well).await;
            // Four times a second it is tried whether it can be connected to.
            back.request().await;
            assert!(began.elapsed() < Duration::from_secs(3), "back after {:?}", began.elapsed());
            address = back.stop().await.socket();
        }
        stop.store(true, Relaxed);
    };
    tokio::join!(futures::future::join_all(clients), flaps);
    let lost = tally.failed.load(Relaxed);
    assert!(lost <= CLIENTS * (FLAPS + 1), "{lost} answers were broken off");
}

#[tokio::test]
async fn a_backend_that_stalls_in_the_middle_holds_up_only_who_is_there() {
    let stalls = |_: &Seen| Answer::status(200).chunk("x").wait(&Gate::new()).chunk("y");
    let stalling = Origin::start(stalls).await;
    let (one, two) = (Origin::start(well).await, Origin::start(well).await);
    let proxy = Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [\"{stalling}\", \"{one}\", \"{two}\"]\nbalance = \"least_requests\"\n\
         timeout = \"500ms\"\noutlier = {{ consecutive_errors = 2, eject_for = \"60s\" }}\n[routes]\n\"/*\" = \"app\"\n"
    ))
    .await;
    let (mut whole, mut cut) = (0, 0);
    for _ in 0..10 {
        for answer in futures::future::join_all((0..6).map(|_| proxy.get("/"))).await {
            assert_eq!(answer.status, 200);
            if answer.body.complete {
                whole += 1
            } else {
                cut += 1
            }
            assert!(!answer.body.complete || answer.body.length == LENGTH, "a truncated answer ended as a whole one");
        }
    }
    assert!(whole >= 50 && (1..=10).contains(&cut), "{cut} were cut, {whole} were not");
}

#[tokio::test]
async fn processes_that_are_killed_or_stopped_cost_what_they_held() {
    const CLIENTS: usize = 6;
    let text = "[listeners.http]\naddress = \"127.0.0.1:0\"\n[routes.all]\npath = \"/*\"\nrespond = { body = \"x\" }\n";
    let backends = futures::future::join_all((0..4).map(|_| Proxy::start(text))).await;
    let urls: Vec<String> = backends.iter().map(|backend| format!("\"http://{}\"", backend.address())).collect();
    let proxy = Proxy::start(format!(
        "{BOTH}[upstreams.app]\nbackends = [{}]\ntimeout = \"1s\"\n\
         health_check = {{ path = \"/\", interval = \"200ms\", timeout = \"200ms\", unhealthy = 2 }}\n\
         [routes]\n\"/*\" = \"app\"\n",
        urls.join(", ")
    ))
    .await;
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let clients = (0..CLIENTS).map(|_| async {
        while !stop.load(Relaxed) {
            let answer = proxy.get("/").await;
            let whole = answer.status == 200 && answer.body.complete;
            if whole { &tally.whole } else { &tally.failed }.fetch_add(1, Relaxed);
        }
    });
    let lost = || tally.failed.load(Relaxed);
    let up = async |count: f64| proxy.until_metric_is("backend_up", &[], count).await;
    let more = async |count: usize| {
        let goal = tally.whole.load(Relaxed) + count;
        within("more answers", async {
            while tally.whole.load(Relaxed) < goal {
                tokio::task::yield_now().await
            }
        })
        .await;
    };
    let faults = async {
        more(50).await;
        backends[0].signal("KILL").await;
        up(3.0).await;
        assert!(lost() <= CLIENTS, "{} were lost with a process that was killed", lost());
        let before = lost();
        backends[1].signal("STOP").await;
        up(2.0).await;
        // Each client waits for it once at most, since it is found out before that is over.
        within("the last of them to be answered", async { more(200).await }).await;
        assert!(lost() - before <= CLIENTS, "{} were lost with a process that was stopped", lost() - before);
        backends[2].signal("STOP").await;
        backends[3].signal("STOP").await;
        up(0.0).await;
        proxy.until_metric_is("upstream_panic", &[("upstream", "app")], 1.0).await;
        for backend in &backends[1..] {
            backend.signal("CONT").await;
        }
        up(3.0).await;
        proxy.until_metric_is("upstream_panic", &[("upstream", "app")], 0.0).await;
        let before = lost();
        more(200).await;
        assert!(lost() - before <= CLIENTS, "{} were lost when all were well again", lost() - before);
        stop.store(true, Relaxed);
    };
    tokio::join!(futures::future::join_all(clients), faults);
}
