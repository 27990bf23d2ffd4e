//! The look of messages, sample by sample.

use insta::assert_snapshot;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{At, Code, Diagnostic, Document, Duration, Report, Vocabulary};

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Upstream {
    retries: Option<u8>,
    timeout: Option<Duration>,
    weight: Option<u16>,
}

const WORDS: Vocabulary =
    Vocabulary { noun: |_| Some("an upstream"), synonyms: &[("tries", &["retries"])], remark: |_| None };

fn document(files: &[(&str, &str)]) -> (Document, Report) {
    let (mut document, mut report) = (Document::new(), Report::new());
    for (name, text) in files {
        let tree = document.read(name, text, &mut report);
        document.merge(tree, &mut report);
    }
    (document, report)
}

fn users(text: &str) -> String {
    let (document, mut report) = document(&[("maitred.toml", text)]);
    let at = At::root().key("upstreams").key("users");
    document.decode::<Upstream>(&at, &WORDS, &mut report);
    document.render(&report, false)
}

#[test]
fn an_unknown_key_shows_the_nearest() {
    assert_snapshot!(users("\n\n\n\n\n[upstreams.users]\nretires = 2\n"), @r###"
    error[E0102]: unknown key `retires` in `upstreams.users`
     --> maitred.toml:7:1
      |
    7 | retires = 2
      | ^^^^^^^ not a key of an upstream
      |
    help: a key with a similar name exists
      |
    7 - retires = 2
    7 + retries = 2
      |
    "###);
}

#[test]
fn a_word_of_another_program_is_translated() {
    assert_snapshot!(users("[upstreams.users]\nTries = 2\nfrobnicate = 1\n"), @r###"
    error[E0102]: unknown key `Tries` in `upstreams.users`
     --> maitred.toml:2:1
      |
    2 | Tries = 2
      | ^^^^^ not a key of an upstream
      |
    help: here this is called
      |
    2 - Tries = 2
    2 + retries = 2
      |

    error[E0102]: unknown key `frobnicate` in `upstreams.users`
     --> maitred.toml:3:1
      |
    3 | frobnicate = 1
      | ^^^^^^^^^^ not a key of an upstream
      |
      = help: known keys are `retries`, `timeout`, `weight`
    "###);
}

#[test]
fn a_bare_number_lacks_its_unit() {
    assert_snapshot!(users(&format!("{}[upstreams.users]\ntimeout  = 30000\n", "\n".repeat(27))), @r###"
    error[E0104]: a duration needs a unit
      --> maitred.toml:29:12
       |
    29 | timeout  = 30000
       |            ^^^^^ expected a duration such as "30s", found the integer 30000
       |
    help: if this was meant as milliseconds, write
       |
    29 - timeout  = 30000
    29 + timeout  = "30s"
       |
    "###);
}

#[test]
fn every_mistake_of_a_table_is_found() {
    assert_snapshot!(users("[upstreams.users]\ntimeout = \"5 bananas\"\nretries = \"two\"\nweight = 70000\nretires = 1\n"), @r###"
    error[E0108]: invalid value for `timeout` in `upstreams.users`
     --> maitred.toml:2:11
      |
    2 | timeout = "5 bananas"
      |           ^^^^^^^^^^^ expected a duration such as "30s", "5m" or "250ms", found "5 bananas"

    error[E0101]: wrong type for `retries` in `upstreams.users`
     --> maitred.toml:3:11
      |
    3 | retries = "two"
      |           ^^^^^ expected a whole number from 0 to 255, found the string "two"

    error[E0103]: value out of range for `weight` in `upstreams.users`
     --> maitred.toml:4:10
      |
    4 | weight = 70000
      |          ^^^^^ expected a whole number from 0 to 65535, found the integer 70000

    error[E0102]: unknown key `retires` in `upstreams.users`
     --> maitred.toml:5:1
      |
    5 | retires = 1
      | ^^^^^^^ not a key of an upstream
      |
    help: a key with a similar name exists
      |
    5 - retires = 1
    5 + retries = 1
      |
    "###);
}

#[test]
fn a_label_elsewhere_in_the_file_is_context() {
    let text = "\n\n\n\n[upstreams.users]\n\n\n\n\n\n\n\n\n[routes.users]\nupstream = \"usres\"\n";
    let (document, mut report) = document(&[("maitred.toml", text)]);
    let at = At::root().key("routes").key("users").key("upstream");
    report.push(
        Diagnostic::new(Code::E0201, "route `users` sends traffic to an upstream that does not exist")
            .label(&at, "no upstream is named `usres`")
            .label(At::root().key("upstreams").key("users").name(), "a similar name is defined here")
            .help("did you mean `users`?")
            .patch(&at, "\"users\""),
    );
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0201]: route `users` sends traffic to an upstream that does not exist
      --> maitred.toml:15:12
       |
     5 | [upstreams.users]
       |            ----- a similar name is defined here
    ...
    15 | upstream = "usres"
       |            ^^^^^^^ no upstream is named `usres`
       |
    help: did you mean `users`?
       |
    15 - upstream = "usres"
    15 + upstream = "users"
       |
    "###);
}

#[test]
fn labels_in_two_files_show_both() {
    let other = "[routes.profile]\npath     = \"/users/{name}\"\n";
    let main = format!("{}[routes.users]\npath     = \"/users/{{id}}\"\n", "\n".repeat(73));
    let (document, mut report) = document(&[("maitred.toml", &main), ("conf.d/profile.toml", other)]);
    let routes = At::root().key("routes");
    report.push(
        Diagnostic::new(Code::E0302, "routes `users` and `profile` match exactly the same requests")
            .label(routes.key("profile").key("path"), "this pattern has the same shape…")
            .label(routes.key("users").key("path"), "…as this one; parameter names do not count")
            .note("order never decides between routes, so neither could win")
            .help("tell them apart by `method`, `host`, `header` or `query`, or delete one"),
    );
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0302]: routes `users` and `profile` match exactly the same requests
      --> conf.d/profile.toml:2:12
       |
     2 | path     = "/users/{name}"
       |            ^^^^^^^^^^^^^^^ this pattern has the same shape…
       |
      ::: maitred.toml:75:12
       |
    75 | path     = "/users/{id}"
       |            ------------- …as this one; parameter names do not count
       |
       = note: order never decides between routes, so neither could win
       = help: tell them apart by `method`, `host`, `header` or `query`, or delete one
    "###);
}

#[test]
fn all_errors_of_syntax_are_found() {
    let (document, report) = document(&[("maitred.toml", "a = \nb = [1, 2\nc = \"x\n[d\ne = 1\n")]);
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0001]: a value is missing
     --> maitred.toml:1:5
      |
    1 | a = 
      |     ^ expected a value

    error[E0001]: a list or table in brackets is not closed
     --> maitred.toml:3:1
      |
    3 | c = "x
      | ^ read as a part of it
      |
      = help: add the missing bracket above this line
    "###);
}

#[test]
fn a_name_defined_twice_shows_both_places() {
    let one = "[upstreams.users]\nbackends = \"http://a\"\n[upstreams.users]\nbackends = \"http://b\"\n";
    let (document, report) = document(&[("maitred.toml", one), ("b.toml", "[upstreams.users]\n")]);
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0202]: `users` is defined twice
     --> maitred.toml:3:12
      |
    1 | [upstreams.users]
      |            ----- first defined here
    2 | backends = "http://a"
    3 | [upstreams.users]
      |            ^^^^^ defined again here

    error[E0202]: `upstreams.users` is defined twice
     --> b.toml:1:12
      |
    1 | [upstreams.users]
      |            ^^^^^ defined again here…
      |
     ::: maitred.toml:3:12
      |
    3 | [upstreams.users]
      |            ----- …after it was defined here
      |
      = help: delete one of them, or give one of them another name
    "###);
}

#[test]
fn json_has_one_object_for_each() {
    let (document, mut report) = document(&[("maitred.toml", "[upstreams.users]\nretires = 2\n")]);
    document.decode::<Upstream>(&At::root().key("upstreams").key("users"), &WORDS, &mut report);
    assert_snapshot!(document.render_json(&report).join("\n"), @r###"
    {"code":"E0102","level":"error","message":"unknown key `retires` in `upstreams.users`","file":"maitred.toml","line":2,"column":1,"span":{"start":18,"end":25},"help":"a key with a similar name exists","patch":{"file":"maitred.toml","span":{"start":18,"end":25},"replacement":"retries"}}
    "###);
}

#[test]
fn what_was_filled_in_is_not_shown() {
    let (mut document, mut report) = (Document::new(), Report::new());
    let mut tree = document.read(
        "a.toml",
        "[upstreams.users]\ntimeout = \"${SECRET}\"\nretries = \"${TRIES}\"\nweight = \"${MISSING}\"",
        &mut report,
    );
    let variable = |name: &str| match name {
        "SECRET" => Some("hunter2hunter2".to_owned()),
        "TRIES" => Some("3".to_owned()),
        _ => None,
    };
    let environment = crate::Environment {
        variable: &variable,
        file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        folder: "/".into(),
    };
    document.fill_in(&mut tree, &environment, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("upstreams").key("users");
    let upstream: Upstream = document.decode(&at, &WORDS, &mut report).unwrap();
    assert_eq!(upstream.retries, Some(3));
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0108]: invalid value for `timeout` in `upstreams.users`
     --> a.toml:2:11
      |
    2 | timeout = "${SECRET}"
      |           ^^^^^^^^^^^ expected a duration such as "30s", "5m" or "250ms", found "${SECRET}"

    error[E0602]: the environment variable `MISSING` is not set
     --> a.toml:4:11
      |
    4 | weight = "${MISSING}"
      |           ^^^^^^^^^^ nothing to put here
      |
      = help: set `MISSING`, or give a default: `${MISSING:-…}`
    "###);
}

#[test]
fn errors_on_several_lines_are_all_found() {
    let (document, report) =
        document(&[("maitred.toml", "listen = :8080\n[routes\n\"/x\" = nope nope\nb = [1 2]\nc = \"x\nd = \n")]);
    assert_snapshot!(document.render(&report, false), @r###"
    error[E0001]: string values must be quoted
     --> maitred.toml:1:10
      |
    1 | listen = :8080
      |          ^^^^^ write it in quotes

    error[E0001]: unclosed table
     --> maitred.toml:2:8
      |
    2 | [routes
      |        ^ expected `]`
    "###);
}
