//! `[admin]`: what is accepted, and what is said about the rest.

use document::OneOrMany;

use super::*;

fn compiled(addresses: Option<&[&str]>, token: Option<&str>) -> Result<Settings, Vec<String>> {
    let config = Config {
        address: addresses.map(|list| OneOrMany(list.iter().map(|&text| text.into()).collect())),
        token: token.map(Secret::new),
        audit: None,
    };
    let mut report = Report::new();
    let settings = super::compile(&config, &At::root().key("admin"), &mut report);
    let told = |d: &Diagnostic| format!("{} {} ({})", d.code, d.message, d.help.as_deref().unwrap_or(""));
    settings.ok_or_else(|| report.diagnostics().iter().map(told).collect())
}

const TOKEN: &str = "0123456789abcdef";

#[test]
fn nothing_written_means_loopback() {
    let settings = compiled(None, None).unwrap();
    assert_eq!(settings.addresses[0].to_string(), "127.0.0.1:9911");
    assert!(settings.assumed && settings.addresses[0].is_local());
    assert!(compiled(Some(&[]), None).unwrap().addresses.is_empty());
}

#[test]
fn addresses_are_written_in_several_ways() {
    let all = ["[::1]:1", "localhost:2", ":3", "10.0.0.1:4", "unix:/run/a.sock"];
    let settings = compiled(Some(&all), Some(TOKEN)).unwrap();
    let told: Vec<_> = settings.addresses.iter().map(|address| (address.to_string(), address.is_local())).collect();
    let expected = [
        ("[::1]:1", true),
        ("127.0.0.1:2", true),
        ("[::]:3", false),
        ("10.0.0.1:4", false),
        ("unix:/run/a.sock", true),
    ];
    assert_eq!(told, expected.map(|(text, local)| (text.to_owned(), local)));
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    for open in [":9911", "0.0.0.0:9911", "192.0.2.1:80", "[2001:db8::1]:80"] {
        let mistakes = compiled(Some(&[open]), None).unwrap_err();
        assert!(mistakes[0].starts_with(&format!("E0106 `{open}` can be reached")), "{mistakes:?}");
        compiled(Some(&[open]), Some(TOKEN)).unwrap();
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let long = format!("unix:/{}", "x".repeat(200));
    let wrong = ["127.0.0.1", "::1", "example.com:80", "unix:run.sock", &long, ":99999", "[::1]:1", "[::1]:1"];
    let mistakes = compiled(Some(&wrong), Some("short")).unwrap_err();
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
    assert!(mistakes[0].starts_with("E0108 a token needs at least 16"));
    assert!(mistakes[1].ends_with("(add a port: `127.0.0.1:9911`)"));
    assert!(mistakes[2].ends_with("(add a port: `[::1]:9911`)"));
    assert!(mistakes[7].contains("listed twice"));
}

#[test]
fn a_token_from_a_file_loses_its_newline() {
    let settings = compiled(None, Some("0123456789abcdef\n")).unwrap();
    assert_eq!(settings.token.unwrap().expose(), TOKEN);
}

#[test]
fn an_audit_log_that_cannot_be_written_is_told_of_before_anything_starts() {
    let compiled = |path: &str| {
        let config = Config { audit: Some(Written { file: Some(path.into()), attempts: None }), ..Config::default() };
        let mut report = Report::new();
        let settings = super::compile(&config, &At::root().key("admin"), &mut report);
        (settings.and_then(|settings| settings.audit), report.errors())
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    assert_eq!(compiled(path.to_str().unwrap()), (Some((path.clone(), Attempts::Failures)), 0));
    assert!(!path.exists(), "a check creates nothing");
    assert_eq!(compiled("/nowhere/audit.jsonl"), (None, 1));
    assert_eq!(compiled(folder.path().to_str().unwrap()), (None, 1));
}

#[test]
fn an_audit_log_without_a_file_is_none() {
    let config = Config { audit: Some(Written { file: None, attempts: Some(Attempts::All) }), ..Config::default() };
    let mut report = Report::new();
    assert!(super::compile(&config, &At::root().key("admin"), &mut report).is_none() && report.errors() == 1);
}
