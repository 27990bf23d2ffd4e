//! Queries after their edits.

use std::collections::BTreeMap;

use document::OneOrMany;

use super::*;
use crate::testing::{names, told, view};

fn config(set: &[(&str, &str)], add: &[(&str, &[&str])], remove: &[&str]) -> QueryConfig {
    let list = |values: &[&str]| OneOrMany(values.iter().map(|value| (*value).to_string()).collect());
    QueryConfig {
        set: Some(set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()),
        add: Some(add.iter().map(|(name, values)| (name.to_string(), list(values))).collect::<BTreeMap<_, _>>()),
        remove: Some(list(remove)),
    }
}

fn edit(config: &QueryConfig, query: &str) -> String {
    let edits =
        QueryEdits::compile(config, filter::template::Scope::all(&names(&["id"])), &At::root(), &mut Report::new())
            .unwrap();
    let mut out = String::new();
    view(&format!("/a+b&c{query}"), &["a+b&c"], |view| edits.render(view, &mut out));
    out
}

#[test]
fn nothing_to_edit_leaves_the_query_as_it_came() {
    assert_eq!(edit(&QueryConfig::default(), "?a=1&&b=%zz"), "?a=1&&b=%zz");
    assert_eq!(edit(&QueryConfig::default(), "?"), "?");
    assert_eq!(edit(&QueryConfig::default(), ""), "");
}

#[test]
fn parameters_are_removed_replaced_and_added() {
    assert_eq!(edit(&config(&[], &[], &["debug"]), "?a=1&debug=2&b&d%65bug=3&debugger"), "?a=1&b&debugger");
    assert_eq!(edit(&config(&[], &[], &["debug"]), "?debug"), "");
    assert_eq!(edit(&config(&[("v", "2")], &[], &[]), "?v=1&a=&v=3"), "?a=&v=2");
    assert_eq!(edit(&config(&[("v", "2")], &[], &[]), ""), "?v=2");
    assert_eq!(edit(&config(&[], &[("t", &["a", "b"])], &[]), "?t=0"), "?t=0&t=a&t=b");
}

#[test]
fn names_and_values_cannot_become_more_than_one_parameter() {
    assert_eq!(edit(&config(&[("a b", "x&y=z")], &[], &[]), ""), "?a%20b=x%26y%3Dz");
    assert_eq!(edit(&config(&[("id", "{id}")], &[], &[]), ""), "?id=a%2Bb%26c");
    assert_eq!(edit(&config(&[("t", "{header.X-Tenant}")], &[], &[]), ""), "?t=a%26b%20%3Cc%3E%22/..");
    assert_eq!(edit(&config(&[("p", "{query.p}")], &[], &[]), "?p=1%262"), "?p=1%262");
}

#[test]
fn mistakes_are_reported() {
    let mut report = Report::new();
    let written = config(&[("v", "{nope}"), ("x", "1")], &[("", &["1"])], &["x", ""]);
    assert_eq!(QueryEdits::compile(&written, filter::template::Scope::all(&[]), &At::root(), &mut report), None);
    assert_eq!(
        told(&report),
        [
            "E0109: there is no placeholder `{nope}` (`{nope}`)",
            "E0108: a query parameter needs a name (this is empty)",
            "E0107: the query parameter `x` is set and removed (removed here; set here)",
            "E0108: a query parameter needs a name (this is empty)",
        ]
    );
}
