//! That what is generated holds together.

use super::*;

#[test]
fn the_sample_loads_as_it_is() {
    let loaded = crate::load_text("sample.toml", &sample(), std::path::Path::new("/nowhere"));
    assert!(!loaded.report.has_errors(), "{}", loaded.render(false));
}

#[test]
fn every_setting_of_the_sample_can_be_uncommented() {
    let is_setting = |text: &&str| text.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
    let uncommented = |line: &str| line.strip_prefix('#').filter(is_setting).unwrap_or(line).to_owned();
    let text = sample().lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let loaded = crate::load_text_with("sample.toml", &text, std::path::Path::new("/nowhere"), &|_| Some("x".into()));
    let shape = |code: Code| code.as_str().starts_with("E00") || code.as_str().starts_with("E010");
    let wrong: Vec<_> =
        loaded.report.diagnostics().iter().filter(|one| shape(one.code) && one.code != Code::E0107).collect();
    assert!(wrong.is_empty(), "{}\n{}", text, loaded.render(false));
}

#[test]
fn the_schema_knows_every_section_and_refuses_others() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let sections: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        sections,
        [
            "listen",
            "include",
            "server",
            "listeners",
            "upstreams",
            "routes",
            "defaults",
            "auth",
            "access",
            "limits",
            "cache",
            "redis",
            "logging",
            "admin",
            "tests"
        ]
    );
    assert!(!schema.to_string().contains("\"null\""));
}

#[test]
fn the_reference_describes_every_key() {
    let reference = reference();
    for key in [
        "server.threads",
        "listeners.*.address",
        "upstreams.*.backends",
        "routes.*.path",
        "routes.*.max_body",
        "routes.*.cors.origins",
    ] {
        assert!(reference.contains(&format!("### `{key}`")), "{key}\n{reference}");
    }
}

#[test]
fn every_code_has_a_page() {
    assert_eq!(error_pages().len(), Code::ALL.len());
}
