//! Wrong files, and exactly what is said about them.

use std::{fs, path::Path};

use insta::assert_snapshot;
use maitred_config as config;

fn report(text: &str) -> String {
    config::load_text_with("maitred.toml", text, Path::new("/nowhere"), &|_| None).render(false)
}

#[test]
fn the_sample_of_an_unknown_key() {
    assert_snapshot!(report("listen = ':80'\n\n\n\n[upstreams.users]\nbackends = 'http://a'\nretires = 2\n"), @r###"
    error[E0102]: unknown key `retires` in `upstreams.users`
     --> maitred.toml:7:1
      |
    7 | retires = 2
      | ^^^^^^^ not a key of an upstream
      |
    help: a key with a similar name exists
      |
    7 - retires = 2
    7 + retries = 2
      |
    "###);
}

#[test]
fn the_sample_of_an_upstream_that_does_not_exist() {
    let text = "listen = ':80'\n\n\n\n[upstreams.users]\nbackends = 'http://a'\n\n\n\n\n\n\n\n[routes.users]\nupstream = \"usres\"\n";
    assert_snapshot!(report(text), @r###"
    error[E0201]: route `users` sends traffic to an upstream that does not exist
      --> maitred.toml:15:12
       |
     5 | [upstreams.users]
       |            ----- a similar name is defined here
    ...
    15 | upstream = "usres"
       |            ^^^^^^^ no upstream is named `usres`
       |
    help: did you mean `users`?
       |
    15 - upstream = "usres"
    15 + upstream = "users"
       |
    "###);
}

#[test]
fn the_sample_of_a_missing_unit() {
    let text = format!("listen = ':80'\n{}[routes.a]\ntimeout  = 30000\n", "\n".repeat(26));
    assert_snapshot!(report(&text), @r###"
    error[E0104]: a duration needs a unit
      --> maitred.toml:29:12
       |
    29 | timeout  = 30000
       |            ^^^^^ expected a duration such as "30s", found the integer 30000
       |
    help: if this was meant as milliseconds, write
       |
    29 - timeout  = 30000
    29 + timeout  = "30s"
       |
    "###);
}

#[test]
fn a_name_in_two_files_shows_both() {
    let folder = tempfile::tempdir().unwrap();
    let main =
        "listen = ':80'\ninclude = ['conf.d/*.toml', 'missing.toml']\n[upstreams.users]\nbackends = 'http://a'\n";
    fs::write(folder.path().join("maitred.toml"), main).unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(
        folder.path().join("conf.d/users.toml"),
        "[upstreams.users]\nbackends = 'http://b'\n[upstreams.b]\nbackends = 'http://b'\n",
    )
    .unwrap();
    let loaded = config::load(&folder.path().join("maitred.toml"));
    assert_eq!(loaded.files.len(), 2);
    let text = loaded.render(false).replace(folder.path().to_str().unwrap(), "");
    assert_snapshot!(text, @r###"
    error[E0601]: cannot read `/missing.toml`
     --> /maitred.toml:2:29
      |
    2 | include = ['conf.d/*.toml', 'missing.toml']
      |                             ^^^^^^^^^^^^^^ No such file or directory (os error 2)

    error[E0202]: `upstreams.users` is defined twice
     --> /conf.d/users.toml:1:12
      |
    1 | [upstreams.users]
      |            ^^^^^ defined again here…
      |
     ::: /maitred.toml:3:12
      |
    3 | [upstreams.users]
      |            ----- …after it was defined here
      |
      = help: delete one of them, or give one of them another name
    "###);
}

/// A mistake of every kind.
const MISTAKES: &str = r#"
[server]
threads = 0
grace_period = 30

[listeners.HTTP_main]
addres = ":80"

[waf.customers]
mode = "block"

[defaults]
timeout = "soon"
waf = "customers"

[routes]
orders = "http://localhost:3000"
"/a" = "nowhere"
"/b" = { path = "/c", upstream = "localhost:3000" }
"/c" = { upstream = "${UNSET}", max_body = 5000000, cors = { allowedOrigins = "*" } }
"/d" = { minify = true, proxy_pass = "http://x" }
"#;

/// The report stands in a file of its own, being as long as it is.
#[test]
fn every_mistake_of_a_file_is_found_at_once() {
    insta::assert_snapshot!("every_mistake_of_a_file", report(MISTAKES));
}

#[test]
fn what_many_routes_inherit_is_wrong_once() {
    let text = "listen = ':80'\n[defaults]\nmax_url = 5\n[routes]\n'/a' = 'http://a'\n'/b' = 'http://b'\n";
    assert_snapshot!(report(text), @r###"
    error[E0104]: a size needs a unit
     --> maitred.toml:3:11
      |
    3 | max_url = 5
      |           ^ expected a size such as "64KiB", found the integer 5
      |
    help: if this was meant as bytes, write
      |
    3 - max_url = 5
    3 + max_url = "5B"
      |
    "###);
}

#[test]
fn the_listener_of_the_short_form_is_defined_once() {
    assert_snapshot!(report("listen = ':80'\n[listeners.http]\naddress = ':81'\n"), @r###"
    error[E0202]: the listener `http` is defined twice
     --> maitred.toml:1:1
      |
    1 | listen = ':80'
      | ^^^^^^ `listen` is short for the listener `http`…
    2 | [listeners.http]
      |            ---- …which is defined here
      |
      = help: give the address to one of them only
    "###);
}

#[test]
fn a_file_without_a_listener_is_refused() {
    assert_snapshot!(report("[routes]\n'/*' = 'http://a'\n"), @r###"
    error[E0106]: no listener is defined
     |
     = note: without a listener no connection is accepted
     = help: add `listen = ":8080"` above the first section
    "###);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    assert_snapshot!(config::load(Path::new("/nowhere/maitred.toml")).render(false), @r###"
    error[E0601]: cannot read `/nowhere/maitred.toml`
     |
     = note: No such file or directory (os error 2)
    "###);
}

#[test]
fn the_words_of_other_programs_are_known() {
    let text = "listen = ':80'\n[routes.a]\nrateLimiting = { windowMs = 900000, maxRequests = 100 }\nlocation = '/a'\n[upstreams.a]\nservers = 'http://a'\nhealthCheck = true\n[frontends.a]\n";
    assert_snapshot!(report(text), @r###"
    error[E0102]: unknown key `rateLimiting` in `routes.a`
     --> maitred.toml:3:1
      |
    3 | rateLimiting = { windowMs = 900000, maxRequests = 100 }
      | ^^^^^^^^^^^^ not a key of a route
      |
    help: here this is called
      |
    3 - rateLimiting = { windowMs = 900000, maxRequests = 100 }
    3 + limit = { windowMs = 900000, maxRequests = 100 }
      |

    error[E0102]: unknown key `location` in `routes.a`
     --> maitred.toml:4:1
      |
    4 | location = '/a'
      | ^^^^^^^^ not a key of a route
      |
    help: here this is called
      |
    4 - location = '/a'
    4 + path = '/a'
      |

    error[E0102]: unknown key `servers` in `upstreams.a`
     --> maitred.toml:6:1
      |
    6 | servers = 'http://a'
      | ^^^^^^^ not a key of an upstream
      |
    help: here this is called
      |
    6 - servers = 'http://a'
    6 + backends = 'http://a'
      |

    error[E0102]: unknown key `healthCheck` in `upstreams.a`
     --> maitred.toml:7:1
      |
    7 | healthCheck = true
      | ^^^^^^^^^^^ not a key of an upstream
      |
    help: here this is called
      |
    7 - healthCheck = true
    7 + health_check = true
      |

    error[E0102]: unknown section `frontends`
     --> maitred.toml:8:2
      |
    8 | [frontends.a]
      |  ^^^^^^^^^ not a section of maitred.toml
      |
    help: here this is called
      |
    8 - [frontends.a]
    8 + [listeners.a]
      |
    "###);
}

#[test]
fn a_secret_in_clear_is_warned_about() {
    assert_snapshot!(report("listen = ':80'\n[admin]\ntoken = 'hunter2hunter2hunter2'\n"), @r###"
    warning[W0601]: `token` in `admin` stands in the file in clear
     --> maitred.toml:3:9
      |
    3 | token = 'hunter2hunter2hunter2'
      |         ^^^^^^^^^^^^^^^^^^^^^^^ everybody who can read the file can read this
      |
      = help: take it from `${VARIABLE}` or `${file:/path}`
    "###);
}
