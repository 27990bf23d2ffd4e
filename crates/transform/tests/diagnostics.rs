//! What mistaken header edits and security headers are told.

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_transform::{
    Compress, CompressConfig, RequestEdits, ResponseConfig, ResponseEdits, SecurityConfig, SecurityHeaders,
};

fn complaint(text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("request");
    if let Some(edits) = document.decode::<ResponseConfig>(&at, &Vocabulary::default(), &mut report) {
        assert!(
            RequestEdits::compile((&edits).into(), filter::template::Scope::all(&["id".into()]), &at, &mut report)
                .is_none()
        );
    }
    let at = At::root().key("response");
    if let Some(edits) = document.decode::<ResponseConfig>(&at, &Vocabulary::default(), &mut report) {
        assert!(ResponseEdits::compile((&edits).into(), filter::template::Scope::all(&[]), &at, &mut report).is_none());
    }
    let at = At::root().key("security_headers");
    if let Some(headers) = document.decode::<SecurityConfig>(&at, &Vocabulary::default(), &mut report) {
        assert!(SecurityHeaders::compile(&headers, &at, &mut report).is_none());
    }
    let at = At::root().key("compress");
    if let Some(compress) = document.decode::<CompressConfig>(&at, &Vocabulary::default(), &mut report) {
        Compress::compile(&compress, &at, &mut report);
        assert!(report.has_errors());
    }
    document.render(&report, false)
}

#[test]
fn compression_that_cannot_be_done() {
    let text = "[compress]\nalgorithms = [\"gzip\", \"gzip\"]\nlevel = 11\ntypes = [\"text/*\", \"json\"]\n";
    assert_snapshot!(complaint(text), @r#"
error[E0108]: `gzip` stands here twice
 --> maitred.toml:2:23
  |
2 | algorithms = ["gzip", "gzip"]
  |                       ^^^^^^ the second time
  |
  = help: delete it; the first place says how much it is preferred

error[E0103]: `level` cannot be 11
 --> maitred.toml:3:9
  |
3 | level = 11
  |         ^^ from 1 (fast) to 9 (small)

error[E0108]: `json` is not a type of content
 --> maitred.toml:4:20
  |
4 | types = ["text/*", "json"]
  |                    ^^^^^^ expected a `/` in the middle
  |
  = help: write for example "application/json", "text/*" or "application/*+json"
"#);
    assert_snapshot!(complaint("[compress]\nalgorithms = []\ntypes = \"*/*\"\n"), @r#"
error[E0108]: no algorithm is left to compress with
 --> maitred.toml:2:14
  |
2 | algorithms = []
  |              ^^ an empty list
  |
  = help: write `compress = false` to switch it off

error[E0108]: `*/*` is not a type of content
 --> maitred.toml:3:9
  |
3 | types = "*/*"
  |         ^^^^^ at most one `*`
  |
  = help: write for example "application/json", "text/*" or "application/*+json"
"#);
    assert_snapshot!(complaint("[compress]\nalgorithms = \"deflate\"\n"), @r#"
error[E0108]: invalid value for `algorithms` in `compress`
 --> maitred.toml:2:14
  |
2 | algorithms = "deflate"
  |              ^^^^^^^^^ expected one of `zstd`, `br`, `gzip`
"#);
    assert_snapshot!(complaint("compress = 5\n"), @r#"
error[E0101]: wrong type for `compress`
 --> maitred.toml:1:12
  |
1 | compress = 5
  |            ^ expected `true` or a table about compression, found the integer 5
"#);
}

#[test]
fn fields_that_are_not_for_editing() {
    let text = "[request]\nset = { Host = \"b.test\", \"X Y\" = \"1\" }\nremove = [\"Content-Length\", \"*\"]\n";
    assert_snapshot!(complaint(text), @r##"
error[E0108]: the header `Host` cannot be edited
 --> maitred.toml:2:9
  |
2 | set = { Host = "b.test", "X Y" = "1" }
  |         ^^^^ it decides where the request goes
  |
  = help: set `host` of the `request` table to `"keep"`, `"upstream"` or the name to send

error[E0108]: `X Y` is not a header name
 --> maitred.toml:2:26
  |
2 | set = { Host = "b.test", "X Y" = "1" }
  |                          ^^^^^ ' ' cannot stand in a header name
  |
  = help: a header name is made of letters, digits and the characters ! # $ % & ' * + - . ^ _ ` | ~

error[E0108]: the header `Content-Length` cannot be edited
 --> maitred.toml:3:11
  |
3 | remove = ["Content-Length", "*"]
  |           ^^^^^^^^^^^^^^^^ it says where the message ends or how the connection goes on
  |
  = help: delete this; maitred writes it for each side, and a wrong one would let requests be smuggled

error[E0108]: `*` does not say which headers to remove
 --> maitred.toml:3:29
  |
3 | remove = ["Content-Length", "*"]
  |                             ^^^ expected the beginning of a name before the `*`
  |
  = help: write for example "X-Internal-*"
"##);
}

#[test]
fn placeholders_that_mean_nothing() {
    assert_snapshot!(complaint("[request.set]\nX-Id = [\"{id}\", \"{ids}\"]\n"), @r##"
error[E0109]: there is no placeholder `{ids}`
 --> maitred.toml:2:17
  |
2 | X-Id = ["{id}", "{ids}"]
  |                 ^^^^^^^
  |
  = help: this place may use `{id}`, `{scheme}`, `{host}`, `{port}`, `{method}`, `{path}`, `{query}`, `{client_ip}`, `{request_id}`, `{generation}`, `{header.NAME}`, `{cookie.NAME}`, `{query.NAME}`, `{user}` and `{claim.NAME}`
"##);
}

#[test]
fn contradictions() {
    let text = "[response]\nremove = \"server\"\nset = { Server = \"x\", X-A = \"1\", x-a = \"2\" }\n";
    assert_snapshot!(complaint(text), @r##"
error[E0107]: the header `Server` is removed and set
 --> maitred.toml:2:10
  |
2 | remove = "server"
  |          ^^^^^^^^ removed here
3 | set = { Server = "x", X-A = "1", x-a = "2" }
  |         ------ and set here
  |
  = help: delete it from `remove`: `set` takes the place of whatever was there

error[E0107]: the header `x-a` is given twice, as `X-A` and as `x-a`
 --> maitred.toml:3:34
  |
3 | set = { Server = "x", X-A = "1", x-a = "2" }
  |                       ---        ^^^ the same field, since case does not count
  |                       |
  |                       first given here
  |
  = help: write its values as one list
"##);
}

#[test]
fn security() {
    let text = r#"[security_headers]
csp = """
default-src 'self';
img-src *
"""
hsts = { preload = true, max_age = "30d" }
"#;
    assert_snapshot!(complaint(text), @r##"
error[E0108]: this cannot be sent as `Content-Security-Policy`
 --> maitred.toml:2:7
  |
2 |   csp = """
  |  _______^
3 | | default-src 'self';
4 | | img-src *
5 | | """
  | |___^ expected one line of ASCII text
  |
  = help: join the lines; policies are separated by `;` or `,`, not by line ends

error[E0107]: browsers preload only hosts with their subdomains, for a year or more
 --> maitred.toml:6:20
  |
6 | hsts = { preload = true, max_age = "30d" }
  |                    ^^^^            ----- which this forbids
  |                    |
  |                    asked for here
  |
  = help: delete `preload`, or write `max_age = "365d"` and `subdomains = true`
"##);
}
