//! What decoding finds, and that nothing makes it panic.

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{At, Code, Document, Duration, OneOrMany, Report, Secret, Size, Toggle, Vocabulary};

#[derive(Debug, Deserialize, JsonSchema, Default)]
struct Server {
    names: Option<OneOrMany<String>>,
    wait: Option<Toggle<Duration>>,
    size: Option<Size>,
    token: Option<Secret>,
    kind: Option<Kind>,
    inner: Option<Toggle<Inner>>,
    list: Option<OneOrMany<Inner>>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    RoundRobin,
    Random,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Inner {
    port: Option<u16>,
}

fn decode(text: &str) -> (Option<Server>, Vec<(Code, String)>) {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("a.toml", text, &mut report);
    document.merge(tree, &mut report);
    let server = document.decode(&At::root(), &Vocabulary::default(), &mut report);
    let place = |diagnostic: &crate::Diagnostic| {
        let span = document.place(&diagnostic.labels[0].place);
        (diagnostic.code, document.written(&span).to_owned())
    };
    document.render(&report, true);
    document.render_json(&report);
    let found = document.sorted(&report).into_iter().map(place).collect();
    (server, found)
}

#[test]
fn short_forms_are_read() {
    let (server, found) = decode(
        "names = 'a'\nwait = false\nsize = '1MiB'\nkind = 'round_robin'\ninner = { port = 1 }\nlist = [{ port = 2 }, { port = 3 }]",
    );
    let server = server.unwrap();
    assert_eq!(found, []);
    assert_eq!(server.names.unwrap().0, ["a"]);
    assert_eq!(server.wait, Some(Toggle::Off));
    assert_eq!(server.size, Some(Size::mib(1)));
    assert_eq!(server.kind, Some(Kind::RoundRobin));
    assert!(matches!(server.inner, Some(Toggle::On(Inner { port: Some(1) }))));
    assert_eq!(server.list.unwrap().len(), 2);
}

#[test]
fn mistakes_are_placed_however_deep_they_lie() {
    let (server, found) = decode(
        "names = ['a', 2]\nwait = 5\nsize = 1.5\nkind = 'randm'\ninner = { port = 'x', prt = 1 }\nlist = [{ port = -1 }, { port = 3, q = 1 }]\nother = 1\n[deep]\nx = 1",
    );
    assert!(server.is_some());
    let found: Vec<_> = found.iter().map(|(code, text)| (*code, text.as_str())).collect();
    let expected = [
        (Code::E0101, "2"),
        (Code::E0104, "5"),
        (Code::E0104, "1.5"),
        (Code::E0108, "'randm'"),
        (Code::E0101, "'x'"),
        (Code::E0102, "prt"),
        (Code::E0103, "-1"),
        (Code::E0102, "q"),
        (Code::E0102, "other"),
        (Code::E0102, "deep"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_secret_in_clear_is_a_warning() {
    let (server, found) = decode("token = 'hunter2'");
    assert_eq!(format!("{:?}", server.unwrap().token), "Some(***)");
    assert_eq!(found, [(Code::W0601, "'hunter2'".to_owned())]);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(names|wait|size|token|kind|inner|list|[a-z.=\\[\\]{}\"', \n0-9#é$-]){0,40}") {
        decode(&text);
    }
}
