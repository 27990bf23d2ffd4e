//! What is shown of a configuration, and what is not.

use std::path::Path;

use serde_json::json;

use super::*;

fn load(text: &str) -> Loaded {
    let loaded = crate::load_text_with("maitred.toml", text, Path::new("/nowhere"), &|name| match name {
        "PORT" => Some("8123".into()),
        "TOKEN" => Some("a-token-that-nobody-may-see".into()),
        _ => None,
    });
    assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
    loaded
}

#[test]
fn short_forms_are_spelt_out_and_defaults_are_applied() {
    let loaded = load(
        "listen = ':80'\n[defaults]\ntimeout = '5s'\n[routes]\n'/b/*' = 'http://b:80'\n'a.test/a' = { upstream = 'http://b:80', timeout = '1s' }\n[tests]\n'/b/c' = '/b/*'\n",
    );
    assert_eq!(
        effective(&loaded),
        json!({
            "listeners": { "http": { "address": ":80" } },
            "upstreams": { "b-80": { "backends": "http://b:80" } },
            "routes": {
                "/b/*": { "upstream": "b-80", "path": "/b/*", "timeout": "5s" },
                "a.test/a": { "upstream": "b-80", "timeout": "1s", "host": "a.test", "path": "/a" },
            },
            "tests": { "/b/c": { "expect": "/b/*", "request": "/b/c" } },
        })
    );
}

const SECRETS: &str = r#"listen = ":${PORT:-80}"   # clients
[admin]
address = "0.0.0.0:9911"
token   = "sixteen-letters-or-more"
[upstreams.a]
backends = "http://a"
[routes.a]
path     = "/${TOKEN}"
upstream = "a"
request  = { set = { Authorization = "Bearer abc", X-Other = "seen" }, add = { Cookie = ["a=b", "${TOKEN}"] } }
"#;

#[test]
fn secrets_are_left_out() {
    let loaded = load(SECRETS);
    let shown = effective(&loaded);
    assert_eq!(shown["listeners"]["http"]["address"], ":${PORT:-80}");
    assert_eq!(shown["admin"], json!({ "address": "0.0.0.0:9911", "token": REDACTED }));
    assert_eq!(shown["routes"]["a"]["path"], "/${TOKEN}");
    let request = &shown["routes"]["a"]["request"];
    assert_eq!(request["set"], json!({ "Authorization": REDACTED, "X-Other": "seen" }));
    assert_eq!(request["add"]["Cookie"], json!([REDACTED, "${TOKEN}"]));
    for hidden in ["sixteen", "abc", "nobody-may-see", "8123"] {
        assert!(!shown.to_string().contains(hidden), "{hidden}");
    }
}

#[test]
fn a_secret_is_shown_as_written_only_where_nothing_of_it_stands_in_the_file() {
    for (written, told) in [
        ("${TOKEN}", "${TOKEN}"),
        ("${TOKEN:-a-default-for-all-to-read}", REDACTED),
        ("${TOKEN}-and-some-more-of-it", REDACTED),
    ] {
        let text = SECRETS.replace("sixteen-letters-or-more", written);
        assert_eq!(effective(&load(&text))["admin"]["token"], told, "{written}");
    }
}

#[test]
fn files_are_shown_as_written_but_for_secrets() {
    let sources = sources(&load(SECRETS));
    let [(name, text)] = &sources[..] else { panic!("{sources:?}") };
    assert_eq!(name, Path::new("maitred.toml"));
    let expected = SECRETS
        .replace("\"sixteen-letters-or-more\"", "\"<redacted>\"")
        .replace("\"Bearer abc\"", "\"<redacted>\"")
        .replace("\"a=b\"", "\"<redacted>\"");
    assert_eq!(*text, expected);
}

#[test]
fn what_is_shown_is_a_configuration_that_means_the_same() {
    let loaded = load(include_str!("../../../../conf/api.toml"));
    let shown = effective(&loaded);
    let text = crate::to_toml(&shown, &|_| None);
    let again = load(&text);
    assert_eq!(effective(&again), shown, "{text}");
}
