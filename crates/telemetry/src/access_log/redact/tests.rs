//! What must not be written is not written, however it is spelt.

use super::*;

fn names() -> Vec<Box<str>> {
    vec!["token".into(), "x-key".into()]
}

fn hidden(text: &str) -> String {
    String::from_utf8(query(text.as_bytes(), &names()).into_owned()).unwrap()
}

#[test]
fn values_of_named_parameters_are_hidden() {
    assert_eq!(hidden("token=abc"), "token=***");
    assert_eq!(hidden("a=1&token=abc&b=2"), "a=1&token=***&b=2");
    assert_eq!(hidden("TOKEN=abc;X-Key=9"), "TOKEN=***;X-Key=***");
    assert_eq!(hidden("%74oken=abc&%74%6F%6b%65n=d"), "%74oken=***&%74%6F%6b%65n=***");
    assert_eq!(hidden("a=1?token=abc#token=d"), "a=1?token=***#token=***");
    assert_eq!(hidden("token=a=b=c"), "token=***");
}

#[test]
fn other_parameters_stay() {
    for text in ["", "a", "a=token", "tokens=1", "xtoken=1", "token", "tok%zzen=1", "&&;=", "%"] {
        assert_eq!(hidden(text), text);
        assert!(matches!(query(text.as_bytes(), &names()), Cow::Borrowed(_)));
    }
}

#[test]
fn a_referer_loses_its_credentials() {
    let told = |text: &str| String::from_utf8(referer(text.as_bytes(), &names()).into_owned()).unwrap();
    assert_eq!(told("https://joe:pw@a.example/x?token=1"), "https://***@a.example/x?token=***");
    assert_eq!(told("https://a@b@c/"), "https://***@c/");
    assert_eq!(told("https://a.example/@x?y=a@b"), "https://a.example/@x?y=a@b");
    assert_eq!(told("//u@h"), "//***@h");
    assert_eq!(told("https://a/#token=1&b"), "https://a/#token=***&b");
}

#[test]
fn a_whole_field_can_be_hidden() {
    assert_eq!(field("user-agent", b"curl", &["user-agent".into()]), b"***");
    assert_eq!(referer(b"https://a/", &["referer".into()]), &b"***"[..]);
}
