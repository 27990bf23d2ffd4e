//! Limits by where they stand: at a split, beside one of the same name, and at the moment when they turn into a ban.

use testkit::{Origin, Proxy};

use crate::setting::BOTH;

#[tokio::test]
async fn what_an_upstream_of_a_split_is_sent_is_limited_as_well() {
    let (one, other) = (Origin::text("paid").await, Origin::text("next").await);
    let text = format!(
        "{BOTH}[upstreams]\npaid.backends = \"{one}\"\nnext.backends = \"{other}\"\n\
         [limits.calls]\nrequests = 3\nwindow = \"1h\"\nkey = \"upstream\"\n[defaults]\nlimit = \"calls\"\n\
         [routes]\n\"/only\" = \"paid\"\n[routes.both]\npath = \"/both\"\nsplit = {{ paid = 50, next = 50 }}\n"
    );
    let proxy = Proxy::start(text).await;
    proxy.get("/only").await.expect(200);
    let mut refused = 0;
    for _ in 0..60 {
        refused += usize::from(proxy.get("/both").await.status == 429);
    }
    assert_eq!((one.requests().len(), other.requests().len(), refused), (3, 3, 55));
    proxy.get("/only").await.expect(429);
}

#[tokio::test]
async fn the_refusal_that_begins_a_ban_says_how_long_it_lasts() {
    let limit = "requests = 1, window = \"1900ms\", ban = { after = 2, within = \"1m\", for = \"1h\" }";
    let text = format!("{BOTH}[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {{ {limit} }}\n");
    let proxy = Proxy::start(text).await;
    proxy.get("/").await.expect(200);
    let wait = async || proxy.get("/").await.expect(429).header("retry-after").unwrap().parse::<u64>().unwrap();
    // A request counts for a millisecond longer than its window, and seconds are rounded up.
    assert!(wait().await <= 2);
    let told = [wait().await, wait().await];
    assert!(told.iter().all(|wait| (3590..=3600).contains(wait)), "{told:?}");
    let limits = proxy.admin("/api/v1/limits").await.expect(200).json();
    assert_eq!(limits[0]["limited"].as_array().unwrap().len(), 1, "{limits}");
}

#[tokio::test]
async fn limits_of_two_routes_that_would_have_one_name_are_a_mistake() {
    let respond = "respond = { body = \"x\" }";
    let text = format!(
        "{BOTH}[routes.api]\npath = \"/api\"\n{respond}\nlimit = [\"10/s per ip\", \"90/m per ip\"]\n\
         [routes.api-1]\npath = \"/other\"\n{respond}\nlimit = \"10/s per ip\"\n"
    );
    let refused = Proxy::with(&text).refused().await.expect(3);
    let lines = ["error[E0107]: two limits of routes' own have the name `api-1`", "this one", "and this one"];
    assert!(lines.iter().all(|line| refused.stderr.contains(line)), "{}", refused.stderr);
    Proxy::start(text.replace("api-1", "api-one")).await.get("/other").await.expect(200);
}

#[tokio::test]
async fn two_limits_of_one_name_are_a_mistake() {
    let text = format!(
        "{BOTH}[limits.api]\nrequests = 1000\nwindow = \"1h\"\n\
         [routes.api]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = \"10/s per ip\"\n"
    );
    let refused = Proxy::with(text).refused().await.expect(3);
    assert!(refused.stderr.contains("`[limits.api]` has it already"), "{}", refused.stderr);
}
