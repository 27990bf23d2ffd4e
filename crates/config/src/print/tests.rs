//! What is printed is TOML, and the same.

use serde_json::json;

use super::*;

#[test]
fn sections_have_headers_and_small_tables_stand_in_line() {
    let value = json!({
        "server": { "threads": 4, "grace_period": "1m" },
        "upstreams": { "users": { "backends": ["http://a", { "url": "http://b", "weight": 3 }] } },
        "routes": {
            "/api/*": { "upstream": "users", "request": { "set": { "X-A": "say \"hi\"\n" } } },
            "empty": {},
        },
    });
    let text = to_toml(&value, &|at| (at.last() == "threads").then(|| "maitred.toml:7".into()));
    insta::assert_snapshot!(text, @r##"
[server]
threads      = 4     # maitred.toml:7
grace_period = "1m"

[upstreams.users]
backends = ["http://a", { url = "http://b", weight = 3 }]

[routes."/api/*"]
upstream = "users"
request  = { set = { X-A = "say \"hi\"\n" } }

[routes.empty]
"##);
    assert_eq!(text.parse::<toml::Table>().unwrap(), toml::Table::try_from(&value).unwrap());
}

#[test]
fn what_is_too_long_for_a_line_is_broken_up() {
    let long = |letter: char| letter.to_string().repeat(40);
    let value = json!({ "routes": { "a": {
        "host": [long('a'), long('b'), long('c')],
        "request": { "set": { "X-A": long('d'), "X-B": long('e') }, "remove": ["Cookie"] },
    } } });
    let text = to_toml(&value, &|at| (at.last() == "host").then(|| "a.toml:1".into()));
    insta::assert_snapshot!(text, @r##"
[routes.a]
host = [
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
  "cccccccccccccccccccccccccccccccccccccccc",
]  # a.toml:1

[routes.a.request]
remove = ["Cookie"]

[routes.a.request.set]
X-A = "dddddddddddddddddddddddddddddddddddddddd"
X-B = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
"##);
    assert_eq!(text.parse::<toml::Table>().unwrap(), toml::Table::try_from(&value).unwrap());
}
