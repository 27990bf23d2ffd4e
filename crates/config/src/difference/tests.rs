//! Two configurations, and what is said of them.

use serde_json::json;

use super::*;

fn told(before: &Value, after: &Value) -> Vec<String> {
    difference(before, after).iter().map(ToString::to_string).collect()
}

#[test]
fn named_tables_come_and_go_and_values_change() {
    let before = json!({
        "server": { "threads": 2 },
        "listeners": { "http": { "address": ":80" } },
        "upstreams": { "users": { "backends": ["http://a", "http://b"], "timeout": "5s" } },
        "routes": { "users": { "path": "/users/*", "upstream": "users" }, "legacy": { "path": "/legacy" } },
    });
    let after = json!({
        "server": { "threads": 4, "grace_period": "1m" },
        "listeners": { "http": { "address": [":80"] } },
        "upstreams": { "users": { "backends": ["http://a", "http://b", "http://c"], "timeout": "7s" } },
        "routes": { "users": { "path": "/users/*", "upstream": "users" }, "invoices": { "path": "/invoices" } },
    });
    assert_eq!(
        told(&before, &after),
        [
            "+ route invoices",
            "- route legacy",
            "~ server.grace_period: default → \"1m\"",
            "~ server.threads: 2 → 4",
            "~ upstreams.users.backends: 2 → 3",
            "~ upstreams.users.timeout: \"5s\" → \"7s\"",
        ]
    );
    assert_eq!(told(&before, &before), [""; 0]);
}

#[test]
fn a_list_that_grew_is_told_with_its_length() {
    let backends = |list: Value| json!({ "upstreams": { "users": { "backends": list } } });
    let (one, three) = (backends(json!("http://a")), backends(json!(["http://a", "http://b", "http://c"])));
    assert_eq!(told(&one, &three), ["~ upstreams.users.backends: 1 → 3"]);
    let other = backends(json!(["http://z"]));
    assert_eq!(told(&one, &other), ["~ upstreams.users.backends: \"http://a\" → [\"http://z\"]"]);
}
