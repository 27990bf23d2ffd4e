//! What a mistaken `cors` table is told.

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;

fn complaint(text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("cors");
    let config: Option<maitred_cors::Config> = document.decode(&at, &Vocabulary::default(), &mut report);
    assert!(config.is_some_and(|config| maitred_cors::Cors::compile(&config, &at, &mut report).is_none()));
    document.render(&report, false)
}

#[test]
fn everybody_with_credentials() {
    assert_snapshot!(complaint("[cors]\norigins = [\"https://a.test\", \"*\"]\ncredentials = true\n"), @r##"
error[E0107]: `"*"` among other origins
 --> maitred.toml:2:11
  |
2 | origins = ["https://a.test", "*"]
  |           ^^^^^^^^^^^^^^^^^^^^^^^ `"*"` permits every origin, so that the others mean nothing
  |
  = help: delete either `"*"` or the others

error[E0107]: every origin may call, with credentials
 --> maitred.toml:3:15
  |
2 | origins = ["https://a.test", "*"]
  |                              --- …for every web site that somebody visits
3 | credentials = true
  |               ^^^^ cookies are sent along…
  |
  = note: any page could then act as the person who looks at it, and so browsers refuse `*` with credentials
  = help: list the origins that you trust, or delete `credentials`
"##);
}

#[test]
fn no_origins() {
    assert_snapshot!(complaint("[cors]\ncredentials = true\n"), @r##"
error[E0106]: `cors` does not say which origins may call
 --> maitred.toml:1:1
  |
1 | [cors]
  | ^^^^^^ expected `origins`
  |
  = help: write `origins = ["https://app.example.com"]`, or `["*"]` for every web site
"##);
}

#[test]
fn not_what_a_browser_sends() {
    let text = "[cors]\norigins = [\"https://a.test/\", \"b.test\", \"~https://(\"]\nmethods = \"GET POST\"\n";
    assert_snapshot!(complaint(text), @r##"
error[E0108]: `https://a.test/` is never what a browser sends as its origin
 --> maitred.toml:2:12
  |
2 | origins = ["https://a.test/", "b.test", "~https://("]
  |            ^^^^^^^^^^^^^^^^^ an origin has no path, and no port that its scheme implies
  |
help: write "https://a.test"
  |
2 - origins = ["https://a.test/", "b.test", "~https://("]
2 + origins = ["https://a.test", "b.test", "~https://("]
  |

error[E0108]: `b.test` is not an origin
 --> maitred.toml:2:31
  |
2 | origins = ["https://a.test/", "b.test", "~https://("]
  |                               ^^^^^^^^ expected a scheme and a host
  |
  = help: write for example "https://app.example.com" or "https://*.example.com"

error[E0108]: this regular expression cannot be read
 --> maitred.toml:2:41
  |
2 | origins = ["https://a.test/", "b.test", "~https://("]
  |                                         ^^^^^^^^^^^^ unclosed group

error[E0108]: `GET POST` is not a method
 --> maitred.toml:3:11
  |
3 | methods = "GET POST"
  |           ^^^^^^^^^^ expected a method
"##);
}
