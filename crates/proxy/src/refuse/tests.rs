//! What a refused client reads.

use super::*;

fn head(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in fields {
        head.insert_header(*name, *value).unwrap();
    }
    head
}

#[test]
fn the_request_decides_the_form() {
    assert_eq!(Form::of(&head(&[])), Form::Problem);
    assert_eq!(Form::of(&head(&[("accept", "*/*")])), Form::Problem);
    assert_eq!(Form::of(&head(&[("accept", "text/html,application/json")])), Form::Html);
    assert_eq!(Form::of(&head(&[("content-type", "application/grpc+proto")])), Form::Grpc);
}

#[test]
fn a_problem_document_says_the_same_word_as_the_log() {
    let id = RequestId::from_peer(b"id-1").unwrap();
    let made = answer(&Reply::refuse(Reason::NoRoute), Form::Problem, Some(&id), false, false).unwrap();
    let text = std::str::from_utf8(&made.content).unwrap();
    assert!(text.starts_with(r#"{"type":"urn:maitred:problem:no_route","title":"Not found","status":404,"#), "{text}");
    assert!(text.contains(r#""request_id":"id-1""#), "{text}");
    assert_eq!(made.head.headers["content-type"], "application/problem+json");
    assert_eq!(made.head.headers["x-request-id"], "id-1");
    assert_eq!(made.head.headers["content-length"], text.len().to_string());
}

#[test]
fn html_is_escaped_and_head_has_no_content() {
    let reply = Reply::refuse(Reason::BadRequest).detail("<script>");
    let page = answer(&reply, Form::Html, None, false, false).unwrap();
    assert!(!std::str::from_utf8(&page.content).unwrap().contains("<script>"));
    let bare = answer(&reply, Form::Html, None, true, false).unwrap();
    assert!(bare.content.is_empty());
    assert_eq!(bare.head.headers["content-length"], page.content.len().to_string());
}

#[test]
fn grpc_gets_a_status_in_its_head() {
    let made = answer(&Reply::refuse(Reason::UpstreamTimeout), Form::Grpc, None, false, false).unwrap();
    assert_eq!((made.head.status.as_u16(), made.content.len()), (200, 0));
    assert_eq!(made.head.headers["grpc-status"], "4");
    assert_eq!(made.head.headers["grpc-message"], "upstream_timeout");
}

#[test]
fn a_redirect_keeps_its_own_fields() {
    let location = HeaderValue::from_static("https://a/");
    let reply = Reply::answer(http::StatusCode::PERMANENT_REDIRECT, Body::Empty).with(header::LOCATION, location);
    let bytes = raw(&answer(&reply, Form::Problem, None, false, false).unwrap());
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{text}");
    assert!(text.contains("location: https://a/\r\n") && text.ends_with("connection: close\r\n\r\n"), "{text}");
}

#[test]
fn proxy_status_says_why_where_that_is_wanted() {
    for form in [Form::Problem, Form::Html, Form::Grpc] {
        let refused = |tells| answer(&Reply::refuse(Reason::ConnectTimeout), form, None, false, tells).unwrap().head;
        assert_eq!(
            refused(true).headers["proxy-status"],
            "maitred; error=connection_timeout; details=\"connect_timeout\""
        );
        assert!(!refused(false).headers.contains_key("proxy-status"));
    }
    let fine = answer(&Reply::answer(http::StatusCode::OK, Body::Empty), Form::Problem, None, false, true).unwrap();
    assert!(!fine.head.headers.contains_key("proxy-status"), "nothing is wrong");
}
