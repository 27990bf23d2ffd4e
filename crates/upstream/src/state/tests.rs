//! Names looked up in the background, by a resolver that the test answers for.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use document::{At, Report};
use telemetry::{Build, Metrics};
use tokio::sync::Notify;

use super::*;
use filter::Reason;

use crate::{Answer, Config, Fault, Pick, Reading, Upstream};

const SOON: Duration = Duration::from_secs(20);

/// Answers from a table that the test changes.
#[derive(Default)]
struct Table {
    answers: Mutex<HashMap<String, Result<Vec<IpAddr>, String>>>,
    asked: AtomicUsize,
    news: Notify,
}

struct Shared(Arc<Table>);

#[async_trait::async_trait]
impl Resolve for Shared {
    async fn resolve(&self, host: &str) -> Result<Answer, String> {
        self.0.asked.fetch_add(1, SeqCst);
        self.0.news.notify_waiters();
        let answer = self.0.answers.lock().unwrap().get(host).cloned();
        match answer {
            Some(answer) => answer.map(|addresses| Answer { addresses, ttl: Duration::ZERO }),
            None => std::future::pending().await,
        }
    }
}

impl Table {
    fn set(&self, host: &str, answer: Result<&[&str], &str>) {
        let answer = answer.map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()).map_err(str::to_owned);
        self.answers.lock().unwrap().insert(host.into(), answer);
    }

    /// Waits until `count` more lookups have begun.
    async fn asked_again(&self, count: usize) {
        let goal = self.asked.load(SeqCst) + count;
        let reached = async {
            loop {
                let news = self.news.notified();
                if self.asked.load(SeqCst) >= goal {
                    return;
                }
                news.await;
            }
        };
        time::timeout(SOON, reached).await.unwrap();
    }
}

fn state() -> (Arc<Table>, State) {
    let table = Arc::new(Table::default());
    (Arc::clone(&table), State::new(Shared(table)))
}

fn upstream(state: &State, url: &str) -> Upstream {
    let metrics = Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" });
    let config = Config::from_url(url);
    crate::compile(&config, "users", &At::root(), state, &metrics, &mut Report::new()).unwrap()
}

/// What an attempt says whose connection was refused.
fn refused(pick: &Pick) {
    let reading = Reading { reason: Reason::UpstreamRefused, fault: Fault::Backend, sent: false };
    pick.failed(reading, Duration::ZERO, true);
}

fn addresses(upstream: &Upstream) -> Vec<String> {
    let mut list: Vec<_> = upstream.backends().flat_map(|backend| backend.addresses()).map(|a| a.to_string()).collect();
    list.sort();
    list
}

#[tokio::test(start_paused = true)]
async fn all_addresses_of_a_name_are_used() {
    let (table, state) = state();
    table.set("users", Ok(&["10.0.0.1", "::1"]));
    let users = upstream(&state, "http://users:8080");
    assert_eq!(state.first_resolution(SOON).await, []);
    let taken: Vec<_> = (0..3).map(|_| users.pick(&[]).unwrap().address().unwrap().to_string()).collect();
    assert_eq!(taken, ["10.0.0.1:8080", "[::1]:8080", "10.0.0.1:8080"]);
    assert!(users.backends().all(|backend| &**backend.label() == "users:8080"));
}

#[tokio::test(start_paused = true)]
async fn the_first_resolution_is_waited_for_but_not_for_ever() {
    let (table, state) = state();
    table.set("bad", Err("no such name"));
    let _users = [upstream(&state, "http://silent"), upstream(&state, "http://bad")];
    let mut missing = state.first_resolution(SOON).await;
    missing.sort();
    assert_eq!(missing, [Box::from("bad"), Box::from("silent")]);
}

#[tokio::test(start_paused = true)]
async fn a_successor_begins_with_the_addresses_that_are_known() {
    let (table, old) = state();
    table.set("users", Ok(&["10.0.0.1", "10.0.0.2"]));
    let before = upstream(&old, "http://users:8080");
    assert_eq!(old.first_resolution(SOON).await, []);
    let (dead, new) = state();
    dead.set("users", Err("the name servers are down"));
    new.import(&old.export()).unwrap();
    let after = upstream(&new, "http://users:8080");
    assert_eq!(new.first_resolution(SOON).await, []);
    assert_eq!(addresses(&after), addresses(&before));
    dead.set("users", Ok(&["10.0.0.3"]));
    dead.asked_again(3).await;
    assert_eq!(addresses(&after), ["10.0.0.3:8080"]);
    let other = new.name("users", 8080, Some(Duration::from_secs(5)));
    assert_eq!(other.sockets(), ["10.0.0.3:8080".parse().unwrap()], "how often it is looked up is another matter");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_stay_when_lookups_fail() {
    let (table, state) = state();
    table.set("users", Ok(&["10.0.0.1"]));
    let users = upstream(&state, "http://users");
    state.first_resolution(SOON).await;
    table.set("users", Err("the name servers are down"));
    table.asked_again(3).await;
    assert_eq!(addresses(&users), ["10.0.0.1:80"]);
    table.set("users", Ok(&["10.0.0.2"]));
    table.asked_again(2).await;
    assert_eq!(addresses(&users), ["10.0.0.2:80"]);
    table.set("users", Ok(&[]));
    table.asked_again(2).await;
    assert_eq!(addresses(&users), ["10.0.0.2:80"], "an empty answer is none");
}

#[tokio::test(start_paused = true)]
async fn a_name_outlives_a_reload_and_ends_with_its_last_user() {
    let (table, state) = state();
    table.set("users", Ok(&["10.0.0.1"]));
    let old = upstream(&state, "http://users");
    state.first_resolution(SOON).await;
    let new = upstream(&state, "http://users");
    assert_eq!(addresses(&new), ["10.0.0.1:80"], "known at once");
    drop(old);
    state.start();
    table.asked_again(2).await;
    drop(new);
    let asked = table.asked.load(SeqCst);
    time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(table.asked.load(SeqCst), asked, "nobody asks any more");
    assert!(state.in_use().is_empty());
    for port in 0..1_000 {
        state.name("other", port, None);
    }
    assert!(state.0.names.lock().unwrap().len() < 20, "dead entries are swept");
}

#[tokio::test(start_paused = true)]
async fn another_address_is_tried_when_one_cannot_be_reached() {
    let (table, state) = state();
    table.set("users", Ok(&["10.0.0.1", "10.0.0.2"]));
    let users = upstream(&state, "http://users");
    state.first_resolution(SOON).await;
    let first = users.pick(&[]).unwrap();
    refused(&first);
    let tried = [first.endpoint()];
    assert!(users.has_another_address(&tried));
    let second = users.pick(&tried).unwrap();
    assert_ne!(second.endpoint(), first.endpoint());
    assert!(!users.has_another_address(&[first.endpoint(), second.endpoint()]));
    for _ in 0..5 {
        assert_eq!(users.pick(&[]).unwrap().endpoint(), second.endpoint(), "later requests avoid it at once");
    }
    refused(&second);
    assert!(users.pick(&[]).is_some(), "but rather it than none");
}
