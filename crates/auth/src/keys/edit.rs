//! Keys are made, listed and revoked in their file, whoever asks for it: a command, or the admin API.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::Path,
};

use filter::Amounts;
use jiff::Timestamp;

use super::{Consumer, File, Fresh, Key, expiry};

/// One to use, and one to change over to.
const LIVE_KEYS: usize = 2;
/// How long a word of a new key may be, and how many of a kind it may have: the file is read whole.
const LONGEST: usize = 128;
const MOST: usize = 64;

/// Why a file of keys was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// What was asked for cannot be meant.
    Wrong(String),
    /// The file has no such key.
    Unknown(String),
    /// The file has something already that is in the way.
    Conflict(String),
    /// The file cannot be read or written.
    Failed(String),
}

/// A key that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// Whose it is.
    pub consumer: String,
    /// When it ends: `90d`, a date, or a time.
    pub expires: Option<String>,
    /// What the consumer has subscribed to.
    pub plan: Option<String>,
    /// How much the consumer may of what limits count, by the limit's name.
    pub limits: BTreeMap<String, u32>,
    /// What the consumer's keys are good for.
    pub scopes: Vec<String>,
    /// What the consumer is.
    pub roles: Vec<String>,
}

/// A key that was made.
pub struct Made {
    /// The key itself, which nobody can see again.
    pub fresh: Fresh,
    /// When it ends.
    pub expires: Option<String>,
}

impl Refused {
    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            Self::Wrong(message) | Self::Unknown(message) | Self::Conflict(message) | Self::Failed(message) => message,
        }
    }
}

/// Whether a key has not ended.
pub fn is_live(key: &Key, now: i64) -> bool {
    key.expires.as_deref().is_none_or(|end| expiry(end).is_ok_and(|end| end > now))
}

/// What the file says.
pub fn read(path: &Path) -> Result<File, Refused> {
    let text = fs::read_to_string(path);
    parse(path, &text.map_err(|error| Refused::Failed(format!("cannot read {}: {error}", path.display())))?)
}

/// Makes a key and writes its hash into the file.
pub fn add(path: &Path, order: &Order) -> Result<Made, Refused> {
    let expires = check(order)?;
    let fresh = Fresh::new().ok_or_else(|| Refused::Failed("the system has no random numbers".into()))?;
    let now = Timestamp::now();
    change(path, |text| {
        let known = parse(path, text)?;
        let own = known.keys.values().filter(|key| key.consumer == order.consumer);
        let live = own.filter(|key| is_live(key, now.as_second())).count();
        if live >= LIVE_KEYS {
            return Err(Refused::Conflict(format!("{} has {live} live keys already", order.consumer)));
        }
        let mut text = text.to_owned();
        text.push_str(&format!(
            "\n[keys.{}]\nconsumer = {:?}\nsha256   = {:?}\ncreated  = \"{}\"\n",
            fresh.id,
            order.consumer,
            fresh.sha256,
            now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ));
        if let Some(expires) = &expires {
            text.push_str(&format!("expires  = {expires:?}\n"));
        }
        let facts = facts(order);
        match (facts.is_empty(), known.consumers.get(&order.consumer)) {
            (false, Some(consumer)) if !says(consumer, order) => {
                let message = format!(
                    "{} is in the file already: change its plan, limits, scopes and roles there",
                    order.consumer
                );
                return Err(Refused::Conflict(message));
            }
            (false, None) => text.push_str(&format!("\n[consumers.{:?}]\n{facts}", order.consumer)),
            _ => {}
        }
        Ok(text)
    })?;
    Ok(Made { fresh, expires })
}

/// Takes a key out of the file. Whoever gives the whole key means that one.
pub fn revoke(path: &Path, id: &str) -> Result<String, Refused> {
    let id = id.strip_prefix("mtd_").and_then(|rest| rest.split('_').next()).unwrap_or(id);
    change(path, |text| {
        if !parse(path, text)?.keys.contains_key(id) {
            return Err(Refused::Unknown(format!("{} has no key `{}`", path.display(), id.get(..12).unwrap_or(id))));
        }
        let left = without(text, id);
        if parse(path, &left)?.keys.contains_key(id) {
            let message = format!("key `{id}` is not written as a table of its own: delete it by hand");
            return Err(Refused::Conflict(message));
        }
        Ok(left)
    })?;
    Ok(id.to_owned())
}

/// When a key that is to be made ends, where all that is said of it can be written down as it is.
fn check(order: &Order) -> Result<Option<String>, Refused> {
    let name = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    if order.consumer.is_empty() || order.consumer.len() > LONGEST || !order.consumer.chars().all(name) {
        let message = format!("{:?} is no name for a consumer: use letters, digits and `-_.@`", order.consumer);
        return Err(Refused::Wrong(message));
    }
    let words = order.scopes.iter().chain(&order.roles).chain(&order.plan);
    let plain =
        |word: &&String| !word.is_empty() && word.len() <= LONGEST && word.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(odd) = words.clone().find(|word| !plain(word)) {
        return Err(Refused::Wrong(format!("{odd:?} is no plan, scope or role: use one word of visible ASCII")));
    }
    if words.count() > MOST {
        return Err(Refused::Wrong(format!("a consumer has at most {MOST} scopes and roles")));
    }
    if let Some(odd) = order.limits.keys().find(|name| !plain(name)) {
        return Err(Refused::Wrong(format!(
            "{odd:?} is no limit: use the name of one; what is not visible ASCII is written into the file by hand"
        )));
    }
    if let Some((name, odd)) = order.limits.iter().find(|(_, amount)| !(1..=Amounts::MOST).contains(*amount)) {
        let message = format!("{odd} is no amount for the limit {name}: it is a number from 1 to {}", Amounts::MOST);
        return Err(Refused::Wrong(message));
    }
    if order.limits.len() > Amounts::MANY {
        return Err(Refused::Wrong(format!("a consumer has at most {} amounts of its own", Amounts::MANY)));
    }
    order.expires.as_deref().map(ends).transpose().map_err(Refused::Wrong)
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

fn facts(order: &Order) -> String {
    let mut text = String::new();
    if let Some(plan) = &order.plan {
        text.push_str(&format!("plan   = {plan:?}\n"));
    }
    if !order.limits.is_empty() {
        let amounts: Vec<_> = order.limits.iter().map(|(name, amount)| format!("{name:?} = {amount}")).collect();
        text.push_str(&format!("limits = {{ {} }}\n", amounts.join(", ")));
    }
    for (key, list) in [("scopes", &order.scopes), ("roles", &order.roles)] {
        if !list.is_empty() {
            text.push_str(&format!("{key:<6} = {list:?}\n"));
        }
    }
    text
}

/// Whether the file says of a consumer already what is asked for.
fn says(known: &Consumer, order: &Order) -> bool {
    (order.plan.is_none() || known.plan == order.plan)
        && (order.limits.is_empty() || known.amounts() == order.limits)
        && (order.scopes.is_empty() || known.scopes == order.scopes)
        && (order.roles.is_empty() || known.roles == order.roles)
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

fn parse(path: &Path, text: &str) -> Result<File, Refused> {
    File::parse(text).map_err(|why| Refused::Failed(format!("{}: {why}", path.display())))
}

/// Changes the file in one step: nobody ever reads half of it, and two who change it at once wait for each other.
fn change(path: &Path, edit: impl FnOnce(&str) -> Result<String, Refused>) -> Result<(), Refused> {
    let failed = |error: std::io::Error| Refused::Failed(format!("cannot write {}: {error}", path.display()));
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

    #[test]
    fn nothing_that_is_asked_for_becomes_something_else_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let order = |consumer: &str, scope: &str| Order {
            consumer: consumer.into(),
            scopes: vec![scope.into()],
            ..Order::default()
        };
        for (consumer, scope) in [("", "a"), ("a b", "a"), ("a\"]", "a"), ("a", "a\nb"), ("a", ""), ("a", "ä")] {
            assert!(matches!(add(&path, &order(consumer, scope)), Err(Refused::Wrong(_))), "{consumer} {scope}");
        }
        assert!(!path.exists());
        let made = add(&path, &order("acme", "a:\\\"b\"]")).unwrap();
        assert_eq!(read(&path).unwrap().consumers["acme"].scopes, ["a:\\\"b\"]"]);
        assert!(!fs::read_to_string(&path).unwrap().contains(&made.fresh.text));
        assert!(matches!(add(&path, &order("acme", "other")), Err(Refused::Conflict(_))));
        let limited = |amount: u32| Order {
            limits: [("a\\\"b".to_owned(), 5000), ("calls".to_owned(), amount)].into(),
            ..order("beta", "orders")
        };
        for odd in [0, Amounts::MOST + 1] {
            assert!(matches!(add(&path, &limited(odd)), Err(Refused::Wrong(_))), "{odd}");
        }
        for name in ["", "a b", "ä"] {
            let order = Order { limits: [(name.to_owned(), 1)].into(), ..limited(1) };
            assert!(matches!(add(&path, &order), Err(Refused::Wrong(_))), "{name}");
        }
        let beta = add(&path, &limited(7)).unwrap();
        assert_eq!(read(&path).unwrap().consumers["beta"].amounts(), limited(7).limits);
        assert!(matches!(add(&path, &limited(8)), Err(Refused::Conflict(_))));
        revoke(&path, &add(&path, &limited(7)).unwrap().fresh.id).unwrap();
        revoke(&path, &beta.fresh.id).unwrap();
        add(&path, &order("acme", "a:\\\"b\"]")).unwrap();
        assert!(matches!(add(&path, &order("acme", "a:\\\"b\"]")), Err(Refused::Conflict(_))), "two are enough");
        assert_eq!(revoke(&path, &made.fresh.text).unwrap(), made.fresh.id);
        assert!(matches!(revoke(&path, &made.fresh.id), Err(Refused::Unknown(_))));
        assert_eq!(read(&path).unwrap().keys.len(), 1);
    }
}
