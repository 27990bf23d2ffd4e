//! What a mistaken test is told.

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_trial::{Config, Known, compile};

fn complaint(text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("tests").key("t");
    let config: Option<Config> = document.decode(&at, &Vocabulary::default(), &mut report);
    let upstreams = [("users", vec!["http://10.0.0.1:80"])];
    let known = Known { routes: &["orders", "users"], upstreams: &upstreams, listeners: &["http"] };
    if let Some(config) = config {
        assert!(compile("t", &config, &at, &known, &mut report).is_none());
    }
    document.render(&report, false)
}

#[test]
fn names_that_nothing_has() {
    let text = "[tests.t]\nrequest = \"/\"\nlistener = \"htp\"\n[tests.t.expect]\nroute = \"order\"\nupstream = \"usres\"\nreason = \"no_rute\"\n";
    assert_snapshot!(complaint(text), @r##"
error[E0201]: a test names a listener that does not exist
 --> maitred.toml:3:12
  |
3 | listener = "htp"
  |            ^^^^^ no listener is named `htp`
  |
help: did you mean `http`?
  |
3 | listener = "http"
  |               +

error[E0201]: a test names a route that does not exist
 --> maitred.toml:5:9
  |
5 | route = "order"
  |         ^^^^^^^ no route is named `order`
  |
help: did you mean `orders`?
  |
5 | route = "orders"
  |               +

error[E0201]: a test names an upstream that does not exist
 --> maitred.toml:6:12
  |
6 | upstream = "usres"
  |            ^^^^^^^ no upstream is named `usres`
  |
help: did you mean `users`?
  |
6 - upstream = "usres"
6 + upstream = "users"
  |

error[E0107]: a request is either answered by maitred or sent to an upstream
 --> maitred.toml:7:1
  |
6 | upstream = "usres"
  | -------- …and this that an upstream is asked
7 | reason = "no_rute"
  | ^^^^^^ this expects an answer of maitred's own…
  |
  = help: keep one of the two, or make two tests of it

error[E0108]: `no_rute` is not a reason
 --> maitred.toml:7:10
  |
7 | reason = "no_rute"
  |          ^^^^^^^^^ no refusal has it
  |
help: did you mean `no_route`?
  |
7 | reason = "no_route"
  |               +
"##);
}

#[test]
fn requests_that_are_none() {
    let text = "[tests.t]\nrequest = [\"GET orders\", \"https://u:p@a.test/\", \"GET /ok\"]\nfrom = \"10.0.0.0/8\"\nheaders = { \"a b\" = \"c\", X = \"\\u0007\" }\nexpect = 404\n";
    assert_snapshot!(complaint(text), @r##"
error[E0108]: `GET orders` is not a request
 --> maitred.toml:2:12
  |
2 | request = ["GET orders", "https://u:p@a.test/", "GET /ok"]
  |            ^^^^^^^^^^^^ neither a URL nor a path
  |
  = help: a path begins with a slash: `/orders`

error[E0108]: `https://u:p@a.test/` is not a request
 --> maitred.toml:2:26
  |
2 | request = ["GET orders", "https://u:p@a.test/", "GET /ok"]
  |                          ^^^^^^^^^^^^^^^^^^^^^ browsers and clients send no user name within a URL
  |
  = help: write `a.test`, and credentials under `headers`

error[E0108]: `10.0.0.0/8` is not an address
 --> maitred.toml:3:8
  |
3 | from = "10.0.0.0/8"
  |        ^^^^^^^^^^^^ expected an IPv4 or IPv6 address, without a port
  |
  = help: write for example `from = "203.0.113.7"`

error[E0108]: `a b` is not a header name
 --> maitred.toml:4:13
  |
4 | headers = { "a b" = "c", X = "\u0007" }
  |             ^^^^^ no request can have it

error[E0108]: `X` cannot have this value
 --> maitred.toml:4:30
  |
4 | headers = { "a b" = "c", X = "\u0007" }
  |                              ^^^^^^^^ no control characters may stand in it
"##);
}

#[test]
fn tests_that_say_too_little_or_too_much() {
    assert_snapshot!(complaint("[tests.t]\n"), @r##"
error[E0106]: test `t` asks for nothing
 --> maitred.toml:1:8
  |
1 | [tests.t]
  |        ^ `request` is missing
  |
  = help: write for example `request = "GET /orders/7"`

error[E0106]: test `t` expects nothing
 --> maitred.toml:1:8
  |
1 | [tests.t]
  |        ^ `expect` is missing
  |
  = help: write for example `expect = "orders"`, the route that takes the request
"##);
    assert_snapshot!(complaint("[tests.t]\nrequest = \"/\"\nexpect = {}\n"), @r##"
error[E0106]: a test expects nothing
 --> maitred.toml:3:10
  |
3 | expect = {}
  |          ^^ this holds whatever becomes of the request
  |
  = help: write at least one of `route`, `status` and `upstream`
"##);
    let text = "[tests.t]\nrequest = \"/\"\nexpect = { status = 4040, path = \"~(\", as = \"partner\" }\n";
    assert_snapshot!(complaint(text), @r##"
error[E0107]: a request is either answered by maitred or sent to an upstream
 --> maitred.toml:3:12
  |
3 | expect = { status = 4040, path = "~(", as = "partner" }
  |            ^^^^^^         ---- …and this that an upstream is asked
  |            |
  |            this expects an answer of maitred's own…
  |
  = help: keep one of the two, or make two tests of it

error[E0103]: 4040 is not the status of an answer
 --> maitred.toml:3:21
  |
3 | expect = { status = 4040, path = "~(", as = "partner" }
  |                     ^^^^ expected 200 to 599

error[E0108]: this regular expression cannot be read
 --> maitred.toml:3:34
  |
3 | expect = { status = 4040, path = "~(", as = "partner" }
  |                                  ^^^^ unclosed group

error[E0102]: unknown key `as` in `tests.t.expect`
 --> maitred.toml:3:40
  |
3 | expect = { status = 4040, path = "~(", as = "partner" }
  |                                        ^^ not a key of this table
  |
  = help: known keys are `route`, `status`, `reason`, `location`, `upstream`, `path`, `query`, `host`, `request`, `response`
"##);
}
