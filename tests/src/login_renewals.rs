//! Sessions that are renewed while a browser leaves, and answers that carry one.

use serde_json::json;
use testkit::{Request, within};

use crate::login::Site;

/// A site, and the cookies of a session that is renewed with the next request.
async fn due() -> (Site, String) {
    let site = Site::open("leeway = \"0s\"", "").await;
    site.provider.wish(json!({ "lasts": 25 })).await;
    let _ = site.surf("ada", &site.proxy.url("/app/in"), &["-L", "--max-redirs", "2"]).await;
    let cookies = site.cookies("ada");
    site.provider.wish(json!({ "lasts": 600, "claims": { "name": "Ada Lovelace" } })).await;
    (site, cookies)
}

#[tokio::test]
async fn whoever_leaves_while_the_session_is_renewed_does_not_lose_it() {
    let (site, cookies) = due().await;
    let asked = Request::get("/app/a").header("Cookie", &cookies);
    site.provider.wish(json!({ "hold": ["/token"] })).await;
    let mut leaving = site.proxy.connect().await;
    leaving.start(&asked).await;
    within("the grant to be on its way", async { while site.provider.seen().await["held"] != 1 {} }).await;
    drop(leaving);
    assert_eq!(site.proxy.logged("/app/a").await["status"], 499);
    // The provider takes the refresh token, which is good for once, and answers nobody but us.
    site.provider.wish(json!({ "hold": [] })).await;
    within("the grant to be exchanged", async { while site.provider.exchanges().await != 2 {} }).await;
    for _ in 0..2 {
        let answer = site.proxy.fetch(asked.clone()).await.expect(200);
        assert_eq!(answer.seen("x-name").as_deref(), Some("Ada Lovelace"));
        assert!(answer.header("set-cookie").unwrap().starts_with("__Host-maitred-staff="));
    }
    site.proxy.h2c().await.fetch(asked).await.expect(200);
    assert_eq!(site.provider.exchanges().await, 2);
}

#[tokio::test]
async fn an_answer_with_a_renewed_session_is_for_nobody_else() {
    let (site, cookies) = due().await;
    let asked = Request::get("/app/public").header("Cookie", &cookies);
    let h2 = site.proxy.h2c().await;
    for answer in [site.proxy.fetch(asked.clone()).await.expect(200), h2.fetch(asked).await.expect(200)] {
        assert!(answer.header("set-cookie").unwrap().starts_with("__Host-maitred-staff="));
        assert_eq!(answer.headers.all("cache-control"), ["private, max-age=5"]);
    }
    // Without one it is what its origin says.
    let told = site.proxy.fetch(Request::get("/app/public").header("Cookie", &cookies)).await.expect(200);
    let fresh = told.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let answer = site.proxy.fetch(Request::get("/app/public").header("Cookie", &fresh)).await.expect(200);
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.headers.all("cache-control"), ["public, s-maxage=60, max-age=5"]);
}
