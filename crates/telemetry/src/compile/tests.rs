//! `[logging]`: what is accepted, and what is said about the rest.

use document::OneOrMany;

use super::*;
use crate::Format;

fn at() -> At {
    At::root().key("logging")
}

fn compiled(config: &Logging) -> Result<Settings, Vec<String>> {
    let mut report = Report::new();
    let settings = compile(config, &at(), &mut report);
    let told = |d: &Diagnostic| format!("{} {} ({})", d.code, d.message, d.help.as_deref().unwrap_or(""));
    settings.ok_or_else(|| report.diagnostics().iter().map(told).collect())
}

fn with(access: Access) -> Logging {
    Logging { level: None, access: Some(Toggle::On(access)) }
}

#[test]
fn nothing_written_means_info_and_json_on_standard_output() {
    let settings = compiled(&Logging::default()).unwrap();
    let access = settings.access.unwrap();
    assert_eq!(
        (settings.level.as_str(), access.format, access.output, access.sample),
        ("info", Format::Json, Output::Stdout, 1.0)
    );
    assert!(access.redact.iter().any(|name| &**name == "access_token"));
}

#[test]
fn the_access_log_can_be_switched_off() {
    let logging = Logging { level: None, access: Some(Toggle::Off) };
    assert_eq!(compiled(&logging).unwrap().access, None);
}

#[test]
fn levels_may_differ_for_single_parts() {
    for level in ["off", "INFO", "info,maitred_upstream=debug", "warn, maitred_tls::store = trace"] {
        let logging = Logging { level: Some(level.into()), access: None };
        assert_eq!(compiled(&logging).unwrap().level, level);
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let mistakes = compiled(&Logging {
        level: Some("inof,a=b=debug,=info,maitred_upstream".into()),
        access: Some(Toggle::On(Access {
            format: None,
            output: Some("stdot".into()),
            redact: Some(OneOrMany(vec!["ok".into(), "a&b".into(), String::new()])),
            sample: Some(1.5),
        })),
    })
    .unwrap_err();
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
    assert_eq!(mistakes[0], "E0108 `inof` is not a log level (did you mean `info`?)");
    assert!(mistakes[4].starts_with("E0108 `stdot` is not a place for the access log (did you mean `stdout`?"));
    assert!(mistakes[5].starts_with("E0103 `1.5` is not a share"));
}

#[test]
fn a_file_is_checked_and_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let access = |path: &Path| with(Access { output: Some(path.to_str().unwrap().into()), ..Access::default() });
    compiled(&access(&path)).unwrap();
    assert!(!path.exists());
    for wrong in [folder.path().join("none/access.log"), folder.path().to_owned()] {
        let mistakes = compiled(&access(&wrong)).unwrap_err();
        assert!(mistakes[0].starts_with("E0601 the access log `"), "{mistakes:?}");
    }
}

#[test]
fn names_to_hide_are_kept_in_lower_case() {
    let access = Access { redact: Some(OneOrMany(vec!["X-Token".into()])), ..Access::default() };
    assert_eq!(*compiled(&with(access)).unwrap().access.unwrap().redact, ["x-token".into()]);
}
