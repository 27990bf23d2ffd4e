//! Keeping, finding, letting go.

use http::HeaderMap;

use super::*;
use crate::{
    Boarded, CacheTable, Landed, Selector,
    testing::{NOW, head, stored_for},
};

fn zone() -> Arc<Zone> {
    let zone = Zone::new();
    zone.resize(1 << 20);
    Arc::new(zone)
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("cache-tag", "shop, news")];

fn keep(zone: &Zone, path: &str, asked: Millis) -> Key {
    let table = CacheTable { tags: Some(document::OneOrMany(vec!["Cache-Tag".into()])), ..CacheTable::default() };
    let (key, stored, kept) = stored_for(&head(&[]), path, FRESH, asked, table);
    assert_eq!(kept, Ok(Vec::new()));
    zone.keep(&zone.begin(&key), Arc::new(stored), &HeaderMap::new());
    key
}

fn has(zone: &Zone, key: &Key) -> bool {
    zone.find(key, &HeaderMap::new()).is_some()
}

#[test]
fn what_is_kept_is_found_by_its_key_and_what_it_varies_by() {
    let zone = zone();
    let ask = |language: &'static str| head(&[("accept-language", language)]);
    let lines = &[("cache-control", "max-age=60"), ("vary", "accept-language")][..];
    for language in ["de", "en", "de"] {
        let (key, stored, _) = stored_for(&ask(language), "/a", lines, NOW, CacheTable::default());
        zone.keep(&zone.begin(&key), Arc::new(stored), &HeaderMap::new());
    }
    let (key, ..) = stored_for(&ask("de"), "/a", lines, NOW, CacheTable::default());
    assert!(zone.find(&key, &ask("de").headers).is_some() && zone.find(&key, &ask("en").headers).is_some());
    assert!(zone.find(&key, &ask("fr").headers).is_none());
    assert_eq!((zone.reading().entries, zone.kept.peek(&key).unwrap().answers.len()), (1, 2));
}

#[test]
fn of_several_answers_for_a_request_the_latest_is_given_rfc_9111_4() {
    let zone = zone();
    let by_language = &[("cache-control", "max-age=60"), ("vary", "accept-language")][..];
    let german = head(&[("accept-language", "de")]);
    for (lines, asked) in [(FRESH, NOW + 1), (by_language, NOW)] {
        let (key, stored, _) = stored_for(&german, "/a", lines, asked, CacheTable::default());
        zone.keep_in_memory(&zone.begin(&key), Arc::new(stored));
        let found = zone.find(&key, &german.headers).unwrap();
        assert_eq!(found.freshness().asked(), NOW + 1);
    }
}

#[test]
fn a_change_invalidates_what_was_asked_for_before_rfc_9111_4_4() {
    let zone = zone();
    let (a, b) = (keep(&zone, "/a", NOW), keep(&zone, "/b", NOW));
    zone.change("a.test", "/a", NOW + 5);
    assert!(!has(&zone, &a) && has(&zone, &b));
    keep(&zone, "/a", NOW + 5);
    assert!(!has(&zone, &a), "what was on its way at that moment is not to be trusted");
    keep(&zone, "/a", NOW + 6);
    assert!(has(&zone, &a));
}

#[test]
fn purges_mean_what_they_say() {
    let purged = |selector: Result<Selector, String>, soft: bool| {
        let zone = zone();
        let keys = ["/a", "/a/b", "/c"].map(|path| keep(&zone, path, NOW));
        let count = zone.purge(&selector.unwrap(), soft, NOW + 1);
        (count, keys.iter().filter(|key| has(&zone, key)).count())
    };
    assert_eq!(purged(Selector::url("/a"), false), (1, 2));
    assert_eq!(purged(Selector::url("/a*"), false), (2, 1));
    assert_eq!(purged(Selector::url("/a/*"), false), (1, 2));
    assert_eq!(purged(Selector::url("http://a.test:8080/a"), false), (1, 2));
    assert_eq!(purged(Selector::url("http://b.test/a"), false), (0, 3));
    assert_eq!(purged(Selector::url("/a?x=1"), false), (0, 3));
    assert_eq!(purged(Selector::prefix("http://a.test"), false), (3, 0));
    assert_eq!(purged(Ok(Selector::Tag("news".into())), false), (3, 0));
    assert_eq!(purged(Ok(Selector::Tag("new".into())), false), (0, 3));
    assert_eq!(purged(Ok(Selector::All), true), (3, 3));
    assert!(Selector::url("a").is_err() && Selector::url("").is_err());
}

#[test]
fn a_purge_goes_by_what_tells_answers_apart() {
    let purged = |key: &[&str], selector: &str| {
        let parts = document::OneOrMany(key.iter().map(|part| (*part).to_owned()).collect());
        let policy = crate::testing::policy(CacheTable { key: Some(parts), ..CacheTable::default() });
        let label = crate::testing::viewed(&head(&[]), "/a", Some("utm=1&page=2&b"), |view| {
            let (head, times) = (crate::testing::answer(200, FRESH), crate::Times { asked: NOW, answered: NOW });
            let fetched = crate::Fetched { head, request: view, times };
            Stored::new(fetched, crate::Content::whole(Bytes::new()), &policy).0.label().clone()
        });
        let mut out = crate::wire::Out::default();
        label.apart.write(&mut out);
        assert_eq!(crate::apart::Apart::read(&mut crate::wire::In(&out.0)).as_ref(), Some(&*label.apart));
        Selector::url(selector).unwrap().means(&label)
    };
    for (key, meant, not_meant) in [
        (&["scheme", "host", "path", "query"][..], "http://a.test/a?utm=1&page=2&b", "/a?page=2&utm=1&b"),
        (&["scheme", "host", "path"], "http://a.test/a?any=1", "https://a.test/a"),
        (&["host", "path"], "https://a.test/a?any=1", "https://b.test/a"),
        (&["path"], "https://b.test/a?any=1", "https://b.test/b"),
        (&["path", "query:page"], "/a?page=2", "/a?page=20"),
        (&["path", "query:page"], "/a?page=2&page=3&utm=9", "/a?utm=1"),
        (&["path", "query:page", "query:b"], "/a?b&x&page=2", "/a?page=2"),
        (&["path", "query:*"], "/a?b&page=2&utm=1", "/a?b&page=2"),
        (&["path", "query:!utm"], "/a?b&page=2", "/a?b"),
        (&["path", "query:!utm"], "/a?b&page*", "/a?page*"),
    ] {
        assert!(purged(key, meant) && !purged(key, not_meant), "{key:?} {meant} {not_meant}");
    }
}

#[test]
fn a_purge_is_of_a_path_as_requests_have_it() {
    let normal = |path: &str| (!path.contains("%2F")).then(|| path.replace("%61", "a").replace("//", "/"));
    let read = |text: &str| Selector::url(text).unwrap().normalised(normal);
    for (written, meant) in [("//%61", "/a"), ("/%61*", "/a*"), ("http://a.test//%61?q", "http://a.test/a?q")] {
        assert_eq!(read(written), Selector::url(meant), "{written}");
    }
    assert!(read("/a%2Fb").is_err() && read("/a%2*").is_ok());
}

#[test]
fn what_was_on_its_way_when_it_was_purged_is_not_kept() {
    let zone = zone();
    zone.purge(&Selector::All, false, NOW);
    let key = keep(&zone, "/a", NOW - 1);
    assert!(!has(&zone, &key));
    keep(&zone, "/a", NOW + 1);
    assert!(has(&zone, &key));
}

#[test]
fn what_another_tier_gives_is_not_kept_where_it_was_purged_before_it_was_looked_for() {
    let (zone, moment) = (zone(), crate::now());
    for (asked, is_kept) in [(moment - 20, false), (moment - 5, true)] {
        let (key, stored, _) = stored_for(&head(&[]), &format!("/{asked}"), FRESH, asked, CacheTable::default());
        zone.purge(&Selector::url("/*").unwrap(), false, moment - 10);
        zone.keep_in_memory(&zone.begin(&key), Arc::new(stored));
        assert_eq!(has(&zone, &key), is_kept, "asked for {} ms ago", moment - asked);
    }
}

#[test]
fn what_one_process_has_changed_and_purged_another_hears_once_it_asks() {
    let (old, new) = (zone(), zone());
    let keys = ["/a", "/b", "/c", "/d"].map(|path| keep(&new, path, NOW));
    old.change("a.test", "/d", NOW + 1);
    assert!(old.news().is_empty(), "whoever asks for the first time knows that");
    old.change("a.test", "/a", NOW + 1);
    old.purge(&Selector::url("/b").unwrap(), false, NOW + 1);
    let news = old.news();
    assert!(old.news().is_empty(), "it is told once");
    assert!(new.news().is_empty());
    new.hear(&news).unwrap();
    assert_eq!(keys.map(|key| has(&new, &key)), [false, false, true, true]);
    assert_eq!(new.news(), news, "and told on");
    assert!(new.hear(&news[..news.len() - 1]).is_err() && new.hear(&[7]).is_err());
    old.tell_no_news();
    old.change("a.test", "/c", NOW + 1);
    assert!(old.news().is_empty(), "nobody had asked");
}

#[test]
fn what_was_asked_for_earlier_does_not_take_the_place_of_what_was_faster_rfc_9111_4() {
    let zone = zone();
    let key = keep(&zone, "/a", NOW + 1);
    keep(&zone, "/a", NOW);
    assert_eq!(zone.find(&key, &HeaderMap::new()).unwrap().freshness().asked(), NOW + 1, "the most recent one counts");
}

#[test]
fn what_is_not_kept_waits_for_nobody_where_nothing_is_kept() {
    let zone = zone();
    let kept = keep(&zone, "/b", NOW);
    let (key, stored, _) = stored_for(&head(&[]), "/a", FRESH, NOW + 1, CacheTable::default());
    let (tell, told) = std::sync::mpsc::channel();
    let held = lock(&zone.changing);
    let own = zone.clone();
    let others = std::thread::spawn(move || {
        for key in [&key, &kept] {
            own.let_go_of_older(&own.begin(key), &stored, &HeaderMap::new());
            let _ = tell.send(own.has(key));
        }
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(false));
    drop(held);
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(false), "what is kept is let go of");
    others.join().unwrap();
}

#[test]
fn one_leads_and_others_follow() {
    let zone = zone();
    let (key, stored, _) = stored_for(&head(&[]), "/a", FRESH, NOW, CacheTable::default());
    let Boarded::Leads(flight) = zone.board(&key, &HeaderMap::new(), NOW, |_| true) else {
        panic!("the first one leads")
    };
    assert!(matches!(zone.board(&key, &HeaderMap::new(), NOW, |_| true), Boarded::Follows(_)));
    flight.land(Landed::Shared(Arc::new(stored)));
    assert!(matches!(zone.board(&key, &HeaderMap::new(), NOW, |_| true), Boarded::Follows(_)));
    let Boarded::Leads(newer) = zone.board(&key, &HeaderMap::new(), NOW, |_| false) else {
        panic!("what came will not do")
    };
    drop(flight.closing());
    assert!(
        matches!(zone.board(&key, &HeaderMap::new(), NOW, |_| true), Boarded::Follows(_)),
        "the newer one is still under way"
    );
    drop(newer.closing());
    let Boarded::Leads(newer) = zone.board(&key, &HeaderMap::new(), NOW, |_| true) else {
        panic!("nobody waits for one that has ended")
    };
    newer.land(Landed::Alone);
    zone.leave_alone(&key, NOW);
    for _ in 0..2 {
        assert!(
            matches!(zone.board(&key, &HeaderMap::new(), NOW + 1, |_| true), Boarded::Leads(_)),
            "nobody waits in vain again"
        );
    }
}

#[test]
fn requests_for_different_answers_have_a_fetch_for_each() {
    let zone = zone();
    let lines = &[("cache-control", "max-age=60"), ("vary", "accept-language")][..];
    let ask = |language: &'static str| head(&[("accept-language", language)]);
    let board = |key: &Key, language: &'static str| zone.board(key, &ask(language).headers, NOW, |_| true);
    let (key, english, _) = stored_for(&ask("en"), "/a", lines, NOW, CacheTable::default());
    let Boarded::Leads(flight) = board(&key, "en") else { panic!("the first one leads") };
    assert!(matches!(board(&key, "de"), Boarded::Follows(_)), "nobody knows yet that it varies");
    flight.land(Landed::Shared(Arc::new(english)));
    let Boarded::Leads(german) = board(&key, "de") else { panic!("what came is for others") };
    let Boarded::Leads(french) = board(&key, "fr") else { panic!("what will come is for others") };
    for language in ["en", "de", "fr"] {
        assert!(matches!(board(&key, language), Boarded::Follows(_)), "{language}");
    }
    assert!(zone.board_behind(&key, &ask("fr").headers).is_none(), "somebody asks for it already");
    german.land(Landed::Failed(filter::Reason::UpstreamReset.into()));
    assert!(matches!(board(&key, "fr"), Boarded::Follows(_)));
    let Boarded::Leads(german) = board(&key, "de") else { panic!("it has failed") };
    [flight, german, french].iter().for_each(|flight| drop(flight.closing()));
    assert!(!zone.is_flying(&key));
}

/// What one request makes up of values does not fill the memory, nor make others wait.
#[test]
fn there_are_so_many_fetches_of_one_key_and_no_more() {
    let zone = zone();
    let lines = &[("cache-control", "max-age=60"), ("vary", "x-a")][..];
    let (key, ..) = stored_for(&head(&[]), "/a", lines, NOW, CacheTable::default());
    let mut flights = Vec::new();
    for n in 0..VARIANTS + 3 {
        let value = n.to_string();
        let asking = head(&[("x-a", &value)]);
        let Boarded::Leads(flight) = zone.board(&key, &asking.headers, NOW, |_| true) else { panic!("{n} leads") };
        flight.land(Landed::Shared(Arc::new(stored_for(&asking, "/a", lines, NOW, CacheTable::default()).1)));
        flights.push(flight);
    }
    assert_eq!(lock(&zone.flights).get(&key).unwrap().len(), VARIANTS);
    let again = |value: &str| zone.board(&key, &head(&[("x-a", value)]).headers, NOW, |_| true);
    assert!(matches!(again("0"), Boarded::Follows(_)));
    assert!(matches!(again("33"), Boarded::Leads(_)), "each for itself");
    assert!(zone.board_behind(&key, &head(&[("x-a", "33")]).headers).is_none());
    // What came and does not do is not in the way of what does.
    let newer = zone.board(&key, &head(&[("x-a", "0")]).headers, NOW, |_| false);
    assert!(matches!(newer, Boarded::Leads(_)) && matches!(again("0"), Boarded::Follows(_)));
    assert_eq!(lock(&zone.flights).get(&key).unwrap().len(), VARIANTS);
}

#[test]
fn one_at_a_time_asks_behind_whether_others_wait_for_each_other_or_not() {
    let zone = zone();
    let (key, stored, _) = stored_for(&head(&[]), "/a", FRESH, NOW, CacheTable::default());
    zone.leave_alone(&key, crate::now());
    let first = zone.board_behind(&key, &HeaderMap::new()).expect("nobody asks yet");
    assert!(zone.board_behind(&key, &HeaderMap::new()).is_none(), "its answer is awaited");
    assert!(
        matches!(zone.board(&key, &HeaderMap::new(), crate::now(), |_| true), Boarded::Leads(_)),
        "who needs an answer does not wait"
    );
    first.land(Landed::Shared(Arc::new(stored)));
    assert!(zone.board_behind(&key, &HeaderMap::new()).is_none(), "its content is on its way");
    zone.change("a.test", "/a", NOW);
    let second = zone.board_behind(&key, &HeaderMap::new()).expect("what was asked for before a change does not count");
    second.land(Landed::Alone);
    assert!(zone.board_behind(&key, &HeaderMap::new()).is_some(), "it has ended");
}

#[test]
fn what_was_on_its_way_when_it_was_made_stale_comes_in_stale() {
    let zone = zone();
    let purged = |selector: Selector, soft: bool| zone.purge(&selector, soft, NOW + 1);
    assert_eq!(purged(Selector::All, true), 0);
    for (asked, is_fresh) in [(NOW, false), (NOW + 2, true)] {
        let key = keep(&zone, "/a", asked);
        let found = zone.find(&key, &HeaderMap::new()).unwrap();
        assert_eq!(found.left(NOW + 3) > 0, is_fresh, "asked for at {asked}");
    }
}

#[tokio::test]
async fn what_is_on_its_way_takes_no_more_than_there_is() {
    let zone = zone();
    let length = 64 * 1024;
    let mut contents = Vec::new();
    for _ in 0..64 {
        let content = zone.content(Some(length), 1 << 20);
        content.push(vec![0; length as usize].into()).await;
        content.finish(Ok(()));
        contents.push(content);
    }
    let kept = contents.iter().filter(|content| content.is_whole()).count() as u64;
    assert_eq!((kept, zone.room.taken()), (20, 20 * length), "a quarter more than the memory");
    contents.clear();
    assert_eq!(zone.room.taken(), 0);
    // What comes out of another tier has its place too, and gives it back when it is let go.
    keep(&zone, "/a", NOW);
    assert_eq!(zone.room.taken(), 10);
    zone.purge(&Selector::All, false, NOW);
    assert_eq!(zone.room.taken(), 0);
}

/// An answer with so much content, taken in as a fetch does.
async fn fetched(zone: &Zone, path: &str, size: usize) -> (Key, Arc<Stored>) {
    let policy = crate::testing::policy(CacheTable::default());
    let content = zone.content(Some(size as u64), policy.max_object());
    let (key, stored) = crate::testing::viewed(&head(&[]), path, None, |view| {
        let (head, times) = (crate::testing::answer(200, FRESH), crate::Times { asked: NOW, answered: NOW });
        let fetched = crate::Fetched { head, request: view, times };
        (policy.key(view).unwrap(), Arc::new(Stored::new(fetched, content, &policy).0))
    });
    zone.prepare(&key, &stored).await;
    stored.content().push(vec![0; size].into()).await;
    stored.content().finish(Ok(()));
    zone.keep(&zone.begin(&key), stored.clone(), &HeaderMap::new());
    (key, stored)
}

#[tokio::test]
async fn what_slow_clients_hold_does_not_keep_out_what_is_new() {
    const SIZE: usize = 400_000;
    let zone = Arc::new(Zone::new());
    zone.resize(16 << 20);
    let mut held = Vec::new();
    // They have been let go of by the time that there is no room for more.
    for number in 0..28 {
        held.push(fetched(&zone, &format!("/held/{number}"), SIZE).await.1);
    }
    for number in 0..60 {
        let (key, _) = fetched(&zone, &format!("/{number}"), SIZE).await;
        assert!(has(&zone, &key), "{number}: {:?}", zone.reading());
        assert!(zone.room.taken() <= (16 << 20) / 4 * 5);
    }
    let (least, whole) = (zone.kept.capacity(), 16 << 20);
    assert!(least < whole && zone.reading().capacity == whole, "what is kept has given way");
    // Once all is held no more of what is kept goes, and small answers find room as well.
    for number in 28..80 {
        held.push(fetched(&zone, &format!("/held/{number}"), SIZE).await.1);
    }
    assert!(zone.kept.capacity() >= whole / 2 && zone.reading().bytes > whole / 4, "{:?}", zone.reading());
    let (key, _) = fetched(&zone, "/small", 10_000).await;
    assert!(has(&zone, &key));
    held.clear();
    for number in 0..64 {
        fetched(&zone, &format!("/after/{number}"), SIZE).await;
    }
    assert_eq!(zone.kept.capacity(), whole, "it has its room back");
}

#[test]
fn memory_has_an_end() {
    let zone = zone();
    for number in 0..5000 {
        keep(&zone, &format!("/{number}"), NOW);
    }
    let reading = zone.reading();
    assert!(reading.bytes <= 1 << 20 && reading.bytes > 700_000 && reading.evictions > 3000, "{reading:?}");
    zone.resize(0);
    assert_eq!((zone.reading().entries, zone.reading().bytes), (0, 0));
}

#[test]
fn many_variants_of_one_key_do_not_cost_the_key() {
    let zone = zone();
    let lines = [("cache-control", "max-age=60"), ("vary", "origin")];
    let policy = crate::testing::policy(CacheTable::default());
    let mut latest = None;
    for number in 0..10 {
        let origin = format!("https://{number}.test");
        let request = head(&[("origin", &origin)]);
        crate::testing::viewed(&request, "/a", None, |view| {
            let asked = NOW + number;
            let (head, times) = (crate::testing::answer(200, &lines), crate::Times { asked, answered: asked });
            let content = crate::Content::whole(Bytes::from(vec![b'x'; 50_000]));
            let (stored, _) = Stored::new(crate::Fetched { head, request: view, times }, content, &policy);
            let (key, stored) = (policy.key(view).unwrap(), Arc::new(stored));
            zone.keep(&zone.begin(&key), stored.clone(), &request.headers);
            assert!(zone.find(&key, &request.headers).is_some(), "{number}");
            assert!(zone.reading().bytes <= (1 << 20) / 4, "{number}: {:?}", zone.reading());
            latest = Some((key, stored, request.clone()));
        });
    }
    let (key, stored, request) = latest.unwrap();
    let left = zone.kept.peek(&key).unwrap().answers.len();
    assert!((2..10).contains(&left) && zone.reading().evictions == 0, "{left}: the oldest are gone");
    for (coding, size) in [("gzip", 200_000), ("br", 200_000), ("zstd", 200_000)] {
        zone.keep_encoded(&key, &stored, (coding, 6), Bytes::from(vec![b'x'; size]));
        assert!(zone.find(&key, &request.headers).is_some(), "{coding}: {:?}", zone.reading());
    }
}
