//! What is counted, under names that clients cannot multiply; and the admin address with its probes.

use testkit::{Connection, Gate, Proxy, Request};

use crate::setting::{before, echoing};

#[tokio::test]
async fn requests_are_counted_by_listener_route_method_and_code() {
    let (origin, proxy) = echoing("").await;
    for _ in 0..3 {
        proxy.get("/a").await.expect(200);
    }
    proxy.fetch(Request::post("/b", "hello")).await.expect(200);
    proxy.fetch(Request::new("BREW", "/c")).await.expect(200);
    // Counted first, then logged: what is in the log has been counted.
    proxy.access_log(5).await;
    let counted = async |labels: &[(&str, &str)]| proxy.metric("http_requests_total", labels).await;
    assert_eq!(counted(&[("listener", "http"), ("route", "app"), ("method", "GET"), ("code", "200")]).await, 3.0);
    assert_eq!(counted(&[("method", "POST")]).await, 1.0);
    assert_eq!(counted(&[("method", "_OTHER")]).await, 1.0);
    assert_eq!(proxy.metric("http_request_bytes_total", &[("route", "app")]).await, 5.0);
    assert!(proxy.metric("http_response_bytes_total", &[("route", "app")]).await > 100.0);
    assert_eq!(
        proxy.metric("http_request_duration_seconds_count", &[("route", "app"), ("code_class", "2xx")]).await,
        5.0
    );
    let backend = origin.socket().to_string();
    assert_eq!(proxy.metric("upstream_requests_total", &[("backend", &backend), ("code", "200")]).await, 5.0);
    assert_eq!(proxy.metric("upstream_request_duration_seconds_count", &[]).await, 5.0);
    assert!(proxy.metric("upstream_connect_duration_seconds_count", &[]).await >= 1.0);
    assert_eq!(proxy.metric("build_info", &[("version", env!("CARGO_PKG_VERSION"))]).await, 1.0);
    assert_eq!(proxy.metric("config_last_reload_successful", &[]).await, 1.0);
}

#[tokio::test]
async fn what_is_under_way_is_a_gauge() {
    let gate = Gate::new();
    let script = gate.clone();
    let (_origin, proxy) = before(move |_| testkit::Answer::text("x").after(&script)).await;
    let mut connection = proxy.connect().await;
    connection.start(&Request::get("/")).await;
    gate.reached().await;
    assert_eq!(proxy.metric("http_requests_in_flight", &[("route", "app")]).await, 1.0);
    assert_eq!(proxy.metric("connections", &[("listener", "http")]).await, 1.0);
    gate.open();
    connection.answer("GET").await.expect(200);
    proxy.access_log(1).await;
    assert_eq!(proxy.metric("http_requests_in_flight", &[("route", "app")]).await, 0.0);
    drop(connection);
    proxy.until_metric_is("connections", &[("listener", "http")], 0.0).await;
}

#[tokio::test]
async fn clients_cannot_multiply_series() {
    let (_origin, proxy) = echoing("").await;
    proxy.get("/").await.expect(200);
    proxy.fetch(Request::new("M0", "/")).await;
    proxy.get("/%2f").await;
    proxy.access_log(3).await;
    let before = proxy.metrics().await.lines().count();
    for n in 0..50 {
        let request = Request::new(&format!("M{n}"), &format!("/{n}")).host(&format!("h{n}.example"));
        proxy.fetch(request).await.expect(200);
    }
    proxy.access_log(53).await;
    assert_eq!(proxy.metrics().await.lines().count(), before);
}

#[tokio::test]
async fn the_page_is_what_prometheus_reads() {
    let (_origin, proxy) = echoing("").await;
    proxy.get("/").await.expect(200);
    proxy.access_log(1).await;
    let answer = proxy.admin("/metrics").await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let page = answer.text();
    for line in page.lines() {
        let fine = line.starts_with("# HELP ")
            || line.starts_with("# TYPE ")
            || line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(fine, "{line:?}");
    }
    assert!(page.contains("process_resident_memory_bytes") && page.contains("process_open_fds"));
    assert!(page.contains("maitred_http_request_duration_seconds_bucket{"));
}

#[tokio::test]
async fn probes_and_status_are_answered_on_the_admin_address() {
    let (origin, proxy) = echoing("").await;
    assert_eq!(proxy.admin("/health").await.expect(200).json()["status"], "healthy");
    assert_eq!(proxy.admin("/ready").await.expect(200).json()["status"], "ready");
    let status = proxy.admin("/api/v1/status").await.expect(200).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], proxy.pid());
    assert_eq!(status["listeners"][0]["name"], "http");
    assert!(status.to_string().contains(&origin.socket().to_string()), "{status}");
    proxy.admin("/nothing").await.expect(404);
    let post = Connection::to(proxy.listener("admin")).await.fetch(Request::post("/metrics", "")).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_page_whose_name_was_bent_to_loopback_learns_nothing() {
    let (_origin, proxy) = echoing("").await;
    for host in ["evil.example", "evil.example:9911", "127.0.0.1.evil.example", "localhost.evil.example"] {
        let asked = Request::get("/metrics").host(host);
        Connection::to(proxy.listener("admin")).await.fetch(asked).await.expect(421);
    }
    for host in ["localhost", "localhost:9911", "127.0.0.1", "[::1]:9911"] {
        let asked = Request::get("/ready").host(host);
        Connection::to(proxy.listener("admin")).await.fetch(asked).await.expect(200);
    }
}

#[tokio::test]
async fn the_admin_address_can_be_a_unix_socket_and_the_routes_never_show_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let text = format!(
        "[routes.app]\npath = \"/app\"\nrespond = {{ body = \"x\" }}\n[admin]\naddress = \"unix:{}\"\n",
        path.display()
    );
    let proxy = Proxy::start(text).await;
    let mut admin = Connection::to(&testkit::Address::Unix(path)).await;
    assert!(admin.fetch(Request::get("/metrics")).await.expect(200).text().contains("maitred_build_info"));
    proxy.get("/metrics").await.expect(404);
    proxy.get("/api/v1/status").await.expect(404);
}

#[tokio::test]
async fn the_run_folder_has_a_socket_whatever_is_configured() {
    let text = "[routes.app]\npath = \"/app\"\nrespond = { body = \"x\" }\n[admin]\naddress = []\n";
    let proxy = Proxy::start(text).await;
    let answer = Connection::to(&proxy.admin_socket()).await.fetch(Request::get("/api/v1/status")).await.expect(200);
    assert_eq!(answer.json()["pid"], proxy.pid());
}
