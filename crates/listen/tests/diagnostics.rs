//! What mistaken listeners are told.

use std::collections::BTreeMap;

use document::{At, Document, Report, Vocabulary};
use insta::assert_snapshot;
use maitred_listen as listen;

/// The report on a document's listeners.
fn report(text: &str) -> String {
    let (mut document, mut report) = (Document::new(), Report::new());
    let tree = document.read("maitred.toml", text, &mut report);
    document.merge(tree, &mut report);
    let at = At::root().key("listeners");
    let written: BTreeMap<String, listen::Config> =
        document.decode(&at, &Vocabulary::default(), &mut report).unwrap_or_default();
    let compiled: Vec<_> = (written.iter())
        .filter_map(|(name, one)| {
            Some((listen::compile(name, one, &at.key(name), &Default::default(), &mut report)?, at.key(name)))
        })
        .collect();
    listen::check_addresses(compiled.iter().map(|(listener, at)| (listener, at)), &mut report);
    document.render(&report, false)
}

#[test]
fn addresses() {
    assert_snapshot!(report(
        r#"
[listeners.web]
address = ["localhost:8080", "8080"]

[listeners.nowhere]
"#
    ), @r##"
error[E0108]: `localhost:8080` is not an address to listen on
 --> maitred.toml:3:12
  |
3 | address = ["localhost:8080", "8080"]
  |            ^^^^^^^^^^^^^^^^ a name is not an address
  |
help: write
  |
3 - address = ["localhost:8080", "8080"]
3 + address = ["127.0.0.1:8080", "8080"]
  |

error[E0108]: `8080` is not an address to listen on
 --> maitred.toml:3:30
  |
3 | address = ["localhost:8080", "8080"]
  |                              ^^^^^^ a port alone is not an address
  |
help: write
  |
3 | address = ["localhost:8080", ":8080"]
  |                               +

error[E0106]: listener `nowhere` has no `address`
 --> maitred.toml:5:12
  |
5 | [listeners.nowhere]
  |            ^^^^^^^ nobody can connect to it
  |
  = help: write `address = ":8080"`
"##);
}

#[test]
fn addresses_taken_twice() {
    assert_snapshot!(report(
        r#"
[listeners.a]
address = ":8080"

[listeners.b]
address = ["127.0.0.1:9090", "127.0.0.1:8080"]
"#
    ), @r##"
error[E0203]: listeners `a` and `b` both take `127.0.0.1:8080`
 --> maitred.toml:6:30
  |
3 | address = ":8080"
  |           ------- by this one, which includes it
...
6 | address = ["127.0.0.1:9090", "127.0.0.1:8080"]
  |                              ^^^^^^^^^^^^^^^^ this address is taken
  |
  = note: `:PORT` and `[::]:PORT` stand for every address, IPv4 as well as IPv6
"##);
}

#[test]
fn protocols_that_do_not_fit() {
    assert_snapshot!(report(
        r#"
[listeners.plain]
address = ":8080"
protocols = ["h1", "h2"]

[listeners.secure]
address = ":8443"
protocols = "h2c"
redirect = "https"
tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
"#
    ), @r##"
error[E0107]: `h2` is HTTP/2 over TLS, and this listener has no `tls`
 --> maitred.toml:4:20
  |
4 | protocols = ["h1", "h2"]
  |                    ^^^^ write `h2c` for HTTP/2 in plaintext

error[E0107]: `h2c` is HTTP/2 without TLS, and this listener has `tls`
 --> maitred.toml:8:13
  |
8 | protocols = "h2c"
  |             ^^^^^ write `h2` for HTTP/2 over TLS

error[E0107]: a listener with `tls` cannot redirect to `https`, which it is already
  --> maitred.toml:9:12
   |
 9 | redirect = "https"
   |            ^^^^^^^ would send clients round in circles
10 | tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
   | ---

error[E0601]: `/nowhere/site.pem` cannot be read
  --> maitred.toml:10:16
   |
10 | tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
   |                ^^^^^^^^^^^^^^^^^^^ no such file

error[E0601]: `/nowhere/site.key` cannot be read
  --> maitred.toml:10:43
   |
10 | tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
   |                                           ^^^^^^^^^^^^^^^^^^^ no such file
"##);
}

#[test]
fn values() {
    assert_snapshot!(report(
        r#"
[listeners.web]
address = ":8080"
trusted_proxies = ["10.1.2.3/8", "private"]
max_connections = 0
timeouts = { header = 10, idle = "0s" }
redirect = "http"
"#
    ), @r##"
error[E0108]: `10.1.2.3/8` is not a network
 --> maitred.toml:4:20
  |
4 | trusted_proxies = ["10.1.2.3/8", "private"]
  |                    ^^^^^^^^^^^^ an address within a network
  |
help: the network of that length is
  |
4 - trusted_proxies = ["10.1.2.3/8", "private"]
4 + trusted_proxies = ["10.0.0.0/8", "private"]
  |

error[E0108]: `private` is not a network
 --> maitred.toml:4:34
  |
4 | trusted_proxies = ["10.1.2.3/8", "private"]
  |                                  ^^^^^^^^^ neither a network, an address nor `unix`
  |
  = help: write a network such as `10.0.0.0/8`, or an address

error[E0103]: `max_connections` is at least 1
 --> maitred.toml:5:19
  |
5 | max_connections = 0
  |                   ^ nobody could connect

error[E0104]: a duration needs a unit
 --> maitred.toml:6:23
  |
6 | timeouts = { header = 10, idle = "0s" }
  |                       ^^ expected a duration such as "30s", found the integer 10
  |
help: if this was meant as seconds, write
  |
6 - timeouts = { header = 10, idle = "0s" }
6 + timeouts = { header = "10s", idle = "0s" }
  |

error[E0103]: a timeout of zero would close every connection: `idle`
 --> maitred.toml:6:34
  |
6 | timeouts = { header = 10, idle = "0s" }
  |                                  ^^^^ write a time above zero

error[E0108]: invalid value for `redirect` in `listeners.web`
 --> maitred.toml:7:12
  |
7 | redirect = "http"
  |            ^^^^^^ expected one of `https`
  |
help: did you mean
  |
7 | redirect = "https"
  |                 +
"##);
}

#[test]
fn client_certificates() {
    assert_snapshot!(report(
        r#"
[listeners.plain]
address = ":80"
client_ca = "/nowhere/clients.pem"

[listeners.half]
address = ":81"
client_auth = "optional"
client_crl = "/nowhere/clients.crl"

[listeners.https]
address = ":443"
tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
client_ca = "/nowhere/clients.pem"
client_crl = "/nowhere/clients.crl"
"#
    ), @r##"
error[E0106]: `client_ca` needs `tls`
 --> maitred.toml:4:1
  |
4 | client_ca = "/nowhere/clients.pem"
  | ^^^^^^^^^ this listener speaks plaintext, in which nobody can show a certificate
  |
  = help: add `tls = { cert = "site.pem", key = "site.key" }`

error[E0106]: `client_auth` needs `client_ca`
 --> maitred.toml:8:1
  |
8 | client_auth = "optional"
  | ^^^^^^^^^^^ nothing says which certificates are good
  |
  = help: add `client_ca = "/etc/maitred/clients.pem"`

error[E0106]: `client_crl` needs `client_ca`
 --> maitred.toml:9:1
  |
9 | client_crl = "/nowhere/clients.crl"
  | ^^^^^^^^^^ nothing says which certificates are good
  |
  = help: add `client_ca = "/etc/maitred/clients.pem"`

error[E0601]: `/nowhere/site.pem` cannot be read
  --> maitred.toml:13:16
   |
13 | tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
   |                ^^^^^^^^^^^^^^^^^^^ no such file

error[E0601]: `/nowhere/site.key` cannot be read
  --> maitred.toml:13:43
   |
13 | tls = { cert = "/nowhere/site.pem", key = "/nowhere/site.key" }
   |                                           ^^^^^^^^^^^^^^^^^^^ no such file

error[E0601]: `/nowhere/clients.pem` cannot be read
  --> maitred.toml:14:13
   |
14 | client_ca = "/nowhere/clients.pem"
   |             ^^^^^^^^^^^^^^^^^^^^^^ no such file

error[E0601]: `/nowhere/clients.crl` cannot be read
  --> maitred.toml:15:14
   |
15 | client_crl = "/nowhere/clients.crl"
   |              ^^^^^^^^^^^^^^^^^^^^^^ no such file
"##);
}

#[test]
fn headers_that_nobody_may_send() {
    assert_snapshot!(report(
        r#"
[listeners.web]
address = ":8080"
proxy_protocol = "required"
max_connections_per_ip = 0

[listeners.other]
address = ":8081"
proxy_protocol = "optional"
trusted_proxies = []
"#
    ), @r##"
error[E0106]: listener `web` takes PROXY headers from nobody
 --> maitred.toml:4:18
  |
4 | proxy_protocol = "required"
  |                  ^^^^^^^^^^ whose headers are believed?
  |
  = help: name the proxies that send it, for example `trusted_proxies = "10.0.0.0/8"`

error[E0103]: `max_connections_per_ip` is at least 1
 --> maitred.toml:5:26
  |
5 | max_connections_per_ip = 0
  |                          ^ nobody could connect

error[E0106]: listener `other` takes PROXY headers from nobody
 --> maitred.toml:9:18
  |
9 | proxy_protocol = "optional"
  |                  ^^^^^^^^^^ whose headers are believed?
  |
  = help: name the proxies that send it, for example `trusted_proxies = "10.0.0.0/8"`
"##);
}

#[test]
fn keys_that_are_not_for_http() {
    assert_snapshot!(report(
        r#"
[listeners.http]
address = ":1"
upstream = "app"
sni = { "a.example" = "app" }

[listeners.nowhere]
address = ":4"
mode = "tls-passthrough"
sni = {}
"#
    ), @r##"
error[E0107]: `upstream` does not go with `mode = "http"`
 --> maitred.toml:4:1
  |
4 | upstream = "app"
  | ^^^^^^^^ a listener for HTTP has routes, which say where its requests go

error[E0107]: `sni` does not go with `mode = "http"`
 --> maitred.toml:5:1
  |
5 | sni = { "a.example" = "app" }
  | ^^^ only `mode = "tls-passthrough"` looks at the name asked for

error[E0106]: listener `nowhere` leads nowhere
 --> maitred.toml:7:12
  |
7 | [listeners.nowhere]
  |            ^^^^^^^ no `upstream`
  |
  = help: add `upstream = "NAME"`, or `sni = { "db.example.com" = "NAME" }`
"##);
}

#[test]
fn keys_that_are_not_for_bytes() {
    assert_snapshot!(report(
        r#"
[listeners.tcp]
address = ":2"
mode = "tcp"
protocols = "h1"
redirect = "https"
sni = { "a.example" = "app" }
trusted_proxies = "10.0.0.0/8"
proxy_protocol = "optional"
timeouts = { header = "1s", body = "1s" }
"#
    ), @r##"
error[E0106]: listener `tcp` leads nowhere
 --> maitred.toml:2:12
  |
2 | [listeners.tcp]
  |            ^^^ no `upstream`
  |
  = help: add `upstream = "NAME"`, or a URL such as `"tcp://10.0.1.11:5432"`

error[E0107]: `protocols` does not go with `mode = "tcp"`
 --> maitred.toml:5:1
  |
5 | protocols = "h1"
  | ^^^^^^^^^ is for HTTP, and this listener passes bytes on, whatever they mean

error[E0107]: `redirect` does not go with `mode = "tcp"`
 --> maitred.toml:6:1
  |
6 | redirect = "https"
  | ^^^^^^^^ is for HTTP, and this listener passes bytes on, whatever they mean

error[E0107]: `sni` does not go with `mode = "tcp"`
 --> maitred.toml:7:1
  |
7 | sni = { "a.example" = "app" }
  | ^^^ only `mode = "tls-passthrough"` looks at the name asked for

error[E0107]: `proxy_protocol = "optional"` does not go with `mode = "tcp"`
 --> maitred.toml:9:18
  |
9 | proxy_protocol = "optional"
  |                  ^^^^^^^^^^ the client may wait for the backend to speak first: say `"required"` or `"off"`

error[E0107]: `timeouts.body` does not go with `mode = "tcp"`
  --> maitred.toml:10:29
   |
10 | timeouts = { header = "1s", body = "1s" }
   |                             ^^^^ is for HTTP, and this listener passes bytes on, whatever they mean
"##);
}

#[test]
fn keys_that_are_not_for_closed_tls() {
    assert_snapshot!(report(
        r#"
[listeners.tls]
address = ":3"
mode = "tls-passthrough"
upstream = "app"
tls = { cert = "a.pem", key = "a.key" }
sni = { "*" = "app", "a b" = "app" }
"#
    ), @r##"
error[E0107]: `tls` does not go with `mode = "tls-passthrough"`
 --> maitred.toml:6:1
  |
6 | tls = { cert = "a.pem", key = "a.key" }
  | ^^^ TLS is passed through here, and only the backend has certificates

error[E0601]: `a.pem` cannot be read
 --> maitred.toml:6:16
  |
6 | tls = { cert = "a.pem", key = "a.key" }
  |                ^^^^^^^ no such file

error[E0601]: `a.key` cannot be read
 --> maitred.toml:6:31
  |
6 | tls = { cert = "a.pem", key = "a.key" }
  |                               ^^^^^^^ no such file

error[E0108]: `*` is not a name that clients ask for in TLS
 --> maitred.toml:7:9
  |
7 | sni = { "*" = "app", "a b" = "app" }
  |         ^^^ expected a host name, or a wildcard for its first labels
  |
  = help: write `db.example.com` or `*.example.com`; what no name fits goes to `upstream`

error[E0108]: `a b` is not a name that clients ask for in TLS
 --> maitred.toml:7:22
  |
7 | sni = { "*" = "app", "a b" = "app" }
  |                      ^^^^^ expected a host name, or a wildcard for its first labels
  |
  = help: write `db.example.com` or `*.example.com`; what no name fits goes to `upstream`
"##);
}
