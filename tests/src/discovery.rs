//! Backends that are found while the server runs.

use std::{fmt::Display, fs, path::Path};

use testkit::{Answer, Gate, Origin, Proxy, Request, within};

use crate::setting::BOTH;

/// Writes a file as something else would that does it well: beside, and then into its place.
fn write(folder: &Path, backends: &[&dyn Display]) {
    let list: Vec<String> = backends.iter().map(|backend| format!("\"{backend}\"")).collect();
    let beside = folder.join("backends.new");
    fs::write(&beside, format!("backends = [{}]\n", list.join(", "))).unwrap();
    fs::rename(beside, folder.join("backends.toml")).unwrap();
}

fn discovering(discover: &str) -> String {
    format!("{BOTH}[upstreams.app]\ndiscover = \"{discover}\"\n[routes]\n\"/*\" = \"app\"\n")
}

async fn found(proxy: &Proxy, count: f64) {
    proxy.until_metric("discovery_backends", &[("upstream", "app"), ("provider", "file")], count).await;
}

#[tokio::test]
async fn a_file_of_backends_is_followed_without_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Origin::text("one").await, Origin::text("two").await);
    write(folder.path(), &[&one]);
    let discover = format!("file://{}?refresh=50ms", folder.path().join("backends.toml").display());
    let proxy = Proxy::start(discovering(&discover)).await;
    let h2 = proxy.h2c().await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "one");
    write(folder.path(), &[&one, &two]);
    found(&proxy, 2.0).await;
    let mut answers: Vec<String> = Vec::new();
    for _ in 0..2 {
        answers.push(proxy.get("/").await.expect(200).text());
        answers.push(h2.fetch(Request::get("/")).await.expect(200).text());
    }
    answers.sort();
    assert_eq!(answers, ["one", "one", "two", "two"]);
    let status = proxy.command(["status", "--json"]).await.expect(0).stdout;
    assert!(status.contains(&two.socket().to_string()), "{status}");

    fs::write(folder.path().join("backends.toml"), "backends = []\n").unwrap();
    let errors = [("upstream", "app"), ("provider", "file")];
    proxy.until_metric("discovery_errors_total", &errors, 1.0).await;
    proxy.printed("it lists no backend; 2 backends stay in use").await;
    proxy.get("/").await.expect(200);

    write(folder.path(), &[&two]);
    proxy.printed("has 1 backends now, 2 before").await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.expect(200).text(), "two");
    }
    assert_eq!(proxy.metric("discovery_backends", &[("upstream", "app")]).await, 1.0);
    for n in 0..20 {
        let origin = Origin::text("one of many").await;
        write(folder.path(), &[&origin, &two]);
        within("it to be used", async { while proxy.get("/").await.expect(200).text() != "one of many" {} }).await;
        let metrics = proxy.metrics().await;
        let told = metrics.lines().filter(|line| line.starts_with("maitred_backend_up")).count();
        // What is gone is not told of, but for the moment in which a request brings it back.
        assert!(told <= 3, "{told} backends after {n} changes");
    }
    write(folder.path(), &[&two]);
    found(&proxy, 1.0).await;
    assert!(!proxy.metrics().await.contains(&one.socket().to_string()));
    assert_eq!(proxy.metric("config_reloads_total", &[]).await, 0.0);
    let told = proxy.command(["reload"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "two", "{told:?}");
}

#[tokio::test]
async fn requests_under_way_go_on_when_their_backend_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    let (slow, other) = (Origin::start(move |_| Answer::text("slow").after(&held)).await, Origin::text("other").await);
    write(folder.path(), &[&slow]);
    let discover = format!("file://{}?refresh=50ms", folder.path().join("backends.toml").display());
    let proxy = Proxy::start(discovering(&discover)).await;
    let (answer, ()) = tokio::join!(proxy.get("/"), async {
        slow.request().await;
        write(folder.path(), &[&other]);
        proxy.printed("has 1 backends now").await;
        assert_eq!(proxy.get("/").await.expect(200).text(), "other");
        gate.open();
    });
    assert_eq!(answer.expect(200).text(), "slow");
}

#[tokio::test]
async fn a_name_is_looked_for() {
    let origin = Origin::builder().h2c().start(|_| Answer::text("found")).await;
    let proxy = Proxy::start(discovering(&format!("dns://localhost:{}?scheme=h2c", origin.port()))).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "found");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_refuses_a_start() {
    let exit = Proxy::with(discovering("file:///nowhere/backends.toml")).refused().await.expect(3);
    assert!(exit.stderr.contains("error[E0701]") && exit.stderr.contains("No such file"), "{exit:?}");
    let both = discovering("dns://localhost:1").replace("discover", "backends = \"http://a\"\ndiscover");
    let exit = Proxy::with(both).refused().await.expect(3);
    assert!(exit.stderr.contains("an upstream has either `backends` or `discover`"), "{exit:?}");
}
