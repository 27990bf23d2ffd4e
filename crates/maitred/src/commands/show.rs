//! `maitred show`: the effective configuration, where each value of it stands, and what differs from what runs.

use base64::{Engine, prelude::BASE64_STANDARD};
use config::{Change, Loaded};
use document::{At, Code, Diagnostic, Level, nearest};
use serde_json::{Map, Value, json};

use crate::{
    cli,
    cli::Global,
    client::{Client, PATIENCE},
    exit::{Failure, Outcome},
    files, out,
    sealed::sealed,
    style::Style,
};

/// Shows the configuration of the file, the one in force, or what differs between them.
pub fn run(global: &Global, show: &cli::Show) -> Outcome {
    if show.live {
        let whole = in_force(global)?;
        let (at, value) = narrowed(&whole, show.path.as_deref())?;
        return if global.json { out::line(format!("{value:#}")) } else { out::text(&toml(&at, value, &|_| None)) };
    }
    let loaded = load(global)?;
    let whole = config::effective(&loaded);
    if show.diff {
        return diff(global, show.path.as_deref(), &loaded, &whole);
    }
    let (at, value) = narrowed(&whole, show.path.as_deref())?;
    let place = |at: &At| show.source.then(|| place(&loaded, at)).flatten();
    match (global.json, show.source) {
        (true, false) => out::line(format!("{value:#}")),
        (true, true) => {
            let mut places = Map::new();
            collect(value, &at, &place, &mut places);
            out::line(format!("{:#}", json!({ "config": value, "source": places })))
        }
        (false, _) => out::text(&toml(&at, value, &place)),
    }
}

fn load(global: &Global) -> Result<Loaded, Failure> {
    let loaded = config::load(&files::find(global)?);
    // What is filled in is not shown, so it does not matter that it is there for the service alone.
    let matters = |one: &Diagnostic| one.level() == Level::Error && !matches!(one.code, Code::E0601 | Code::E0602);
    let valid = loaded.config.is_some() && !loaded.report.diagnostics().iter().any(matters);
    if loaded.report.has_errors() {
        eprint!("{}", loaded.render(Style::of(global.color, &std::io::stderr()).is_on()));
    }
    if valid { Ok(loaded) } else { Err(Failure::invalid("the configuration is not valid")) }
}

/// What the running maitred says that it runs.
fn in_force(global: &Global) -> Result<Value, Failure> {
    shown(&Client::find(global)?)
}

fn shown(client: &Client) -> Result<Value, Failure> {
    client.get("/api/v1/config?format=json")
}

/// Which secrets that stand in the file are others than those in force. The running maitred is asked without being told.
fn other_secrets(client: &Client, loaded: &Loaded) -> Result<Vec<Change>, Failure> {
    let mut salt = [0; 32];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| Failure::new("the system gives no random bytes"))?;
    let secrets = sealed(loaded, &salt);
    if secrets.is_empty() {
        return Ok(Vec::new());
    }
    let order = json!({ "salt": BASE64_STANDARD.encode(salt), "secrets": secrets });
    let told = client.order("POST", "/api/v1/config/secrets", &order, PATIENCE)?.accepted()?;
    let differs = |at: &At| told.as_array().is_some_and(|told| told.iter().any(|place| *place == at.to_string()));
    let places = config::secrets(loaded).into_iter().map(|(at, _)| at).filter(differs);
    Ok(places.map(|at| Change::Secret { at }).collect())
}

/// Prints what a reload of the file would change.
fn diff(global: &Global, path: Option<&str>, loaded: &Loaded, file: &Value) -> Outcome {
    let client = Client::find(global)?;
    let running = shown(&client)?;
    let mut changes = config::difference(&running, file);
    match other_secrets(&client, loaded) {
        Ok(secrets) => changes.extend(secrets),
        Err(why) => eprintln!("hint: whether secrets differ is not known: {}", why.message),
    }
    if let Some(path) = path {
        let (at, _) =
            narrowed(file, Some(path)).or_else(|missing| narrowed(&running, Some(path)).map_err(|_| missing))?;
        changes.retain(|change| change.at().keys().starts_with(at.keys()));
    }
    if global.json {
        let told: Vec<Value> = changes.iter().map(object).collect();
        out::line(format!("{:#}", Value::from(told)))?;
    } else {
        let style = Style::of(global.color, &std::io::stdout());
        out::text(&changes.iter().map(|change| format!("{}\n", painted(change, style))).collect::<String>())?;
    }
    if changes.is_empty() {
        return Ok(());
    }
    if !global.quiet && !global.json {
        eprintln!("hint: `maitred reload` applies the file");
    }
    Err(Failure::new(""))
}

fn painted(change: &Change, style: Style) -> String {
    let text = change.to_string();
    match change {
        Change::Added(_) => style.good(&text),
        Change::Removed(_) => style.error(&text),
        Change::Changed { .. } | Change::Secret { .. } => style.warning(&text),
    }
}

fn object(change: &Change) -> Value {
    let hidden = Some(Value::from(config::REDACTED));
    let (kind, from, to) = match change {
        Change::Added(_) => ("added", &None, &None),
        Change::Removed(_) => ("removed", &None, &None),
        Change::Changed { from, to, .. } => ("changed", from, to),
        Change::Secret { .. } => ("changed", &hidden, &hidden),
    };
    json!({ "change": kind, "at": change.at().to_string(), "from": from, "to": to, "text": change.to_string() })
}

/// The part that is meant.
fn narrowed<'v>(whole: &'v Value, path: Option<&str>) -> Result<(At, &'v Value), Failure> {
    let Some(path) = path else { return Ok((At::root(), whole)) };
    find(whole, &At::root(), path).ok_or_else(|| {
        let hint = near(whole, path).map(|near| format!("\nhint: there is `{near}`")).unwrap_or_default();
        Failure::new(format!("there is no `{path}` in the configuration{hint}"))
    })
}

/// Looks up `routes.users.path`. A name with a dot or a slash may be quoted, and is found without quotes as well.
fn find<'v>(value: &'v Value, at: &At, path: &str) -> Option<(At, &'v Value)> {
    if path.is_empty() {
        return Some((at.clone(), value));
    }
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(table) => table.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => return None,
    };
    entries.iter().find_map(|(key, value)| {
        let spelt = [key.clone(), format!("\"{key}\""), format!("'{key}'")];
        let rest = spelt.iter().find_map(|key| path.strip_prefix(key.as_str()));
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
        find(value, &at.key(key.as_str()), rest.trim_start_matches('.'))
    })
}

/// The nearest path of the same length: the last key of `path` was misspelt, or the first.
fn near(whole: &Value, path: &str) -> Option<String> {
    let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
    let (at, table) = find(whole, &At::root(), above)?;
    let keys = table.as_object()?.keys().map(String::as_str);
    nearest(last, keys).map(|near| at.key(near).to_string())
}

/// `conf.d/users.toml:12`.
fn place(loaded: &Loaded, at: &At) -> Option<String> {
    // What stands nowhere itself stands where the nearest thing above it does.
    let written = loaded.document.contains(at);
    let location = loaded.document.location(at).filter(|_| written)?;
    Some(format!("{}:{}", location.file, location.position.line))
}

/// The place of everything that is no table, by its path.
fn collect(value: &Value, at: &At, place: &dyn Fn(&At) -> Option<String>, places: &mut Map<String, Value>) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| collect(value, &at.key(key), place, places)),
        _ => {
            if let Some(place) = place(at) {
                places.insert(at.to_string(), place.into());
            }
        }
    }
}

/// A table with its headers, another value by itself.
fn toml(at: &At, value: &Value, place: &dyn Fn(&At) -> Option<String>) -> String {
    let Value::Object(_) = value else {
        let remark = place(at).map(|place| format!("  # {place}")).unwrap_or_default();
        return format!("{}{remark}\n", config::to_toml_value(value));
    };
    let wrap = |value: Value, key: &String| json!({ key.as_str(): value });
    let whole = at.keys().iter().rev().fold(value.clone(), wrap);
    config::to_toml(&whole, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Result<String, String> {
        let whole = json!({
            "listeners": { "http": { "address": [":80", ":81"] } },
            "routes": { "/api/*": { "path": "/api/*" }, "/api": { "path": "/api" }, "users": { "path": "/users/*" } },
        });
        narrowed(&whole, Some(path)).map(|(at, value)| format!("{at} {value}")).map_err(|failure| failure.message)
    }

    #[test]
    fn a_path_leads_to_a_part() {
        for (path, part) in [
            ("routes.users.path", "routes.users.path \"/users/*\""),
            ("routes./api/*.path", "routes.\"/api/*\".path \"/api/*\""),
            ("routes.\"/api\".path", "routes.\"/api\".path \"/api\""),
            ("routes.'/api'.path", "routes.\"/api\".path \"/api\""),
            ("listeners.http.address.1", "listeners.http.address.1 \":81\""),
        ] {
            assert_eq!(found(path).as_deref(), Ok(part));
        }
        assert_eq!(
            found("routes.usres"),
            Err("there is no `routes.usres` in the configuration\nhint: there is `routes.users`".into())
        );
        assert_eq!(
            found("listener"),
            Err("there is no `listener` in the configuration\nhint: there is `listeners`".into())
        );
        assert!(found("routes.users.path.more").is_err());
    }
}
