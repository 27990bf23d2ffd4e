//! Edits as made, and the mistakes that keep them from it.

use document::{At, Code, Report};
use filter::{Captures, Client};

use super::*;

fn config(json: &str) -> ResponseConfig {
    serde_json::from_str(json).unwrap()
}

fn compiled(json: &str) -> ResponseEdits {
    let captures = ["id".into()];
    let mut report = Report::new();
    let config = config(json);
    let edits = ResponseEdits::compile(
        (&config).into(),
        filter::template::Scope::all(&captures),
        &At::root().key("response"),
        &mut report,
    );
    edits.unwrap_or_else(|| panic!("{report:?}"))
}

fn mistakes(json: &str) -> Vec<(Code, String)> {
    let mut report = Report::new();
    let config = config(json);
    assert!(
        ResponseEdits::compile(
            (&config).into(),
            filter::template::Scope::all(&[]),
            &At::root().key("response"),
            &mut report
        )
        .is_none()
    );
    report.diagnostics().iter().map(|found| (found.code, found.message.clone())).collect()
}

/// Edits an answer that has `fields`, to a request for `/users/7` with `X-Tag: red`.
fn edited(json: &str, fields: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let mut head = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    let mut asked = RequestHeader::build("GET", b"/users/7", None).unwrap();
    asked.insert_header("X-Tag", "red").unwrap();
    let mut captures = Captures::new();
    captures.push(7, 8);
    let client = Client::local("public".into());
    let view = View {
        generation: 1,
        identity: None,
        head: &asked,
        client: &client,
        host: "a.test",
        path: "/users/7",
        query: None,
        captures: &captures,
    };
    compiled(json).amend(&mut head, &view);
    let written = |name: &str| name.to_owned();
    let mut all: Vec<_> =
        head.headers.iter().map(|(name, value)| (written(name.as_str()), value.to_str().unwrap().to_owned())).collect();
    all.sort();
    all
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn remove_then_set_then_add() {
    let edits = r#"{ "remove": ["Server", "X-Internal-*"],
                     "set": { "X-Id": "{id}", "Via": ["a", "b"] },
                     "add": { "Link": "<x>", "Server": "ours" } }"#;
    let fields = [
        ("Server", "nginx"),
        ("X-Internal-Node", "7"),
        ("x-internal-pod", "8"),
        ("X-Id", "forged"),
        ("Link", "<w>"),
        ("Via", "z"),
    ];
    let expected = [("link", "<w>"), ("link", "<x>"), ("server", "ours"), ("via", "a"), ("via", "b"), ("x-id", "7")];
    assert_eq!(edited(edits, &fields), pairs(&expected));
}

#[test]
fn what_comes_out_empty_is_not_sent_and_takes_the_old_one_with_it() {
    let edits =
        r#"{ "set": { "X-Tag": "{header.X-Tag}", "X-None": "{header.X-None}" }, "add": { "X-More": "{query.q}" } }"#;
    let fields = [("X-None", "the origin's"), ("X-More", "kept")];
    assert_eq!(edited(edits, &fields), pairs(&[("x-more", "kept"), ("x-tag", "red")]));
}

#[test]
fn a_wildcard_never_takes_the_framing() {
    let edits = r#"{ "remove": "Content-*" }"#;
    let fields = [("Content-Length", "3"), ("Content-Language", "de")];
    assert_eq!(edited(edits, &fields), pairs(&[("content-length", "3")]));
}

#[test]
fn http_1_sends_names_as_they_are_written() {
    let edits = compiled(r#"{ "set": { "x-CamelCase": "1" } }"#);
    let mut head = ResponseHeader::build(200, None).unwrap();
    let (asked, client, captures) =
        (RequestHeader::build("GET", b"/", None).unwrap(), Client::local("public".into()), Captures::new());
    let view = View {
        generation: 1,
        identity: None,
        head: &asked,
        client: &client,
        host: "",
        path: "/",
        query: None,
        captures: &captures,
    };
    edits.amend(&mut head, &view);
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    assert_eq!(wire, b"x-CamelCase: 1\r\n");
    assert_eq!(edits.describe().collect::<Vec<_>>(), ["set x-CamelCase"]);
}

#[test]
fn every_mistake_is_reported() {
    let json = r#"{ "remove": ["*", "X Y", "connection"],
                    "set": { "Content-Length": "3", "X-A": "{nope}", "x-a": "1", "": "x", "Date": "now" },
                    "add": { "X-B": "a\nb" } }"#;
    let found = mistakes(json);
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        codes,
        [
            Code::E0108, // *
            Code::E0108, // X Y
            Code::E0108, // connection
            Code::E0108, // ""
            Code::E0108, // Content-Length
            Code::E0108, // Date
            Code::E0109, // {nope}
            Code::E0107, // X-A, x-a
            Code::E0108, // a\nb
        ],
        "{found:?}"
    );
}

#[test]
fn removing_and_setting_the_same_field_is_a_contradiction() {
    let found = mistakes(r#"{ "remove": "server", "set": { "Server": "x" } }"#);
    assert_eq!(found[0].0, Code::E0107);
}

#[test]
fn the_host_is_set_elsewhere() {
    let request = config(r#"{ "set": { "Host": "b.test" } }"#);
    let mut report = Report::new();
    assert!(
        RequestEdits::compile(
            (&request).into(),
            filter::template::Scope::all(&[]),
            &At::root().key("request"),
            &mut report
        )
        .is_none()
    );
    assert!(report.diagnostics()[0].help.as_deref().is_some_and(|help| help.contains("`host` of the `request` table")));
    assert!(
        ResponseEdits::compile((&request).into(), filter::template::Scope::all(&[]), &At::root(), &mut Report::new())
            .is_some()
    );
}

#[test]
fn a_request_is_edited_alike() {
    let config = config(r#"{ "set": { "X-User": "{client_ip}" } }"#);
    let edits =
        RequestEdits::compile((&config).into(), filter::template::Scope::all(&[]), &At::root(), &mut Report::new())
            .unwrap();
    assert!(!edits.is_empty());
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    let (asked, client, captures) = (head.clone(), Client::local("public".into()), Captures::new());
    let view = View {
        generation: 1,
        identity: None,
        head: &asked,
        client: &client,
        host: "",
        path: "/",
        query: None,
        captures: &captures,
    };
    edits.amend(&mut head, &view);
    assert_eq!(head.headers["x-user"], "127.0.0.1");
}
