//! What one client says must not be what all others get: cookies beside others, fields that never reach the origin, fields
//! that maitred writes itself, and what trusted proxies pass on.

use testkit::{Answer, Origin, Proxy, Request, Seen};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::{BOTH, TRUSTING, route},
};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

/// An answer that tells a field of its request.
fn told(seen: &Seen, name: &str) -> Answer {
    keeps(Answer::text(seen.header(name).unwrap_or("none").to_owned()))
}

#[tokio::test]
async fn a_cookie_counts_whatever_stands_beside_it_and_however_it_is_written() {
    let lines = "cache = { key = [\"path\", \"cookie:lang\"], bypass = \"cookie:session\" }";
    let (origin, proxy) = caching(lines, |seen| told(seen, "cookie")).await;
    let ask = |cookie: &str| match cookie {
        "none" => Request::get("/"),
        cookie => Request::get("/").header("Cookie", cookie),
    };
    for cookie in ["session=a; name=José", "name=José;session=a", "a=1; session =a", "session", "b=2;\tsession=\"a\""]
    {
        let own = proxy.fetch(ask(cookie)).await.expect(200);
        assert_eq!((own.text().as_str(), status(&own).as_str()), (cookie, "maitred; fwd=bypass"));
    }
    let mut before = origin.requests().len();
    let languages = [
        "lang=fr; x=é",
        "none",
        "lang =de",
        "lang=de",
        "lang=en; lang=it",
        "lang=it; lang=en",
        "lang=en",
        "lang=\"en\"",
    ];
    for round in ["first", "second"] {
        for cookie in languages {
            assert_eq!(proxy.fetch(ask(cookie)).await.expect(200).text(), cookie, "{round}");
        }
        assert_eq!(origin.requests().len() - before, if round == "first" { languages.len() } else { 0 });
        before = origin.requests().len();
    }
    assert_eq!(proxy.fetch(ask("a=1;  lang=fr")).await.expect(200).text(), "lang=fr; x=é", "others do not count");
}
