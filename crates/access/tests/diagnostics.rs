//! What mistaken limits are told.

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;

#[test]
fn limits_out_of_range() {
    let (mut document, mut report) = (Document::new(), Report::new());
    let text = "[defaults]\nmax_url = \"1MiB\"\nmax_header = \"0B\"\nmax_body = false\n";
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("defaults");
    let config: Option<maitred_access::Config> = document.decode(&at, &Vocabulary::default(), &mut report);
    assert!(maitred_access::Access::compile(&config.unwrap(), &at, &mut report).is_none());
    assert_snapshot!(document.render(&report, false), @r##"
error[E0103]: `max_url` cannot be 1MiB
 --> maitred.toml:2:11
  |
2 | max_url = "1MiB"
  |           ^^^^^^ at most "63KiB" can be read
  |
  = help: write a size from "1B" to "63KiB", or delete the key

error[E0103]: `max_header` cannot be 0B
 --> maitred.toml:3:14
  |
3 | max_header = "0B"
  |              ^^^^ no request is that small
  |
  = help: write a size from "1B" to "256KiB", or delete the key
"##);
}
