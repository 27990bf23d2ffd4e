//! Many who ask for the same thing at the same time: who of them asks the origin, and what the others get.

use std::time::Duration;

use testkit::{Answer, Connection, Framing, Gate, Origin, Proxy, Request, within};

use crate::{
    caching::{caching, counting, numbered, status},
    setting::route,
};

/// So many more clients that have asked, once that many requests are under way.
async fn more(count: usize, under_way: f64, proxy: &Proxy) -> Vec<Connection> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::to(proxy.address()).await;
        connection.start(&Request::get("/")).await;
        clients.push(connection);
    }
    proxy.until_metric("http_requests_in_flight", &[("route", "app")], under_way).await;
    clients
}

#[tokio::test]
async fn many_ask_and_the_origin_hears_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let (origin, proxy) =
        caching("cache = true", move |_| Answer::text("shared").header("Cache-Control", "max-age=60").after(&held))
            .await;
    let mut first = Connection::to(proxy.address()).await;
    first.start(&Request::get("/")).await;
    origin.request().await;
    let others = more(49, 50.0, &proxy).await;
    gate.open();
    assert_eq!(first.answer("GET").await.text(), "shared");
    let mut collapsed = 0;
    for mut other in others {
        let answer = other.answer("GET").await.expect(200);
        assert_eq!(answer.text(), "shared");
        collapsed += usize::from(status(&answer).contains("collapsed"));
    }
    assert!(collapsed > 0);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn who_wants_the_origin_to_be_asked_waits_for_nobody_who_asked_before_rfc_9111_5_2_1() {
    for asked in ["no-cache", "max-age=0"] {
        let gate = Gate::new();
        let held = gate.clone();
        let (origin, proxy) = caching(
            "cache = true",
            counting(move |_, n| numbered(n).header("Cache-Control", "max-age=60").after(&held)),
        )
        .await;
        let mut first = Connection::to(proxy.address()).await;
        first.start(&Request::get("/")).await;
        origin.request().await;
        let mut own = Vec::new();
        for _ in 0..3 {
            let mut connection = Connection::to(proxy.address()).await;
            connection.start(&Request::get("/").header("Cache-Control", asked)).await;
            own.push(connection);
        }
        // Each of them asks, while the first one is still waiting.
        origin.until("each ask", |seen| seen.len() == 4).await;
        gate.open();
        assert_eq!(first.answer("GET").await.expect(200).text(), "answer 0");
        let mut told = Vec::new();
        for mut connection in own {
            told.push(connection.answer("GET").await.expect(200).text());
        }
        told.sort();
        assert_eq!(told, ["answer 1", "answer 2", "answer 3"], "{asked}");
    }
}

#[tokio::test]
async fn who_is_content_with_less_shares_what_is_asked_for_by_who_is_not() {
    let gate = Gate::new();
    let held = gate.clone();
    let (origin, proxy) =
        caching("cache = true", counting(move |_, n| numbered(n).header("Cache-Control", "max-age=60").after(&held)))
            .await;
    let mut first = Connection::to(proxy.address()).await;
    first.start(&Request::get("/").header("Cache-Control", "no-cache")).await;
    origin.request().await;
    let others = more(10, 11.0, &proxy).await;
    gate.open();
    for mut connection in others.into_iter().chain([first]) {
        assert_eq!(connection.answer("GET").await.expect(200).text(), "answer 0");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_first_client_may_leave() {
    let (head, rest) = (Gate::new(), Gate::new());
    let held = (head.clone(), rest.clone());
    let (origin, proxy) = caching("cache = true", move |_| {
        Answer::status(200)
            .header("Content-Type", "text/plain")
            .header("Cache-Control", "max-age=60")
            .chunk("one ")
            .after(&held.0)
            .wait(&held.1)
            .chunk("two")
    })
    .await;
    let mut first = Connection::to(proxy.address()).await;
    first.start(&Request::get("/")).await;
    origin.request().await;
    let mut others = more(10, 11.0, &proxy).await;
    first.reset();
    head.open();
    // All of them read what has come while the rest of it is still to come.
    for other in &mut others {
        assert_eq!(other.answer_head().await.0, 200);
        assert_eq!(other.chunk().await.unwrap(), "one ");
    }
    rest.open();
    for other in &mut others {
        assert_eq!(other.chunk().await.unwrap(), "two");
    }
    assert_eq!(proxy.get("/").await.text(), "one two");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn who_takes_what_is_not_kept_slowly_does_not_hold_up_the_others_for_long() {
    // More than sockets take in for somebody who does not read.
    const LARGE: usize = 48 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let (origin, proxy) = caching("cache = { key = \"path\", max_object = \"1MiB\" }", move |_| {
        Answer::status(200)
            .framing(Framing::Chunked)
            .header("Cache-Control", "max-age=60")
            .piece("begins")
            .wait(&held)
            .piece(vec![b'x'; LARGE])
    })
    .await;
    let (mut slow, mut fast) = (Connection::to(proxy.address()).await, Connection::to(proxy.address()).await);
    for (client, path) in [(&mut slow, "/?slow"), (&mut fast, "/?fast")] {
        client.start(&Request::get(path)).await;
        assert_eq!(client.answer_head().await.0, 200);
        assert_eq!(client.chunk().await.unwrap(), "begins");
    }
    gate.open();
    let mut length = 0;
    loop {
        match fast.chunk().await.unwrap() {
            end if end.is_empty() => break,
            piece => length += piece.len(),
        }
    }
    assert_eq!((length, origin.requests().len()), (LARGE, 1));
    // What is not all of it does not end as if it were.
    while let Ok(piece) = slow.chunk().await {
        assert!(!piece.is_empty(), "it has got all of it");
    }
    proxy.until_metric("http_errors_total", &[("reason", "answer_timeout")], 1.0).await;
    // Asking again is answered by a fetch of its own.
    let again = proxy.get("/?slow").await.expect(200);
    assert_eq!((again.body.length, origin.requests().len()), ("begins".len() as u64 + LARGE as u64, 2));
}

/// While content is kept nobody waits for anybody, so when it turns out to be too large somebody may have most of it before them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_far_behind_when_it_turns_out_to_be_too_large_and_takes_enough_gets_all_of_it() {
    const MIB: usize = 1 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Answer::status(200)
            .framing(Framing::Chunked)
            .header("Cache-Control", "max-age=60")
            .piece("begins")
            .wait(&held)
            .piece(vec![b'x'; 24 * MIB])
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    // A socket that holds little, so that who does not read is seen not to.
    let address = format!("unix:{}", folder.path().join("http.sock").display());
    let listener = format!("[listeners.http]\naddress = \"{address}\"\n[cache]\nmemory = \"64MiB\"\n");
    let proxy = Proxy::start(format!("{listener}{}", route(&origin, "cache = { max_object = \"16MiB\" }"))).await;
    let (mut steady, mut fast) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut steady, &mut fast] {
        client.start(&Request::get("/")).await;
        assert_eq!(client.answer_head().await.0, 200);
        assert_eq!(client.chunk().await.unwrap(), "begins");
    }
    gate.open();
    // It is asked for a MiB in five seconds, and takes more than a dozen. The backlog alone is more than they give it.
    let steadily = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(400));
        let mut length = 0;
        loop {
            beat.tick().await;
            let until = length + MIB;
            while length < until {
                match steady.chunk().await {
                    Ok(piece) if piece.is_empty() => return Ok(length),
                    Ok(piece) => length += piece.len(),
                    Err(cut) => return Err((cut, length)),
                }
            }
        }
    });
    let mut length = 0;
    while let Ok(piece) = fast.chunk().await
        && !piece.is_empty()
    {
        length += piece.len();
    }
    assert_eq!((steadily.await.unwrap(), length), (Ok(24 * MIB), 24 * MIB));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_origin_is_not_kept_busy_for_nobody_and_who_comes_next_is_answered() {
    let hang_twice = counting(|_, n| if n < 2 { Answer::hang() } else { numbered(n) });
    let (origin, proxy) = caching("cache = \"1m\"", hang_twice).await;
    let mut client = Connection::to(proxy.address()).await;
    client.start(&Request::get("/")).await;
    origin.request().await;
    client.reset();
    origin.ended(0).await;
    let connection = proxy.h2c().await;
    let stream = connection.open(&Request::get("/other")).await;
    origin.nth(1).await;
    drop(stream);
    origin.ended(1).await;
    for path in ["/", "/other"] {
        let next = within("who comes after one that has left", proxy.get(path)).await;
        assert!(next.expect(200).text().starts_with("answer"), "{path}");
    }
}

/// Answers for so many clients that ask at once, of which the first one is answered once all have asked.
async fn answers_for(count: usize, proxy: &Proxy, gate: &Gate) -> Vec<String> {
    let clients = more(count, count as f64, proxy).await;
    gate.open();
    let mut texts = Vec::new();
    for mut client in clients {
        texts.push(client.answer("GET").await.expect(200).text());
    }
    texts
}

/// What is not kept, or may not be used again unasked, is not given to those who happen to ask at the same time either (RFC 9111
/// sections 4 and 5.2.2.4).
#[tokio::test]
async fn who_waited_in_vain_asks_for_themselves() {
    for fields in [
        &[("Cache-Control", "no-store")][..],
        &[("Cache-Control", "no-cache"), ("ETag", "\"v\"")],
        &[("Cache-Control", "max-age=0"), ("ETag", "\"v\"")],
        &[("Cache-Control", "max-age=60"), ("Age", "70"), ("ETag", "\"v\"")],
        &[("ETag", "\"v\"")],
    ] {
        let gate = Gate::new();
        let held = gate.clone();
        let own = counting(move |_, n| {
            fields.iter().fold(numbered(n), |answer, (name, value)| answer.header(name, *value)).after(&held)
        });
        let (origin, proxy) = caching("cache = true", own).await;
        let mut texts = answers_for(5, &proxy, &gate).await;
        texts.sort_unstable();
        texts.dedup();
        assert_eq!((texts.len(), origin.requests().len()), (5, 5), "{fields:?}: {texts:?}");
    }
}

/// The same where what is kept has to be asked for before each use: one client's 304 is no other client's.
#[tokio::test]
async fn what_each_has_to_ask_for_is_validated_by_each() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = counting(move |seen, n| {
        let validates = seen.header("if-none-match").is_some();
        let answer = if validates { Answer::status(304).after(&held) } else { numbered(n) };
        answer.header("Cache-Control", "no-cache").header("ETag", "\"v\"")
    });
    let (origin, proxy) = caching("cache = true", origin).await;
    proxy.get("/").await.expect(200);
    assert_eq!(answers_for(5, &proxy, &gate).await, ["answer 0"; 5]);
    assert_eq!(origin.requests().len(), 6);
}

/// Where the origin fails, what it says of that does not take the place of what does meanwhile (RFC 5861 section 4).
#[tokio::test]
async fn a_failure_that_may_be_kept_does_not_take_the_place_of_a_stale_answer() {
    let lines = "cache = { stale_if_error = \"10m\", status = { 5xx = \"1m\" } }\nretries = 0";
    let (origin, proxy) = caching(
        lines,
        counting(|_, n| match n {
            0 => numbered(n).header("Cache-Control", "max-age=1").header("Age", "5"),
            _ => Answer::status(503).header("Cache-Control", "max-age=60"),
        }),
    )
    .await;
    proxy.get("/").await.expect(200);
    for n in 1..4 {
        assert_eq!(proxy.get("/").await.expect(200).text(), "answer 0");
        assert_eq!(origin.requests().len(), n + 1, "it is asked each time");
    }
}

/// Where answers of others are not kept, so that nobody waits for anybody, what is stale is still asked for once at a time.
#[tokio::test]
async fn in_the_background_one_asks_at_a_time_also_where_others_do_not_wait() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |seen, n| match (seen.header("cookie"), n) {
        (Some(_), _) => numbered(n).header("Cache-Control", "private"),
        (None, 0) => numbered(n).header("Cache-Control", "max-age=1, stale-while-revalidate=600").header("Age", "5"),
        _ => numbered(n).header("Cache-Control", "max-age=60").after(&held),
    });
    let (origin, proxy) = caching("cache = true", move |seen| script(seen).header("Vary", "Cookie")).await;
    proxy.get("/").await.expect(200);
    let own = proxy.fetch(Request::get("/").header("Cookie", "session=x")).await.expect(200);
    assert!(status(&own).ends_with("detail=private"), "{}", status(&own));
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.expect(200).text(), "answer 0");
    }
    origin.nth(2).await;
    gate.open();
    let renewed = async { while proxy.get("/").await.text() == "answer 0" {} };
    within("the background to bring a new answer", renewed).await;
    assert_eq!(origin.requests().len(), 3, "the answer, one of somebody's own, and one in the background");
}

/// Starts so many clients, each with this field, once the origin has the request of who leads.
async fn joined(count: usize, field: (&str, &str), proxy: &Proxy, under_way: f64) -> Vec<Connection> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::to(proxy.address()).await;
        connection.start(&Request::get("/").header(field.0, field.1)).await;
        clients.push(connection);
    }
    proxy.until_metric("http_requests_in_flight", &[("route", "app")], under_way).await;
    clients
}

/// Whoever wants another answer than the one that is fetched is one of those who want that.
#[tokio::test]
async fn requests_for_different_answers_ask_once_for_each() {
    for vary in ["Accept-Language", "X-Plan"] {
        let (head, content) = (Gate::new(), Gate::new());
        let held = (head.clone(), content.clone());
        let (origin, proxy) = caching("cache = true", move |seen| {
            let own = seen.header(vary).unwrap_or_default().to_owned();
            let answer = Answer::status(200).header("Cache-Control", "max-age=60").header("Vary", vary);
            answer.after(&held.0).chunk("for ").wait(&held.1).chunk(own)
        })
        .await;
        // Nobody knows what the answer varies by, so everybody waits for the first one's.
        let mut first = joined(1, (vary, "en"), &proxy, 1.0).await;
        origin.request().await;
        let mut others = Vec::new();
        for (number, language) in ["de", "fr", "en"].into_iter().enumerate() {
            let own = joined(10, (vary, language), &proxy, (number * 10 + 11) as f64).await;
            others.extend(own.into_iter().map(|client| (client, language)));
        }
        head.open();
        // They wait for more than a head from here on.
        for client in first.iter_mut().chain(others.iter_mut().map(|(client, _)| client)) {
            assert_eq!(client.answer_head().await.0, 200);
            assert_eq!(client.chunk().await.unwrap(), "for ");
        }
        // While all of it is on its way, who comes later joins their own as well.
        for language in ["fr", "en", "de"] {
            let mut late = joined(1, (vary, language), &proxy, 0.0).await.remove(0);
            assert_eq!(late.answer_head().await.0, 200);
            assert_eq!(late.chunk().await.unwrap(), "for ");
            others.push((late, language));
        }
        content.open();
        others.push((first.remove(0), "en"));
        for (mut client, language) in others {
            assert_eq!(client.chunk().await.unwrap(), language);
        }
        assert_eq!(origin.requests().len(), 3, "{vary}");
    }
}

/// What one request makes the origin do is not what all others get who wait for it.
#[tokio::test]
async fn who_breaks_the_origin_breaks_it_for_themselves() {
    for (breaks_all, code) in [(false, 200), (true, 502)] {
        let (first, second) = (Gate::new(), Gate::new());
        let held = (first.clone(), second.clone());
        let script = counting(move |seen, n| match seen.header("x-breaks") {
            _ if seen.target == "/elsewhere" => numbered(n),
            Some(_) => Answer::raw("").after(&held.0).resetting(),
            None if breaks_all => Answer::raw("").after(&held.1).resetting(),
            None => numbered(n).header("Cache-Control", "max-age=60").after(&held.1),
        });
        let (origin, proxy) = caching("cache = true\nretries = 0", script).await;
        let mut leader = joined(1, ("X-Breaks", "1"), &proxy, 1.0).await;
        origin.request().await;
        let others = joined(5, ("X-Own", "1"), &proxy, 6.0).await;
        first.open();
        leader[0].answer("GET").await.expect_problem(502, "upstream_reset");
        origin.nth(1).await;
        // Whoever waited has heard of it by now.
        proxy.get("/elsewhere").await.expect(200);
        second.open();
        for mut other in others {
            other.answer("GET").await.expect(code);
        }
        let asked = origin.requests().iter().filter(|seen| seen.target == "/").count();
        assert_eq!(asked, 2, "all who waited ask once, together");
    }
}

/// A route on which who comes twice with a name is held back for three of the five seconds that it has.
const HOLDS_BACK: &str = "cache = true\nretries = 0\ntimeout = \"5s\"\n\
    limit = { rate = \"1/3s\", burst = 1, over = \"delay\", max_delay = \"4s\", key = \"header:X-Name\", on_missing = \"skip\" }";

/// A fetch whose leader was held back, so that it has less time left than who joins it; the origin has it as its second.
async fn led_late(origin: &Origin, proxy: &Proxy) -> Connection {
    let named = |path| Request::get(path).header("X-Name", "late");
    proxy.fetch(named("/other")).await.expect(200);
    let mut leader = Connection::to(proxy.address()).await;
    leader.start(&named("/")).await;
    origin.nth(1).await;
    leader
}

#[tokio::test]
async fn who_has_no_time_left_takes_none_from_others() {
    let (origin, proxy) = caching(
        HOLDS_BACK,
        counting(|_, n| if n == 1 { Answer::hang() } else { numbered(n).header("Cache-Control", "max-age=60") }),
    )
    .await;
    let mut leader = led_late(&origin, &proxy).await;
    let others = more(5, 6.0, &proxy).await;
    leader.answer("GET").await.expect_problem(504, "upstream_timeout");
    for mut other in others {
        assert_eq!(other.answer("GET").await.expect(200).text(), "answer 2");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn who_asks_once_more_leaves_the_fetch_to_who_has_more_time() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |_, n| match n {
        0 => numbered(n).header("Cache-Control", "max-age=60"),
        1 => Answer::hang(),
        _ => numbered(n).header("Cache-Control", "max-age=60").after(&held),
    });
    let (origin, proxy) = caching(HOLDS_BACK, script).await;
    let mut leader = led_late(&origin, &proxy).await;
    let mut next = more(1, 2.0, &proxy).await;
    leader.answer("GET").await.expect_problem(504, "upstream_timeout");
    origin.nth(2).await;
    let mut last = more(1, 2.0, &proxy).await;
    next[0].answer("GET").await.expect_problem(504, "upstream_timeout");
    gate.open();
    assert_eq!(last[0].answer("GET").await.expect(200).text(), "answer 2");
    assert_eq!(origin.requests().len(), 3);
}
