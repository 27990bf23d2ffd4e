//! `maitred key`: API keys are made, listed and revoked in their file, which a running server follows.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use auth::keys::{File, Fresh, expiry};
use document::Toggle;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::{self, Global},
    exit::{Failure, Outcome},
    files, out,
};

/// One to use, and one to change over to.
const LIVE_KEYS: usize = 2;

/// Makes a key and prints it: the only time that anybody can see it.
pub fn add(global: &Global, add: &cli::KeyAdd) -> Outcome {
    let name = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    if add.consumer.is_empty() || !add.consumer.chars().all(name) {
        return Err(wrong(format!("{:?} is no name for a consumer: use letters, digits and `-_.@`", add.consumer)));
    }
    let expires = add.expires.as_deref().map(ends).transpose().map_err(wrong)?;
    let path = file(global, add.file.as_deref())?;
    let fresh = Fresh::new().ok_or_else(|| Failure::new("the system has no random numbers"))?;
    change(&path, |text| {
        let known = parse(&path, text)?;
        let now = Timestamp::now().as_second();
        let live = known.keys.values().filter(|key| key.consumer == add.consumer && is_live(key, now)).count();
        if live >= LIVE_KEYS {
            let hint = "revoke one first: `maitred key list` shows them";
            return Err(Failure::new(format!("{} has {live} live keys already\nhint: {hint}", add.consumer)));
        }
        let mut text = text.to_owned();
        text.push_str(&format!(
            "\n[keys.{}]\nconsumer = {:?}\nsha256   = {:?}\n",
            fresh.id, add.consumer, fresh.sha256
        ));
        text.push_str(&format!("created  = \"{}\"\n", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")));
        if let Some(expires) = &expires {
            text.push_str(&format!("expires  = {expires:?}\n"));
        }
        let facts = consumer(add);
        match (facts.is_empty(), known.consumers.contains_key(&add.consumer)) {
            (false, true) => {
                let message =
                    format!("{} is in the file already: change its plan, scopes and roles there", add.consumer);
                return Err(Failure::new(message));
            }
            (false, false) => text.push_str(&format!("\n[consumers.{:?}]\n{facts}", add.consumer)),
            (true, _) => {}
        }
        Ok(text)
    })?;
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
    let path = file(global, list.file.as_deref())?;
    let known = parse(&path, &files::read(&path)?)?;
    let now = Timestamp::now().as_second();
    if global.json {
        let keys: Vec<Value> = (known.keys.iter())
            .map(|(id, key)| {
                json!({
                    "id": id, "consumer": key.consumer, "created": key.created, "expires": key.expires,
                    "live": is_live(key, now),
                    "plan": known.consumers.get(&key.consumer).and_then(|consumer| consumer.plan.as_deref()),
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
    // Whoever pastes the whole key means that one.
    let id = revoke.id.strip_prefix("mtd_").and_then(|rest| rest.split('_').next()).unwrap_or(&revoke.id);
    change(&path, |text| {
        if !parse(&path, text)?.keys.contains_key(id) {
            let message = format!("{} has no key `{}`", path.display(), id.get(..12).unwrap_or(id));
            return Err(Failure::new(format!("{message}\nhint: `maitred key list` shows them")));
        }
        let left = without(text, id);
        if parse(&path, &left)?.keys.contains_key(id) {
            let message = format!("key `{id}` is not written as a table of its own: delete it by hand");
            return Err(Failure::new(message));
        }
        Ok(left)
    })?;
    eprintln!("{id} is revoked; a running server refuses it within a second");
    Ok(())
}

fn wrong(message: String) -> Failure {
    Failure { code: 2, message }
}

fn is_live(key: &auth::keys::Key, now: i64) -> bool {
    key.expires.as_deref().is_none_or(|end| expiry(end).is_ok_and(|end| end > now))
}

/// `90d`, a date, or a time.
fn ends(text: &str) -> Result<String, String> {
    if expiry(text).is_ok() {
        return Ok(text.to_owned());
    }
    let wrong = || format!("{text:?} is neither a time such as 90d nor a date such as 2027-01-31");
    let after: document::Duration = text.parse().map_err(|_| wrong())?;
    let end = Timestamp::now().checked_add(after.0).map_err(|_| wrong())?;
    Ok(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn consumer(add: &cli::KeyAdd) -> String {
    let mut text = String::new();
    if let Some(plan) = &add.plan {
        text.push_str(&format!("plan   = {plan:?}\n"));
    }
    for (key, list) in [("scopes", &add.scope), ("roles", &add.role)] {
        if !list.is_empty() {
            text.push_str(&format!("{key:<6} = {list:?}\n"));
        }
    }
    text
}

/// The text without the table of the key.
fn without(text: &str, id: &str) -> String {
    let headers = [format!("[keys.{id}]"), format!("[keys.\"{id}\"]")];
    let mut inside = false;
    let mut left = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            inside = headers.iter().any(|header| trimmed == header);
        }
        if !inside {
            left.push_str(line);
        }
    }
    left
}

fn parse(path: &Path, text: &str) -> Result<File, Failure> {
    File::parse(text).map_err(|why| Failure::new(format!("{}: {why}", path.display())))
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
    let in_place = config.routes.values().filter_map(|route| match &route.policies.auth {
        Some(Toggle::On(written)) => Some(written.iter()),
        _ => None,
    });
    let in_place = in_place.flatten().filter_map(|one| match one {
        auth::Written::InPlace(config) => Some(&**config),
        auth::Written::Named(_) => None,
    });
    let paths: BTreeSet<&str> = config.auth.values().chain(in_place).filter_map(|one| one.keys.as_deref()).collect();
    let mut paths = paths.into_iter();
    match (paths.next(), paths.next()) {
        (Some(one), None) => Ok(one.into()),
        (None, _) => Err(Failure::new("no policy of the configuration has `keys`\nhint: name the file with --file")),
        (Some(one), Some(two)) => {
            Err(Failure::new(format!("there is more than one file of keys ({one}, {two})\nhint: name it with --file")))
        }
    }
}

/// Changes the file in one step: nobody ever reads half of it, and two commands at once wait for each other.
fn change(path: &Path, edit: impl FnOnce(&str) -> Result<String, Failure>) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = fs::File::open(folder).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let (text, found) = match fs::read_to_string(path) {
        Ok(text) => (text, fs::metadata(path).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(failed(error)),
    };
    let text = edit(&text)?;
    let beside = path.with_extension(format!("toml.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    let written = file.write_all(text.trim_start().as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        // A new file is readable by the group of its folder, as which the server may well run.
        let (mode, group) = match &found {
            Some(found) => (found.permissions().mode(), found.gid()),
            None => (0o640, fs::metadata(folder)?.gid()),
        };
        let owner = found.as_ref().map(MetadataExt::uid);
        // Only root may give a file away; whoever else changes it keeps it.
        let _ = chown(&beside, owner, Some(group));
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_and_everything_else_stays() {
        let text =
            "# mine\n[keys.a]\nconsumer = \"x\"\n\n[keys.b] \n# of b\nconsumer = \"y\"\n[consumers.x]\nplan = \"p\"\n";
        assert_eq!(without(text, "b"), text.replace("[keys.b] \n# of b\nconsumer = \"y\"\n", ""));
        assert_eq!(without(text, "c"), text);
    }

    #[test]
    fn an_end_is_a_date_or_a_while() {
        assert_eq!(ends("2027-01-31").unwrap(), "2027-01-31");
        assert!(ends("90d").unwrap().ends_with('Z'));
        assert!(ends("soon").is_err());
    }
}
