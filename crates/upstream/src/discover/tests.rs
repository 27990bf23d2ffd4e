//! Backends that come and go: by DNS from a name server of the test's own, asked as any other, and by a file.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use document::{At, Report};
use telemetry::{Build, Metrics};
use tempfile::TempDir;
use tokio::{net::UdpSocket, task};

use super::*;
use crate::{Config, Upstream, compile, resolve::System};

const SOON: Duration = Duration::from_secs(20);

/// A name, and the type of record that is asked for.
type Question = (String, u16);

/// What a name server knows: by name and type, each with its data as it is sent.
#[derive(Debug, Clone, Default)]
struct Zone(Arc<Mutex<HashMap<Question, Vec<Vec<u8>>>>>);

const A: u16 = 1;
const SRV: u16 = 33;

impl Zone {
    /// Says that `name` offers these services: priority, weight, port, target.
    fn offers(&self, name: &str, services: &[(u16, u16, u16, &str)]) {
        let encode = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let mut record = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
            record.extend(labels(target));
            record
        };
        self.0.lock().unwrap().insert((name.into(), SRV), services.iter().map(encode).collect());
    }

    fn host(&self, name: &str) {
        self.0.lock().unwrap().insert((name.into(), A), vec![Ipv4Addr::LOCALHOST.octets().to_vec()]);
    }

    /// A name server for it. Every record holds for a second.
    async fn serve(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                socket.send_to(&zone.answer(&query[..length]), client).await.unwrap();
            }
        });
        address
    }

    /// RFC 1035 section 4.
    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
        let kind = u16::from_be_bytes([query[end], query[end + 1]]);
        let (mut name, mut rest) = (Vec::new(), &query[12..end]);
        while let [length, tail @ ..] = rest
            && *length > 0
        {
            name.push(String::from_utf8_lossy(&tail[..usize::from(*length)]).to_lowercase());
            rest = &tail[usize::from(*length)..];
        }
        let name = name.join(".");
        let known = self.0.lock().unwrap();
        let exists = known.iter().any(|((other, _), records)| *other == name && !records.is_empty());
        let records = known.get(&(name, kind)).cloned().unwrap_or_default();
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, if exists { 0x80 } else { 0x83 }, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend(&query[12..end + 4]);
        for record in records {
            answer.extend([0xC0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 1]);
            answer.extend((record.len() as u16).to_be_bytes());
            answer.extend(record);
        }
        answer
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        encoded.push(label.len() as u8);
        encoded.extend(label.as_bytes());
    }
    encoded.push(0);
    encoded
}

struct Setting {
    state: State,
    metrics: Metrics,
    folder: TempDir,
}

impl Setting {
    async fn new(zone: &Zone) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(System::asking(zone.serve().await, folder.path()));
        Self { state, metrics: Metrics::new(&Build { version: "", revision: "", rustc: "", tls: "" }), folder }
    }

    fn upstream(&self, discover: &str) -> Result<Upstream, String> {
        let config = Config { discover: Some(discover.into()), ..Config::default() };
        let mut report = Report::new();
        let compiled = compile(&config, "app", &At::root(), &self.state, &self.metrics, &mut report);
        compiled.ok_or_else(|| report.diagnostics().iter().map(|one| format!("{one:?}")).collect())
    }

    fn metric(&self, name: &str, provider: &str) -> f64 {
        let start = format!("maitred_{name}{{provider=\"{provider}\",upstream=\"app\"}} ");
        self.metrics.encode().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(-1.0)
    }
}

/// The backends that get requests. There always is one.
fn used(upstream: &Upstream) -> BTreeSet<String> {
    (0..20).map(|_| upstream.pick(&[]).expect("never without a backend").label().to_string()).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "waited in vain for {what}");
        task::yield_now().await;
    }
}

fn set<const N: usize>(labels: [&str; N]) -> BTreeSet<String> {
    labels.map(String::from).into()
}

#[tokio::test]
async fn srv_records_are_followed_and_the_last_good_ones_stay() {
    let zone = Zone::default();
    ["a.test", "b.test", "c.test"].iter().for_each(|host| zone.host(host));
    zone.offers("_http._tcp.app.test", &[(1, 5, 81, "a.test."), (1, 5, 82, "b.test."), (2, 5, 83, "c.test.")]);
    let setting = Setting::new(&zone).await;
    let app = setting.upstream("srv://_http._tcp.app.test").unwrap();
    assert_eq!(setting.state.first_resolution(SOON).await, [""; 0].map(Box::from));
    app.goes_live();
    assert_eq!(used(&app), set(["a.test:81", "b.test:82"]), "the lowest priority");
    assert_eq!(app.backends().len(), 3);
    let held = app.pick(&[]).unwrap();

    zone.offers("_http._tcp.app.test", &[(1, 5, 84, "c.test.")]);
    until("the new backend", || used(&app) == set(["c.test:84"])).await;
    assert_eq!(setting.metric("discovery_backends", "srv"), 1.0);
    assert_eq!(held.address().unwrap().ip(), Ipv4Addr::LOCALHOST, "what is under way goes on");

    for nothing in [&[][..], &[(1, 1, 1, ".")]] {
        zone.offers("_http._tcp.app.test", nothing);
        let before = setting.metric("discovery_errors_total", "srv");
        until("an error to be counted", || setting.metric("discovery_errors_total", "srv") > before).await;
        assert_eq!(used(&app), set(["c.test:84"]), "never from some to none");
    }
    // A host that has no address takes the place of nobody.
    zone.offers("_http._tcp.app.test", &[(1, 5, 84, "c.test."), (1, 5, 85, "nobody.test.")]);
    until("both to be listed", || app.backends().len() == 2).await;
    assert_eq!(used(&app), set(["c.test:84"]));
}

#[tokio::test]
async fn what_was_found_outlives_a_reload() {
    let zone = Zone::default();
    zone.host("a.test");
    zone.offers("_http._tcp.app.test", &[(1, 5, 81, "a.test.")]);
    let setting = Setting::new(&zone).await;
    let first = setting.upstream("srv://_http._tcp.app.test?scheme=h2c").unwrap();
    setting.state.first_resolution(SOON).await;
    assert!(first.speaks_h2());
    zone.offers("_http._tcp.app.test", &[]);
    let second = setting.upstream("srv://_http._tcp.app.test?scheme=h2c").unwrap();
    assert_eq!(used(&second), set(["a.test:81"]), "without waiting for anybody");
}

#[tokio::test]
async fn a_host_name_is_all_its_addresses_and_looked_up_as_often_as_is_said() {
    let zone = Zone::default();
    let setting = Setting::new(&zone).await;
    let app = setting.upstream("dns://a.test:81?refresh=20ms").unwrap();
    assert_eq!(setting.state.first_resolution(SOON).await, ["a.test".into()]);
    until("errors", || setting.metric("discovery_errors_total", "dns") >= 1.0).await;
    assert!(app.pick(&[]).is_none());
    zone.host("a.test");
    until("an address", || app.pick(&[]).is_some()).await;
    assert_eq!(setting.metric("discovery_backends", "dns"), 1.0);
}

#[tokio::test]
async fn a_successor_begins_with_what_srv_records_have_said() {
    const NAME: &str = "_http._tcp.app.test";
    let zone = Zone::default();
    ["a.test", "b.test", "c.test"].iter().for_each(|host| zone.host(host));
    zone.offers(NAME, &[(10, 1, 81, "a.test."), (10, 9, 82, "b.test."), (20, 0, 83, "c.test.")]);
    let old = Setting::new(&zone).await;
    let before = old.upstream("srv://_http._tcp.app.test").unwrap();
    old.state.first_resolution(SOON).await;
    assert_eq!(before.backends().len(), 3);

    let down = Zone::default();
    let new = Setting::new(&down).await;
    new.state.import(&old.state.export()).unwrap();
    let after = new.upstream("srv://_http._tcp.app.test?scheme=h2c&refresh=10ms").unwrap();
    let told = |upstream: &Upstream| {
        let one = |backend: Arc<crate::Backend>| (backend.label.to_string(), backend.weight, backend.rank);
        upstream.backends().map(one).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(&before), "at once");
    assert!(after.backends().all(|backend| backend.is_resolved() && backend.protocol.is_h2()));
    assert_eq!(new.state.first_resolution(SOON).await, [""; 0].map(Box::from));
    after.goes_live();
    assert!(new.metric("discovery_errors_total", "srv") >= 1.0, "nobody has told the new process");
    assert_eq!(used(&after), set(["a.test:81", "b.test:82"]));
    let other = new.upstream("srv://_http._tcp.app.test?scheme=h2c").unwrap();
    assert_eq!(told(&other), told(&before), "how often it is looked at is another matter");

    down.host("a.test");
    down.offers(NAME, &[(1, 1, 84, "a.test.")]);
    until("its own look", || used(&after) == set(["a.test:84"])).await;
}

#[tokio::test]
async fn a_file_is_followed_and_its_last_good_state_stays() {
    let setting = Setting::new(&Zone::default()).await;
    let path = setting.folder.path().join("app.toml");
    let discover = format!("file://{}?refresh=10ms", path.display());
    assert!(setting.upstream(&discover).unwrap_err().contains("No such file"));
    fs::write(&path, "backends = [").unwrap();
    assert!(setting.upstream(&discover).unwrap_err().contains("line 1"), "{:?}", setting.upstream(&discover));
    let (one, two) = ("\"http://10.0.0.1:80\"", "{ url = \"http://10.0.0.2:80\", weight = 2 }");
    fs::write(&path, format!("backends = {one}\n")).unwrap();
    let app = setting.upstream(&discover).unwrap();
    assert_eq!(used(&app), set(["10.0.0.1:80"]), "at once");
    setting.state.first_resolution(SOON).await;
    app.goes_live();
    let first = app.backends().next().unwrap();
    fs::write(&path, format!("backends = [{one}, {two}]\n")).unwrap();
    until("the second", || used(&app) == set(["10.0.0.1:80", "10.0.0.2:80"])).await;
    assert!(Arc::ptr_eq(&first, &app.backends().next().unwrap()), "what stays is the same as before");

    let mut errors = setting.metric("discovery_errors_total", "file");
    let bad = [
        "",
        "backends = []",
        "backends = [\"http://10.0.0.9:80\"",
        "backends = \"https://10.0.0.9:80\"",
        "backends = \"10.0.0.9\"",
        "backend = \"http://10.0.0.9:80\"",
    ];
    for text in bad {
        fs::write(&path, text).unwrap();
        until(text, || setting.metric("discovery_errors_total", "file") > errors).await;
        errors = setting.metric("discovery_errors_total", "file");
        assert_eq!(used(&app), set(["10.0.0.1:80", "10.0.0.2:80"]), "{text}");
    }
    fs::write(&path, format!("backends = [{two}]\n")).unwrap();
    until("only the second", || used(&app) == set(["10.0.0.2:80"])).await;
    assert!(!setting.metrics.encode().contains("10.0.0.1:80"), "what is gone is told of no more");
}

#[tokio::test]
async fn what_is_nowhere_is_refused() {
    let setting = Setting::new(&Zone::default()).await;
    for (wrong, why) in [
        ("users", "expected `dns://`"),
        ("consul://a", "expected `dns://`"),
        ("dns://10.0.0.1:80", "an address needs no looking for"),
        ("dns://a:0", "a port is a number"),
        ("dns://a?scheme=ftp", "`ftp` is not a scheme"),
        ("dns://a?refresh=5", "is not a duration"),
        ("dns://a?x=1", "`x=1` is not known"),
        ("srv://a b", "not a name that DNS can carry"),
        ("file://users.toml", "the path begins with a slash"),
    ] {
        let report = setting.upstream(wrong).unwrap_err();
        assert!(report.contains("E0701") && report.contains(why), "{wrong}: {report}");
    }
}
