//! Credentials found, and taken out.

use testkit::Caller;

use super::*;

fn find(place: &Place, fields: &[(&'static str, &str)], query: Option<&str>) -> Option<Result<String, ()>> {
    let mut caller = Caller::new();
    for (name, value) in fields {
        caller.head.append_header(*name, *value).unwrap();
    }
    match place.find(&View { query, ..caller.view() }) {
        Found::Nothing => None,
        Found::Unclear => Some(Err(())),
        Found::One(found) => Some(Ok(found.into_owned())),
    }
}

#[test]
fn a_scheme_is_read_in_any_case_and_others_are_nobodys() {
    let bearer = Place::Authorization("Bearer");
    let authorization = |value: &str| find(&bearer, &[("Authorization", value)], None);
    for value in ["Bearer a.b", "bearer a.b", "BEARER  a.b"] {
        assert_eq!(authorization(value), Some(Ok("a.b".into())), "{value}");
    }
    assert_eq!(authorization("Basic a.b"), None);
    assert_eq!(authorization("Bearera.b"), None);
    assert_eq!(authorization("Bearer"), Some(Err(())));
    let two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
    assert_eq!(find(&bearer, &two, None), Some(Err(())));
    assert_eq!(find(&bearer, &[("Authorization", "Bearer a"), ("Authorization", "Basic b")], None), Some(Err(())));
}

#[test]
fn a_field_is_taken_whole_and_once() {
    let field = Place::Field(HeaderName::from_static("x-api-key"));
    assert_eq!(find(&field, &[], None), None);
    assert_eq!(find(&field, &[("X-API-Key", "k 1")], None), Some(Ok("k 1".into())));
    assert_eq!(find(&field, &[("X-API-Key", "")], None), Some(Err(())));
    assert_eq!(find(&field, &[("X-API-Key", "a"), ("X-API-Key", "a")], None), Some(Err(())));
}

#[test]
fn a_parameter_is_decoded_and_taken_once() {
    let query = Place::Query("key".into());
    assert_eq!(find(&query, &[], None), None);
    assert_eq!(find(&query, &[], Some("a=1&key=x%2By")), Some(Ok("x+y".into())));
    assert_eq!(find(&query, &[], Some("k%65y=plain")), Some(Ok("plain".into())));
    assert_eq!(find(&query, &[], Some("key=a&key=b")), Some(Err(())));
    assert_eq!(find(&query, &[], Some("key")), Some(Err(())));
    assert_eq!(find(&query, &[], Some("key=%ff")), Some(Err(())));
}

#[test]
fn hidden_parameters_are_taken_out_however_they_are_spelt() {
    let hidden = [Box::from("key")];
    for (query, left) in
        [("a=1&key=x&b=2", "a=1&b=2"), ("k%65y=x", ""), ("key", ""), ("keys=1", "keys=1"), ("a=key", "a=key")]
    {
        assert_eq!(without(query, &hidden), left, "{query}");
    }
}
