//! What RFC 9111 and RFC 9110 demand of a cache and no other test names, each with its section.

use std::time::{Duration, SystemTime};

use testkit::{Answer, Connection, Gate, Request, within};

use crate::caching::{caching, counting, numbered, status};

fn keeps(answer: Answer) -> Answer {
    answer.header("Cache-Control", "max-age=600")
}

#[tokio::test]
async fn only_a_get_is_kept_and_all_others_are_written_through_rfc_9111_3_and_4() {
    let (origin, proxy) = caching("cache = true", counting(|_, n| keeps(numbered(n)))).await;
    for (turn, method) in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X-OWN"].into_iter().enumerate() {
        for again in 0..2 {
            let answer = proxy.fetch(Request::new(method, "/a")).await.expect(200);
            assert_eq!(answer.text(), format!("answer {}", 2 * turn + again), "{method}");
            assert!(!status(&answer).contains("stored"), "{method}: {}", status(&answer));
        }
    }
    assert_eq!(origin.requests().len(), 12);
    assert!(status(&proxy.get("/a").await).ends_with("fwd=uri-miss; stored"), "none of them was kept for a GET");
}

#[tokio::test]
async fn who_is_refused_takes_nothing_away_from_others_rfc_9111_4_3_3() {
    let (_origin, proxy) = caching("cache = true\nretries = 0", |seen| {
        let refused = seen.header("x-status").map(|status| Answer::status(status.parse().unwrap()));
        refused.unwrap_or_else(|| keeps(Answer::text("kept")))
    })
    .await;
    let stays = [400, 401, 403, 407, 408, 417, 421, 425, 429, 431, 500, 502, 503, 504];
    let replaced = [402, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 418, 422, 423, 428, 451, 501, 505, 507];
    for (status_code, is_kept) in stays.map(|code| (code, true)).into_iter().chain(replaced.map(|code| (code, false))) {
        let path = format!("/{status_code}");
        assert_eq!(proxy.get(&path).await.expect(200).text(), "kept");
        let number = status_code.to_string();
        let refused = Request::get(&path).header("Cache-Control", "no-cache").header("X-Status", &number);
        proxy.fetch(refused).await;
        let again = status(&proxy.get(&path).await.expect(200)).to_owned();
        assert_eq!(again.contains("; hit"), is_kept, "{status_code}: {again}");
    }
}

#[tokio::test]
async fn who_is_refused_makes_nobody_ask_for_themselves() {
    let gate = Gate::new();
    let held = gate.clone();
    let script = counting(move |seen, n| match (seen.header("authorization"), n) {
        (Some(_), _) => Answer::status(401),
        (None, 0..=2) => keeps(numbered(n)),
        _ => keeps(numbered(n)).after(&held),
    });
    let (origin, proxy) = caching("cache = true", script).await;
    proxy.get("/").await.expect(200);
    proxy.fetch(Request::get("/").header("Authorization", "Bearer x")).await.expect(401);
    assert!(status(&proxy.get("/").await).contains("; hit"));
    proxy.fetch(Request::new("POST", "/")).await.expect(200);
    let mut asking = Vec::new();
    for number in 0..10 {
        let mut connection = Connection::to(proxy.address()).await;
        connection.start(&Request::get("/")).await;
        if number == 0 {
            origin.nth(3).await;
        }
        asking.push(connection);
    }
    proxy.until_metric("http_requests_in_flight", &[("route", "app")], 10.0).await;
    gate.open();
    for mut connection in asking {
        assert_eq!(connection.answer("GET").await.expect(200).text(), "answer 3");
    }
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn fields_of_one_connection_are_not_kept_rfc_9111_3_1() {
    let (_origin, proxy) = caching("cache = true", |_| {
        keeps(Answer::text("x")).header("Connection", "X-Hop").header("X-Hop", "1").header("X-Own", "1")
    })
    .await;
    proxy.get("/").await.expect(200);
    let hit = proxy.get("/").await.expect(200);
    assert!(status(&hit).contains("hit"));
    assert_eq!((hit.header("x-hop"), hit.header("x-own")), (None, Some("1")));
}

#[tokio::test]
async fn what_comes_before_the_answer_is_not_taken_for_it_rfc_9111_3() {
    let (origin, proxy) = caching("cache = true", |_| {
        keeps(Answer::text("final")).interim(103, &[("Link", "</a.css>; rel=preload"), ("Cache-Control", "no-store")])
    })
    .await;
    for _ in 0..2 {
        let answer = proxy.get("/").await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("link")), ("final", None));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn unsafe_methods_invalidate_rfc_9111_4_4() {
    let (_origin, proxy) = caching(
        "cache = \"1m\"",
        counting(|seen, n| match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", "/fails") => Answer::status(500),
            ("POST", _) => {
                let names =
                    ["location", "content-location"].into_iter().filter_map(|name| Some((name, seen.header(name)?)));
                names.fold(Answer::status(201), |answer, (name, place)| answer.header(name, place))
            }
            _ => numbered(n),
        }),
    )
    .await;
    let hits = async |host: &str, path: &str| status(&proxy.fetch(Request::get(path).host(host)).await).contains("hit");
    for path in ["/list", "/list?page=2", "/fails"] {
        hits("a.test", path).await;
    }
    proxy.fetch(Request::post("/fails", "x").host("a.test")).await.expect(500);
    proxy.fetch(Request::post("/list", "x").host("a.test")).await.expect(201);
    // RFC 9211 section 2.2: nothing that may be used again is there, for whichever request.
    let again = proxy.fetch(Request::get("/list").host("a.test")).await.expect(200);
    assert_eq!(status(&again), "maitred; fwd=uri-miss; stored");
    assert!(!hits("a.test", "/list?page=2").await);
    assert!(hits("a.test", "/fails").await, "an error changes nothing");
    let cases = [
        ("a.test", "/N", true),
        ("a.test", "http://a.test/N", true),
        ("a.test", "HTTP://A.test:80/N", true),
        ("a.test", "//a.test/N", true),
        ("a.test:8080", "http://a.test:8080/N", true),
        ("a.test", "http://b.test/N", false),
        ("a.test", "//b.test/N", false),
        ("a.test", "https://a.test/N", false),
        ("a.test", "http://a.test:8080/N", false),
        ("a.test:8080", "http://a.test/N", false),
    ];
    for (number, (host, place, is_ours)) in cases.into_iter().enumerate() {
        for name in ["Location", "Content-Location"] {
            let path = format!("/{name}{number}");
            hits(host, &path).await;
            let place = place.replace("/N", &path);
            proxy.fetch(Request::post("/list", "x").host(host).header(name, &place)).await.expect(201);
            assert_eq!(hits(host, &path).await, !is_ours, "{name}: {place} of {host}");
        }
    }
}

#[tokio::test]
async fn what_is_named_is_relative_to_what_was_asked_rfc_9110_10_2_2_and_8_7() {
    let (_origin, proxy) = caching(
        "cache = \"1m\"",
        counting(|seen, n| match seen.method.as_str() {
            "POST" => {
                let names =
                    ["location", "content-location"].into_iter().filter_map(|name| Some((name, seen.header(name)?)));
                names.fold(Answer::status(201), |answer, (name, place)| answer.header(name, place))
            }
            _ => numbered(n),
        }),
    )
    .await;
    let hits = async |path: &str| status(&proxy.get(path).await.expect(200)).contains("hit");
    for name in ["Location", "Content-Location"] {
        for (place, path) in [
            ("42", "/shop/42"),
            ("./42", "/shop/42"),
            ("items/7", "/shop/items/7"),
            ("items/7?a=b#top", "/shop/items/7"),
            ("../other", "/other"),
            ("/items/../7", "/7"),
            ("?page=2", "/shop/new"),
        ] {
            hits(path).await;
            assert!(hits("/untouched").await || hits("/untouched").await);
            proxy.fetch(Request::post("/shop/new", "x").header(name, place)).await.expect(201);
            assert!(!hits(path).await, "{name}: {place}");
            assert!(hits("/untouched").await, "{name}: {place}");
        }
        for place in ["items:7", "mailto:42", "http:42"] {
            hits("/shop/42").await;
            proxy.fetch(Request::post("/shop/new", "x").header(name, place)).await.expect(201);
            assert!(hits("/shop/42").await, "{name}: {place} is something else");
        }
    }
}

#[tokio::test]
async fn nothing_stale_is_given_without_leave_rfc_9111_4_2_4() {
    let (origin, proxy) = caching(
        "cache = true\nretries = 0",
        counting(|seen, n| match seen.target.as_str() {
            "/plain" => numbered(n).header("Cache-Control", "max-age=1").header("Age", "5").header("ETag", "\"v\""),
            "/must" => numbered(n)
                .header("Cache-Control", "max-age=1, must-revalidate, stale-if-error=600")
                .header("Age", "5")
                .header("ETag", "\"v\""),
            _ => numbered(n).header("Cache-Control", "no-cache, stale-if-error=600").header("ETag", "\"v\""),
        }),
    )
    .await;
    let paths = ["/plain", "/must", "/no-cache"];
    for path in paths {
        assert!(status(&proxy.get(path).await.expect(200)).ends_with("stored"), "{path}");
    }
    origin.stop().await;
    for path in paths {
        proxy.get(path).await.expect(502);
    }
}

/// Who wants the origin to be asked is told that it fails, unless what is kept is there for that.
#[tokio::test]
async fn what_a_client_wants_asked_for_is_not_given_unasked_rfc_9111_5_2_1_4() {
    for (window, code) in [("", 503), (", stale-if-error=600", 200)] {
        let said = format!("max-age=600{window}");
        let script = counting(move |_, n| match n {
            0 => numbered(n).header("Cache-Control", said.clone()),
            _ => Answer::status(503),
        });
        let (origin, proxy) = caching("cache = true\nretries = 0", script).await;
        proxy.get("/").await.expect(200);
        for asked in ["no-cache", "min-fresh=9999", "max-age=0"] {
            let answer = proxy.fetch(Request::get("/").header("Cache-Control", asked)).await.expect(code);
            let told = status(&answer);
            match code {
                // RFC 9211 section 2.2: it is not stale, and was asked for all the same.
                200 => assert!(told.starts_with("maitred; fwd=request; fwd-status=503; ttl="), "{asked}: {told}"),
                _ => assert!(told.starts_with("maitred; fwd=request; detail="), "{asked}: {told}"),
            }
        }
        assert!(status(&proxy.get("/").await.expect(200)).contains("; hit"), "for all others it is as good as before");
        origin.stop().await;
        let answer = proxy.fetch(Request::get("/").header("Cache-Control", "no-cache")).await;
        assert_eq!(answer.status, if code == 200 { 200 } else { 502 });
        assert!(code != 200 || status(&answer).starts_with("maitred; fwd=request; ttl="), "{}", status(&answer));
    }
}

#[tokio::test]
async fn dates_validate_where_there_is_no_tag_rfc_9111_4_3_1_and_4_3_3() {
    let modified = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(1000));
    let told = modified.clone();
    let (origin, proxy) = caching(
        "cache = true",
        counting(move |_, n| match n {
            1 => Answer::status(304).header("Cache-Control", "max-age=0"),
            _ => numbered(n).header("Last-Modified", told.clone()).header("Cache-Control", "max-age=0"),
        }),
    )
    .await;
    assert_eq!(proxy.get("/").await.text(), "answer 0");
    assert_eq!(proxy.get("/").await.text(), "answer 0", "the 304 says that it is still good");
    assert_eq!(origin.nth(1).await.header("if-modified-since"), Some(modified.as_str()));
    let replaced = proxy.get("/").await.expect(200);
    assert_eq!((replaced.text().as_str(), status(&replaced).as_str()), ("answer 2", "maitred; fwd=stale; stored"));
}

#[tokio::test]
async fn a_304_about_another_answer_makes_nothing_fresh_rfc_9111_4_3_4() {
    for tag in ["\"w\"", "W/\"w\""] {
        let (origin, proxy) = caching(
            "cache = true",
            counting(move |seen, n| match seen.header("if-none-match") {
                Some(_) => keeps(Answer::status(304)).header("ETag", tag),
                None => numbered(n).header("ETag", "\"v\"").header("Cache-Control", "max-age=0"),
            }),
        )
        .await;
        proxy.get("/").await.expect(200);
        assert_eq!(proxy.get("/").await.expect(200).text(), "answer 2", "{tag}");
        assert_eq!(origin.requests().len(), 3, "{tag}: asked again without a condition");
    }
}

#[tokio::test]
async fn a_304_and_a_206_say_what_the_200_would_rfc_9110_15_3_7_and_15_4_5() {
    let fields = [
        ("Cache-Control", "max-age=600"),
        ("Content-Location", "/own"),
        ("ETag", "\"v\""),
        ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ("Vary", "X-A"),
        ("Date", "Thu, 26 Nov 2026 00:00:00 GMT"),
    ];
    let now = httpdate::fmt_http_date(SystemTime::now());
    let (origin, proxy) = caching("cache = true", move |_| {
        let value = |name: &str, value: &str| if name == "Date" { now.clone() } else { value.to_owned() };
        fields.iter().fold(Answer::text("0123456789"), |answer, (name, text)| answer.header(name, value(name, text)))
    })
    .await;
    let whole = proxy.get("/").await.expect(200);
    for (name, value, expected) in [("If-None-Match", "\"v\"", 304), ("Range", "bytes=2-3", 206)] {
        let answer = proxy.fetch(Request::get("/").header(name, value)).await.expect(expected);
        for (field, _) in fields {
            assert_eq!(answer.header(field), whole.header(field), "{field} of a {expected}");
        }
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_part_of_what_is_compressed_says_what_is_so_of_a_part_rfc_9110_15_3_7_and_rfc_9530_2() {
    let text = "compressible ".repeat(500);
    let (_origin, proxy) = caching("cache = true\ncompress = true", move |_| {
        let sums = [("Content-Digest", "sha-256=:x:"), ("Content-MD5", "x"), ("Repr-Digest", "sha-256=:x:")];
        sums.into_iter().fold(keeps(Answer::text(text.clone())), |answer, (name, sum)| answer.header(name, sum))
    })
    .await;
    let whole = proxy.get("/").await.expect(200);
    assert_eq!((whole.header("vary"), whole.header("content-md5")), (Some("Accept-Encoding"), Some("x")));
    for (range, code) in [("bytes=2-3", 206), ("bytes=99999-", 416)] {
        let part = proxy.fetch(Request::get("/").header("Range", range)).await.expect(code);
        assert_eq!((part.header("content-digest"), part.header("content-md5")), (None, None), "{range}");
        assert_eq!(part.header("repr-digest"), Some("sha-256=:x:"), "{range}");
        assert_eq!(part.header("vary"), whole.header("vary").filter(|_| code == 206), "{range}");
    }
}

#[tokio::test]
async fn nothing_is_not_compressed_and_has_an_end() {
    let (_origin, proxy) =
        caching("cache = true\ncompress = { min_size = \"0B\" }", |seen| match seen.target.as_str() {
            "/none" => keeps(Answer::status(204)),
            "/own" => Answer::text("").header("Cache-Control", "no-store"),
            _ => keeps(Answer::text("").header("ETag", "\"v\"")),
        })
        .await;
    let mut client = Connection::to(proxy.address()).await;
    let h2 = proxy.h2c().await;
    for (method, path, tag, code) in [
        ("GET", "/", "", 200),
        ("HEAD", "/", "", 200),
        ("GET", "/none", "", 204),
        ("HEAD", "/none", "", 204),
        ("GET", "/", "\"v\"", 304),
        ("GET", "/", "W/\"v\"", 304),
        ("GET", "/own", "", 200),
        ("HEAD", "/own", "", 200),
    ] {
        let request = Request::new(method, path).header("Accept-Encoding", "gzip").header("If-None-Match", tag);
        for _ in 0..2 {
            let answer = within("the answer to end", client.fetch(request.clone())).await.expect(code);
            assert!(answer.cut.is_none(), "{method} {path}: {:?}", answer.cut);
            for answer in [answer, h2.fetch(request.clone()).await.expect(code)] {
                assert_eq!((answer.body.length, answer.header("content-encoding")), (0, None), "{method} {path}");
                assert_eq!(answer.header("transfer-encoding"), None, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_precondition_is_the_clients_alone_rfc_9111_4_3_2() {
    let script = |seen: &testkit::Seen, n| match seen.header("if-match").or(seen.header("if-unmodified-since")) {
        Some(_) => Answer::status(412).body("own"),
        None => keeps(numbered(n)).header("ETag", "\"v\""),
    };
    let (origin, proxy) = caching("cache = true", counting(script)).await;
    proxy.get("/").await.expect(200);
    for (name, value) in [("If-Match", "\"w\""), ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")] {
        let refused = proxy.fetch(Request::get("/").header(name, value)).await.expect(412);
        assert_eq!((refused.text().as_str(), status(&refused).as_str()), ("own", "maitred; fwd=request"), "{name}");
        let kept = proxy.get("/").await.expect(200);
        assert_eq!((kept.text().as_str(), status(&kept).contains("; hit")), ("answer 0", true), "{name}");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn conditions_and_ranges_count_for_what_went_well_alone_rfc_9110_13_2_1_and_14_2() {
    let (_origin, proxy) =
        caching("cache = true", |_| keeps(Answer::status(404)).header("ETag", "\"v\"").body("0123456789")).await;
    proxy.get("/").await.expect(404);
    for (name, value) in [("If-None-Match", "\"v\""), ("If-None-Match", "*"), ("Range", "bytes=0-1")] {
        let answer = proxy.fetch(Request::get("/").header(name, value)).await.expect(404);
        assert_eq!((answer.text().as_str(), status(&answer).contains("hit")), ("0123456789", true), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_to_be_transformed_is_not_compressed_rfc_9111_5_2_2_6() {
    let text = "compressible ".repeat(500);
    let body = text.clone();
    let (_origin, proxy) = caching("cache = true\ncompress = true", move |_| {
        Answer::text(body.clone()).header("Cache-Control", "max-age=600, no-transform")
    })
    .await;
    for _ in 0..2 {
        let answer = proxy.fetch(Request::get("/").header("Accept-Encoding", "gzip")).await.expect(200);
        assert_eq!((answer.header("content-encoding"), answer.text() == text), (None, true));
    }
}

#[tokio::test]
async fn what_says_no_date_of_change_is_as_old_as_its_date_rfc_9111_4_3_2() {
    let (origin, proxy) = caching("cache = true", counting(|_, n| keeps(numbered(n)))).await;
    let first = proxy.get("/a").await.expect(200);
    let date = first.header("date").expect("an answer has a date").to_owned();
    let before = httpdate::fmt_http_date(httpdate::parse_http_date(&date).unwrap() - Duration::from_secs(1));
    let h2 = proxy.h2c().await;
    for (since, code) in [(&date, 304), (&before, 200)] {
        let request = Request::get("/a").header("If-Modified-Since", since);
        for answer in [proxy.fetch(request.clone()).await, h2.fetch(request.clone()).await] {
            let answer = answer.expect(code);
            assert!(status(&answer).contains("; hit"), "{}", status(&answer));
        }
        // RFC 9110 section 13.1.3: where there is a tag the date says nothing.
        proxy.fetch(request.header("If-None-Match", "\"x\"")).await.expect(200);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_date_of_what_was_not_kept_before_is_no_date_of_change_rfc_9111_4_3_2() {
    let (_origin, proxy) = caching("cache = true", |seen| match seen.target.as_str() {
        "/no-store" => Answer::text("own").header("Cache-Control", "no-store"),
        _ => keeps(Answer::text("own")),
    })
    .await;
    let after = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
    let ask = |path, since: &str| proxy.fetch(Request::get(path).header("If-Modified-Since", since));
    for since in [after(0), after(1), after(3600)] {
        assert_eq!(ask("/no-store", &since).await.expect(200).text(), "own", "{since}");
    }
    assert!(status(&ask("/kept", &after(1)).await.expect(200)).ends_with("; stored"));
    let later = ask("/kept", &after(3600)).await.expect(200);
    assert!(status(&later).contains("; hit"), "{}", status(&later));
}
