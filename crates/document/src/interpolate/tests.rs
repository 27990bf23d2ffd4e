//! What placeholders become.

use super::*;

fn environment(variable: &dyn Fn(&str) -> Option<String>) -> Environment<'_> {
    Environment {
        variable,
        file: &|path| match path.to_str() {
            Some("/run/secret") => Ok("s3cr3t\n".into()),
            Some("/etc/maitred/near") => Ok("near".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
        folder: "/etc/maitred".into(),
    }
}

fn filled(text: &str) -> Result<String, Vec<Code>> {
    let variable = |name: &str| match name {
        "NAME" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let (filled, _, mistakes) = expand(text, &environment(&variable));
    if mistakes.is_empty() { Ok(filled) } else { Err(mistakes.iter().map(|mistake| mistake.code).collect()) }
}

#[test]
fn every_form_is_filled_in() {
    let cases = [
        ("plain", "plain"),
        (":${NAME}", ":value"),
        ("${NONE:-8080}", "8080"),
        ("${NAME:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("[${EMPTY}]", "[]"),
        ("${NONE:-}", ""),
        ("${file:/run/secret}!", "s3cr3t!"),
        ("${file:near}", "near"),
        ("$$HOME and $${NAME}", "$HOME and ${NAME}"),
        ("~^/v[0-9]+$", "~^/v[0-9]+$"),
        ("ü${NAME}ü", "üvalueü"),
    ];
    for (text, expected) in cases {
        assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn every_mistake_has_its_code() {
    assert_eq!(filled("${NONE} ${NONE2}"), Err(vec![Code::E0602, Code::E0602]));
    assert_eq!(filled("${NAME"), Err(vec![Code::E0603]));
    assert_eq!(filled("${}"), Err(vec![Code::E0603]));
    assert_eq!(filled("${1A}"), Err(vec![Code::E0603]));
    assert_eq!(filled("${NAME:+x}"), Err(vec![Code::E0603]));
    assert_eq!(filled("${file:/nowhere}"), Err(vec![Code::E0601]));
}
