//! Wrong files, and exactly what is said about them.

use std::{fs, path::Path};

use insta::assert_snapshot;
use maitred_config as config;

fn report(text: &str) -> String {
    config::load_text_with("maitred.toml", text, Path::new("/nowhere"), &|_| None).render(false)
}

#[test]
fn the_sample_of_an_unknown_key() {
    assert_snapshot!(report("listen = ':80'\n\n\n\n[upstreams.users]\nbackends = 'http://a'\nretires = 2\n"), @r"");
}

#[test]
fn the_sample_of_an_upstream_that_does_not_exist() {
    let text = "listen = ':80'\n\n\n\n[upstreams.users]\nbackends = 'http://a'\n\n\n\n\n\n\n\n[routes.users]\nupstream = \"usres\"\n";
    assert_snapshot!(report(text), @r"");
}

#[test]
fn the_sample_of_a_missing_unit() {
    let text = format!("listen = ':80'\n{}[routes.a]\ntimeout  = 30000\n", "\n".repeat(26));
    assert_snapshot!(report(&text), @r"");
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
    assert_snapshot!(text, @r"");
}

#[test]
fn every_mistake_of_a_file_is_found_at_once() {
    let text = r#"
[server]
threads = 0
grace_period = 30

[listeners.HTTP_main]
addres = ":80"

[auth.customers]
type = "jwt"

[defaults]
timeout = "soon"
auth = "customers"

[routes]
orders = "http://localhost:3000"
"/a" = "nowhere"
"/b" = { path = "/c", upstream = "localhost:3000" }
"/c" = { upstream = "${UNSET}", max_body = 5000000, cors = { allowedOrigins = "*" } }
"/d" = { limit = "100/m per ip", proxy_pass = "http://x" }
"#;
    assert_snapshot!(report(text), @r"");
}

#[test]
fn what_many_routes_inherit_is_wrong_once() {
    let text = "listen = ':80'\n[defaults]\nmax_url = 5\n[routes]\n'/a' = 'http://a'\n'/b' = 'http://b'\n";
    assert_snapshot!(report(text), @r"");
}

#[test]
fn the_listener_of_the_short_form_is_defined_once() {
    assert_snapshot!(report("listen = ':80'\n[listeners.http]\naddress = ':81'\n"), @r"");
}

#[test]
fn a_file_without_a_listener_is_refused() {
    assert_snapshot!(report("[routes]\n'/*' = 'http://a'\n"), @r"");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    assert_snapshot!(config::load(Path::new("/nowhere/maitred.toml")).render(false), @r"");
}
