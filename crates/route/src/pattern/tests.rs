//! Path patterns: what they match, capture and refuse.

use super::*;
use crate::table::tests::captured;

#[test]
fn patterns_match_segment_by_segment() {
    assert_eq!(captured("/health", "/health"), Some(vec![]));
    assert_eq!(captured("/health", "/health/"), None);
    assert_eq!(captured("/", "/"), Some(vec![]));
    assert_eq!(captured("/", "/a"), None);
    assert_eq!(captured("/users/{id}", "/users/7"), Some(vec!["7"]));
    assert_eq!(captured("/users/{id}", "/users/"), None);
    assert_eq!(captured("/users/{id}", "/users/7/"), None);
    assert_eq!(captured("/a/{x}/b/{y}", "/a/1/b/2"), Some(vec!["1", "2"]));
    assert_eq!(captured("/users/*", "/users"), Some(vec![""]));
    assert_eq!(captured("/users/*", "/users/"), Some(vec!["/"]));
    assert_eq!(captured("/users/*", "/users/a/b"), Some(vec!["/a/b"]));
    assert_eq!(captured("/users/*", "/usersx"), None);
    assert_eq!(captured("/users/{id}/*", "/users/7/x/y"), Some(vec!["7", "/x/y"]));
    assert_eq!(captured("/*", "/a/b"), Some(vec!["/a/b"]));
    assert_eq!(captured("*", "/"), Some(vec!["/"]));
}

#[test]
fn regular_expressions_capture_by_name_and_number() {
    let pattern = Pattern::parse("~^/v([0-9]+)/(?<what>[^/]+)(x)?").unwrap();
    assert_eq!(pattern.captures(), ["1".into(), "what".into(), "3".into()]);
    assert_eq!(captured("~^/v([0-9]+)/(?<what>[^/]+)(/x)?", "/v2/users"), Some(vec!["2", "users", ""]));
    assert_eq!(captured("~^/v([0-9]+)", "/x"), None);
}

#[test]
fn spelling_is_no_way_round_a_pattern() {
    assert_eq!(captured("/admin", "/admin;x"), Some(vec![]));
    assert_eq!(captured("/@admin", "/%40admin"), Some(vec![]));
    assert_eq!(captured("/%40admin", "/@admin"), Some(vec![]));
    assert_eq!(captured("/größe", "/gr%C3%B6%C3%9Fe"), Some(vec![]));
    assert_eq!(captured("/users/{id}", "/users/7%2B1;v=2"), Some(vec!["7%2B1;v=2"]));
    assert_eq!(captured("/users/*", "/users;a/7;v=2"), Some(vec!["/7;v=2"]));
}

#[test]
fn what_is_no_pattern_is_refused() {
    let label = |text: &str| Pattern::parse(text).unwrap_err().label;
    assert_eq!(label("users"), "a path begins with `/`, or with `~` for a regular expression");
    assert_eq!(label("/users*"), "`*` stands for whole segments, alone at the end");
    assert_eq!(label("/*/x"), "`*` stands for whole segments, alone at the end");
    assert_eq!(label("/a{x}"), "a placeholder takes a whole segment");
    assert_eq!(label("/{x}/{x}"), "`{x}` stands here twice");
    assert_eq!(label("/{a-b}"), "`a-b` is not a name");
    assert_eq!(label("/{}"), "`` is not a name");
    assert_eq!(label("/{user}"), "`{user}` already means something of the request");
    assert_eq!(label("/:id"), "a colon makes no placeholder");
    assert_eq!(label("/a;b"), "path parameters do not count in matching");
    assert_eq!(label("~(?<path>.*)"), "`{path}` already means something of the request");
    assert_eq!(label("~^/(a"), "unclosed group");
    for text in ["/a/../b", "/./a", "/%2e%2E/a", "/a%2Fb", "/a\\b", "/a?b", "//a", "/a//b", "/a//"] {
        assert!(Pattern::parse(text).is_err(), "{text}");
    }
}
