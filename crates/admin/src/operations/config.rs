//! The configuration in force, and whether another would do.

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::{Admin, Generation, answer::Answer, call::Call};

/// The configuration in force, or a part of it.
pub(super) fn effective(admin: &Admin, call: &Call) -> Answer {
    part(admin, call).unwrap_or_else(|refusal| refusal)
}

fn part(admin: &Admin, call: &Call) -> Result<Answer, Answer> {
    let control = admin.control()?;
    let tag = control.history().first().and_then(tag);
    if let Some(tag) = &tag
        && lists(call, header::IF_NONE_MATCH, tag)
    {
        return Ok(Answer::not_modified().with(header::ETAG, tag.clone()));
    }
    let mut value = control.effective();
    if let Some(path) = call.query("path") {
        value = find(&value, path).cloned().ok_or_else(|| {
            Answer::problem(StatusCode::NOT_FOUND, &format!("there is no `{path}` in the configuration"))
        })?;
    }
    let answer = match call.query("format").unwrap_or("json") {
        "json" => Answer::ok(&value),
        "toml" => toml(value)?,
        other => {
            let detail = format!("`{other}` is not a format; there is `json` and `toml`");
            return Err(Answer::problem(StatusCode::BAD_REQUEST, &detail));
        }
    };
    Ok(match tag {
        Some(tag) => answer.with(header::ETAG, tag),
        None => answer,
    })
}

/// Every generation is another entity (RFC 9110 section 8.8.3).
fn tag(generation: &Generation) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", generation.sha)).ok()
}

/// Whether the field `name` lists this tag, or any (RFC 9110 section 13.1).
fn lists(call: &Call, name: http::HeaderName, tag: &HeaderValue) -> bool {
    let listed = call.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one).as_bytes() == tag.as_bytes())
}

/// Refuses a change of a configuration that is no longer the one that the client has seen.
pub(super) fn unchanged_since(admin: &Admin, call: &Call) -> Result<(), Answer> {
    if !call.headers.contains_key(header::IF_MATCH) {
        return Ok(());
    }
    let current = admin.control()?.history().first().and_then(tag);
    if current.is_some_and(|tag| lists(call, header::IF_MATCH, &tag)) {
        return Ok(());
    }
    Err(Answer::problem(StatusCode::PRECONDITION_FAILED, "another configuration is in force by now").outcome("refused"))
}

/// A part by its keys with dots between them, or by a JSON pointer (RFC 6901) where a key has dots of its own.
fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    if path.starts_with('/') {
        return value.pointer(path);
    }
    path.split('.').filter(|key| !key.is_empty()).try_fold(value, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    })
}

fn toml(mut value: Value) -> Result<Answer, Answer> {
    without_nulls(&mut value);
    let refused = |_| Answer::problem(StatusCode::BAD_REQUEST, "this part is not a table, so it has no form in TOML");
    let text = toml::to_string_pretty(&value).map_err(refused)?;
    Ok(Answer::text("application/toml; charset=utf-8", text))
}

/// TOML has no null: what is absent is left out.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The files of the configuration in force.
pub(super) fn source(admin: &Admin, _: &Call) -> Answer {
    match admin.control() {
        Ok(control) => Answer::ok(&control.sources()),
        Err(refusal) => refusal,
    }
}

/// Whether a text would do as the configuration.
pub(super) fn check(admin: &Admin, call: &Call) -> Answer {
    let checked = admin.control().and_then(|control| call.text().map(|text| control.check(text)));
    match checked {
        Ok(checked) if checked.valid => Answer::ok(&checked).outcome("valid"),
        Ok(checked) => Answer::ok(&checked).outcome("invalid"),
        Err(refusal) => refusal,
    }
}

/// Which secrets of a configuration are others than those in force.
pub(super) fn secrets(admin: &Admin, call: &Call) -> Answer {
    let told = admin.control().and_then(|control| {
        let sealed = call.json()?;
        control.other_secrets(&sealed).map_err(|why| Answer::problem(StatusCode::BAD_REQUEST, &why))
    });
    match told {
        Ok(places) => Answer::ok(&places),
        Err(refusal) => refusal,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_is_found_by_keys_or_by_a_pointer() {
        let value = json!({ "routes": { "a.b": { "path": "/x" }, "users": { "hosts": ["one", "two"] } } });
        assert_eq!(find(&value, "routes.users.hosts.1"), Some(&json!("two")));
        assert_eq!(find(&value, "/routes/a.b/path"), Some(&json!("/x")));
        assert_eq!(find(&value, ""), Some(&value));
        for missing in ["routes.nobody", "routes.users.hosts.2", "routes.users.hosts.x", "/nothing"] {
            assert_eq!(find(&value, missing), None, "{missing}");
        }
    }

    #[test]
    fn toml_has_no_nulls_and_no_bare_values() {
        let answer = toml(json!({ "a": null, "table": { "list": [{ "b": 1, "c": null }] }, "z": 1 })).unwrap();
        let text = std::str::from_utf8(&answer.body).unwrap();
        let read: Value = toml::from_str(text).unwrap();
        assert_eq!(read, json!({ "table": { "list": [{ "b": 1 }] }, "z": 1 }));
        assert_eq!(toml(json!("bare")).unwrap_err().status, 400);
    }
}
