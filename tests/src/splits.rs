//! One route, several upstreams.

use std::collections::BTreeSet;

use testkit::{Connection, Origin, Proxy, Request};

use crate::setting::BOTH;

/// A proxy whose route is shared by `old` and `new` like this.
async fn shared(old: &Origin, new: &Origin, lines: &str) -> Proxy {
    Proxy::start(text(old, new, lines)).await
}

fn text(old: &Origin, new: &Origin, lines: &str) -> String {
    format!(
        "{BOTH}[upstreams.old]\nbackends = \"{old}\"\n[upstreams.new]\nbackends = \"{new}\"\n\
         [routes.app]\npath = \"/*\"\n{lines}\n"
    )
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let proxy = shared(&old, &new, "split = { old = 80, new = 20 }").await;
    for _ in 0..200 {
        proxy.get("/").await.expect(200);
    }
    let share = new.requests().len();
    assert!((15..=75).contains(&share), "{share} of 200 were to be about 40");
    proxy.until_metric("upstream_requests_total", &[("upstream", "new"), ("code", "200")], share as f64).await;
    let logged = proxy.access_log(200).await;
    assert_eq!(logged.iter().filter(|line| line["variant"] == "new" && line["upstream"] == "new").count(), share);
}

#[tokio::test]
async fn a_visitor_stays_and_moves_one_way_only() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let lines = |share: u32| format!("split = {{ old = {}, new = {share} }}\nsticky = \"cookie:visitor\"", 100 - share);
    let proxy = shared(&old, &new, &lines(30)).await;
    let mut visitors = Vec::new();
    for h2 in [false, true] {
        for _ in 0..30 {
            let request = Request::get("/");
            let answer = if h2 { proxy.h2c().await.fetch(request).await } else { proxy.fetch(request).await };
            let cookie = answer.header("set-cookie").expect("a visitor gets a cookie").to_owned();
            assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
            visitors.push((cookie.split(';').next().unwrap().to_owned(), answer.text()));
        }
    }
    assert_eq!(visitors.iter().map(|(cookie, _)| cookie).collect::<BTreeSet<_>>().len(), 60);
    for (cookie, home) in &visitors {
        let answer = proxy.fetch(Request::get("/").header("Cookie", cookie)).await.expect(200);
        assert_eq!((&answer.text(), answer.header("set-cookie")), (home, None));
    }
    proxy.configure(text(&old, &new, &lines(60)));
    proxy.command(["reload"]).await.expect(0);
    let mut moved = 0;
    for (cookie, home) in &visitors {
        let now = proxy.fetch(Request::get("/").header("Cookie", cookie)).await.expect(200).text();
        assert!(now == *home || now == "new", "from {home} to {now}");
        moved += usize::from(now != *home);
    }
    assert!(moved > 0);
}

#[tokio::test]
async fn a_tester_names_the_upstream() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let proxy = shared(&old, &new, "split = { old = 1, new = 0 }\nforce = \"header:X-Variant\"").await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "old");
    let named = |name: &str| Request::get("/").header("X-Variant", name);
    assert_eq!(proxy.fetch(named("new")).await.expect(200).text(), "new");
    assert_eq!(proxy.fetch(named("other")).await.expect(200).text(), "old", "what is not an arm says nothing");
}

#[tokio::test]
async fn a_split_that_cannot_be_is_refused_with_every_mistake() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    for (lines, told) in [
        ("split = { old = 1, nwe = 1 }", "no upstream is named `nwe`"),
        ("split = { old = 0, new = 0 }", "`split` names 1 to 16 upstreams"),
        ("split = { old = 1 }\nsticky = \"path\"", "`path` is nothing that a client is known by"),
        ("split = { old = 1 }\nsticky = \"user\"", "`sticky = \"user\"` needs `auth`"),
        ("split = { old = 1 }\nsubset = { version = \"2\" }", "`subset` needs an `upstream`"),
        ("split = { old = 1 }\nupstream = \"new\"", "leads to two places"),
        ("upstream = \"new\"\nsticky = \"ip\"", "`sticky` needs `split`"),
        ("upstream = \"new\"\nforce = \"header:X\"", "`force` needs `split`"),
    ] {
        let exit = Proxy::with(text(&old, &new, lines)).refused().await;
        assert!(exit.stderr.contains(told), "{lines}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn explain_says_how_it_is_shared() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let proxy = shared(&old, &new, "split = { old = 95, new = 5 }\nsticky = \"header:X-User\"").await;
    let said = proxy.command(["explain", "GET", "/", "-H", "X-User: u1"]).await.expect(0).stdout;
    assert!(said.contains("new 5, old 95"), "{said}");
}

#[tokio::test]
async fn weights_are_given_over_the_admin_api_until_the_next_reload() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let proxy = shared(&old, &new, "split = { old = 1, new = 0 }\nsticky = \"header:X-User\"").await;
    let order = async |route: &str, weights: &str| {
        let path = format!("/api/v1/routes/{route}/split");
        let request = Request::new("PATCH", &path).header("Content-Type", "application/json").body(weights.to_owned());
        Connection::to(&proxy.admin_socket()).await.fetch(request.host("localhost")).await
    };
    assert_eq!(proxy.get("/").await.expect(200).text(), "old");
    let answer = order("app", "{\"old\":0,\"new\":7}").await.expect(200);
    let now: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(now, serde_json::json!({ "new": 7, "old": 0 }));
    for h2 in [false, true] {
        let answer = if h2 { proxy.h2c().await.fetch(Request::get("/")).await } else { proxy.get("/").await };
        assert_eq!(answer.expect(200).text(), "new");
    }
    for (route, weights, status) in
        [("app", "{\"new\":0}", 400), ("app", "{\"nwe\":1}", 400), ("app", "{\"new\":-1}", 400), ("other", "{}", 404)]
    {
        order(route, weights).await.expect(status);
    }
    assert_eq!(proxy.get("/").await.expect(200).text(), "new", "a refusal changes nothing");
    proxy.printed("weigh_split").await;
    proxy.command(["reload"]).await.expect(0);
    proxy.configure(text(&old, &new, "split = { old = 3, new = 0 }"));
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "old");
}

#[tokio::test]
async fn weights_given_at_run_time_go_over_an_upgrade_unless_the_file_says_others() {
    let (old, new) = (Origin::text("old").await, Origin::text("new").await);
    let mut proxy = shared(&old, &new, "split = { old = 1, new = 0 }").await;
    let order = Request::new("PATCH", "/api/v1/routes/app/split").header("Content-Type", "application/json");
    let order = order.body("{\"old\":0,\"new\":1}").host("localhost");
    Connection::to(&proxy.admin_socket()).await.fetch(order).await.expect(200);
    // The second process tells the third what it was told itself.
    for _ in 0..2 {
        proxy.upgrade(&[]).await;
        assert_eq!(proxy.get("/").await.expect(200).text(), "new", "in process {}", proxy.pid());
    }
    proxy.command(["reload"]).await.expect(0);
    assert_eq!(proxy.get("/").await.expect(200).text(), "old", "a reload goes by the file");
    proxy.upgrade(&[]).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "old");
    let order = Request::new("PATCH", "/api/v1/routes/app/split").header("Content-Type", "application/json");
    let order = order.body("{\"old\":0,\"new\":1}").host("localhost");
    Connection::to(&proxy.admin_socket()).await.fetch(order).await.expect(200);
    proxy.configure(text(&old, &new, "split = { old = 3, new = 0 }"));
    proxy.upgrade(&[]).await;
    assert_eq!(proxy.get("/").await.expect(200).text(), "old", "the file is newer than the order");
}
