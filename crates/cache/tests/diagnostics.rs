//! What mistaken caches are told.

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_cache::{CacheConfig, DiskSettings, Policy, Settings, ZoneConfig};

fn complaint(text: &str) -> String {
    complaint_on(text, None)
}

/// The same where there is so much space on disk besides.
fn complaint_on(text: &str, disk: Option<u64>) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("zone");
    if let Some(zone) = document.decode::<ZoneConfig>(&at, &Vocabulary::default(), &mut report) {
        zone.compile(false, &at, &mut report);
    }
    let disk = disk.map(|size| DiskSettings { path: "/var/cache/maitred".into(), size });
    let room = Settings { memory: 16 << 20, disk, redis: false };
    let at = At::root().key("cache");
    if let Some(cache) = document.decode::<CacheConfig>(&at, &Vocabulary::default(), &mut report) {
        Policy::compile(&cache, "app", "", Some(&room), false, &at, &mut report);
    }
    assert!(report.has_errors());
    document.render(&report, false)
}

#[test]
fn keys_that_mix_answers_up() {
    assert_snapshot!(complaint("[cache]\nkey = [\"host\", \"query\"]\n"), @r#"
error[E0108]: a key without the path gives the answer for one page to another
 --> maitred.toml:2:7
  |
2 | key = ["host", "query"]
  |       ^^^^^^^^^^^^^^^^^ `path` is missing
  |
  = help: add "path"
"#);
    assert_snapshot!(complaint("[cache]\nkey = [\"path\", \"cookies\", \"header:a b\", \"path\"]\nbypass = [\"path\"]\n"), @r#"
error[E0108]: `cookies` is not a part of a request
 --> maitred.toml:2:16
  |
2 | key = ["path", "cookies", "header:a b", "path"]
  |                ^^^^^^^^^ not known here
  |
  = help: write "scheme", "host", "path", "query", "query:*", "query:!NAME", "query:NAME", "header:NAME" or "cookie:NAME"

error[E0108]: `header:a b` is not a part of a request
 --> maitred.toml:2:27
  |
2 | key = ["path", "cookies", "header:a b", "path"]
  |                           ^^^^^^^^^^^^ not known here
  |
  = help: write "scheme", "host", "path", "query", "query:*", "query:!NAME", "query:NAME", "header:NAME" or "cookie:NAME"

error[E0108]: `path` stands in the key twice
 --> maitred.toml:2:41
  |
2 | key = ["path", "cookies", "header:a b", "path"]
  |                                         ^^^^^^ the second time
  |
  = help: delete it

error[E0108]: `path` is not a part of a request
 --> maitred.toml:3:10
  |
3 | bypass = ["path"]
  |          ^^^^^^^^ not known here
  |
  = help: write "cookie:NAME", "header:NAME" or "query:NAME"
"#);
}

#[test]
fn rules_that_cannot_be_followed() {
    assert_snapshot!(complaint("[cache]\noverride = true\nvary = \"Accept Language\"\nmax_object = \"5MiB\"\n"), @r#"
error[E0106]: `override` has nothing to put in the place of what the origin says
 --> maitred.toml:2:12
  |
2 | override = true
  |            ^^^^ neither `ttl` nor `status` is given
  |
  = help: add `ttl = "5m"`, or delete `override`

error[E0108]: `Accept Language` is not a header name
 --> maitred.toml:3:8
  |
3 | vary = "Accept Language"
  |        ^^^^^^^^^^^^^^^^^ expected a name such as "Accept-Language"
  |
  = help: a header name is made of letters, digits and the characters ! # $ % & ' * + - . ^ _ ` | ~

error[E0103]: `max_object` cannot be 5MiB
 --> maitred.toml:4:14
  |
4 | max_object = "5MiB"
  |              ^^^^^^ a quarter of the cache's memory is 4MiB
  |
  = help: write `memory = "20MiB"` or more under `[cache]`, or keep answers on `disk` as well
"#);
    assert_snapshot!(complaint_on("[cache]\nmax_object = \"20MiB\"\n", Some(64 << 20)), @r#"
error[E0103]: `max_object` cannot be 20MiB
 --> maitred.toml:2:14
  |
2 | max_object = "20MiB"
  |              ^^^^^^^ a quarter of the cache's space on disk is 16MiB
  |
  = help: write `size = "80MiB"` or more in `disk` of `[cache]`
"#);
    assert_snapshot!(complaint("[cache]\nstatus = { 206 = \"1m\", 404x = \"1m\", 5xx = \"1s\" }\n"), @r#"
error[E0108]: answers with 206 are never kept
 --> maitred.toml:2:12
  |
2 | status = { 206 = "1m", 404x = "1m", 5xx = "1s" }
  |            ^^^ a part
  |
  = help: delete it

error[E0108]: `404x` is not a status
 --> maitred.toml:2:24
  |
2 | status = { 206 = "1m", 404x = "1m", 5xx = "1s" }
  |                        ^^^^ expected a status from 200 to 599, or a class
  |
  = help: write for example `404 = "10s"` or `5xx = "1s"`
"#);
    assert_snapshot!(complaint("cache = 5\n"), @r#"
error[E0101]: wrong type for `cache`
 --> maitred.toml:1:9
  |
1 | cache = 5
  |         ^ expected `true`, a duration such as "5m", or a table about what is kept, found the integer 5
"#);
}

#[test]
fn tiers_that_cannot_be() {
    assert_snapshot!(complaint("[zone]\nredis = true\ndisk = { path = \"cache\", size = \"1MiB\" }\n"), @r#"
error[E0201]: answers are to be kept in Redis, and there is no `[redis]`
 --> maitred.toml:2:9
  |
2 | redis = true
  |         ^^^^ which one?
  |
  = help: add `[redis]` with `url = "redis://localhost:6379"`

error[E0108]: `cache` does not say where it is
 --> maitred.toml:3:17
  |
3 | disk = { path = "cache", size = "1MiB" }
  |                 ^^^^^^^ expected a path that begins with `/`
  |
  = help: write for example `path = "/var/cache/maitred"`

error[E0103]: `size` cannot be 1MiB
 --> maitred.toml:3:33
  |
3 | disk = { path = "cache", size = "1MiB" }
  |                                 ^^^^^^ at least 16MiB
  |
  = help: to keep nothing on disk, delete `disk`
"#);
    assert_snapshot!(complaint("[zone]\ndisk = { path = \"/cache\" }\n"), @r#"
error[E0106]: `disk` needs `size`
 --> maitred.toml:2:8
  |
2 | disk = { path = "/cache" }
  |        ^^^^^^^^^^^^^^^^^^^ `size` is missing
  |
  = help: add `size = "10GiB"`
"#);
}

#[test]
fn a_zone_that_holds_nothing() {
    assert_snapshot!(complaint("[zone]\nmemory = \"4KiB\"\n"), @r#"
error[E0103]: `memory` cannot be 4KiB
 --> maitred.toml:2:10
  |
2 | memory = "4KiB"
  |          ^^^^^^ at least 1MiB
  |
  = help: to keep nothing at all, leave `cache` out of every route
"#);
}
