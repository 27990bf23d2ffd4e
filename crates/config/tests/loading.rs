//! What a file means: short forms, defaults, includes, and that damage never makes it panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use document::{Duration, Size, Toggle};
use maitred_config::{self as config, Config, Route};
use proptest::prelude::*;

fn load(text: &str) -> Config {
    let loaded = config::load_text_with("maitred.toml", text, Path::new("/nowhere"), &|name| {
        (name == "PORT").then(|| "8123".to_owned())
    });
    assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
    loaded.config.unwrap()
}

fn upstream(route: &Route) -> &str {
    &route.policies.upstream.as_ref().unwrap().0
}

fn url<'c>(config: &'c Config, name: &str) -> &'c str {
    config.upstreams[name].backends.as_ref().unwrap()[0].url.as_deref().unwrap()
}

#[test]
fn the_smallest_file_is_spelt_out() {
    let config = load(
        "listen = ':${PORT}'\n[routes]\n'/api/users/*' = 'http://localhost:3001'\n'api.example.com/orders/*' = 'http://localhost:3003'\n'~^/v[0-9]+/' = 'http://localhost:3001'",
    );
    assert_eq!(config.listeners["http"].address.as_ref().unwrap().0, [":8123"]);
    let users = &config.routes["/api/users/*"];
    assert_eq!(users.matches.path.as_deref(), Some("/api/users/*"));
    assert_eq!(upstream(users), "localhost-3001");
    assert_eq!(url(&config, "localhost-3001"), "http://localhost:3001");
    let orders = &config.routes["api.example.com/orders/*"];
    assert_eq!(orders.matches.host.as_ref().unwrap().0, ["api.example.com"]);
    assert_eq!(orders.matches.path.as_deref(), Some("/orders/*"));
    assert_eq!(config.routes["~^/v[0-9]+/"].matches.path.as_deref(), Some("~^/v[0-9]+/"));
    assert_eq!(config.upstreams.len(), 2);
}

#[test]
fn a_test_whose_key_is_its_request_is_spelt_out() {
    let config = load(
        "listen = ':80'\n[routes]\n'/a/*' = 'http://a'\n[tests]\n'GET /a/b' = '/a/*'\n'/nowhere' = 404\n'/c' = { from = '::1', expect = 404 }\n",
    );
    for (name, from) in [("GET /a/b", None), ("/nowhere", None), ("/c", Some("::1"))] {
        let test = &config.tests[name];
        assert_eq!(test.request.as_ref().unwrap().0, [name]);
        assert_eq!(test.from.as_deref(), from);
        assert!(test.expect.is_some(), "{name}");
    }
}

#[test]
fn what_a_key_says_may_be_said_again_but_not_otherwise() {
    let same = "listen = ':80'\n[routes.'a.test/x']\nhost = 'a.test'\npath = '/x'\nupstream = 'http://a'\n[tests.'GET /x']\nrequest = 'GET /x'\nexpect = 404\n";
    load(same);
    let other = same.replace("path = '/x'", "path = '/y'").replace("request = 'GET /x'", "request = 'GET /y'");
    let loaded = config::load_text_with("maitred.toml", &other, Path::new("/nowhere"), &|_| None);
    assert_eq!(loaded.report.errors(), 2, "{}", loaded.render(false));
}

#[test]
fn upstreams_in_place_never_share_a_name() {
    let config = load(
        "listen = ':80'\n[upstreams.a-80]\nbackends = 'http://c'\n[routes]\n'/a' = 'http://a:80'\n'/b' = 'http://a-80'\n'/c' = 'a-80'\n'/d' = { upstream = { backends = 'http://e' } }",
    );
    let names: Vec<_> = ["/a", "/b", "/c", "/d"].map(|route| upstream(&config.routes[route])).into();
    assert_eq!(names, ["a-80-3", "a-80-2", "a-80", "route-d"]);
    assert_eq!(url(&config, "a-80-3"), "http://a:80");
    assert_eq!(url(&config, "route-d"), "http://e");
}

#[test]
fn routes_start_from_the_defaults() {
    let config = load(
        "listen = ':80'\n[defaults]\nhost = 'example.com'\nupstream = 'http://a'\ntimeout = '5s'\nsecurity_headers = true\nmax_body = '1MiB'\n\
         [routes.plain]\n[routes.own]\nhost = false\ntimeout = '1s'\nsecurity_headers = false\nupstream = 'http://b'\nmax_body = '2MiB'",
    );
    let plain = &config.routes["plain"];
    assert_eq!(plain.matches.host.as_ref().unwrap().0, ["example.com"]);
    assert_eq!(upstream(plain), "a");
    assert_eq!(plain.policies.timeout, Some(Toggle::On(Duration::seconds(5))));
    assert!(matches!(plain.policies.security_headers, Some(Toggle::On(_))));
    let own = &config.routes["own"];
    assert_eq!(own.matches.host, None);
    assert_eq!(upstream(own), "b");
    assert_eq!(own.policies.timeout, Some(Toggle::On(Duration::seconds(1))));
    assert!(matches!(own.policies.security_headers, Some(Toggle::Off)));
    assert_eq!(own.access.max_body, Some(Toggle::On(Size::mib(2).into())));
}

#[test]
fn damage_never_makes_it_panic() {
    let text = include_str!("worked.toml");
    for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
        let loaded = config::load_text_with("a.toml", &text[..end], Path::new("/nowhere"), &|_| None);
        if end % 7 == 0 {
            loaded.render(true);
            loaded.document.render_json(&loaded.report);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn letters_in_the_wrong_place_never_make_it_panic(place in 0usize..5000, letters in "[\\[\\]{}=\"'\n#.,a0$é-]{1,4}", cut in 0usize..40) {
        let text = include_str!("worked.toml");
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) { at -= 1; }
            at
        };
        let (from, to) = (boundary(place), boundary(place + cut));
        let damaged = format!("{}{letters}{}", &text[..from], &text[to..]);
        config::load_text_with("a.toml", &damaged, Path::new("/nowhere"), &|_| None).render(false);
    }
}

#[test]
fn ten_thousand_routes_load_in_a_moment() {
    let mut text = "listen = ':80'\n[defaults]\ntimeout = '5s'\n[routes]\n".to_owned();
    for number in 0..10_000 {
        text.push_str(&format!("'/r{number}/*' = 'http://10.0.{}.{}:80'\n", number / 250, number % 250));
    }
    let began = std::time::Instant::now();
    assert_eq!(load(&text).routes.len(), 10_000);
    // Quadratic work anywhere would take minutes; a slow machine with a debug build takes a second.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn what_was_kept_loads_when_the_files_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("conf.d")).unwrap();
    std::fs::write(path("conf.d/users.toml"), "[routes]\n'/users/*' = 'http://${file:host}'\n").unwrap();
    std::fs::write(path("host"), "a:80\n").unwrap();
    std::fs::write(path("conf.d/host"), "b:80\n").unwrap();
    std::fs::write(path("maitred.toml"), "listen = ':80'\ninclude = ['conf.d/*.toml', './maitred.toml']\n").unwrap();
    let loaded = config::load(&path("maitred.toml"));
    assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
    let texts = loaded.document.texts().map(|(name, text)| (name.into(), text.to_owned()));
    let kept: Vec<(std::path::PathBuf, String)> = texts.collect();
    std::fs::remove_file(path("maitred.toml")).unwrap();
    std::fs::remove_file(path("conf.d/users.toml")).unwrap();
    std::fs::write(path("conf.d/other.toml"), "nonsense = 1\n").unwrap();
    let again = config::load_kept(&path("maitred.toml"), &kept);
    assert!(!again.report.has_errors(), "{}", again.render(false));
    assert_eq!(again.files, loaded.files);
    assert_eq!(config::effective(&again), config::effective(&loaded));
    // Files that values are taken from are those of now.
    std::fs::remove_file(path("conf.d/host")).unwrap();
    assert!(config::load_kept(&path("maitred.toml"), &kept).report.has_errors());
    assert!(config::load_kept(&path("maitred.toml"), &[]).config.is_none());
}
