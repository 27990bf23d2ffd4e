//! That formatting keeps what is said and settles at once.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::fmt;

fn formatted(text: &str) -> String {
    fmt("a.toml", text).map_err(|loaded| loaded.render(false)).unwrap()
}

#[test]
fn spacing_is_even_and_comments_stay() {
    let text = "\n\n# top\nlisten=\":8080\"\n\n\n\n  include   = [ 'a',   # one\n  'b' ]   \n[routes]   # all\n# first\n'/a' = 'http://a'# here\n\"/longer/*\"='b'\n\n'/c'   = { upstream='c' ,timeout = '5s' }\n# next\n[ upstreams . c ]\nbackends=[\n  'http://a',  \n]\nx.y=1\ntext = \"\"\"\n two  \n lines\"\"\"   # end\n[[z]]\na=1\n";
    assert_snapshot!(formatted(text), @r###"
    # top
    listen = ":8080"

    include = [ 'a',   # one
      'b' ]

    [routes]   # all
    # first
    '/a'        = 'http://a' # here
    "/longer/*" = 'b'

    '/c' = { upstream='c' ,timeout = '5s' }

    # next
    [ upstreams . c ]
    backends = [
      'http://a',
    ]
    x.y = 1
    text = """
     two  
     lines"""   # end

    [[z]]
    a = 1
    "###);
}

#[test]
fn only_spaces_change_in_a_file_that_is_in_form() {
    let text = include_str!("../../tests/worked.toml");
    let once = formatted(text);
    assert_eq!(once.replace(' ', ""), text.replace(' ', ""));
    assert_eq!(formatted(&once), once);
}

#[test]
fn what_is_not_toml_is_explained() {
    assert!(fmt("a.toml", "a = ").unwrap_err().report.has_errors());
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("'a # b'".to_owned()),
        Just("\"\"\"\n  x  \n=\n[t]\n\"\"\"".to_owned()),
        Just("'''a\r\nb'''".to_owned()),
        Just("true".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[ {} ]", list.join(" ,\n  # c  \n "))),
            prop::collection::vec(inner, 0..3).prop_map(|list| {
                let entries: Vec<_> =
                    list.iter().enumerate().map(|(index, value)| format!("k{index}={value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn formatting_settles_and_keeps_the_values(
        entries in prop::collection::vec((value(), " {0,3}", "(  # c)?[ \t]{0,2}", "(\n\r?){0,3}(# note  \n)?(\\[t|\\[\\[u)?"), 0..8)
    ) {
        let mut text = String::new();
        for (index, (value, gap, tail, between)) in entries.into_iter().enumerate() {
            text.push_str(&between);
            if between.ends_with("[[u") {
                text.push_str("u]]\n");
            } else if between.ends_with("[t") {
                text.push_str(&format!("{index}]\n"));
            }
            text.push_str(&format!("{gap}key{index}{gap}.a{gap}={gap}{value}{tail}\n"));
        }
        if let Ok(once) = fmt("a.toml", &text) {
            prop_assert_eq!(formatted(&once), once.clone());
            prop_assert_eq!(once.parse::<toml::Table>().unwrap(), text.trim_start_matches('\u{feff}').parse::<toml::Table>().unwrap());
        }
    }
}
