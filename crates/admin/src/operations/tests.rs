//! The table of operations: no two meet, and each is found by its path.

use super::{find::matched, *};

#[test]
fn no_two_operations_meet() {
    for (index, one) in OPERATIONS.iter().enumerate() {
        for other in &OPERATIONS[index + 1..] {
            assert_ne!(one.name, other.name);
            assert!(one.verb != other.verb || one.path != other.path, "{}", one.path);
        }
        let concrete = one.path.replace("{id}", "7").replace("{name}", "x").replace("{address}", "y");
        let method = Method::from_bytes(one.verb.as_str().as_bytes()).unwrap();
        match find(&method, &concrete) {
            Found::Operation(found, _) => assert_eq!(found.name, one.name),
            _ => panic!("{concrete} is not found"),
        }
        assert!(one.summary.ends_with('.') && one.summary.len() < 120, "{}", one.summary);
    }
}

#[test]
fn a_path_is_matched_segment_by_segment() {
    let pattern = "/api/v1/config/rollback/{id}";
    let first = |path: &str| matched(pattern, path).map(|[first, _]| first);
    assert_eq!(first("/api/v1/config/rollback/7").as_deref(), Some("7"));
    assert_eq!(first("/api/v1/config/rollback/a%2Fb").as_deref(), Some("a/b"));
    let two = matched("/upstreams/{name}/backends/{address}", "/upstreams/users/backends/%2Frun%2Fapp.sock");
    assert_eq!(two, Some(["users".into(), "/run/app.sock".into()]));
    for other in ["/api/v1/config/rollback", "/api/v1/config/rollback/", "/api/v1/config/rollback/7/8", "/"] {
        assert_eq!(matched(pattern, other), None, "{other}");
    }
}
