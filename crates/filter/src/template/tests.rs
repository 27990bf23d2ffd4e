//! Templates: what parses, what is refused, what comes out.

use std::{net::IpAddr, sync::Arc};

use pingora_http::RequestHeader;

use super::*;
use crate::{Captures, Claim, Client, Credential, Identity, RequestId, Scheme};

fn names(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

/// Renders `text` for one well-known request.
fn render_as(text: &str, escape: Escape) -> String {
    with_view(|view| {
        let template = Template::parse(text, &Scope::all(&names(&["id", "rest"]))).unwrap();
        let mut out = String::new();
        template.render_as(escape, view, &mut out);
        out
    })
}

fn render(text: &str) -> String {
    render_as(text, Escape::Nothing)
}

fn with_view<T>(use_it: impl FnOnce(&View<'_>) -> T) -> T {
    let mut head = RequestHeader::build("GET", b"/users/a%2Bb&c/x?q=1%202&next=%2F", None).unwrap();
    head.append_header("X-Tenant", "a/b <\"&c").unwrap();
    head.append_header("Cookie", "plan=pro; visitor=7").unwrap();
    let client = Client {
        address: Some(IpAddr::from([203, 0, 113, 7])),
        request_id: RequestId::from_peer(b"r-1").unwrap(),
        scheme: Scheme::Https,
        port: 443,
        ..Client::local(Arc::from("public"))
    };
    let mut captures = Captures::new();
    captures.push(7, 14);
    captures.push(14, 16);
    let path = "/users/a%2Bb&c/x";
    let query = Some("q=1%202&next=%2F");
    use_it(&View {
        generation: 1,
        identity: None,
        head: &head,
        client: &client,
        host: "api.example.com",
        path,
        query,
        captures: &captures,
    })
}

#[test]
fn placeholders_are_filled_in() {
    assert_eq!(render("/v1{rest}?id={id}"), "/v1/x?id=a%2Bb&c");
    assert_eq!(
        render("{scheme}://{host}:{port}{path}?{query}"),
        "https://api.example.com:443/users/a%2Bb&c/x?q=1%202&next=%2F"
    );
    assert_eq!(render("{method} {client_ip} {request_id} {generation}"), "GET 203.0.113.7 r-1 1");
    assert_eq!(render("{header.x-tenant}|{cookie.visitor}|{query.q}"), "a/b <\"&c|7|1%202");
    assert_eq!(render("{1}{2}"), "a%2Bb&c/x");
    assert_eq!(render("{header.absent}{cookie.absent}{query.absent}"), "");
    assert_eq!(render("{{literal}} }}{{"), "{literal} }{");
}

#[test]
fn values_are_escaped_for_where_they_go_and_text_never_is() {
    assert_eq!(render_as("/&{id}/{header.X-Tenant}/{query.next}", Escape::Path), "/&a%2Bb&c/a%2Fb%20%3C%22%26c/%2F");
    assert_eq!(render_as("&{id}&{header.X-Tenant}&{query.q}", Escape::Query), "&a%2Bb%26c&a/b%20%3C%22%26c&1%202");
    assert_eq!(render_as("<b>{header.X-Tenant}", Escape::Html), "<b>a/b &lt;&quot;&amp;c");
    assert_eq!(render_as("\"{header.X-Tenant}\"", Escape::Json), "\"a/b <\\\"&c\"");
}

#[test]
fn a_header_value_never_holds_control_bytes() {
    let value =
        |text: &str| with_view(|view| Template::parse(text, &Scope::all(&names(&["id"]))).unwrap().render_header(view));
    assert_eq!(value("a\r\nb: c\0").unwrap(), "ab: c");
    assert_eq!(value("{id}\r\n").unwrap(), "a%2Bb&c");
    assert_eq!(value("{header.absent}"), None);
    assert_eq!(value("").unwrap(), "");
}

#[test]
fn who_calls_is_filled_in_once_it_is_known() {
    let claims = [("sub", Claim::one("u/19")), ("realm.groups", Claim::list(["a".into(), "b".into()]))];
    let identity = Identity {
        user: Some("u/19".into()),
        claims: claims.into_iter().map(|(name, claim)| (name.into(), claim)).collect(),
        ..Identity::new("customers".into(), Credential::Jwt)
    };
    let template = Template::parse("{user}|{claim.sub}|{claim.realm.groups}|{claim.x}", &Scope::all(&[])).unwrap();
    with_view(|view| {
        let mut out = String::new();
        template.render(view, &mut out);
        template.render_as(Escape::Path, &view.by(Some(&identity)), &mut out);
        assert_eq!(out, "|||u%2F19|u%2F19|a%2Cb|");
    });
}

#[test]
fn only_text_is_a_literal() {
    let scope = Scope::all(&[]);
    assert_eq!(Template::parse("a{{b", &scope).unwrap().as_literal(), Some("a{b"));
    assert_eq!(Template::parse("", &scope).unwrap().as_literal(), Some(""));
    assert_eq!(Template::parse("{host}", &scope).unwrap().as_literal(), None);
}

#[test]
fn mistakes_say_where_and_what_else() {
    let captures = names(&["id"]);
    let scope = Scope { captures: &captures, places: &[Place::Host] };
    let mistake = |text: &str| Template::parse(text, &scope).unwrap_err();
    assert_eq!(
        mistake("/x{name}"),
        Mistake {
            range: 2..8,
            message: "there is no placeholder `{name}`".into(),
            help: "this place may use `{id}` and `{host}`".into(),
        }
    );
    assert_eq!(mistake("{path}").message, "`{path}` cannot be used here");
    assert_eq!(mistake("{user}").message, "`{user}` cannot be used here");
    assert_eq!(mistake("{claim.}").message, "`` is not the name of a claim");
    assert_eq!(mistake("{header.a b}").message, "`a b` is not the name of a header");
    assert_eq!(mistake("a{id").message, "a placeholder is not closed with `}`");
    assert_eq!(mistake("a}b").message, "`}` closes nothing");
    assert_eq!(mistake("{2}").message, "there is no placeholder `{2}`");
    assert_eq!(mistake("{}").message, "there is no placeholder `{}`");
}
