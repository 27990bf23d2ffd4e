//! `maitred key`: API keys are made, listed and revoked in their file, which a running server follows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use auth::keys::edit::{self, Made, Order, Refused, is_live};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::{self, Global},
    exit::{Failure, Outcome},
    files, keys, out,
};

/// Makes a key and prints it: the only time that anybody can see it.
pub fn add(global: &Global, add: &cli::KeyAdd) -> Outcome {
    let limits: BTreeMap<String, u32> = add.limit.iter().cloned().collect();
    if limits.len() < add.limit.len() {
        return Err(failure(Refused::Wrong("one limit has two amounts: give one of them".into())));
    }
    let order = Order {
        consumer: add.consumer.clone(),
        expires: add.expires.clone(),
        plan: add.plan.clone(),
        limits,
        scopes: add.scope.clone(),
        roles: add.role.clone(),
    };
    let path = file(global, add.file.as_deref())?;
    let Made { fresh, expires } = edit::add(&path, &order).map_err(failure)?;
    if global.json {
        let told = json!({ "key": fresh.text, "id": fresh.id, "consumer": add.consumer, "expires": expires });
        return out::line(told.to_string());
    }
    out::line(&fresh.text)?;
    eprintln!("the key of {}, shown this once; {} has its hash", add.consumer, path.display());
    Ok(())
}

/// Lists the keys, which are shown by their first letters.
pub fn list(global: &Global, list: &cli::KeyFile) -> Outcome {
    let known = edit::read(&file(global, list.file.as_deref())?).map_err(failure)?;
    let now = Timestamp::now().as_second();
    if global.json {
        let keys: Vec<Value> = (known.keys.iter())
            .map(|(id, key)| {
                let consumer = known.consumers.get(&key.consumer);
                json!({
                    "id": id, "consumer": key.consumer, "created": key.created, "expires": key.expires,
                    "live": is_live(key, now),
                    "plan": consumer.and_then(|consumer| consumer.plan.as_deref()),
                    "limits": consumer.map(auth::keys::Consumer::amounts).unwrap_or_default(),
                })
            })
            .collect();
        return out::line(format!("{:#}", Value::Array(keys)));
    }
    let width = known.keys.values().map(|key| key.consumer.len()).max().unwrap_or(0).clamp(8, 40);
    let mut text = String::new();
    for (id, key) in &known.keys {
        let state = match &key.expires {
            None => "does not end".to_owned(),
            Some(end) if is_live(key, now) => format!("until {end}"),
            Some(end) => format!("ended {end}"),
        };
        let created = key.created.as_deref().unwrap_or("-");
        text.push_str(&format!("{id:<10} {:<width$}  {created:<20}  {state}\n", key.consumer));
    }
    out::text(&text)
}

/// Takes a key out of the file.
pub fn revoke(global: &Global, revoke: &cli::KeyRevoke) -> Outcome {
    let path = file(global, revoke.file.as_deref())?;
    let id = edit::revoke(&path, &revoke.id).map_err(failure)?;
    eprintln!("{id} is revoked; a running server refuses it within a second");
    Ok(())
}

fn failure(refused: Refused) -> Failure {
    let shown = "hint: `maitred key list` shows them";
    match refused {
        Refused::Wrong(message) => Failure { code: 2, message },
        Refused::Unknown(message) => Failure::new(format!("{message}\n{shown}")),
        Refused::Conflict(message) if message.contains("live keys") => {
            Failure::new(format!("{message}\nhint: revoke one first: `maitred key list` shows them"))
        }
        Refused::Conflict(message) | Refused::Failed(message) => Failure::new(message),
    }
}

/// The file that is named, or the one that the configuration has.
fn file(global: &Global, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let loaded = config::load(&files::find(global)?);
    let Some(config) = loaded.config.as_ref() else {
        eprint!("{}", loaded.render(false));
        return Err(Failure::invalid("the configuration is not valid"));
    };
    let files = keys::files(config);
    let paths = keys::paths(&files);
    match paths[..] {
        [one] => Ok(one.into()),
        [] => Err(Failure::new("no policy of the configuration has `keys`\nhint: name the file with --file")),
        [one, two, ..] => {
            Err(Failure::new(format!("there is more than one file of keys ({one}, {two})\nhint: name it with --file")))
        }
    }
}
