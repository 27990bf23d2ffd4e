//! What holds, and what is lacking first.

use filter::{Claim, Credential};
use pingora_http::RequestHeader;
use testkit::Caller;

use super::*;

fn strings(list: &[&str]) -> Box<[Box<str>]> {
    list.iter().map(|text| (*text).into()).collect()
}

fn lack<'r>(require: &'r Require, identity: &Identity, method: &str) -> Option<Lack<'r>> {
    let mut caller = Caller::new();
    caller.head = RequestHeader::build(method, b"/", None).unwrap();
    require.lack(identity, &caller.view())
}

#[test]
fn everything_that_is_asked_for_has_to_hold() {
    let require = Require {
        mode: Mode::Enforce,
        scopes: strings(&["orders", "read"]),
        roles: strings(&["admin", "editor"]),
        claims: [("tenant".into(), strings(&["acme", "beta"]))].into(),
        methods: [("editor".into(), [Method::GET].into())].into(),
        when: None,
        insufficient: Box::default(),
    };
    let mut identity = Identity::new("p".into(), Credential::Jwt);
    assert_eq!(lack(&require, &identity, "GET"), Some(Lack::Scope("orders")));
    identity.scopes = strings(&["orders", "read", "more"]);
    assert_eq!(lack(&require, &identity, "GET"), Some(Lack::Role));
    identity.roles = strings(&["editor"]);
    assert_eq!(lack(&require, &identity, "GET"), Some(Lack::Claim("tenant")));
    identity.claims = [("tenant".into(), Claim::one("acme,beta"))].into_iter().collect();
    assert_eq!(lack(&require, &identity, "GET"), Some(Lack::Claim("tenant")));
    identity.claims = [("tenant".into(), Claim::list(["x".into(), "beta".into()]))].into_iter().collect();
    assert_eq!(lack(&require, &identity, "GET"), None);
    assert_eq!(lack(&require, &identity, "DELETE"), Some(Lack::Method));
    identity.roles = strings(&["admin"]);
    assert_eq!(lack(&require, &identity, "GET"), Some(Lack::Method));
}
