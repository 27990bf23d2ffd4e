//! A cache that is warmed: what clients will ask for is kept under what they will ask by.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use testkit::{Answer, Connection, Gate, Origin, Proxy, Request, Response};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::{BOTH, route},
};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

async fn order_of(proxy: &Proxy, order: &serde_json::Value) -> Response {
    let request = Request::post("/api/v1/cache/warm", order.to_string()).header("Content-Type", "application/json");
    Connection::to(&proxy.admin_socket()).await.fetch(request).await
}

#[tokio::test]
async fn a_list_is_asked_for_and_then_kept() {
    let (origin, proxy) = caching(
        "cache = true",
        counting(|seen, n| match seen.target.as_str() {
            "/private" => numbered(n).header("Cache-Control", "private"),
            "/broken" => Answer::status(503),
            _ => keeps(numbered(n)),
        }),
    )
    .await;
    let list = proxy.folder().join("urls.txt");
    let urls = ["/a", "/b?x=1", "/private", "/broken"].map(|path| proxy.url(path));
    std::fs::write(&list, format!("# what is asked for often\n\n{}\n", urls.join("\n"))).unwrap();
    let told = proxy.command(["warm", "--file", list.to_str().unwrap()]).await.expect(1);
    let lines: Vec<&str> = told.stdout.lines().collect();
    for (line, (outcome, status)) in
        lines.iter().zip([("stored", "200"), ("stored", "200"), ("failed", "200"), ("failed", "503")])
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1]), (outcome, status), "{}", told.stdout);
    }
    assert!(lines[2].contains("detail=private"), "{}", lines[2]);
    assert_eq!(lines[4], "2 stored, 0 kept before, 2 failed");
    assert!(told.stderr.contains("the cache does not have 2 of 4"), "{}", told.stderr);
    let asked = origin.requests().len();
    for path in ["/a", "/b?x=1"] {
        assert!(status(&proxy.get(path).await.expect(200)).contains("hit"), "{path}");
        assert!(status(&proxy.h2c().await.fetch(Request::get(path)).await).contains("hit"), "{path}");
    }
    assert_eq!(origin.requests().len(), asked, "clients cost the origin nothing");
    let again = proxy.command(["warm", &urls[0], &urls[1]]).await.expect(0);
    assert!(again.stdout.ends_with("0 stored, 2 kept before, 0 failed\n"), "{}", again.stdout);
    assert!(origin.requests()[0].header("user-agent").unwrap().starts_with("maitred-warm/"));
    assert_eq!(proxy.logged("/a").await["client_ip"], "127.0.0.1");
}

#[tokio::test]
async fn it_goes_the_way_of_a_clients_request() {
    // A rewrite, a header that answers depend on, a route that lets nobody in, one that has no cache, and no route.
    let origin =
        Origin::start(|seen| keeps(Answer::text(format!("{} {:?}", seen.target, seen.header("accept-language")))))
            .await;
    let routes = format!(
        "[routes.app]\nhost = \"app.test\"\npath = \"/app/*\"\nupstream = \"{origin}\"\nrequest = {{ rewrite = \"/v1{{rest}}\" }}\n\
         cache = {{ vary = \"Accept-Language\" }}\n\
         [routes.closed]\nhost = \"app.test\"\npath = \"/closed\"\nupstream = \"{origin}\"\ncache = true\nip = {{ allow = \"10.0.0.0/8\" }}\n\
         [routes.plain]\nhost = \"app.test\"\npath = \"/plain\"\nupstream = \"{origin}\"\n"
    );
    let proxy = Proxy::start(format!("{BOTH}{routes}")).await;
    let port = proxy.url("/").rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let at = |path: &str| format!("http://app.test:{port}{path}");
    let urls =
        [at("/app/x"), at("/closed"), at("/plain"), at("/none"), "https://app.test/app/x".into(), "no url".into()];
    let order = json!({ "urls": urls, "headers": { "Accept-Language": "de" }, "concurrency": 2 });
    let told = order_of(&proxy, &order).await.expect(200).json();
    let outcomes: Vec<(&str, u64)> = told["urls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| (url["outcome"].as_str().unwrap(), url["status"].as_u64().unwrap_or(0)))
        .collect();
    let expected = [("stored", 200), ("failed", 403), ("failed", 200), ("failed", 404), ("failed", 0), ("failed", 0)];
    assert_eq!(outcomes, expected, "{told:#}");
    assert_eq!((&told["stored"], &told["kept"], &told["failed"]), (&json!(1), &json!(0), &json!(5)));
    let ask =
        |language: &str| Request::get("/app/x").host(&format!("app.test:{port}")).header("Accept-Language", language);
    let german = proxy.fetch(ask("de")).await.expect(200);
    assert!(status(&german).contains("hit") && german.text() == "/v1/x Some(\"de\")", "{german:?}");
    assert!(!status(&proxy.fetch(ask("fr")).await.expect(200)).contains("hit"));
    for (wrong, why) in [
        (json!({ "urls": ["/a"], "concurrency": 0 }), "`concurrency` cannot be 0"),
        (json!({ "urls": ["/a"], "headers": { "a b": "c" } }), "is no header name"),
        (json!({ "urls": vec!["/a"; 1001] }), "more than the 1000"),
    ] {
        let refused = order_of(&proxy, &wrong).await.expect(422);
        assert!(refused.text().contains(why), "{}", refused.text());
    }
}

#[tokio::test]
async fn no_more_are_asked_for_at_once_than_is_said() {
    let gate = Gate::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = {
        let (gate, now, most) = (gate.clone(), now.clone(), most.clone());
        Origin::start(move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            keeps(Answer::status(200)).chunk("begun ").wait(&gate).chunk("done")
        })
        .await
    };
    let proxy = Proxy::start(format!("{BOTH}{}", route(&origin, "cache = true"))).await;
    let urls: Vec<String> = (0..6).map(|n| proxy.url(&format!("/{n}"))).collect();
    let order = json!({ "urls": urls, "concurrency": 2 });
    let warming = order_of(&proxy, &order);
    let watching = async {
        origin.until("two to be asked for", |seen| seen.len() == 2).await;
        // The third would come before this one, which is sent after it could have been.
        proxy.metrics().await;
        assert_eq!(most.load(Ordering::SeqCst), 2);
        gate.open();
    };
    let (told, ()) = tokio::join!(warming, watching);
    assert_eq!(told.expect(200).json()["stored"], 6);
}
