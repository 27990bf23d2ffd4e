//! The normal form of paths, case by case and as properties.

use proptest::prelude::*;

use super::*;

fn normal(raw: &str) -> String {
    normalise(raw).unwrap_or_else(|_| panic!("{raw:?} was refused")).into_owned()
}

#[test]
fn one_resource_has_one_spelling() {
    for (raw, expected) in [
        ("/", "/"),
        ("/users/7", "/users/7"),
        ("/users/", "/users/"),
        ("/%61dmin", "/admin"),
        ("/a%2db%2D%7Ec", "/a-b-~c"),
        ("//admin", "/admin"),
        ("/a///b//", "/a/b/"),
        ("/x/../admin", "/admin"),
        ("/x/%2e%2E/admin", "/admin"),
        ("/a/./b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/a//../b", "/b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/a b\"<>^`{|}", "/a%20b%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a%20b%2b+", "/a%20b%2B+"),
        ("/...", "/..."),
        ("/..a/.b", "/..a/.b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/cars;color=red/7;v=1", "/cars;color=red/7;v=1"),
        ("/;jsessionid=1", "/;jsessionid=1"),
        ("/%C0", "/%C0"),
        ("/%E2%82%AC", "/%E2%82%AC"),
        ("/%2541", "/%2541"),
    ] {
        assert_eq!(normal(raw), expected, "{raw}");
    }
}

#[test]
fn tricks_are_refused() {
    for raw in [
        "",
        "users",
        "*",
        "/..",
        "/../a",
        "/a/../..",
        "/%2e%2e/a",
        "/a%2Fb",
        "/a%2fb",
        "/a\\b",
        "/a%5Cb",
        "/a%5cb",
        "/a%00b",
        "/a%0d%0a",
        "/a\u{7f}",
        "/%7F",
        "/a\tb",
        "/%",
        "/%2",
        "/%zz",
        "/%u002f",
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/.;/admin",
        "/x/%2e%2e;/admin",
        "/x/..%3b/admin",
        "/;/admin",
        "/%3Bx/admin",
        "/a/%3b/b",
        "/a/;x/b",
        "/a?b",
        "/a#b",
        "/%C0%AF",
        "/%c1%9c",
        "/%E0%80%AF",
        "/%F0%80%80%AF",
    ] {
        assert_eq!(normalise(raw), Err(Reason::BadPath), "{raw}");
    }
}

#[test]
fn a_normal_path_is_borrowed() {
    for path in
        ["/", "/a/b/c", "/a%20b", "/%20", "/caf%C3%A9/x", "/cars;color=red", "/a.b/c..d", "/.well-known/x", "/..a"]
    {
        assert!(matches!(normalise(path), Ok(Cow::Borrowed(_))), "{path}");
    }
}

/// Paths made of the parts that attacks are made of.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("/".to_string()),
        Just("//".into()),
        Just(".".into()),
        Just("..".into()),
        Just("%2e".into()),
        Just("%2E".into()),
        Just("%2f".into()),
        Just("%5c".into()),
        Just("\\".into()),
        Just(";".into()),
        Just("%3b".into()),
        Just("%25".into()),
        Just("%c0%af".into()),
        Just("a".into()),
        Just("%61".into()),
        Just("é".into()),
        Just(" ".into()),
        Just("%".into()),
        "[ -~]{0,3}",
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn normal_is_normal(raw in hostile()) {
        let Ok(path) = normalise(&raw) else { return Ok(()) };
        prop_assert!(is_normal(path.as_bytes()) || path.contains(".%") || path.contains("/;") || path.contains("/%3B") || path.contains("%C0") || path.contains("%E0"));
        prop_assert_eq!(normalise(&path).unwrap(), path.clone());
        prop_assert!(path.starts_with('/'));
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
        for never in ["//", "/./", "/../", "%2F", "%5C", "\\", "%00", "?", "#", "/..;", "/.;", "/..%3B", "/.%3B"] {
            prop_assert!(!path.contains(never), "{} holds {}", path, never);
        }
        prop_assert!(!path.ends_with("/.") && !path.ends_with("/.."));
    }

    #[test]
    fn any_text_is_answered(raw in "\\PC*") {
        let _ = normalise(&raw);
    }
}
