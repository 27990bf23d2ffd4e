//! Quotas for a month of the calendar.

use std::time::{SystemTime, UNIX_EPOCH};

use testkit::Proxy;

use crate::setting::BOTH;

fn configuration(limit: &str) -> String {
    format!("{BOTH}[routes.app]\npath = \"/*\"\nrespond = {{ body = \"x\" }}\nlimit = {{ {limit} }}\n")
}

/// Seconds that this month has, and seconds until it ends, as `date` says.
fn month() -> (u64, u64) {
    let date = |text: &str| {
        let output = std::process::Command::new("date").args(["-u", "-d", text, "+%s"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
    };
    let first =
        String::from_utf8(std::process::Command::new("date").args(["-u", "+%Y-%m-01"]).output().unwrap().stdout)
            .unwrap();
    let (begin, end) = (date(first.trim()), date(&format!("{} +1 month", first.trim())));
    (end - begin, end - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

async fn passing(proxy: &Proxy, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(proxy.get("/").await.status == 200);
    }
    passed
}

#[tokio::test]
async fn a_quota_of_a_month_ends_with_the_month_and_survives_the_process() {
    let proxy = Proxy::start(configuration("requests = 5, window = \"1mo\", align = \"calendar\"")).await;
    let told = proxy.get("/").await.expect(200);
    let (length, _) = month();
    assert_eq!(told.header("ratelimit-policy"), Some(format!("\"app\";q=5;w={length}").as_str()));
    assert_eq!(passing(&proxy, 2).await, 2);
    let beside = proxy.beside();
    proxy.signal("KILL").await;
    proxy.wait().await;
    let mut proxy = beside.start().await;
    proxy.upgrade(&[]).await;
    assert_eq!(passing(&proxy, 4).await, 2);
    let refused = proxy.get("/").await.expect_problem(429, "quota-exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let (_, left) = month();
    assert!((left..=left + 10).contains(&wait), "{wait} of {left}");
    let explained = proxy.command(["explain", "GET", "/"]).await.expect(0).stdout;
    assert!(explained.contains("at most 5 in every month"), "{explained}");
}

#[tokio::test]
async fn a_month_that_slides_is_a_mistake() {
    for (limit, message) in [
        ("requests = 5, window = \"1mo\"", "a month is of the calendar, and this window slides"),
        ("requests = 5, window = \"3mo\", align = \"calendar\"", "one month of the calendar, \"1mo\""),
        ("requests = 5, window = \"30d\", align = \"calendar\"", "the calendar has no period of 30d"),
    ] {
        let refused = Proxy::with(configuration(limit)).refused().await.expect(3);
        assert!(refused.stderr.contains(message), "{limit}: {}", refused.stderr);
    }
}
